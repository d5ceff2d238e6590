//! Step 1, verification: a person checks that what came in is complete, consistent and of the
//! right people; then it leaves quarantine and is sealed under each person's own key.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Months;
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{DeliveryId, Digest, DocumentId, IncidentId, MatterId, RecordId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::{
    Category, Content, Document, DocumentKind, FieldName, Fields, Matter, Placement, PlacementKind,
    PlacementState, RecordKey, Schema,
};
use crate::pipeline::dispose::require_untouched;
use crate::pipeline::effect::{self, Copy};
use crate::pipeline::house::{House, file, file_new, label};
use crate::pipeline::manage;
use crate::pipeline::passport;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::receive::{self, QUARANTINE, Received};
use crate::pipeline::rights;
use crate::pipeline::suppress;
use crate::policy::{Act, ContentPlace, Form, Origin, Permit, PolicyClass, Scope, Session};
use crate::ports::blobs::BlobId;
use crate::ports::store::{Change, ChangeSet, Expected, Register};
use crate::refusal::{Code, Refusal};
use crate::steward::incident::{Incident, IncidentKind};

/// The largest passport file whose text is read, in bytes.
const LONGEST_PASSPORT: u64 = 16 << 20;

/// What a reviewer made of the deliveries: whose fields, and which attachment is what.
#[derive(Debug)]
pub struct CaseFile {
    /// The matter.
    pub matter: MatterId,
    /// What each person declared.
    pub persons: Vec<(SubjectId, Fields)>,
    /// Which attachment is which document of whom.
    pub sorted: Vec<Sorted>,
    /// Attachments that the matter does not need, by delivery and place: they end with the
    /// quarantine. What is neither sorted nor set aside is refused.
    pub set_aside: BTreeSet<(DeliveryId, usize)>,
}

/// One attachment, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorted {
    /// The delivery it came with.
    pub delivery: DeliveryId,
    /// Its place among the delivery's attachments, from 0.
    pub part: usize,
    /// Whose it is.
    pub subject: SubjectId,
    /// What it is.
    pub kind: DocumentKind,
}

/// Receipt of the second stage: the matter's data is complete, consistent and released.
#[derive(Debug)]
pub struct Verified(Data);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    /// What was released: only its quarantines end with this receipt.
    #[serde(default)]
    deliveries: BTreeSet<DeliveryId>,
    profile: Label,
    reviewer: crate::id::ActorId,
    records: BTreeMap<SubjectId, RecordId>,
    documents: Vec<Document>,
    remarks: Vec<Label>,
    class: Digest,
    /// Keyed marks of each person, by which the suppression ledger will know who was erased.
    marks: BTreeMap<SubjectId, Vec<Label>>,
}

impl Data {
    /// Whether this release took the delivery in. Receipts of older versions do not name their
    /// deliveries: there, every attachment that was let in must be a document of the release.
    fn released(&self, delivery: &Received) -> bool {
        if !self.deliveries.is_empty() {
            return self.deliveries.contains(&delivery.delivery());
        }
        let parts = || delivery.parts().iter().filter(|p| p.refused.is_none());
        let document = |part: &receive::ReceivedPart| {
            let mut documents = self.documents.iter();
            documents.any(|document| document.id == released_as(part.document, document.subject))
        };
        parts().next().is_some() && parts().all(document)
    }
}

impl Receipt for Verified {
    const STAGE: Label = Label::fixed("verified");
}

impl Verified {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.0.matter
    }

    /// The documents, described.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.0.documents
    }

    /// The reviewed record of each person.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<SubjectId, RecordId> {
        &self.0.records
    }

    /// What the review noticed without stopping at it, for example `passport-expires-soon`.
    #[must_use]
    pub fn remarks(&self) -> &[Label] {
        &self.0.remarks
    }

    pub(crate) const fn class(&self) -> Digest {
        self.0.class
    }
}

