//! Everything the emulated organisation holds.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::bulk::Job;
use super::clock::EmulatorClock;
use super::history::{AuditRow, Export, TimelineEntry};
use super::listing::PageToken;
use super::marks::{Lock, shown_tags};
use super::oauth::Tokens;
use super::people::{EmulatedUser, first_users};
use super::schema::{FIRST_ID, FieldSpec, Kind, ModuleSpec, module};
use super::watch::Channel;

#[derive(Debug)]
pub(super) struct World {
    pub(super) opened: i64,
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) attachments: BTreeMap<u64, Attachment>,
    pub(super) bin: BTreeMap<u64, Binned>,
    pub(super) deleted: Vec<Deleted>,
    pub(super) timeline: Vec<TimelineEntry>,
    pub(super) audit: Vec<AuditRow>,
    pub(super) users: Vec<EmulatedUser>,
    /// Personal fields that are withheld from the API: module and field.
    pub(super) restricted: HashSet<(String, String)>,
    /// Records that somebody shared: with which user, and how.
    pub(super) shares: BTreeMap<u64, Vec<(usize, &'static str)>>,
    /// How often a write ran workflows and other automations.
    pub(super) automations: u64,
    pub(super) tokens: Tokens,
    pub(super) page_tokens: BTreeMap<String, PageToken>,
    pub(super) channels: Vec<Channel>,
    pub(super) exports: Vec<Export>,
    pub(super) jobs: Vec<Job>,
    /// How many of the next jobs come to nothing.
    pub(super) failing_jobs: u32,
    /// How far the records of a module are shared; privately unless told.
    pub(super) sharing: BTreeMap<&'static str, &'static str>,
    /// Permissions that somebody switched on: profile and name.
    pub(super) permitted: HashSet<(u64, String)>,
    /// Tags and locks of records.
    pub(super) tags: BTreeMap<u64, BTreeSet<String>>,
    pub(super) locks: BTreeMap<u64, Lock>,
    next_id: u64,
}

/// A live row of any module, notes included.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) module: &'static ModuleSpec,
    pub(super) fields: Map<String, Value>,
    pub(super) created: i64,
    pub(super) modified: i64,
    /// From when on the search index knows this state of the row.
    pub(super) indexed: i64,
    pub(super) owner: usize,
    /// Whether somebody stopped the processing of this person's data.
    pub(super) stopped: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Attachment {
    pub(super) id: u64,
    pub(super) parent_module: &'static ModuleSpec,
    pub(super) parent: u64,
    pub(super) name: String,
    pub(super) content_type: String,
    pub(super) content: Content,
    pub(super) created: i64,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    File(Bytes),
    Link(String),
}

/// Something in the recycle bin.
#[derive(Clone, Debug)]
pub(super) struct Binned {
    pub(super) what: Held,
    pub(super) deleted_time: i64,
}

#[derive(Clone, Debug)]
pub(super) enum Held {
    Attachment(Attachment),
    Row(Row),
}

impl Held {
    pub(super) fn module_name(&self) -> &'static str {
        match self {
            Self::Attachment(_) => "Attachments",
            Self::Row(row) => row.module.api_name,
        }
    }

    pub(super) fn module_id(&self) -> u64 {
        match self {
            Self::Attachment(_) => FIRST_ID + 2_205,
            Self::Row(row) => row.module.id,
        }
    }
}

/// A line of `/deleted`. It outlives what it names.
#[derive(Clone, Debug)]
pub(super) struct Deleted {
    pub(super) id: u64,
    pub(super) module: &'static str,
    pub(super) display_name: String,
    pub(super) permanent: bool,
    pub(super) deleted_time: i64,
}

impl World {
    pub(super) fn new(opened: i64) -> Self {
        Self {
            opened,
            rows: BTreeMap::new(),
            attachments: BTreeMap::new(),
            bin: BTreeMap::new(),
            deleted: Vec::new(),
            timeline: Vec::new(),
            audit: Vec::new(),
            users: first_users(),
            restricted: HashSet::new(),
            shares: BTreeMap::new(),
            automations: 0,
            tokens: Tokens::default(),
            page_tokens: BTreeMap::new(),
            channels: Vec::new(),
            exports: Vec::new(),
            jobs: Vec::new(),
            failing_jobs: 0,
            sharing: BTreeMap::new(),
            permitted: HashSet::new(),
            tags: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_id: FIRST_ID + 412_001,
        }
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1_001;
        self.next_id
    }

