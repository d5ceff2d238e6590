//! Step 4, processing: the matter moves through its states, and what is made from the data is
//! tied to what it was made from.

use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::Result;
use crate::id::{Digest, DocumentId, MatterId, SubjectId};
use crate::pii::{Category, Content, Document, DocumentKind, Fields, MatterState, MediaType, Pii};
use crate::pipeline::enter::reviewed_fields;
use crate::pipeline::house::{House, file, label};
use crate::pipeline::manage;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::transfer::Transferred;
use crate::pipeline::verify::put_blob;
use crate::policy::{Act, Permit, Scope, Session};
use crate::ports::store::{ChangeSet, Register};
use crate::refusal::{Code, Refusal};

/// Receipt of the fifth stage: the forms are drafted, and the matter waits for the signature.
#[derive(Debug)]
pub struct Processed {
    data: Data,
    transferred: Transferred,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    drafts: Vec<Document>,
}

impl Receipt for Processed {
    const STAGE: Label = Label::fixed("processed");
}

impl Processed {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.data.matter
    }

    /// What was made in this stage.
    #[must_use]
    pub fn drafts(&self) -> &[Document] {
        &self.data.drafts
    }

    /// Every document of the matter: what came in, and what was made of it.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.transferred.documents().iter().chain(&self.data.drafts)
    }
}

/// What a drafter makes of a person's fields: the kind of form and its text.
pub trait Drafter {
    /// Drafts a form for a person. The permit covers reading the fields.
    fn draft(
        &self,
        subject: SubjectId,
        fields: &Fields,
        permit: &Permit<'_>,
    ) -> Option<(DocumentKind, Pii<String>)>;
}

impl<F> Drafter for F
where
    F: Fn(SubjectId, &Fields, &Permit<'_>) -> Option<(DocumentKind, Pii<String>)>,
{
    fn draft(
        &self,
        subject: SubjectId,
        fields: &Fields,
        permit: &Permit<'_>,
    ) -> Option<(DocumentKind, Pii<String>)> {
        self(subject, fields, permit)
    }
}

/// Drafts the forms of the matter and moves it to the client's signature.
///
/// # Errors
/// [`Code::PrcTransition`] when the matter is not under review or being drafted;
/// [`Code::PrcPurpose`], [`Code::PrcRestricted`] and other refusals of the gate; faults.
pub async fn process(
    house: &House,
    session: &Session<'_>,
    transferred: Transferred,
    drafter: &(dyn Drafter + Sync),
) -> Result<Processed> {
    let id = label(format_args!("processed:{}", transferred.matter()));
    let matter = manage::matter(house, transferred.matter())?;
    if let Some(data) = house.filed::<Data>(Register::Receipts, &id).await? {
        return Ok(Processed { data, transferred });
    }
    for (from, to) in [
        (MatterState::Intake, MatterState::Review),
        (MatterState::Review, MatterState::Drafting),
    ] {
        if manage::matter(house, matter.id)?.state == from {
            manage::amend_matter(house, session, matter.id, "advance", |matter| {
                matter.advance(to)
            })
            .await?;
        }
    }
    let mut drafts = Vec::new();
    for (subject, record) in transferred.records() {
        let scope =
            Scope::over([*subject], [Category::Identity, Category::Case]).in_matter(matter.id);
        let permit = session.permit(Act::Process, scope).await?;
        let fields = reviewed_fields(house, *subject, *record, &permit).await?;
        let Some((kind, text)) = drafter.draft(*subject, &fields, &permit) else {
            continue;
        };
        let bytes = text.expose(&permit).clone().into_bytes();
        let minor = matter.parties.get(subject) == Some(&crate::pii::Party::Child);
        let draft = Document {
            tenant: house.tenant(),
            id: DocumentId::derived(&[
                b"draft",
                matter.id.as_bytes(),
                subject.as_bytes(),
                kind.as_str().as_bytes(),
            ]),
            subject: *subject,
            matter: matter.id,
            kind,
            classification: kind.classification().of_minor(minor),
            digest: Digest::of(&bytes),
            length: bytes.len() as u64,
            media: MediaType::text(),
            derived_from: transferred
                .documents()
                .iter()
                .filter(|d| d.subject == *subject)
                .map(|d| d.id)
                .collect(),
        };
        put_blob(
            house,
            &draft,
            Content::of(bytes, MediaType::text()),
            Act::Process,
            &permit,
        )
        .await?;
        drafts.push(draft);
    }
    if manage::matter(house, matter.id)?.state != MatterState::ClientSign {
        manage::amend_matter(house, session, matter.id, "advance", |matter| {
            matter.advance(MatterState::ClientSign)
        })
        .await?;
    }
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    for draft in &drafts {
        change = change.with(file(
            Register::Documents,
            label(draft.id),
            Some(draft.subject),
            Some(matter.id),
            draft,
        )?);
    }
    let data = Data {
        matter: matter.id,
        drafts,
    };
    let event = session
        .event(Act::Process, Outcome::Done)
        .in_matter(matter.id)
        .with("drafts", data.drafts.len());
    let change = change
        .with(file(Register::Receipts, id, None, Some(matter.id), &data)?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(Processed { data, transferred })
}

/// Refuses work on a matter that is not in one of these states.
pub(crate) fn require_state(house: &House, id: MatterId, states: &[MatterState]) -> Result<()> {
    let matter = manage::matter(house, id)?;
    if states.contains(&matter.state) {
        Ok(())
    } else {
        Err(Refusal::new(Code::PrcTransition)
            .about("matter", id)
            .about("state", matter.state.as_str())
            .into())
    }
}