/// The marks of the people of a matter, from its review.
pub(crate) async fn marks_of(
    house: &House,
    matter: MatterId,
) -> Result<BTreeMap<SubjectId, Vec<Label>>> {
    let id = label(format_args!("verified:{matter}"));
    let data = house.filed::<Data>(Register::Receipts, &id).await?;
    Ok(data.map(|data| data.marks).unwrap_or_default())
}

/// The three people of a release: the reviewer may not be the clerk, and neither destroys.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a, 'g> {
    /// Opens what is in quarantine (role `intake`).
    pub clerk: &'a Session<'g>,
    /// Checks it (role `paralegal` or `attorney`).
    pub reviewer: &'a Session<'g>,
    /// Ends the quarantine (role `service:destroy`).
    pub destroyer: &'a Session<'g>,
}

/// Reviews deliveries against the matter's profile and releases them from quarantine.
///
/// A matter is released once. Called again with deliveries that were released then, it goes on
/// where it was left; any other delivery is refused and stays in quarantine.
///
/// # Errors
/// [`Code::RevWrongPerson`], [`Code::RevExcess`], [`Code::RevCriminalCopy`],
/// [`Code::RevInconsistent`], [`Code::RevIncomplete`], [`Code::RevUnsorted`],
/// [`Code::RevReleased`], [`Code::SupListed`], [`Code::PrcTransition`] for a matter whose
/// destruction has begun: each logged, nothing released; refusals of the gate; faults of the
/// ports, a conflict when somebody else released the matter meanwhile.
pub async fn verify(
    house: &House,
    desk: Desk<'_, '_>,
    received: Vec<Received>,
    case: CaseFile,
) -> Result<Verified> {
    let matter = manage::matter(house, case.matter)?;
    let scope = Scope::over(matter.parties.keys().copied(), manage::ORDINARY)
        .in_matter(matter.id)
        .other_than(desk.clerk.actor());
    let id = label(format_args!("verified:{}", matter.id));
    if let Some(data) = house.filed::<Data>(Register::Receipts, &id).await? {
        if let Some(other) = received.iter().find(|given| !data.released(given)) {
            let refusal = Refusal::new(Code::RevReleased).about("delivery", other.delivery());
            desk.reviewer
                .log_refusal(Act::Review, &scope, &refusal)
                .await?;
            return Err(refusal.into());
        }
        receive::end(house, desk.destroyer, &received).await?;
        return Ok(Verified(data));
    }
    let reviewing = desk.reviewer.permit(Act::Review, scope.clone()).await?;
    match check(house, desk, &received, &case, &matter, &reviewing).await {
        Ok(remarks) => {
            let data = release(house, desk, &received, case, &matter, &reviewing, remarks).await?;
            receive::end(house, desk.destroyer, &received).await?;
            Ok(Verified(data))
        }
        Err(Error::Refused(refusal)) => {
            desk.reviewer
                .log_refusal(Act::Review, &scope, &refusal)
                .await?;
            if refusal.code() == Code::RevWrongPerson {
                misdirected(house, &matter, &reviewing).await?;
            }
            Err(refusal.into())
        }
        Err(broken) => Err(broken),
    }
}

