//! Entering, finding, reading and amending clients' records.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{SubsecRound as _, TimeDelta};
use kta_core::id::{IdempotencyKey, MatterId, RecordId, SubjectId};
use kta_core::pii::{FieldName, Fields, Locator, Pii, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::crm::Fetched;
use kta_core::ports::{Crm, CrmRecord};
use kta_core::time::Timestamp;
use kta_core::{Code, Error, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Method};
use serde_json::{Value, json};

use crate::ZohoCrm;
use crate::basis::{basis_of, basis_text};
use crate::client::Answer;
use crate::coql::{find, id_of, instant, is_id, parse_instant, text_id};
use crate::error::protocol;
use crate::fields::FieldMetadata;
use crate::map::{BASIS, KEY, MATTER, MappedField, PURPOSE, SUBJECT};
use crate::stopped::STOPPED;
use crate::value::{Cell, Row, Write};

#[async_trait]
impl Crm for ZohoCrm {
    fn system(&self) -> System {
        ZohoCrm::SYSTEM
    }

    async fn enter(
        &self,
        record: &CrmRecord,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Locator> {
        let call = Call::new(Port::Crm, "enter");
        self.admit_entry(record, permit)?;
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let keys = keys_of(record);
        if let Some(row) = find(&self.client, call, MODULE, record.record).await? {
            return entered(call, &row, &keys);
        }
        let row = self.row_of(record, &keys, permit)?;
        let write = Write::new(row, Some([KEY]));
        let request = || {
            let request = self
                .client
                .request(call, Method::POST, &[MODULE, "upsert"])?;
            Ok(request
                .repeatable()
                .header("if-unmodified-since", BEFORE_ALL)
                .json(&write))
        };
        let answer = self.client.answer(call, request).await;
        match answer.and_then(|answer| answer.into_details(call, "data")) {
            Ok(details) => locator(call, &text_id(call, &details)?),
            // Another worker was faster since we looked, or our own first attempt was.
            Err(error) if is_conflict(&error) => {
                match find(&self.client, call, MODULE, record.record).await? {
                    Some(row) => entered(call, &row, &keys),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn locate(&self, record: RecordId, permit: &Permit<'_>) -> Result<Option<Locator>> {
        let call = Call::new(Port::Crm, "locate");
        permit.require_act(&LOCATING)?;
        let id = id_of(&self.client, call, MODULE, record).await?;
        id.map(|id| locator(call, &id)).transpose()
    }

    async fn fetch(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Fetched> {
        let call = Call::new(Port::Crm, "fetch");
        let lines = self.covered(&READING, subject, permit)?;
        let row = self.row(call, subject, at, permit).await?;
        let missing = lines.iter().any(|line| is_empty(&row[&line.api_name]));
        let metadata = match missing {
            // Empty, or withheld? Only the metadata of this moment can tell.
            true => self.fresh_metadata(call, permit.now()).await?,
            false => self.metadata(call, permit.now()).await?,
        };
        metadata.admit(&self.config.map)?;
        self.fetched(call, subject, at, row, &metadata, permit)
    }

    async fn amend(
        &self,
        subject: SubjectId,
        at: &Locator,
        expected: Timestamp,
        fields: &Fields,
        permit: &Permit<'_>,
    ) -> Result<Timestamp> {
        let call = Call::new(Port::Crm, "amend");
        let lines = self.lines(fields)?;
        self.require_all(&AMENDING, subject, &lines, permit)?;
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let answer = self.answer_row(call, at).await?;
        let server_time = answer.server_time;
        let row = self.own_row(call, answer, subject, permit)?;
        let conflict = || Error::from(call.fault(FaultKind::Conflict));
        if modified(call, &row)? != expected.trunc_subsecs(0) {
            return Err(conflict());
        }
        // Times have whole seconds: a write in the same second as the one expected would leave
        // it unchanged, and the next writer would not see that somebody was faster.
        if server_time.is_none_or(|now| now - expected < TimeDelta::seconds(1)) {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let mut cells = row_of(&lines, fields, permit)?;
        replace_rows(&mut cells, &row);
        let (since, write) = (instant(expected), Write::new(cells, None));
        let path = [MODULE, at.as_str()];
        let request = || {
            let request = self.client.request(call, Method::PUT, &path)?;
            Ok(request.header("if-unmodified-since", &since).json(&write))
        };
        match self.client.answer(call, request).await {
            Ok(answer) => modified(call, &answer.into_details(call, "data")?),
            // Perhaps it was our own first attempt, whose answer was lost, that was faster.
            Err(error) if is_conflict(&error) => self
                .is_there(call, subject, at, (&lines, fields), permit)
                .await?
                .ok_or(error),
            Err(error) => Err(error),
        }
    }
}

impl ZohoCrm {
    /// Whether the record may be entered under the permit: mapped, covered, of its matter.
    pub(crate) fn admit_entry(&self, record: &CrmRecord, permit: &Permit<'_>) -> Result<()> {
        let lines = self.lines(&record.fields)?;
        self.require_all(&[Act::Enter], record.subject, &lines, permit)?;
        match permit.matter() {
            Some(matter) if matter != record.matter => Err(Code::AclDeny.into()),
            _ => Ok(()),
        }
    }

    /// The whole row of a record that is entered.
    pub(crate) fn row_of<'a>(
        &'a self,
        record: &'a CrmRecord,
        keys: &'a [(&'static str, String); 3],
        permit: &'a Permit<'_>,
    ) -> Result<Row<'a>> {
        let lines = self.lines(&record.fields)?;
        let mut row = row_of(&lines, &record.fields, permit)?;
        for (name, text) in keys {
            row.set(name, text);
        }
        row.set(PURPOSE, record.purpose.as_str());
        row.set(BASIS, basis_text(record.basis));
        Ok(row)
    }

    /// A row as the port tells it.
    pub(crate) fn fetched(
        &self,
        call: Call,
        subject: SubjectId,
        at: &Locator,
        mut row: Value,
        metadata: &FieldMetadata,
        permit: &Permit<'_>,
    ) -> Result<Fetched> {
        let lines = self.covered(&READING, subject, permit)?;
        let modified = modified(call, &row)?;
        let basis = text_of(&row, BASIS).and_then(basis_of);
        let stopped = row[STOPPED].as_bool().unwrap_or(false);
        let fields = lines
            .iter()
            .filter_map(|line| Some((line.field.clone(), take(&mut row, line)?)))
            .collect();
        Ok(Fetched {
            locator: at.clone(),
            modified,
            basis,
            stopped,
            fields,
            unmapped: self.unmapped(row, metadata),
        })
    }

    /// When the record was changed to what it holds now, if that is what was to be written.
    pub(crate) async fn is_there(
        &self,
        call: Call,
        subject: SubjectId,
        at: &Locator,
        (lines, fields): (&[&MappedField], &Fields),
        permit: &Permit<'_>,
    ) -> Result<Option<Timestamp>> {
        let mut row = self.row(call, subject, at, permit).await?;
        let ours = lines.iter().all(|line| {
            let wanted = fields
                .field(line.field.as_str())
                .map(|value| value.expose(permit));
            let there = take(&mut row, line);
            there.as_ref().map(|value| value.expose(permit)) == wanted
        });
        ours.then(|| modified(call, &row)).transpose()
    }

    /// The map's lines of these fields.
    pub(crate) fn lines(&self, fields: &Fields) -> Result<Vec<&MappedField>> {
        let line = |name: &FieldName| {
            let refused = || Refusal::new(Code::SynUnmapped).about("field", name.label().clone());
            self.config.map.of(name).ok_or_else(|| refused().into())
        };
        fields.iter().map(|(name, _)| line(name)).collect()
    }

    /// The permit must cover every category of these lines, and at least one.
    pub(crate) fn require_all(
        &self,
        acts: &[Act],
        subject: SubjectId,
        lines: &[&MappedField],
        permit: &Permit<'_>,
    ) -> Result<(), Refusal> {
        for line in lines {
            permit.require(acts, subject, line.category)?;
        }
        match lines.is_empty() {
            true => self.covered(acts, subject, permit).map(drop),
            false => Ok(()),
        }
    }

    /// The lines whose category the permit covers; a permit that covers none is refused.
    pub(crate) fn covered(
        &self,
        acts: &[Act],
        subject: SubjectId,
        permit: &Permit<'_>,
    ) -> Result<Vec<&MappedField>, Refusal> {
        let mut refused = None;
        let mut lines = Vec::new();
        for line in self.config.map.fields() {
            match permit.require(acts, subject, line.category) {
                Ok(()) => lines.push(line),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) if lines.is_empty() => Err(refusal),
            _ => Ok(lines),
        }
    }

    /// The live record at `at`, after checking that it is this person's and this matter's.
    pub(crate) async fn row(
        &self,
        call: Call,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Value> {
        let answer = self.answer_row(call, at).await?;
        self.own_row(call, answer, subject, permit)
    }

    async fn answer_row(&self, call: Call, at: &Locator) -> Result<Answer> {
        if !is_id(at.as_str()) {
            return Err(call.fault(FaultKind::NotFound).into());
        }
        // Without `fields` the CRM shows the whole record: the leak check wants to see what
        // stands in fields that are not mapped.
        let path = [MODULE, at.as_str()];
        self.client
            .answer(call, || self.client.request(call, Method::GET, &path))
            .await
    }

    fn own_row(
        &self,
        call: Call,
        answer: Answer,
        subject: SubjectId,
        permit: &Permit<'_>,
    ) -> Result<Value> {
        let rows = answer.into_list(call, "data")?;
        self.own(call, rows, subject, permit)
    }

    /// The one row, after checking that it is this person's and this matter's.
    pub(crate) fn own(
        &self,
        call: Call,
        mut rows: Vec<Value>,
        subject: SubjectId,
        permit: &Permit<'_>,
    ) -> Result<Value> {
        let row = rows
            .pop()
            .ok_or_else(|| Error::from(call.fault(FaultKind::NotFound)))?;
        if text_of(&row, SUBJECT) != Some(subject.to_string().as_str()) {
            return Err(Code::AclDeny.into());
        }
        let matter = permit.matter().map(|matter: MatterId| matter.to_string());
        if matter.is_some() && text_of(&row, MATTER) != matter.as_deref() {
            return Err(Code::SynReparent.into());
        }
        Ok(row)
    }

    /// What stands in free-text fields that are not on the map.
    fn unmapped(&self, mut row: Value, metadata: &FieldMetadata) -> Fields {
        let Some(object) = row.as_object_mut() else {
            return Fields::new();
        };
        let own = [KEY, SUBJECT, MATTER, PURPOSE, BASIS];
        object
            .iter_mut()
            .filter(|(name, _)| !self.config.map.holds(name) && !own.contains(&name.as_str()))
            .filter(|(name, _)| metadata.is_free_text(name))
            .filter_map(|(name, value)| {
                let field = FieldName::new(&name.to_ascii_lowercase()).ok()?;
                match value.take() {
                    Value::String(text) if !text.is_empty() => Some((field, Pii::new(text))),
                    _ => None,
                }
            })
            .collect()
    }
}

/// Found is entered: a late repetition must not undo what was amended since.
pub(crate) fn entered(
    call: Call,
    row: &Value,
    keys: &[(&'static str, String); 3],
) -> Result<Locator> {
    let ours =
        text_of(row, SUBJECT) == Some(&keys[1].1) && text_of(row, MATTER) == Some(&keys[2].1);
    match ours {
        true => locator(call, &text_id(call, row)?),
        false => Err(Code::SynReparent.into()),
    }
}

pub(crate) fn locator(call: Call, id: &str) -> Result<Locator> {
    Locator::new(id).map_err(|_| protocol(call, "a row has no id"))
}

pub(crate) fn modified(call: Call, row: &Value) -> Result<Timestamp> {
    parse_instant(&row["Modified_Time"]).ok_or_else(|| protocol(call, "a row has no time"))
}

pub(crate) fn is_conflict(error: &Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.kind() == FaultKind::Conflict)
}

/// A text that is not empty.
pub(crate) fn text_of<'a>(row: &'a Value, api_name: &str) -> Option<&'a str> {
    row.get(api_name)?.as_str().filter(|text| !text.is_empty())
}

/// A mapped value, taken out of the row.
pub(crate) fn take(row: &mut Value, line: &MappedField) -> Option<Pii<String>> {
    let value = row.get_mut(&line.api_name)?.take();
    line.form.text(value).map(Pii::new)
}

pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The cells of these lines.
pub(crate) fn row_of<'a>(
    lines: &[&'a MappedField],
    fields: &'a Fields,
    permit: &'a Permit<'_>,
) -> Result<Row<'a>> {
    let cell = |line: &&'a MappedField| {
        let value = fields.field(line.field.as_str())?;
        let cell = line.form.cell(&line.api_name, value.expose(permit));
        Some(cell.map(|cell| (line.api_name.as_str(), cell)))
    };
    lines
        .iter()
        .filter_map(cell)
        .collect::<Result<_>>()
        .map(Row)
}

/// Rows of a subform that are not named stay: those that are there now are named to go.
fn replace_rows(cells: &mut Row<'_>, now: &Value) {
    for (name, cell) in &mut cells.0 {
        if let Cell::Rows(rows) = cell {
            let there = now[*name].as_array().into_iter().flatten();
            let gone = there.filter_map(|row| row["id"].as_str());
            rows.extend(gone.map(|id| json!({"id": id, "_delete": null})));
        }
    }
}

/// Our key, person and matter, as the CRM keeps them.
pub(crate) fn keys_of(record: &CrmRecord) -> [(&'static str, String); 3] {
    [
        (KEY, record.record.to_string()),
        (SUBJECT, record.subject.to_string()),
        (MATTER, record.matter.to_string()),
    ]
}

/// With this `If-Unmodified-Since` an upsert only inserts: whatever is there was changed later.
pub(crate) const BEFORE_ALL: &str = "2000-01-01T00:00:00+00:00";

/// Where clients are kept.
pub(crate) const MODULE: &str = "Contacts";

pub(crate) const READING: [Act; 7] = [
    Act::Amend,
    Act::Enter,
    Act::Open,
    Act::Process,
    Act::Review,
    Act::Transfer,
    Act::Verify,
];
pub(crate) const AMENDING: [Act; 3] = [Act::Amend, Act::Enter, Act::Process];
/// For finding records of people who are not known yet.
pub(crate) const SEARCHING: [Act; 5] = [
    Act::Process,
    Act::Review,
    Act::Search,
    Act::Transfer,
    Act::Verify,
];
const LOCATING: [Act; 10] = [
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