    /// The user every API call acts as.
    pub(super) fn caller(&self) -> &EmulatedUser {
        // `first_users` starts the list and nothing ever removes from it.
        &self.users[0]
    }

    pub(super) fn row(&self, module: &ModuleSpec, id: u64) -> Option<&Row> {
        self.rows
            .get(&id)
            .filter(|row| row.module.api_name == module.api_name)
    }

    pub(super) fn rows_of<'a>(&'a self, module: &'a ModuleSpec) -> impl Iterator<Item = &'a Row> {
        self.rows
            .values()
            .filter(|row| row.module.api_name == module.api_name)
    }

    /// What the API shows in the field `api_name` of `row`; `None` for an unknown field.
    pub(super) fn value(&self, row: &Row, api_name: &str, clock: &EmulatorClock) -> Option<Value> {
        let owner = || self.users.get(row.owner).unwrap_or_else(|| self.caller());
        let value = match api_name {
            "id" => row.id.to_string().into(),
            "Owner" => owner().owner(),
            "Created_By" | "Modified_By" => self.caller().reference(),
            "Created_Time" => clock.text(row.created).into(),
            "Modified_Time" => clock.text(row.modified).into(),
            "Full_Name" if row.module.api_name == "Contacts" => full_name(row).into(),
            "Parent_Id" if row.module.api_name == "Notes" => self.note_parent(row),
            "$stop_processing" if row.module.api_name == "Contacts" => row.stopped.into(),
            _ => {
                let spec = row.module.field(api_name)?;
                if self.is_restricted(row.module.api_name, api_name) {
                    Value::Null
                } else {
                    let stored = row.fields.get(api_name).cloned().unwrap_or(Value::Null);
                    self.shown(spec, stored)
                }
            }
        };
        Some(value)
    }

    /// The row as the API shows it: `id` and the wanted fields, or every field.
    pub(super) fn shown_row(
        &self,
        row: &Row,
        wanted: Option<&[String]>,
        clock: &EmulatorClock,
    ) -> Value {
        let mut shown = Map::new();
        shown.insert("id".into(), row.id.to_string().into());
        match wanted {
            Some(wanted) => {
                for name in wanted {
                    if let Some(value) = self.value(row, name, clock) {
                        shown.insert(name.clone(), value);
                    }
                }
            }
            None => {
                for field in row.module.fields {
                    if let Some(value) = self.value(row, field.api_name, clock) {
                        shown.insert(field.api_name.to_owned(), value);
                    }
                }
                if row.module.api_name == "Contacts" {
                    shown.insert("$stop_processing".into(), row.stopped.into());
                    let tags = self.tags.get(&row.id).into_iter().flatten();
                    shown.insert("Tag".into(), shown_tags(tags));
                }
            }
        }
        Value::Object(shown)
    }

    pub(super) fn display_name(&self, held: &Held) -> String {
        match held {
            Held::Attachment(attachment) => attachment.name.clone(),
            Held::Row(row) => display_name(row),
        }
    }

    pub(super) fn is_restricted(&self, module: &str, field: &str) -> bool {
        self.restricted
            .contains(&(module.to_owned(), field.to_owned()))
    }

    /// Moves a live row to the recycle bin. Its notes and attachments stay where they are.
    pub(super) fn bin_row(&mut self, id: u64, now: i64) -> bool {
        let Some(row) = self.rows.remove(&id) else {
            return false;
        };
        self.discard(id, Held::Row(row), now);
        true
    }

    pub(super) fn bin_attachment(&mut self, id: u64, now: i64) -> bool {
        let Some(attachment) = self.attachments.remove(&id) else {
            return false;
        };
        self.discard(id, Held::Attachment(attachment), now);
        true
    }

