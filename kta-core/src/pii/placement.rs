//! The placement: every known copy of a person's data, registered before the copy is made.
//!
//! Access reports, breach scoping and destruction all read this one register. A copy that is
//! not in it cannot have been made by this house.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::audit::Label;
use crate::id::{DocumentId, MatterId, PlacementId, RecordId, SubjectId, TenantId};
use crate::pii::category::Category;
use crate::time::Timestamp;

/// The system that holds a copy, for example `zoho-crm`, `sharepoint` or `kta-store`.
pub type System = Label;

/// One known copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The firm.
    pub tenant: TenantId,
    /// This copy.
    pub id: PlacementId,
    /// Whose data it is.
    pub subject: SubjectId,
    /// The matter it belongs to, once that is known.
    pub matter: Option<MatterId>,
    /// Where it is.
    pub system: System,
    /// What it is there.
    pub kind: PlacementKind,
    /// Whether it is the copy of a record or of a document.
    pub of: CopyOf,
    /// The most guarded category in it.
    pub category: Category,
    /// The system's own name for it, once the system has given one.
    pub locator: Option<Locator>,
    /// Whether the copy is there.
    pub state: PlacementState,
    /// When it was registered.
    pub since: Timestamp,
}

/// What a placement is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyOf {
    /// A document.
    Document(DocumentId),
    /// A record.
    Record(RecordId),
}

/// What a copy is in its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlacementKind {
    /// A sealed archive package.
    Archive,
    /// Sealed bytes in the firm's blob storage.
    Blob,
    /// A record of the CRM, with its notes and attachments.
    CrmRecord,
    /// Entries of a search index.
    IndexEntry,
    /// A file of the document library, with its versions.
    LibraryFile,
    /// The message or submission in the channel it came by.
    MailboxItem,
    /// Paper or another physical thing in custody.
    Paper,
    /// What was handed to somebody outside: an agency, an employer, the client.
    Recipient,
    /// A sealed record in the firm's own store.
    StoreRecord,
}

impl PlacementKind {
    /// The name as certificates write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Blob => "blob",
            Self::CrmRecord => "crm_record",
            Self::IndexEntry => "index_entry",
            Self::LibraryFile => "library_file",
            Self::MailboxItem => "mailbox_item",
            Self::Paper => "paper",
            Self::Recipient => "recipient",
            Self::StoreRecord => "store_record",
        }
    }
}

/// Whether a copy is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementState {
    /// Registered; the copy is about to be made or was perhaps made.
    Intended,
    /// The system confirmed the copy.
    Present,
    /// Erased, and the provider's own window for keeping it runs until then.
    Erasing {
        /// The first instant at which absence can be final.
        until: Timestamp,
    },
    /// Probed and observed absent at this instant.
    Absent {
        /// When it was observed.
        at: Timestamp,
    },
    /// Announced, and then certainly not made: the system refused.
    Withdrawn {
        /// When.
        at: Timestamp,
    },
    /// Handed to somebody on whom the firm has no power of erasure; recorded, not erased.
    Disclosed,
}

/// A system's own name for a thing: an opaque id, never a title or a path with names in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Locator(String);

impl Locator {
    /// A locator of printable ASCII without blanks, 1 to 512 bytes.
    ///
    /// # Errors
    /// [`BadLocator`] for anything else, which no system we know uses as an id.
    pub fn new(text: impl Into<String>) -> Result<Self, BadLocator> {
        let text = text.into();
        let fits = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(Self(text))
        } else {
            Err(BadLocator)
        }
    }

    /// The system's id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Locator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Text that cannot be a [`Locator`]. Holds no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a locator")]
pub struct BadLocator;
