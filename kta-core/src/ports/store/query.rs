//! What a store is asked for.

use super::Register;
use crate::audit::Label;
use crate::crypto::IndexTag;
use crate::id::{Digest, MatterId, PlacementId, RecordId, SubjectId, TenantId};
use crate::pii::FieldName;
use crate::policy::Purpose;
use crate::retention::Hold;

/// Which records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordQuery {
    /// The firm.
    pub tenant: TenantId,
    /// By what.
    pub by: RecordBy,
    /// Only those whose governing class admits this purpose; a purpose that the law itself gives
    /// is admitted by all.
    pub purpose: Option<Purpose>,
    /// Only ids after this one.
    pub after: Option<RecordId>,
    /// At most this many.
    pub limit: usize,
}

impl RecordQuery {
    /// All of them, for whatever purpose.
    #[must_use]
    pub const fn all(tenant: TenantId, by: RecordBy) -> Self {
        Self {
            tenant,
            by,
            purpose: None,
            after: None,
            limit: usize::MAX,
        }
    }

    /// The same, for this purpose only.
    #[must_use]
    pub const fn for_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }

    /// The page of at most `limit` after this id.
    #[must_use]
    pub const fn page(mut self, after: Option<RecordId>, limit: usize) -> Self {
        self.after = after;
        self.limit = limit;
        self
    }
}

/// By what records are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordBy {
    /// The class that governs them.
    Class(Digest),
    /// The matter they belong to.
    Matter(MatterId),
    /// A purpose that their governing class has and that the person did not object to.
    Purpose(Purpose),
    /// The person they are about.
    Subject(SubjectId),
    /// An entry of the blind index. What is found must be checked by opening it.
    Tag(FieldName, IndexTag),
}

/// Which copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementQuery {
    /// The firm.
    pub tenant: TenantId,
    /// Of this person.
    pub subject: Option<SubjectId>,
    /// In this matter.
    pub matter: Option<MatterId>,
    /// In this system.
    pub system: Option<Label>,
    /// Only ids after this one.
    pub after: Option<PlacementId>,
    /// At most this many.
    pub limit: usize,
}

impl PlacementQuery {
    /// Every copy of one person's data.
    #[must_use]
    pub const fn of(tenant: TenantId, subject: SubjectId) -> Self {
        Self {
            tenant,
            subject: Some(subject),
            matter: None,
            system: None,
            after: None,
            limit: usize::MAX,
        }
    }

    /// Every copy of one matter's data.
    #[must_use]
    pub const fn in_matter(tenant: TenantId, matter: MatterId) -> Self {
        Self {
            tenant,
            subject: None,
            matter: Some(matter),
            system: None,
            after: None,
            limit: usize::MAX,
        }
    }
}

/// Which holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldQuery {
    /// The firm.
    pub tenant: TenantId,
    /// Only those that cover this person (by person, or by a matter the caller names).
    pub subject: Option<SubjectId>,
    /// Only those that cover this matter, or the person above.
    pub matter: Option<MatterId>,
    /// Only those not released.
    pub active: bool,
}

impl HoldQuery {
    /// Active holds that cover a person directly or through a matter.
    #[must_use]
    pub const fn covering(tenant: TenantId, subject: SubjectId, matter: Option<MatterId>) -> Self {
        Self {
            tenant,
            subject: Some(subject),
            matter,
            active: true,
        }
    }

    /// Whether `hold` answers this query: it names the person or the matter, or the query names
    /// neither.
    #[must_use]
    pub fn matches(&self, hold: &Hold) -> bool {
        let open = self.subject.is_none() && self.matter.is_none();
        hold.tenant == self.tenant
            && (!self.active || hold.released.is_none())
            && (open
                || self
                    .subject
                    .is_some_and(|subject| hold.subjects.contains(&subject))
                || self
                    .matter
                    .is_some_and(|matter| hold.matters.contains(&matter)))
    }
}

/// Which sheets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetQuery {
    /// The firm.
    pub tenant: TenantId,
    /// Which register.
    pub register: Register,
    /// The sheet of this name only.
    pub id: Option<Label>,
    /// Of this person.
    pub subject: Option<SubjectId>,
    /// In this matter.
    pub matter: Option<MatterId>,
    /// Only names after this one.
    pub after: Option<Label>,
    /// At most this many.
    pub limit: usize,
}

impl SheetQuery {
    /// The whole register.
    #[must_use]
    pub const fn all(tenant: TenantId, register: Register) -> Self {
        Self {
            tenant,
            register,
            id: None,
            subject: None,
            matter: None,
            after: None,
            limit: usize::MAX,
        }
    }

    /// One sheet by name.
    #[must_use]
    pub const fn named(tenant: TenantId, register: Register, id: Label) -> Self {
        Self {
            tenant,
            register,
            id: Some(id),
            subject: None,
            matter: None,
            after: None,
            limit: 1,
        }
    }
}