    /// Deletes an entry of the recycle bin for good.
    pub(super) fn purge(&mut self, id: u64, now: i64) -> bool {
        let Some(binned) = self.bin.remove(&id) else {
            return false;
        };
        if let Some(line) = self.deleted.iter_mut().find(|line| line.id == id) {
            line.permanent = true;
            line.deleted_time = now;
        }
        let name = self.display_name(&binned.what);
        self.note_audit(
            "permanently_deleted",
            binned.what.module_name(),
            id,
            name,
            now,
        );
        true
    }

    /// Puts an entry of the recycle bin back where it was.
    pub(super) fn restore(&mut self, id: u64, now: i64) -> bool {
        let Some(binned) = self.bin.remove(&id) else {
            return false;
        };
        self.deleted.retain(|line| line.id != id);
        let name = self.display_name(&binned.what);
        self.note_audit("restored", binned.what.module_name(), id, name, now);
        self.note_timeline(id, binned.what.module_name(), "restored", Vec::new(), now);
        match binned.what {
            Held::Attachment(attachment) => {
                self.attachments.insert(id, attachment);
            }
            Held::Row(mut row) => {
                row.modified = now;
                self.rows.insert(id, row);
            }
        }
        true
    }

    pub(super) fn note_audit(
        &mut self,
        action: &'static str,
        module: &'static str,
        record: u64,
        record_name: String,
        at: i64,
    ) {
        self.audit.push(AuditRow {
            at,
            action,
            module,
            record,
            record_name,
        });
    }

    pub(super) fn note_timeline(
        &mut self,
        record: u64,
        module: &'static str,
        action: &'static str,
        changes: Vec<(String, Value, Value)>,
        at: i64,
    ) {
        let id = self.fresh_id();
        self.timeline.push(TimelineEntry {
            id,
            record,
            module,
            action,
            changes,
            at,
        });
    }

    fn discard(&mut self, id: u64, what: Held, now: i64) {
        let module = what.module_name();
        let name = self.display_name(&what);
        self.deleted.retain(|line| line.id != id);
        if let Held::Row(_) = &what {
            // Attachments are no module, so there is no list of deleted ones to ask for.
            self.deleted.push(Deleted {
                id,
                module,
                display_name: name.clone(),
                permanent: false,
                deleted_time: now,
            });
        }
        self.note_audit("deleted", module, id, name, now);
        self.note_timeline(id, module, "deleted", Vec::new(), now);
        self.bin.insert(
            id,
            Binned {
                what,
                deleted_time: now,
            },
        );
    }

    fn shown(&self, spec: &FieldSpec, stored: Value) -> Value {
        match (spec.kind, stored.get("id").and_then(Value::as_str)) {
            (Kind::Lookup(_), Some(id)) => {
                let name = id
                    .parse()
                    .ok()
                    .and_then(|id: u64| self.rows.get(&id))
                    .map(display_name);
                json!({"name": name, "id": id})
            }
            _ => stored,
        }
    }

    fn note_parent(&self, row: &Row) -> Value {
        let Some(parent) = row.fields.get("Parent_Id") else {
            return Value::Null;
        };
        let id = parent["id"].as_str().unwrap_or_default();
        let api_name = parent["module"]["api_name"].as_str().unwrap_or_default();
        let name = id
            .parse()
            .ok()
            .and_then(|id: u64| self.rows.get(&id))
            .map(display_name)
            .unwrap_or_default();
        let module_id = module(api_name).map_or(0, |module| module.id).to_string();
        json!({"module": {"api_name": api_name, "id": module_id}, "name": name, "id": id})
    }
}

/// The text a row goes by: the value of its module's display field.
pub(super) fn display_name(row: &Row) -> String {
    match row.module.display_field {
        "Full_Name" => full_name(row),
        field => text(row, field).to_owned(),
    }
}

fn full_name(row: &Row) -> String {
    format!("{} {}", text(row, "First_Name"), text(row, "Last_Name"))
        .trim()
        .to_owned()
}

fn text<'a>(row: &'a Row, field: &str) -> &'a str {
    row.fields
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