/// Every check that needs no change of anything; gives the remarks.
async fn check(
    house: &House,
    desk: Desk<'_, '_>,
    received: &[Received],
    case: &CaseFile,
    matter: &Matter,
    reviewing: &Permit<'_>,
) -> Result<Vec<Label>> {
    require_untouched(house, matter.id).await?;
    let profile = house
        .profiles
        .get(&matter.kind)
        .ok_or_else(|| Refusal::new(Code::RevIncomplete).about("profile", matter.kind.clone()))?;
    let mut remarks = Vec::new();
    for (subject, fields) in &case.persons {
        manage::party(matter, *subject)?;
        suppress::refuse_listed(house, fields).await?;
    }
    let mut documents: BTreeMap<SubjectId, BTreeSet<DocumentKind>> = BTreeMap::new();
    for sorted in &case.sorted {
        let party = manage::party(matter, sorted.subject)?;
        let about = |code| {
            Refusal::new(code)
                .about("subject", sorted.subject)
                .about("document", sorted.kind.as_str())
        };
        if sorted.kind == DocumentKind::PoliceCertificate {
            return Err(about(Code::RevCriminalCopy).into());
        }
        if !profile.wants(party, sorted.kind) {
            return Err(about(Code::RevExcess).into());
        }
        if sorted.kind == DocumentKind::Passport {
            let holder =
                passport::read(house, desk.clerk, received, sorted, LONGEST_PASSPORT).await?;
            passport::compare(&holder, sorted, &case.persons, reviewing)?;
        }
        documents
            .entry(sorted.subject)
            .or_default()
            .insert(sorted.kind);
    }
    let fields = case
        .persons
        .iter()
        .map(|(subject, fields)| {
            (
                *subject,
                fields
                    .iter()
                    .map(|(name, _)| name.clone())
                    .collect::<BTreeSet<FieldName>>(),
            )
        })
        .collect();
    let missing = profile.missing(matter, &documents, &fields);
    if let Some(first) = missing.first() {
        let refusal = Refusal::new(Code::RevIncomplete).about("missing", missing.len());
        return Err(refusal
            .about("subject", first.subject)
            .about("item", first.item.clone())
            .into());
    }
    nothing_is_forgotten(received, case)?;
    let today = house.gate.now().date_naive();
    for (_, fields) in &case.persons {
        let expiry = fields
            .field("passport_expiry")
            .and_then(|value| value.expose(reviewing).parse::<chrono::NaiveDate>().ok());
        if let Some(expiry) = expiry {
            let enough = today
                .checked_add_months(Months::new(profile.passport_months))
                .unwrap_or(today);
            if expiry < today {
                remarks.push(Label::fixed("passport-expired"));
            } else if expiry < enough {
                remarks.push(Label::fixed("passport-expires-soon"));
            }
        }
    }
    Ok(remarks)
}

/// Every attachment that was let in is sorted or set aside: the end of the quarantine destroys
/// what nobody named. A message without attachments is what the persons' fields were taken from.
fn nothing_is_forgotten(received: &[Received], case: &CaseFile) -> Result<(), Refusal> {
    let sorted = case.sorted.iter().map(|one| (one.delivery, one.part));
    let named: BTreeSet<_> = sorted.chain(case.set_aside.iter().copied()).collect();
    for delivery in received {
        for (part, received) in delivery.parts().iter().enumerate() {
            if received.refused.is_none() && !named.contains(&(delivery.delivery(), part)) {
                return Err(Refusal::new(Code::RevUnsorted)
                    .about("delivery", delivery.delivery())
                    .about("part", part));
            }
        }
    }
    Ok(())
}

