//! Step 3, transfer: what the CRM holds comes into the firm's own encrypted system, after it was
//! compared field by field with what was reviewed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::merkle;
use crate::audit::{Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{Digest, MatterId, RecordId, SubjectId};
use crate::pii::{
    Category, Content, Document, Fields, MediaType, PlacementState, RecordKey, Schema,
};
use crate::pipeline::dispose::require_untouched;
use crate::pipeline::enter::{Entered, reviewed_fields};
use crate::pipeline::house::{House, file, file_over, label};
use crate::pipeline::manage;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::receive;
use crate::pipeline::rights;
use crate::pipeline::verify::own_copy;
use crate::policy::{Act, Form, Permit, Scope, Session};
use crate::ports::crm::Fetched;
use crate::ports::store::{Change, ChangeSet, Expected, Register};
use crate::refusal::{Code, Refusal};

/// Receipt of the fourth stage: the firm's own system has what the CRM has.
#[derive(Debug)]
pub struct Transferred {
    data: Data,
    entered: Entered,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    records: BTreeMap<SubjectId, RecordId>,
    window: Digest,
}

impl Receipt for Transferred {
    const STAGE: Label = Label::fixed("transferred");
}

impl Transferred {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.data.matter
    }

    /// The case record of each person.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<SubjectId, RecordId> {
        &self.data.records
    }

    /// Merkle root over what was transferred; the same on both sides of the window.
    #[must_use]
    pub const fn window(&self) -> Digest {
        self.data.window
    }

    /// The documents of the matter.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        self.entered.verified().documents()
    }
}

/// Fetches every person's record from the CRM, compares it with the reviewed one, and seals it
/// as the case record.
///
/// # Errors
/// [`Code::RevInconsistent`] when a field differs from the review, [`Code::CrmNoBasis`],
/// [`Code::CrmLeakField`] when an identifier stands in an unmapped field, [`Code::SynLocked`]
/// when processing is stopped in the CRM: each logged; [`Code::PrcTransition`] for a matter whose
/// destruction has begun or is done; what the CRM refuses; refusals of the gate; faults of the
/// ports, a conflict among them when somebody changed the matter meanwhile.
pub async fn transfer(
    house: &House,
    session: &Session<'_>,
    entered: Entered,
) -> Result<Transferred> {
    let id = label(format_args!("transferred:{}", entered.matter()));
    if let Some(data) = house.filed::<Data>(Register::Receipts, &id).await? {
        return Ok(Transferred { data, entered });
    }
    let matter = manage::matter(house, entered.matter())?;
    // Before the records are fetched: a destruction that begins meanwhile writes over the sheet.
    let (sheet, on_file) = manage::matter_on_file(house, matter.id).await?;
    require_untouched(house, matter.id).await?;
    let schema = Schema::person();
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    let (mut records, mut ours, mut theirs) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (subject, (crm_record, locator)) in entered.entries() {
        let scope =
            Scope::over([*subject], [Category::Identity, Category::Case]).in_matter(matter.id);
        let permit = session.permit(Act::Transfer, scope.clone()).await?;
        let fetched = house.doors.crm.fetch(*subject, locator, &permit).await?;
        let reviewed = entered.verified().records().get(subject).copied();
        let reviewed = reviewed
            .ok_or_else(|| Refusal::new(Code::RevWrongPerson).about("subject", *subject))?;
        let reviewed = reviewed_fields(house, *subject, reviewed, &permit).await?;
        if let Err(error) = reconcile(house, *subject, &reviewed, &fetched, &permit).await {
            if let Some(refusal) = error.refusal() {
                session.log_refusal(Act::Transfer, &scope, refusal).await?;
            }
            return Err(error);
        }
        ours.push(leaf(*crm_record, &reviewed, &permit));
        theirs.push(leaf(*crm_record, &fetched.fields, &permit));
        let record = RecordId::derived(&[b"case", matter.id.as_bytes(), subject.as_bytes()]);
        let key = RecordKey {
            tenant: house.tenant(),
            subject: *subject,
            record,
        };
        let minor = matter.parties.get(subject) == Some(&crate::pii::Party::Child);
        let class = entered.verified().class();
        let class = house.gate.class(class).await?;
        let class = class.ok_or_else(|| Refusal::new(Code::RetUnclassed))?;
        let (class, with) = rights::class_for(house, &class, *subject).await?;
        change = with.into_iter().fold(change, ChangeSet::with);
        let form = Form {
            key,
            matter: Some(matter.id),
            schema: &schema,
            class,
            revision: 1,
            minor,
        };
        let index = house.sealer.tags(&schema, &fetched.fields).await?;
        let sealed = house.sealer.seal(form, &fetched.fields, &permit).await?;
        let copy = own_copy(*subject, matter.id, record);
        let placed = copy.placed(
            house,
            PlacementState::Present,
            Some(receive::record_locator(record)),
        );
        change = change
            .with(Change::PutRecord {
                record: sealed,
                index,
                expected: Expected::Any,
            })
            .with(Change::PutPlacement(placed));
        records.insert(*subject, record);
    }
    let (here, there) = (merkle::root(ours), merkle::root(theirs));
    if here != there {
        return Err(Refusal::new(Code::RevInconsistent)
            .about("matter", matter.id)
            .into());
    }
    let data = Data {
        matter: matter.id,
        records,
        window: here,
    };
    let event = session
        .event(Act::Transfer, Outcome::Done)
        .in_matter(matter.id)
        .with("persons", data.records.len())
        .with("window", data.window);
    let change = change
        .with(file_over(&sheet, &on_file)?)
        .with(file(Register::Receipts, id, None, Some(matter.id), &data)?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(Transferred { data, entered })
}

async fn reconcile(
    house: &House,
    subject: SubjectId,
    reviewed: &Fields,
    fetched: &Fetched,
    permit: &Permit<'_>,
) -> Result<()> {
    let refuse = |code| Refusal::new(code).about("subject", subject);
    if fetched.stopped {
        return Err(refuse(Code::SynLocked).into());
    }
    if fetched.basis.is_none() {
        return Err(refuse(Code::CrmNoBasis).into());
    }
    for (name, value) in reviewed.iter() {
        let there = fetched
            .fields
            .field(name.as_str())
            .map(|value| value.expose(permit));
        if there != Some(value.expose(permit)) {
            return Err(refuse(Code::RevInconsistent)
                .about("field", name.label().clone())
                .into());
        }
    }
    if let Some((name, _)) = fetched
        .fields
        .iter()
        .find(|(name, _)| reviewed.field(name.as_str()).is_none())
    {
        return Err(refuse(Code::RevInconsistent)
            .about("field", name.label().clone())
            .into());
    }
    for (name, value) in fetched.unmapped.iter() {
        let text = Content::of(value.expose(permit).clone().into_bytes(), MediaType::text());
        let seen = house.doors.scanner.inspect(text, permit).await?;
        if let Some(finding) = seen.findings.first() {
            let refusal = refuse(Code::CrmLeakField).about("field", name.label().clone());
            return Err(Error::from(refusal.about("kind", finding.kind.clone())));
        }
    }
    Ok(())
}

/// A leaf of the window: our key and the fields in order, each with its length. It never leaves
/// this function's caller but as part of a root over all persons.
fn leaf(record: RecordId, fields: &Fields, permit: &Permit<'_>) -> Digest {
    let mut bytes = zeroize::Zeroizing::new(record.as_bytes().to_vec());
    for (name, value) in fields.iter() {
        for part in [name.as_str(), value.expose(permit).as_str()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    merkle::leaf_hash(&bytes)
}
