//! A CRM in memory.

mod erase;
mod feeds;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::TimeDelta;

use crate::audit::Label;
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, IdempotencyKey, MatterId, RecordId, SubjectId};
use crate::memory::provider::Backups;
use crate::pii::{Category, FieldName, Fields, Locator, Pii, Schema, System};
use crate::policy::{Act, LawfulBasis, Permit, Purpose};
use crate::ports::crm::{AuditRow, Change, Fetched};
use crate::ports::{Crm, CrmRecord, CrmUser};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// A [`Crm`] with its [`ChangeFeed`](crate::ports::ChangeFeed),
/// [`AccessReview`](crate::ports::AccessReview), [`AuditFeed`](crate::ports::AuditFeed) and
/// [`Erase`](crate::ports::Erase) in memory. Clones are handles to one CRM.
///
/// It maps the fields of [`Schema::person`] but the special ones, whose place is no CRM. Methods
/// that are of no port are the hands of somebody who sits at the CRM.
#[derive(Clone, Default)]
pub struct MemoryCrm {
    state: Arc<Mutex<State>>,
}

impl MemoryCrm {
    /// The name under which placements know this system.
    pub const SYSTEM: System = Label::fixed("memory-crm");

    /// A CRM without records and users.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same CRM, whose provider keeps what was erased for `window` where nobody can reach it.
    #[must_use]
    pub fn keeping(self, window: TimeDelta) -> Self {
        self.locked().backups.window = window;
        self
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Withholds a field from the house from now on.
    pub fn withhold(&self, field: &FieldName) {
        self.locked().withheld.insert(field.clone());
    }

    /// Writes something into a free-text field that the house does not map.
    pub fn note(&self, at: &Locator, field: FieldName, text: String) {
        let mut state = self.locked();
        if let Some(row) = state.rows.get_mut(at) {
            row.unmapped.insert(field, Pii::new(text));
            state.touch(at, "update", None);
        }
    }

    /// Overwrites a mapped field, as somebody at the CRM would.
    pub fn overwrite(&self, at: &Locator, field: FieldName, text: String) {
        let mut state = self.locked();
        if let Some(row) = state.rows.get_mut(at) {
            row.fields.insert(field, Pii::new(text));
            state.touch(at, "update", None);
        }
    }

    /// Stops the processing of a record.
    pub fn stop(&self, at: &Locator) {
        let mut state = self.locked();
        if let Some(row) = state.rows.get_mut(at) {
            row.stopped = true;
            state.touch(at, "stop", None);
        }
    }

    /// Deletes a record by hand: it goes into the recycle bin.
    pub fn delete(&self, at: &Locator) {
        let mut state = self.locked();
        if let Some(row) = state.rows.remove(at) {
            state.touch(at, "delete", None);
            state.bin.insert(at.clone(), row);
        }
    }

    /// Lets somebody in.
    pub fn let_in(&self, user: CrmUser) {
        let mut state = self.locked();
        state.users.retain(|known| known.locator != user.locator);
        state.users.push(user);
    }

    /// Locks somebody out.
    pub fn lock_out(&self, user: &Locator) {
        self.locked().users.retain(|known| known.locator != *user);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the first and the last change under a lock, so it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Crm for MemoryCrm {
    fn system(&self) -> System {
        Self::SYSTEM
    }

    async fn enter(
        &self,
        record: &CrmRecord,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Locator> {
        admit_all(&[Act::Enter], record.subject, &record.fields, permit)?;
        if permit
            .matter()
            .is_some_and(|matter| matter != record.matter)
        {
            return Err(Refusal::new(Code::AclDeny)
                .about("permit", permit.id())
                .into());
        }
        let mut state = self.locked();
        if state
            .keys
            .get(&key)
            .is_some_and(|used| *used != record.record)
        {
            return Err(fault(
                FaultKind::Protocol,
                "enter",
                "the key was used for another record",
            ));
        }
        if let Some((at, row)) = state
            .rows
            .iter()
            .find(|(_, row)| row.record == record.record)
        {
            // Found is entered: a late repetition must not undo what was amended since.
            let ours = row.subject == record.subject && row.matter == record.matter;
            return if ours {
                Ok(at.clone())
            } else {
                Err(Code::SynReparent.into())
            };
        }
        state.count += 1;
        let at = Locator::new(format!("{}", FIRST_ID + state.count))
            .map_err(|_| fault(FaultKind::Protocol, "enter", "no id"))?;
        let row = Row {
            record: record.record,
            subject: record.subject,
            matter: record.matter,
            purpose: record.purpose,
            basis: record.basis,
            stopped: false,
            modified: Timestamp::UNIX_EPOCH,
            fields: copied(&record.fields),
            unmapped: Fields::new(),
        };
        state.rows.insert(at.clone(), row);
        state.keys.insert(key, record.record);
        state.touch(&at, "create", Some(permit.now()));
        Ok(at)
    }

    async fn locate(&self, record: RecordId, permit: &Permit<'_>) -> Result<Option<Locator>> {
        permit.require_act(LOCATING)?;
        let state = self.locked();
        Ok(state
            .rows
            .iter()
            .find(|(_, row)| row.record == record)
            .map(|(at, _)| at.clone()))
    }

    async fn fetch(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Fetched> {
        let covered = covered(READING, subject, permit)?;
        let state = self.locked();
        let row = state.row(subject, at, permit, "fetch")?;
        if let Some(field) = covered.iter().find(|field| state.withheld.contains(field)) {
            let refusal = Refusal::new(Code::CrmFieldRestricted);
            return Err(refusal.about("field", field.label().clone()).into());
        }
        let value = |name: &FieldName| {
            let value = row.fields.field(name.as_str())?.bare();
            Some((name.clone(), Pii::new(value.clone())))
        };
        Ok(Fetched {
            locator: at.clone(),
            modified: row.modified,
            basis: Some(row.basis),
            stopped: row.stopped,
            fields: covered.iter().filter_map(value).collect(),
            unmapped: copied(&row.unmapped),
        })
    }

    async fn amend(
        &self,
        subject: SubjectId,
        at: &Locator,
        expected: Timestamp,
        fields: &Fields,
        permit: &Permit<'_>,
    ) -> Result<Timestamp> {
        admit_all(AMENDING, subject, fields, permit)?;
        let mut state = self.locked();
        if state.row(subject, at, permit, "amend")?.modified != expected {
            return Err(fault(FaultKind::Conflict, "amend", "somebody was faster"));
        }
        if let Some(row) = state.rows.get_mut(at) {
            for (name, value) in fields.iter() {
                row.fields
                    .insert(name.clone(), Pii::new(value.bare().clone()));
            }
        }
        Ok(state.touch(at, "update", Some(permit.now())))
    }
}

impl fmt::Debug for MemoryCrm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryCrm({} records)", self.len())
    }
}

#[derive(Default)]
struct State {
    rows: BTreeMap<Locator, Row>,
    bin: BTreeMap<Locator, Row>,
    /// What the provider keeps of erased records, until when.
    backups: Backups<RecordId>,
    keys: BTreeMap<IdempotencyKey, RecordId>,
    withheld: BTreeSet<FieldName>,
    changes: Vec<Change>,
    users: Vec<CrmUser>,
    audit: Vec<AuditRow>,
    count: u64,
    last: Timestamp,
}

struct Row {
    record: RecordId,
    subject: SubjectId,
    matter: MatterId,
    purpose: Purpose,
    basis: LawfulBasis,
    stopped: bool,
    modified: Timestamp,
    fields: Fields,
    unmapped: Fields,
}

impl State {
    /// Dates a change: later than every earlier one, so that an instant names one state.
    fn touch(&mut self, at: &Locator, action: &'static str, now: Option<Timestamp>) -> Timestamp {
        let next = self.last + TimeDelta::milliseconds(1);
        self.last = now.map_or(next, |now| now.max(next));
        let mut record = None;
        let mut purpose = None;
        if let Some(row) = self.rows.get_mut(at) {
            row.modified = self.last;
            record = Some(row.record);
            purpose = Some(row.purpose.as_str());
        }
        let deleted = action == "delete";
        self.changes.push(Change {
            locator: at.clone(),
            record,
            at: self.last,
            deleted,
        });
        let row = format!(
            "{}\t{action}\t{}\t{purpose:?}",
            crate::time::text(self.last),
            at.as_str()
        );
        self.audit.push(AuditRow {
            at: self.last,
            action: Label::fixed(action),
            on: Some(at.clone()),
            digest: Digest::of(row.as_bytes()),
            category: Category::Identity,
        });
        self.last
    }

    /// The record at `at`, which must be this person's and in the permit's matter.
    fn row(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
        operation: &'static str,
    ) -> Result<&Row> {
        let row = self.rows.get(at);
        let row =
            row.ok_or_else(|| Error::from(Fault::new(FaultKind::NotFound, Port::Crm, operation)))?;
        if row.subject != subject {
            return Err(Refusal::new(Code::AclDeny)
                .about("permit", permit.id())
                .into());
        }
        if permit.matter().is_some_and(|matter| matter != row.matter) {
            return Err(Code::SynReparent.into());
        }
        Ok(row)
    }
}

/// The category of a mapped field.
fn mapped(field: &FieldName) -> Option<Category> {
    let schema = Schema::person();
    let category = schema.field(field)?.classification.category;
    (!category.is_special()).then_some(category)
}

/// Every field must be on the map, and the permit must cover each; at least one category when
/// there is no field.
fn admit_all(acts: &[Act], subject: SubjectId, fields: &Fields, permit: &Permit<'_>) -> Result<()> {
    let mut categories = BTreeSet::new();
    for (name, _) in fields.iter() {
        let unmapped = || Refusal::new(Code::SynUnmapped).about("field", name.label().clone());
        categories.insert(mapped(name).ok_or_else(unmapped)?);
    }
    if categories.is_empty() {
        covered(acts, subject, permit)?;
    }
    for category in categories {
        permit.require(acts, subject, category)?;
    }
    Ok(())
}

/// The mapped fields whose category the permit covers; a permit that covers none is refused.
fn covered(acts: &[Act], subject: SubjectId, permit: &Permit<'_>) -> Result<Vec<FieldName>> {
    let schema = Schema::person();
    let covers = |field: &&crate::pii::FieldSpec| {
        mapped(&field.name).is_some_and(|category| permit.require(acts, subject, category).is_ok())
    };
    let fields: Vec<FieldName> = schema
        .fields
        .iter()
        .filter(covers)
        .map(|field| field.name.clone())
        .collect();
    if fields.is_empty() {
        Err(Refusal::new(Code::AclDeny)
            .about("permit", permit.id())
            .into())
    } else {
        Ok(fields)
    }
}

fn copied(fields: &Fields) -> Fields {
    fields
        .iter()
        .map(|(name, value)| (name.clone(), Pii::new(value.bare().clone())))
        .collect()
}

fn fault(kind: FaultKind, operation: &'static str, why: &'static str) -> Error {
    Fault::new(kind, Port::Crm, operation).because(why).into()
}

/// The vendor's ids are long numbers.
const FIRST_ID: u64 = 554_023_000_000_000_000;
const READING: &[Act] = &[
    Act::Amend,
    Act::Enter,
    Act::Open,
    Act::Process,
    Act::Review,
    Act::Transfer,
    Act::Verify,
];
const AMENDING: &[Act] = &[Act::Amend, Act::Enter, Act::Process];
const LOCATING: &[Act] = &[
    Act::Amend,
    Act::Destroy,
    Act::Enter,
    Act::Open,
    Act::Probe,
    Act::Process,
    Act::Review,
    Act::Search,
    Act::Transfer,
    Act::Verify,
];