async fn release(
    house: &House,
    desk: Desk<'_, '_>,
    received: &[Received],
    case: CaseFile,
    matter: &Matter,
    reviewing: &Permit<'_>,
    remarks: Vec<Label>,
) -> Result<Data> {
    let class = PolicyClass {
        purposes: matter.purposes.clone(),
        ground: matter.ground,
        origin: Origin::Direct,
        retention: Label::fixed("CASE.FILE"),
        sharing: BTreeSet::new(),
        objections: BTreeSet::new(),
    };
    let mut documents = Vec::with_capacity(case.sorted.len());
    for sorted in &case.sorted {
        documents.push(release_document(house, desk.clerk, received, sorted, matter).await?);
    }
    let schema = Schema::person();
    let mut change =
        ChangeSet::new(house.tenant(), house.gate.now()).with(Change::Intern(class.clone()));
    let (mut records, mut marks) = (BTreeMap::new(), BTreeMap::new());
    for (subject, fields) in &case.persons {
        marks.insert(*subject, suppress::marks(house, fields).await?);
        let key = reviewed(house, matter.id, *subject);
        let record = key.record;
        let minor = matter.parties.get(subject) == Some(&crate::pii::Party::Child);
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
        let index = house.sealer.tags(&schema, fields).await?;
        let record_sealed = house.sealer.seal(form, fields, reviewing).await?;
        let copy = own_copy(*subject, matter.id, record);
        change = change
            .with(Change::PutRecord {
                record: record_sealed,
                index,
                expected: Expected::Any,
            })
            .with(Change::PutPlacement(copy.placed(
                house,
                PlacementState::Present,
                Some(receive::record_locator(record)),
            )));
        records.insert(*subject, record);
    }
    for document in &documents {
        change = change.with(file(
            Register::Documents,
            label(document.id),
            Some(document.subject),
            Some(matter.id),
            document,
        )?);
    }
    let profile = house
        .profiles
        .get(&matter.kind)
        .map(|profile| profile.version.clone());
    let data = Data {
        matter: matter.id,
        deliveries: received.iter().map(Received::delivery).collect(),
        profile: profile.unwrap_or(const { Label::fixed("none") }),
        reviewer: desk.reviewer.actor(),
        records,
        documents,
        remarks,
        class: class.id(),
        marks,
    };
    let event = reviewing
        .event(Act::Review, Outcome::Done)
        .with("profile", data.profile.clone())
        .with("persons", data.records.len())
        .with("deliveries", data.deliveries.len())
        .with("documents", data.documents.len())
        .with("set_aside", case.set_aside.len())
        .with("remarks", data.remarks.len());
    let id = label(format_args!("verified:{}", matter.id));
    let change = change
        .with(file_new(
            Register::Receipts,
            id,
            None,
            Some(matter.id),
            &data,
        )?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(data)
}

/// Seals one attachment anew under its person's key.
async fn release_document(
    house: &House,
    clerk: &Session<'_>,
    received: &[Received],
    sorted: &Sorted,
    matter: &Matter,
) -> Result<Document> {
    let (delivery, part) = find(received, sorted)?;
    let classification = sorted.kind.classification();
    let minor = matter.parties.get(&sorted.subject) == Some(&crate::pii::Party::Child);
    let document = Document {
        tenant: house.tenant(),
        id: released_as(part.document, sorted.subject),
        subject: sorted.subject,
        matter: matter.id,
        kind: sorted.kind,
        classification: classification.of_minor(minor),
        digest: part.digest,
        length: part.length,
        media: part.media.clone(),
        derived_from: Vec::new(),
    };
    let opening = clerk
        .permit(Act::Release, Scope::of(delivery.quarantine(), QUARANTINE))
        .await?;
    let content = delivery.content(house, sorted.part, &opening).await?;
    let scope = Scope::of(sorted.subject, classification.category)
        .in_matter(matter.id)
        .about("document", document.id);
    let sealing = clerk.permit(Act::Release, scope).await?;
    put_blob(house, &document, content, Act::Release, &sealing).await?;
    Ok(document)
}

/// The id under which an attachment leaves quarantine for its person.
fn released_as(part: DocumentId, subject: SubjectId) -> DocumentId {
    DocumentId::derived(&[b"released", part.as_bytes(), subject.as_bytes()])
}

/// Keeps a document's content in the firm's sealed blobs.
pub(crate) async fn put_blob(
    house: &House,
    document: &Document,
    content: Content,
    act: Act,
    permit: &Permit<'_>,
) -> Result<()> {
    let copy = Copy {
        subject: document.subject,
        matter: Some(document.matter),
        system: Placement::BLOBS,
        kind: PlacementKind::Blob,
        of: CopyOf::Document(document.id),
        category: document.classification.category,
    };
    let id = BlobId {
        tenant: house.tenant(),
        subject: document.subject,
        document: document.id,
    };
    effect::place(house, &copy, act, "blob.put", permit, async |_| {
        let sealed = house
            .sealer
            .seal_content(&place_of(document), content, permit)
            .await?;
        house.doors.blobs.put(&id, sealed, permit).await?;
        Ok(receive::document_locator(document.id))
    })
    .await
    .map(drop)
}

/// Opens a document's content from the firm's sealed blobs, under the class that governs it now.
pub(crate) async fn open_blob(
    house: &House,
    document: &Document,
    permit: &Permit<'_>,
) -> Result<Content> {
    let id = BlobId {
        tenant: house.tenant(),
        subject: document.subject,
        document: document.id,
    };
    let class = class_of(house, document).await?;
    let sealed = house.doors.blobs.stream(&id, permit).await?;
    let expected = (document.length, document.digest, document.media.clone());
    house
        .sealer
        .open_content(&place_of(document), class, expected, sealed, permit)
        .await
}

/// What governs a document now: the class of its person's reviewed record in the matter or, of
/// who has documents there and no record, what has become of the class under which the matter was
/// released. `None` when it never was.
async fn class_of(house: &House, document: &Document) -> Result<Option<Digest>> {
    let key = reviewed(house, document.matter, document.subject);
    if let Some(record) = house.doors.store.record(&key).await? {
        return Ok(Some(record.class));
    }
    let id = label(format_args!("verified:{}", document.matter));
    let Some(data) = house.filed::<Data>(Register::Receipts, &id).await? else {
        return Ok(None);
    };
    let Some(class) = house.gate.class(data.class).await? else {
        return Ok(None);
    };
    rights::class_now(house, &class, document.subject)
        .await
        .map(Some)
}

/// The record of what was reviewed of a person in a matter.
pub(crate) fn reviewed(house: &House, matter: MatterId, subject: SubjectId) -> RecordKey {
    RecordKey {
        tenant: house.tenant(),
        subject,
        record: RecordId::derived(&[b"reviewed", matter.as_bytes(), subject.as_bytes()]),
    }
}

fn place_of(document: &Document) -> ContentPlace {
    ContentPlace {
        subject: document.subject,
        matter: Some(document.matter),
        document: document.id,
        category: document.classification.category,
    }
}

/// The firm's own copy of a record.
pub(crate) fn own_copy(subject: SubjectId, matter: MatterId, record: RecordId) -> Copy {
    Copy {
        subject,
        matter: Some(matter),
        system: Placement::STORE,
        kind: PlacementKind::StoreRecord,
        of: CopyOf::Record(record),
        category: Category::Identity,
    }
}

/// The attachment that was sorted.
pub(crate) fn find<'r>(
    received: &'r [Received],
    sorted: &Sorted,
) -> Result<(&'r Received, &'r receive::ReceivedPart)> {
    let missing = || {
        Refusal::new(Code::RevIncomplete)
            .about("delivery", sorted.delivery)
            .about("part", sorted.part)
    };
    let delivery = received
        .iter()
        .find(|received| received.delivery() == sorted.delivery)
        .ok_or_else(missing)?;
    let part = delivery.parts().get(sorted.part).ok_or_else(missing)?;
    Ok((delivery, part))
}

/// A document of somebody else came up: a candidate for an incident, never just an error.
async fn misdirected(house: &House, matter: &Matter, permit: &Permit<'_>) -> Result<()> {
    let now = house.gate.now();
    let id = IncidentId::derived(&[b"misdirected", matter.id.as_bytes(), permit.id().as_bytes()]);
    let incident = Incident::open(id, IncidentKind::Misdirected, now).about_matter(matter.id);
    let event = permit
        .event(Act::Report, Outcome::Done)
        .with("incident", id);
    let change = ChangeSet::new(house.tenant(), now)
        .with(file(
            Register::Incidents,
            label(id),
            None,
            Some(matter.id),
            &incident,
        )?)
        .event(event);
    house.doors.store.commit(change).await.map(drop)
}
