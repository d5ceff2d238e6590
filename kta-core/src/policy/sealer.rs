//! Where permits and keys meet: sealing what came in, opening what somebody was admitted to.

mod fields;
mod reseal;
mod set;

pub use fields::Grain;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::fields::{Stored, place};
use crate::audit::{Event, Outcome};
use crate::crypto::index::{NameForms, Normal};
use crate::crypto::{self, Hierarchy, IndexPlan, IndexTag, SealContext};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, DocumentId, MatterId, RecordId, SubjectId};
use crate::pii::{
    Category, Content, ContentStream, FieldKind, FieldName, Fields, MediaType, Pii, Record,
    RecordKey, Schema, SealedField,
};
use crate::policy::permit::Permit;
use crate::policy::request::Act;
use crate::refusal::{Code, Refusal};
use crate::time::Entropy;

/// Seals and opens records and content with the person's key. Every opening is checked against
/// the permit and logged before the value is handed out.
pub struct Sealer {
    keys: Arc<Hierarchy>,
    entropy: Arc<dyn Entropy>,
    grain: Grain,
}

/// The acts under which something may be opened. Holding, destroying, probing, certifying and
/// approving need no content.
const OPENING: &[Act] = &[
    Act::Amend,
    Act::Archive,
    Act::Enter,
    Act::Export,
    Act::Open,
    Act::Process,
    Act::Receive,
    Act::Release,
    Act::Retain,
    Act::Review,
    Act::Scan,
    Act::Search,
    Act::Share,
    Act::Store,
    Act::Transfer,
    Act::Transmit,
    Act::Verify,
];

