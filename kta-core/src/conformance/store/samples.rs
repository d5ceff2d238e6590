//! Invented rows, marked so that a leak of one is seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Event, Label, Outcome};
use crate::conformance::desk::{Desk, unused_tenant};
use crate::crypto::IndexTag;
use crate::id::{
    ActorId, Digest, DocumentId, HoldId, JobId, MatterId, PlacementId, RecordId, SubjectId,
    TenantId,
};
use crate::pii::placement::CopyOf;
use crate::pii::{
    Category, Classification, FieldGroup, FieldName, Placement, PlacementKind, PlacementState,
    Record, RecordKey, Sealed, SealedField,
};
use crate::policy::{Act, LawfulBasis, Origin, PolicyClass, Purpose};
use crate::ports::store::{Change, ChangeSet, Expected, Job, JobState, Register, Sheet};
use crate::retention::Hold;
use crate::time::Timestamp;

/// Rows of one unused tenant, by small numbers: the same number is the same row.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    /// The tenant.
    pub tenant: TenantId,
}

impl Samples {
    /// Rows for this case.
    #[must_use]
    pub fn of(case: &str) -> Self {
        Self {
            tenant: unused_tenant(case),
        }
    }

    /// An empty change set at the opening hour and so many milliseconds.
    #[must_use]
    pub fn set(&self, milliseconds: i64) -> ChangeSet {
        ChangeSet::new(self.tenant, at(milliseconds))
    }

    /// A person.
    #[must_use]
    pub fn subject(&self, number: u8) -> SubjectId {
        SubjectId::from_bytes([number; 16])
    }

    /// A matter.
    #[must_use]
    pub fn matter(&self, number: u8) -> MatterId {
        MatterId::from_bytes([number; 16])
    }

    /// Somebody who acts.
    #[must_use]
    pub fn actor(&self) -> ActorId {
        ActorId::derived(&[b"invented actor"])
    }

    /// Where a person's record lives.
    #[must_use]
    pub fn key(&self, subject: u8, record: u8) -> RecordKey {
        RecordKey {
            tenant: self.tenant,
            subject: self.subject(subject),
            record: RecordId::from_bytes([record; 16]),
        }
    }

    /// A record of a person, in the matter of the same number.
    #[must_use]
    pub fn record(&self, subject: u8, record: u8, revision: u64) -> Record {
        let field = |category, revision, length: usize| {
            let text = format!("{} sealed {subject} {record} {revision} ", marks()[0]);
            let bytes = text.bytes().cycle().take(length).collect();
            let mut classification = Classification::of(category).of_minor(subject % 2 == 1);
            classification.art10 = record % 2 == 1;
            SealedField {
                classification,
                revision,
                sealed: Sealed::from_bytes(bytes),
            }
        };
        let group = |text| FieldGroup::parse(text).expect("a group");
        Record {
            key: self.key(subject, record),
            matter: (subject > 0).then(|| self.matter(subject)),
            schema: Label::fixed("person.v1"),
            class: self.class().id(),
            revision,
            fields: BTreeMap::from([
                (group("address"), field(Category::Case, revision, 20_000)),
                (group("email+phone"), field(Category::Case, 1, 126)),
                (
                    group("family_name"),
                    field(Category::Identity, revision, 126),
                ),
                (group("medical_note"), field(Category::Special, 1, 0)),
            ]),
            header: format!("{} header", marks()[0]).into_bytes(),
        }
    }

    /// An entry of the blind index.
    #[must_use]
    pub fn tag(&self, number: u8) -> (FieldName, IndexTag) {
        (
            FieldName::fixed("email"),
            IndexTag::from_bytes(vec![0, 0, 0, 1, 16, number, number]),
        )
    }

    /// Writes [`record`](Self::record) with these tags.
    #[must_use]
    pub fn put(
        &self,
        subject: u8,
        record: u8,
        revision: u64,
        tags: &[u8],
        expected: Expected,
    ) -> Change {
        Change::PutRecord {
            record: self.record(subject, record, revision),
            index: tags.iter().map(|tag| self.tag(*tag)).collect(),
            expected,
        }
    }

