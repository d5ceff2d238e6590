//! Looking into content for what must not be there.

use async_trait::async_trait;

use crate::audit::Label;
use crate::error::Result;
use crate::pii::{Content, Pii};
use crate::policy::Permit;

/// Finds personal identifiers in content, and takes them out.
///
/// # Behavior
/// - A finding says where and what kind, never the value.
/// - The same content gives the same findings, in order of place.
/// - Content that cannot be read is `opaque`, never "clean".
/// - Redacted text, scanned again, has no finding of the redacted kinds.
/// - Scanning answers any bytes in bounded memory.
#[async_trait]
pub trait Scanner: core::fmt::Debug + Send + Sync {
    /// Inspects content.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; the error of a content that
    /// breaks off, unless it is told as opaque.
    async fn inspect(&self, content: Content, permit: &Permit<'_>) -> Result<Inspection>;

    /// Takes every finding of these kinds out of a text; all kinds when none is named.
    ///
    /// # Errors
    /// `ACL-DENY` as for [`inspect`](Self::inspect), `DLP-RESIDUE` when something is still found
    /// afterwards; `Unsupported` where a kind is one that the scanner never finds.
    async fn redact(
        &self,
        text: &Pii<String>,
        kinds: &[FindingKind],
        permit: &Permit<'_>,
    ) -> Result<Pii<String>>;
}

/// What a scanner saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The findings, in order of place.
    pub findings: Vec<Finding>,
    /// Whether any part could not be read.
    pub opaque: bool,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// First byte of it in the extracted text.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// How sure, 0 to 100.
    pub confidence: u8,
}

/// What was found, by the name that policies use, for example `MRZ` or `US_A_NUMBER`.
pub type FindingKind = Label;