impl Sealer {
    /// A sealer over one firm's keys, which seals each field alone.
    #[must_use]
    pub fn new(keys: Arc<Hierarchy>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            keys,
            entropy,
            grain: Grain::default(),
        }
    }

    /// The same, sealing by this grain from now on. What was sealed by another opens as before.
    #[must_use]
    pub fn with_grain(self, grain: Grain) -> Self {
        Self { grain, ..self }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Hierarchy {
        &self.keys
    }

    /// Seals the fields of a record that replaces revision `revision - 1` of it.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when the permit does not cover the person and every category;
    /// [`Code::SynUnmapped`] for a field that the schema does not have; [`Code::CryErased`] when
    /// the person's keys were destroyed.
    pub async fn seal(
        &self,
        form: Form<'_>,
        fields: &Fields,
        permit: &Permit<'_>,
    ) -> Result<Record> {
        let person = self.keys.kept_key(form.key.subject).await?;
        let key = person.record_key(form.key.record);
        let mut covered = BTreeSet::new();
        let mut given = Vec::with_capacity(fields.len());
        for (name, value) in fields.iter() {
            let spec = form.schema.field(name).ok_or_else(|| {
                Error::from(Refusal::new(Code::SynUnmapped).about("field", name.label().clone()))
            })?;
            let mut classification = spec.classification;
            classification.minor |= form.minor;
            if covered.insert(classification.category) {
                covers(permit, form.key.subject, classification.category)?;
            }
            given.push((name.clone(), classification, value.bare().as_bytes()));
        }
        let here = place(&form.key, form.matter, "", form.revision);
        let (fields, header) = self.sealed(&key, &here, given)?;
        Ok(Record {
            key: form.key,
            matter: form.matter,
            schema: form.schema.name.clone(),
            class: form.class,
            revision: form.revision,
            fields,
            header,
        })
    }

    /// Opens every field of a record, after checking that none is missing or put back.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when the permit does not cover the person and every category in the
    /// record; [`Code::PrcPurpose`] when the class that governs the record does not have the
    /// purpose of the session, and [`Code::PrcRestricted`] when the person objected to it, both
    /// logged; [`Code::CrySwap`] when a field is not what was sealed here; [`Code::CryErased`].
    pub async fn open(&self, record: &Record, permit: &Permit<'_>) -> Result<Fields> {
        self.open_where(record, |_| true, permit).await
    }

    /// Opens the fields whose category the permit covers, and leaves the others closed.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for categories that the permit does not cover.
    pub async fn open_covered(&self, record: &Record, permit: &Permit<'_>) -> Result<Fields> {
        let covered = |field: &SealedField| {
            covers(permit, record.key.subject, field.classification.category).is_ok()
        };
        self.open_where(record, covered, permit).await
    }

    async fn open_where(
        &self,
        record: &Record,
        wanted: impl Fn(&SealedField) -> bool,
        permit: &Permit<'_>,
    ) -> Result<Fields> {
        let subject = record.key.subject;
        let mut counts = BTreeMap::<Category, usize>::new();
        for (group, field) in record.fields.iter().filter(|(_, field)| wanted(field)) {
            *counts.entry(field.classification.category).or_default() += group.names().len();
        }
        let stored = Stored::read(record)?;
        for category in counts.keys() {
            covers(permit, subject, *category)?;
        }
        require_purpose(record, permit).await?;
        let person = self.keys.kept_key(subject).await?;
        let key = person.record_key(record.key.record);
        stored.check(&key)?;
        let event = |(category, count): (&Category, &usize)| {
            let event = permit.event(Act::Open, Outcome::Done).of_subject(subject);
            event
                .with("category", category.as_str())
                .with("record", record.key.record)
                .with("revision", record.revision)
                .with("fields", *count)
        };
        if !counts.is_empty() {
            permit
                .log_opening(counts.iter().map(event).collect())
                .await?;
        }
        // What was logged, and no more: a permit may have ended since.
        let logged = |field: &SealedField| counts.contains_key(&field.classification.category);
        stored.fields(&key, logged)
    }

    /// The blind-index entries of the schema's indexed fields. A value that has no normal form
    /// gets no entry and is found by other fields.
    ///
    /// # Errors
    /// A fault when the index key cannot be had; `Misconfigured` for a field that may not be
    /// indexed.
    pub async fn tags(
        &self,
        schema: &Schema,
        fields: &Fields,
    ) -> Result<Vec<(FieldName, IndexTag)>> {
        let key = self.keys.kept_index_key().await?;
        let mut tags = Vec::new();
        for (name, value) in fields.iter() {
            let Some(spec) = schema.field(name).filter(|spec| spec.indexed) else {
                continue;
            };
            let plan = plan(spec.kind, name, key.rows())?;
            for normal in normals(spec.kind, value.bare()) {
                tags.push((name.clone(), key.tag(&plan, &normal)));
            }
        }
        Ok(tags)
    }

    /// The entries under any of which a value is looked up: more than one for a name, which is
    /// found however it was transliterated, and while the index key is being rotated. Look them
    /// up in this order: those of older keys come first, so that what moves to the newest key
    /// meanwhile is found there, at worst twice. What is found must be checked by opening it, a
    /// name with [`NameForms::found_in`].
    ///
    /// # Errors
    /// As [`tags`](Self::tags); `Unsupported` for a field without an index or a value without a
    /// normal form, because a search that no index serves is refused rather than run over
    /// everything.
    pub async fn search_tags(
        &self,
        schema: &Schema,
        name: &FieldName,
        value: &Pii<String>,
    ) -> Result<Vec<IndexTag>> {
        let unsupported = || Error::from(Fault::new(FaultKind::Unsupported, Port::Store, "search"));
        let spec = schema
            .field(name)
            .filter(|spec| spec.indexed)
            .ok_or_else(unsupported)?;
        let lookups = lookups(spec.kind, value.bare());
        if lookups.is_empty() {
            return Err(unsupported());
        }
        let mut tags = Vec::new();
        for epoch in self.keys.index_epochs().await? {
            let key = match self.keys.index_key_of(epoch).await {
                // It ended just now: nothing is entered under it any more.
                Err(error) if error.refusal().map(Refusal::code) == Some(Code::CryKey) => continue,
                outcome => outcome?,
            };
            let plan = plan(spec.kind, name, key.rows())?;
            tags.extend(lookups.iter().map(|normal| key.tag(&plan, normal)));
        }
        Ok(tags)
    }

    /// A keyed mark of a value, for the suppression ledger: stable over erasures, telling nothing
    /// without the firm's index key. `None` for a value without a normal form.
    ///
    /// # Errors
    /// A fault when the index key cannot be had.
    pub(crate) async fn mark(
        &self,
        kind: FieldKind,
        name: &FieldName,
        value: &Pii<String>,
    ) -> Result<Option<Digest>> {
        let key = self.keys.mark_key().await?;
        Ok(normal(kind, value.bare()).map(|normal| key.mark(name.as_str(), &normal)))
    }

    /// Seals content under the person's key, in constant memory.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when the permit does not cover it, [`Code::CryErased`].
    pub async fn seal_content(
        &self,
        place: &ContentPlace,
        content: Content,
        permit: &Permit<'_>,
    ) -> Result<ContentStream> {
        covers(permit, place.subject, place.category)?;
        let person = self.keys.kept_key(place.subject).await?;
        let key = person.record_key(place.record());
        let sealed = crypto::segments::seal(
            &key,
            &place.context(permit),
            content.checked(),
            &*self.entropy,
        )?;
        Ok(Box::pin(sealed))
    }

    /// Opens sealed content. The opening is logged before the first byte comes out. `class` is
    /// that of the record which governs the content now; content without one opens for the law's
    /// own purposes alone.
    ///
    /// # Errors
    /// As [`open`](Self::open); the stream itself ends with [`Code::CrySwap`] where a segment is
    /// not what was sealed here.
    pub async fn open_content(
        &self,
        place: &ContentPlace,
        class: Option<Digest>,
        expected: (u64, Digest, MediaType),
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        covers(permit, place.subject, place.category)?;
        let name = |event: Event| {
            event
                .of_subject(place.subject)
                .with("document", place.document)
        };
        permit.require_purpose(class, name).await?;
        let person = self.keys.kept_key(place.subject).await?;
        let event = permit
            .event(Act::Open, Outcome::Done)
            .with("category", place.category.as_str());
        permit.log_opening(vec![name(event)]).await?;
        let key = person.record_key(place.record());
        let (length, digest, media) = expected;
        let stream = crypto::segments::open(key, place.context(permit), sealed)?;
        Ok(Content::new(length, digest, media, Box::pin(stream)))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// Of which record, at which revision, fields are sealed.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Where the record lives.
    pub key: RecordKey,
    /// The matter it belongs to.
    pub matter: Option<MatterId>,
    /// Its schema.
    pub schema: &'a Schema,
    /// Its policy class.
    pub class: Digest,
    /// Its revision.
    pub revision: u64,
    /// Whether the person is a minor.
    pub minor: bool,
}

/// Where content is sealed: whose, of which document, how guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentPlace {
    /// Whose data it is.
    pub subject: SubjectId,
    /// The matter it belongs to; quarantined content has none yet.
    pub matter: Option<MatterId>,
    /// The document.
    pub document: DocumentId,
    /// How guarded it is.
    pub category: Category,
}

