//! What the emulated tenant still holds: the view from inside that no client has.

use super::clock::stamp;
use super::state::{Item, State};
use bytes::Bytes;

/// Everything still held of one item, wherever it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// The current content, if the item is live.
    pub current: Option<Bytes>,
    /// Earlier versions of a live item, oldest first.
    pub versions: Vec<Bytes>,
    /// Copies in the first stage of the recycle bin, every version.
    pub bin_first: Vec<Bytes>,
    /// Copies in the second stage of the recycle bin, every version.
    pub bin_second: Vec<Bytes>,
    /// Copies in the Preservation Hold library.
    pub held: Vec<Bytes>,
    /// Sharing links and direct grants set on the live item.
    pub shares: Vec<Share>,
    /// The retention label of the live item.
    pub label: Option<String>,
    /// Values of the live item's columns, as JSON text.
    pub fields: Option<String>,
}

/// One permission set on an item itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The permission's id.
    pub id: String,
    /// `read`, `write`, `owner`.
    pub roles: Vec<String>,
    /// Scope of the link, or `None` for a direct grant.
    pub scope: Option<String>,
    /// Addresses of the people it is for.
    pub people: Vec<String>,
    /// When it ends, as Graph writes it.
    pub expires: Option<String>,
}

impl Holdings {
    /// Whether nothing at all is left.
    pub fn is_empty(&self) -> bool {
        self.current.is_none()
            && self.versions.is_empty()
            && self.bin_first.is_empty()
            && self.bin_second.is_empty()
            && self.held.is_empty()
            && self.shares.is_empty()
    }
}

/// Gathers what is held of an item id.
pub(crate) fn holdings(state: &State, id: &str) -> Holdings {
    let item = state.items.get(id);
    let contents = |item: &Item| -> Vec<Bytes> {
        item.versions
            .iter()
            .flatten()
            .map(|version| version.bytes.clone())
            .collect()
    };
    let binned = |stage: u8| -> Vec<Bytes> {
        let entries = state.bin.iter().filter(|entry| entry.stage == stage);
        let items = entries
            .flat_map(|entry| &entry.items)
            .filter(|item| item.id == id);
        items.flat_map(contents).collect()
    };
    let mut versions = item.map(contents).unwrap_or_default();
    let current = versions.pop();
    Holdings {
        current,
        versions,
        bin_first: binned(1),
        bin_second: binned(2),
        held: state
            .held
            .iter()
            .filter(|copy| copy.item == id)
            .map(|copy| copy.version.bytes.clone())
            .collect(),
        shares: item.map(shares).unwrap_or_default(),
        label: item
            .and_then(|item| item.label.as_ref())
            .map(|label| label.name.clone()),
        fields: item.map(|item| serde_json::Value::Object(item.fields.clone()).to_string()),
    }
}

fn shares(item: &Item) -> Vec<Share> {
    let each = |permission: &super::state::Permission| Share {
        id: permission.id.clone(),
        roles: permission.roles.clone(),
        scope: permission.link.as_ref().map(|link| link.scope.clone()),
        people: permission
            .people
            .iter()
            .filter_map(|person| person.email().map(str::to_owned))
            .collect(),
        expires: permission.expires.map(stamp),
    };
    item.permissions.iter().map(each).collect()
}

/// Places that still contain these bytes: contents, names, fields, shares, unfinished uploads.
pub(crate) fn places_of(state: &State, needle: &[u8]) -> Vec<String> {
    let has = |hay: &[u8]| !needle.is_empty() && hay.windows(needle.len()).any(|w| w == needle);
    let text = |hay: &str| has(hay.as_bytes());
    let mut found = Vec::new();
    let mut look = |place: &str, item: &Item| {
        for version in item.versions.iter().flatten() {
            if has(&version.bytes) {
                found.push(format!(
                    "{place}: content of {} version {}.0",
                    item.id, version.major
                ));
            }
        }
        if text(&item.name) {
            found.push(format!("{place}: name of {}", item.id));
        }
        if text(&serde_json::Value::Object(item.fields.clone()).to_string()) {
            found.push(format!("{place}: fields of {}", item.id));
        }
        let people = item
            .permissions
            .iter()
            .flat_map(|permission| &permission.people);
        if people.filter_map(|person| person.email()).any(text) {
            found.push(format!("{place}: shares of {}", item.id));
        }
    };
    for item in state.items.values() {
        look("library", item);
    }
    for entry in &state.bin {
        for item in &entry.items {
            look(
                if entry.stage == 1 {
                    "recycle bin"
                } else {
                    "second-stage bin"
                },
                item,
            );
        }
    }
    for copy in &state.held {
        if has(&copy.version.bytes) || text(&copy.name) {
            found.push(format!("preservation hold library: {}", copy.item));
        }
    }
    for upload in state.uploads.values() {
        if has(&upload.received) || text(&upload.name) {
            found.push("unfinished upload".to_owned());
        }
    }
    found
}
