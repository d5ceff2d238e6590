//! The things of the tenant: libraries, items, versions, shares, bins, sessions, tokens.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

pub(crate) struct Site {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) permissions: Vec<Value>,
}

/// A document library: the drive of Graph, the list of SharePoint.
pub(crate) struct Drive {
    pub(crate) id: String,
    pub(crate) list: String,
    pub(crate) title: String,
    pub(crate) root: String,
    pub(crate) created: DateTime<Utc>,
    /// Which of the site's it is, the first being the site's own; the clock may be set back.
    pub(crate) number: usize,
    pub(crate) columns: Vec<Value>,
    pub(crate) versioning: bool,
    pub(crate) personal: bool,
    pub(crate) version_limit: usize,
    pub(crate) next_list_item: u32,
}

#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) drive: String,
    pub(crate) unique_id: String,
    pub(crate) list_item: u32,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) mime: String,
    /// Oldest first, the current one last; `None` for a folder.
    pub(crate) versions: Option<Vec<Version>>,
    pub(crate) created: DateTime<Utc>,
    pub(crate) modified: DateTime<Utc>,
    pub(crate) e: u32,
    pub(crate) c: u32,
    pub(crate) sequence: u64,
    pub(crate) fields: Map<String, Value>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) inherits: bool,
    pub(crate) label: Option<Label>,
    pub(crate) locked: bool,
    /// The content before it was checked out, while it is.
    pub(crate) checked_out: Option<Vec<Version>>,
}

#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) bytes: Bytes,
    pub(crate) hash: String,
    pub(crate) at: DateTime<Utc>,
}

#[derive(Clone)]
pub(crate) struct Permission {
    pub(crate) id: String,
    pub(crate) roles: Vec<String>,
    pub(crate) link: Option<Link>,
    pub(crate) people: Vec<Identity>,
    pub(crate) invited: Option<String>,
    pub(crate) expires: Option<DateTime<Utc>>,
}

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) kind: String,
    pub(crate) scope: String,
    pub(crate) url: String,
    pub(crate) prevents_download: bool,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Identity {
    /// A group of the directory, by object id.
    Directory(String),
    Group(String),
    User {
        id: String,
        email: String,
    },
}

#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) locked: bool,
}

#[derive(Clone)]
pub(crate) struct LabelRule {
    pub(crate) behavior: String,
    pub(crate) delete_allowed: bool,
}

impl LabelRule {
    pub(crate) fn retains(&self) -> bool {
        self.behavior.starts_with("retain")
    }
}

/// What the delta feed still says of an item that is gone.
pub(crate) struct Grave {
    pub(crate) drive: String,
    pub(crate) parent: Option<String>,
    pub(crate) sequence: u64,
}

/// One entry of the recycle bin: a deleted subtree, its top first.
#[derive(Clone)]
pub(crate) struct Binned {
    pub(crate) id: String,
    pub(crate) stage: u8,
    pub(crate) items: Vec<Item>,
    pub(crate) directory: String,
    pub(crate) at: DateTime<Utc>,
}

/// A copy in the Preservation Hold library.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) item: String,
    pub(crate) name: String,
    pub(crate) version: Version,
}

/// Whether a retention hold covers the site, and since when it no longer does.
pub(crate) enum Hold {
    Off,
    On,
    Released(DateTime<Utc>),
}

pub(crate) struct Upload {
    pub(crate) drive: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) target: Option<String>,
    pub(crate) conflict: Conflict,
    pub(crate) received: Vec<u8>,
    pub(crate) total: Option<u64>,
    pub(crate) expires: DateTime<Utc>,
    pub(crate) deferred: bool,
    pub(crate) done: Option<(String, u16)>,
}

pub(crate) struct Token {
    pub(crate) audience: Audience,
    /// The application it was given to.
    pub(crate) client: String,
    pub(crate) expires: DateTime<Utc>,
    pub(crate) by_certificate: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Graph,
    SharePoint,
}

#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) body: Map<String, Value>,
    pub(crate) url: String,
    pub(crate) drive: String,
    pub(crate) expires: DateTime<Utc>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    Fail,
    Rename,
    Replace,
}

impl Item {
    pub(crate) fn is_folder(&self) -> bool {
        self.versions.is_none()
    }

    pub(crate) fn current(&self) -> Option<&Version> {
        self.versions.as_ref().and_then(|versions| versions.last())
    }

    pub(crate) fn size(&self) -> u64 {
        self.current()
            .map_or(0, |version| version.bytes.len() as u64)
    }

    pub(crate) fn etag(&self) -> String {
        format!("\"{{{}}},{}\"", self.unique_id.to_uppercase(), self.e)
    }

    pub(crate) fn ctag(&self) -> String {
        format!("\"c:{{{}}},{}\"", self.unique_id.to_uppercase(), self.c)
    }
}

impl Version {
    pub(crate) fn new(major: u32, bytes: Bytes, at: DateTime<Utc>) -> Self {
        let hash = crate::QuickXor::of(&bytes);
        Self {
            major,
            bytes,
            hash,
            at,
        }
    }
}

impl Identity {
    pub(crate) fn email(&self) -> Option<&str> {
        match self {
            Self::Directory(_) | Self::Group(_) => None,
            Self::User { email, .. } => Some(email),
        }
    }
}
