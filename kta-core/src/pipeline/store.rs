//! Step 5, document management: every document stands in the library, verified after the
//! upload, under a name that says nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{DocumentId, MatterId};
use crate::pii::placement::CopyOf;
use crate::pii::{Document, Locator, PlacementKind};
use crate::pipeline::effect::{self, Copy};
use crate::pipeline::house::{House, file, label};
use crate::pipeline::manage;
use crate::pipeline::process::Processed;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::verify::open_blob;
use crate::policy::{Act, Scope, Session};
use crate::ports::store::{ChangeSet, Register};

/// The library label of special-category documents.
pub static SPECIAL_LABEL: Label = Label::fixed("KTA-Special");

/// Receipt of the sixth stage: the library has every document of the matter.
#[derive(Debug)]
pub struct Stored {
    data: Data,
    processed: Processed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    locators: BTreeMap<DocumentId, Locator>,
}

impl Receipt for Stored {
    const STAGE: Label = Label::fixed("stored");
}

impl Stored {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.data.matter
    }

    /// The library's id of each document.
    #[must_use]
    pub const fn locators(&self) -> &BTreeMap<DocumentId, Locator> {
        &self.data.locators
    }

    /// Every document of the matter.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.processed.documents()
    }

    /// The document of this id, with the library's id of it.
    #[must_use]
    pub fn document(&self, id: DocumentId) -> Option<(&Document, &Locator)> {
        let document = self
            .processed
            .documents()
            .find(|document| document.id == id)?;
        Some((document, self.data.locators.get(&id)?))
    }
}

/// Puts every document of the matter into the library and reads back that it is there whole.
///
/// # Errors
/// What the library refuses, refusals of the gate, faults of the ports.
pub async fn store(house: &House, session: &Session<'_>, processed: Processed) -> Result<Stored> {
    let id = label(format_args!("stored:{}", processed.matter()));
    if let Some(data) = house.filed::<Data>(Register::Receipts, &id).await? {
        return Ok(Stored { data, processed });
    }
    let matter = manage::matter(house, processed.matter())?;
    let mut locators = BTreeMap::new();
    for document in processed.documents() {
        let category = document.classification.category;
        let scope = Scope::of(document.subject, category)
            .in_matter(matter.id)
            .about("document", document.id);
        let permit = session.permit(Act::Store, scope).await?;
        let copy = Copy {
            subject: document.subject,
            matter: Some(matter.id),
            system: house.doors.documents.system(),
            kind: PlacementKind::LibraryFile,
            of: CopyOf::Document(document.id),
            category,
        };
        let special = category.is_special().then_some(&SPECIAL_LABEL);
        let locator = effect::place(
            house,
            &copy,
            Act::Store,
            "documents.put",
            &permit,
            async |key| {
                let content = open_blob(house, document, &permit).await?;
                let put = house
                    .doors
                    .documents
                    .put(document, special, content, key, &permit)
                    .await?;
                if put.length != document.length {
                    let fault = Fault::new(FaultKind::Corrupt, Port::Documents, "put");
                    return Err(fault.because("the library reports another length").into());
                }
                Ok(put.locator)
            },
        )
        .await?;
        locators.insert(document.id, locator);
    }
    let data = Data {
        matter: matter.id,
        locators,
    };
    let event = session
        .event(Act::Store, Outcome::Done)
        .in_matter(matter.id)
        .with("documents", data.locators.len());
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file(Register::Receipts, id, None, Some(matter.id), &data)?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(Stored { data, processed })
}
