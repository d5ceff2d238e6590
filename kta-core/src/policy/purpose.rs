//! Why data is used, and what allows it.

use serde::{Deserialize, Serialize};

/// What data is used for. Reading for anything else than a matter's own purposes is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Checking the firm's own duties: audits, reviews, rights requests.
    Compliance,
    /// Ending the life of data whose time is over.
    Disposition,
    /// Filing with a government agency.
    Filing,
    /// Advertising the firm; covered by no engagement.
    Marketing,
    /// Representing the client.
    Representation,
    /// Keeping what the law wants kept.
    Retention,
    /// Protecting data and systems, handling incidents.
    Security,
}

impl Purpose {
    /// The purposes that the law itself gives the firm.
    pub const LEGAL: &'static [Self] = &[Self::Compliance, Self::Disposition, Self::Retention];

    /// Whether this is one of [`LEGAL`](Self::LEGAL).
    #[must_use]
    pub const fn is_legal(self) -> bool {
        matches!(self, Self::Compliance | Self::Disposition | Self::Retention)
    }

    /// The name as policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compliance => "compliance",
            Self::Disposition => "disposition",
            Self::Filing => "filing",
            Self::Marketing => "marketing",
            Self::Representation => "representation",
            Self::Retention => "retention",
            Self::Security => "security",
        }
    }
}

/// The lawful basis of a processing (GDPR article 6(1), by letter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LawfulBasis {
    /// (a) Consent.
    Consent,
    /// (b) Performance of a contract with the person.
    Contract,
    /// (c) A legal obligation of the firm.
    LegalObligation,
    /// (f) Legitimate interests.
    LegitimateInterests,
    /// (e) A task in the public interest.
    PublicTask,
    /// (d) Vital interests.
    VitalInterests,
}

impl LawfulBasis {
    /// The name as policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::LegalObligation => "legal_obligation",
            Self::LegitimateInterests => "legitimate_interests",
            Self::PublicTask => "public_task",
            Self::VitalInterests => "vital_interests",
        }
    }
}

/// The ground without which special categories may not be touched (GDPR articles 9(2), 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecialGround {
    /// Article 10: authorised by law.
    AuthorisedByLaw,
    /// Article 9(2)(a): explicit consent.
    ExplicitConsent,
    /// Article 9(2)(f): legal claims.
    LegalClaims,
}