    /// A known copy, in the matter of the person's number.
    #[must_use]
    pub fn placement(&self, subject: u8, number: u8, system: &'static str) -> Placement {
        Placement {
            tenant: self.tenant,
            id: PlacementId::from_bytes([number; 16]),
            subject: self.subject(subject),
            matter: Some(self.matter(subject)),
            system: Label::fixed(system),
            kind: PlacementKind::Blob,
            of: CopyOf::Document(DocumentId::from_bytes([number; 16])),
            category: Category::Case,
            locator: None,
            state: PlacementState::Intended,
            since: at(0),
        }
    }

    /// A hold over one person, or over one matter.
    #[must_use]
    pub fn hold(&self, number: u8, subject: Option<u8>, matter: Option<u8>) -> Hold {
        Hold {
            tenant: self.tenant,
            id: HoldId::from_bytes([number; 16]),
            subjects: subject
                .into_iter()
                .map(|number| self.subject(number))
                .collect(),
            matters: matter
                .map(|number| self.matter(number))
                .into_iter()
                .collect::<BTreeSet<_>>(),
            reason: Label::fixed("litigation.2026-01"),
            placed_by: self.actor(),
            placed_at: at(0),
            released: None,
        }
    }

    /// A sheet about the person and matter of its number, with a marked body.
    #[must_use]
    pub fn sheet(&self, register: Register, number: u8, revision: u64) -> Sheet {
        Sheet {
            register,
            // Three digits and a dot are label characters.
            id: Label::new(format!("sheet.{number:03}")).unwrap_or(const { Label::fixed("sheet") }),
            subject: Some(self.subject(number % 2)),
            matter: Some(self.matter(number % 3)),
            revision,
            body: format!("{{\"mark\":\"{}\",\"number\":{number}}}", marks()[1]).into_bytes(),
        }
    }

    /// A new job, due so many seconds after the opening hour, with a marked payload.
    #[must_use]
    pub fn job(&self, number: u8, due: i64) -> Job {
        Job {
            id: JobId::from_bytes([number; 16]),
            kind: Label::fixed("crm.enter"),
            subject: Some(self.subject(number)),
            matter: None,
            due: at(due * 1000),
            attempts: 0,
            state: JobState::Waiting,
            lease: 0,
            leased_until: None,
            reason: None,
            payload: format!("{{\"mark\":\"{}\"}}", marks()[2]).into_bytes(),
        }
    }

    /// A policy class.
    #[must_use]
    pub fn class(&self) -> PolicyClass {
        PolicyClass {
            purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
            ground: None,
            origin: Origin::Direct,
            retention: Label::fixed("CASE.FILE"),
            sharing: BTreeSet::new(),
            objections: BTreeSet::new(),
        }
    }

    /// Policy classes by number: 0 is [`class`](Self::class), which has representation only; each
    /// other has filing too, for another recipient.
    #[must_use]
    pub fn class_of(&self, number: u8) -> PolicyClass {
        let mut class = self.class();
        if number > 0 {
            class
                .purposes
                .insert(Purpose::Filing, LawfulBasis::LegalObligation);
            // A word and three digits are a label.
            let recipient = Label::new(format!("recipient.{number:03}"));
            class.sharing.extend(recipient.ok());
        }
        class
    }

    /// Writes [`record`](Self::record) without tags under this class.
    #[must_use]
    pub fn put_under(
        &self,
        class: &PolicyClass,
        subject: u8,
        record: u8,
        revision: u64,
        expected: Expected,
    ) -> Change {
        Change::PutRecord {
            record: Record {
                class: class.id(),
                ..self.record(subject, record, revision)
            },
            index: Vec::new(),
            expected,
        }
    }

    /// An event, about a person if one is named.
    #[must_use]
    pub fn event(&self, subject: Option<u8>) -> Event {
        let component = Label::fixed("kit");
        Event::new(
            self.tenant,
            self.actor(),
            component,
            Act::Store,
            Outcome::Done,
        )
        .of_subject(subject.map(|number| self.subject(number)))
        .with("set", Digest::of(b"invented"))
    }
}

/// The opening hour and so many milliseconds.
pub(super) fn at(milliseconds: i64) -> Timestamp {
    Desk::opening_hour() + chrono::TimeDelta::milliseconds(milliseconds)
}

/// The texts with which sealed bytes, sheets and payloads are marked: none of them may be seen
/// in an error or a `Debug`.
#[must_use]
pub const fn marks() -> [&'static str; 3] {
    ["MARKED-CIPHERTEXT", "MARKED-SHEET", "MARKED-PAYLOAD"]
}
