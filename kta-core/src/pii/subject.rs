//! The data subject: one natural person, and the side on which that person stands in a matter.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{SubjectId, TenantId};
use crate::policy::Purpose;

/// One natural person known to the firm. Everything that tells who it is stands in sealed
/// records; this is only the handle they hang on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The firm.
    pub tenant: TenantId,
    /// The person.
    pub id: SubjectId,
    /// Whether the person was a minor when last checked.
    pub minor: bool,
    /// Whether processing is restricted (GDPR article 18).
    #[serde(default)]
    pub restricted: bool,
    /// Purposes that the person objected to (GDPR article 21): the classes of all the person's
    /// records say so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub objections: BTreeSet<Purpose>,
    /// The other ids under which the firm knows the same person.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<SubjectId>,
}

/// The side of a matter on which a person stands. In joint representation each side sees its
/// own data only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The person for whom the petition is filed.
    Beneficiary,
    /// A child of the beneficiary.
    Child,
    /// The employer's contact, or a family member who petitions.
    Petitioner,
    /// Somebody else: a sponsor, a reference, an applicant in a recruitment report.
    ThirdPerson,
    /// The beneficiary's spouse.
    Spouse,
}

impl Party {
    /// The name as policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Beneficiary => "beneficiary",
            Self::Child => "child",
            Self::Petitioner => "petitioner",
            Self::ThirdPerson => "third_person",
            Self::Spouse => "spouse",
        }
    }
}
