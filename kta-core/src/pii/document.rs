//! The document: one file in its succession of versions, described without what is in it.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, DocumentId, MatterId, SubjectId, TenantId};
use crate::pii::category::Classification;
use crate::pii::content::MediaType;

/// What the firm knows about a document without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The firm.
    pub tenant: TenantId,
    /// The document.
    pub id: DocumentId,
    /// Whose data it holds.
    pub subject: SubjectId,
    /// The matter it belongs to.
    pub matter: MatterId,
    /// What it is.
    pub kind: DocumentKind,
    /// How it must be handled.
    pub classification: Classification,
    /// SHA-256 of the content as received; the same from arrival to filing.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub length: u64,
    /// What the bytes are, decided from the bytes.
    pub media: MediaType,
    /// Documents this one was made from, so that erasure finds what descends from what.
    #[serde(default)]
    pub derived_from: Vec<DocumentId>,
}

/// What a document is, as completeness profiles and agency requirement lists name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the documents' own names")]
#[non_exhaustive]
pub enum DocumentKind {
    BirthCertificate,
    CustodyOrder,
    Degree,
    EmployerLetter,
    FormDraft,
    FormI129,
    FormI539,
    G28,
    Lca,
    MarriageCertificate,
    MedicalExam,
    Other,
    Passport,
    Photo,
    PoliceCertificate,
    Receipt,
    Resume,
    Translation,
}

impl DocumentKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::BirthCertificate,
        Self::CustodyOrder,
        Self::Degree,
        Self::EmployerLetter,
        Self::FormDraft,
        Self::FormI129,
        Self::FormI539,
        Self::G28,
        Self::Lca,
        Self::MarriageCertificate,
        Self::MedicalExam,
        Self::Other,
        Self::Passport,
        Self::Photo,
        Self::PoliceCertificate,
        Self::Receipt,
        Self::Resume,
        Self::Translation,
    ];

    /// The name as profiles and packs write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BirthCertificate => "birth_certificate",
            Self::CustodyOrder => "custody_order",
            Self::Degree => "degree",
            Self::EmployerLetter => "employer_letter",
            Self::FormDraft => "form_draft",
            Self::FormI129 => "form_i129",
            Self::FormI539 => "form_i539",
            Self::G28 => "g28",
            Self::Lca => "lca",
            Self::MarriageCertificate => "marriage_certificate",
            Self::MedicalExam => "medical_exam",
            Self::Other => "other",
            Self::Passport => "passport",
            Self::Photo => "photo",
            Self::PoliceCertificate => "police_certificate",
            Self::Receipt => "receipt",
            Self::Resume => "resume",
            Self::Translation => "translation",
        }
    }

    /// How a document of this kind is handled unless a person classifies it higher.
    #[must_use]
    pub const fn classification(self) -> Classification {
        use crate::pii::category::Category;
        let mut class = Classification::of(match self {
            Self::Passport | Self::BirthCertificate | Self::MarriageCertificate | Self::Photo => {
                Category::Identity
            }
            Self::MedicalExam => Category::SpecialSealed,
            Self::PoliceCertificate => Category::Special,
            Self::Lca => Category::EmployerRecord,
            Self::Receipt => Category::CaseRef,
            _ => Category::Case,
        });
        if matches!(self, Self::PoliceCertificate) {
            class.art9 = false;
            class.art10 = true;
        }
        class
    }
}

impl core::fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}