impl ContentPlace {
    fn record(&self) -> RecordId {
        RecordId::from_bytes(*self.document.as_bytes())
    }

    fn context(&self, permit: &Permit<'_>) -> SealContext<'static> {
        SealContext {
            tenant: permit.tenant(),
            subject: self.subject,
            matter: self.matter,
            record: self.record(),
            field: "content",
            revision: 1,
        }
    }
}

fn covers(permit: &Permit<'_>, subject: SubjectId, category: Category) -> Result<(), Refusal> {
    permit.require(OPENING, subject, category)
}

/// Whether what governs a record admits the purpose of the session.
async fn require_purpose(record: &Record, permit: &Permit<'_>) -> Result<()> {
    let key = &record.key;
    let name = |event: Event| event.of_subject(key.subject).with("record", key.record);
    permit.require_purpose(Some(record.class), name).await
}

/// The normal form under which a value of this kind is indexed.
fn normal(kind: FieldKind, value: &str) -> Option<Normal> {
    match kind {
        FieldKind::ANumber => Normal::a_number(value).ok(),
        FieldKind::Email => Normal::email(value).ok(),
        FieldKind::IsraeliId => Normal::israeli_id(value).ok(),
        FieldKind::Name => Normal::name(value).ok(),
        FieldKind::Passport => Normal::passport(value).ok(),
        FieldKind::Phone => Normal::phone(value, None).ok(),
        FieldKind::UscisReceipt => Normal::receipt(value).ok(),
        FieldKind::Date | FieldKind::Text => None,
    }
}

/// Everything under which a value of this kind is indexed: its normal form, and of a name the
/// keys that its transliterations share.
fn normals(kind: FieldKind, value: &str) -> Vec<Normal> {
    let mut all: Vec<Normal> = normal(kind, value).into_iter().collect();
    if kind == FieldKind::Name
        && let Some(name) = all.first()
    {
        let forms = NameForms::of_normal(name);
        all.extend(forms.entries());
    }
    all
}

/// Everything under which a value of this kind is looked up; nothing for one without a normal
/// form.
fn lookups(kind: FieldKind, value: &str) -> Vec<Normal> {
    let Some(exact) = normal(kind, value) else {
        return Vec::new();
    };
    match kind {
        FieldKind::Name => NameForms::of_normal(&exact).lookups().to_vec(),
        _ => vec![exact],
    }
}

/// The plan of a field's index of so many rows, by how many values a field of this kind may take
/// at the least; dates and names of countries take so few that they get no index at all.
fn plan(kind: FieldKind, name: &FieldName, rows: u64) -> Result<IndexPlan> {
    let possible = match kind {
        FieldKind::Name => 1 << 18,
        FieldKind::Date | FieldKind::Text => 0,
        _ => 1 << 24,
    };
    IndexPlan::new(name.as_str(), possible, rows).map_err(|_| {
        let fault = Fault::new(FaultKind::Misconfigured, Port::Store, "plan an index");
        fault
            .because("the field has too few possible values")
            .into()
    })
}
