//! Step 2, data entry: the reviewed record of every person stands in the CRM, once, under our
//! own key, with purpose and basis.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::Result;
use crate::id::{MatterId, RecordId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::{Category, Fields, Locator, PlacementKind, RecordKey};
use crate::pipeline::effect::{self, Copy};
use crate::pipeline::house::{House, file, label};
use crate::pipeline::manage;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::verify::Verified;
use crate::policy::{Act, Permit, Scope, Session};
use crate::ports::crm::CrmRecord;
use crate::ports::store::{ChangeSet, Register};
use crate::refusal::{Code, Refusal};

/// Receipt of the third stage: the CRM has every person of the matter.
#[derive(Debug)]
pub struct Entered {
    data: Data,
    verified: Verified,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    entries: BTreeMap<SubjectId, (RecordId, Locator)>,
}

impl Receipt for Entered {
    const STAGE: Label = Label::fixed("entered");
}

impl Entered {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.data.matter
    }

    /// Our key and the CRM's id of each person's record.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<SubjectId, (RecordId, Locator)> {
        &self.data.entries
    }

    pub(crate) const fn verified(&self) -> &Verified {
        &self.verified
    }
}

/// Enters every person's reviewed record into the CRM. Special categories are left out: their
/// place is not the CRM.
///
/// # Errors
/// [`Code::CrmNoBasis`] when the matter records no basis for the session's purpose; what the
/// CRM refuses; refusals of the gate; faults of the ports.
pub async fn enter(house: &House, session: &Session<'_>, verified: Verified) -> Result<Entered> {
    let id = label(format_args!("entered:{}", verified.matter()));
    if let Some(data) = house.filed::<Data>(Register::Receipts, &id).await? {
        return Ok(Entered { data, verified });
    }
    let matter = manage::matter(house, verified.matter())?;
    let basis = matter.purposes.get(&session.purpose()).copied();
    let basis = basis.ok_or_else(|| Refusal::new(Code::CrmNoBasis).about("matter", matter.id))?;
    let mut entries = BTreeMap::new();
    for (subject, reviewed) in verified.records() {
        let scope =
            Scope::over([*subject], [Category::Identity, Category::Case]).in_matter(matter.id);
        let permit = session.permit(Act::Enter, scope).await?;
        let record = RecordId::derived(&[b"crm", matter.id.as_bytes(), subject.as_bytes()]);
        let entry = CrmRecord {
            record,
            subject: *subject,
            matter: matter.id,
            purpose: session.purpose(),
            basis,
            fields: reviewed_fields(house, *subject, *reviewed, &permit).await?,
        };
        let copy = Copy {
            subject: *subject,
            matter: Some(matter.id),
            system: house.doors.crm.system(),
            kind: PlacementKind::CrmRecord,
            of: CopyOf::Record(record),
            category: Category::Identity,
        };
        let locator = effect::place(
            house,
            &copy,
            Act::Enter,
            "crm.enter",
            &permit,
            async |key| house.doors.crm.enter(&entry, key, &permit).await,
        )
        .await?;
        entries.insert(*subject, (record, locator));
    }
    let data = Data {
        matter: matter.id,
        entries,
    };
    let event = session
        .event(Act::Enter, Outcome::Done)
        .in_matter(matter.id)
        .with("persons", data.entries.len());
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file(Register::Receipts, id, None, Some(matter.id), &data)?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(Entered { data, verified })
}

/// The reviewed fields of a person, as far as the permit covers them.
pub(crate) async fn reviewed_fields(
    house: &House,
    subject: SubjectId,
    record: RecordId,
    permit: &Permit<'_>,
) -> Result<Fields> {
    let key = RecordKey {
        tenant: house.tenant(),
        subject,
        record,
    };
    match house.doors.store.record(&key).await? {
        Some(record) => house.sealer.open_covered(&record, permit).await,
        None => Err(Refusal::new(Code::CryErased).about("record", record).into()),
    }
}
