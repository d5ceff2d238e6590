//! Several records in one call: entering, listing, finding.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::id::{IdempotencyKey, MatterId, SubjectId};
use kta_core::pii::{FieldName, Fields, Locator, Pii};
use kta_core::policy::Permit;
use kta_core::ports::crm::Fetched;
use kta_core::ports::{Crm as _, CrmRecord};
use kta_core::{Code, Error, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::ZohoCrm;
use crate::basis::basis_of;
use crate::client::Answer;
use crate::coql::{credits, is_id, query_for, quoted, text_id};
use crate::error::protocol;
use crate::fields::FieldMetadata;
use crate::load::Loaded;
use crate::map::{BASIS, KEY, MATTER, SUBJECT};
use crate::records::{
    BEFORE_ALL, MODULE, READING, SEARCHING, entered, is_conflict, is_empty, keys_of, locator,
    modified, take, text_of,
};
use crate::stopped::STOPPED;
use crate::value::{ValueForm, Write};

/// Where a list goes on. The vendor binds it to the user and the question, and keeps it a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(String);

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The records, newest id first.
    pub records: Vec<Loaded>,
    /// Where to go on; `None` at the end.
    pub next: Option<PageToken>,
}

impl ZohoCrm {
    /// Enters several records, each as [`enter`](kta_core::ports::Crm::enter) does, a hundred in
    /// a call: gives for each, in their order, its locator or why not. What fails for one does
    /// not touch the others, and entering all again is entering the rest.
    ///
    /// # Errors
    /// Refusals before anything is sent: `SYN-UNMAPPED`, `ACL-DENY`, `CRM-FIELD-RESTRICTED`,
    /// `SYN-SCHEMA`; faults of the transport.
    pub async fn enter_many(
        &self,
        records: &[CrmRecord],
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Vec<Result<Locator>>> {
        let call = Call::new(Port::Crm, "enter many");
        for record in records {
            self.admit_entry(record, permit)?;
        }
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let mut outcomes = Vec::with_capacity(records.len());
        for some in records.chunks(MOST_ROWS) {
            outcomes.extend(self.enter_some(call, some, key, permit).await?);
        }
        Ok(outcomes)
    }

    async fn enter_some(
        &self,
        call: Call,
        records: &[CrmRecord],
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Vec<Result<Locator>>> {
        let there = self.there(call, records).await?;
        let keys: Vec<_> = records.iter().map(keys_of).collect();
        let is_new = |keys: &[(&str, String); 3]| !there.contains_key(&keys[0].1);
        let new = || records.iter().zip(&keys).filter(|(_, keys)| is_new(keys));
        let rows = new()
            .map(|(record, keys)| self.row_of(record, keys, permit))
            .collect::<Result<Vec<_>>>()?;
        let sent = rows.len();
        let mut made = Vec::new().into_iter();
        if sent > 0 {
            let write = Write::many(rows, Some([KEY]));
            let path = [MODULE, "upsert"];
            let request = || {
                let request = self.client.request(call, Method::POST, &path)?;
                Ok(request
                    .repeatable()
                    .header("if-unmodified-since", BEFORE_ALL)
                    .json(&write))
            };
            // One credit for each ten rows.
            let price = sent.div_ceil(10) as u64;
            let answer = match self.client.answer_for(price, call, request).await {
                // Another worker was faster with one of them, or our own first attempt with all:
                // each for itself then, which finds what is there.
                Err(error) if is_conflict(&error) => {
                    let mut outcomes = Vec::with_capacity(records.len());
                    for record in records {
                        outcomes.push(self.enter(record, key, permit).await);
                    }
                    return Ok(outcomes);
                }
                answer => answer?,
            };
            made = answer.into_rows(call, "data", sent)?.into_iter();
        }
        let outcome = |keys: &[(&'static str, String); 3]| match there.get(&keys[0].1) {
            Some(row) => entered(call, row, keys),
            None => match made.next() {
                Some(details) => locator(call, &text_id(call, &details?)?),
                None => Err(protocol(call, "a row has no answer")),
            },
        };
        Ok(keys.iter().map(outcome).collect())
    }

    /// Which of these the CRM has, by their keys.
    async fn there(&self, call: Call, records: &[CrmRecord]) -> Result<BTreeMap<String, Value>> {
        let mut there = BTreeMap::new();
        for some in records.chunks(MOST_VALUES) {
            let keys: Vec<String> = some
                .iter()
                .map(|record| format!("'{}'", record.record))
                .collect();
            let text = format!(
                "select id, {KEY}, {SUBJECT}, {MATTER} from {MODULE} where {KEY} in ({}) limit 0, 200",
                keys.join(", ")
            );
            let answer = query_for(credits(200), &self.client, call, &text).await?;
            for row in answer.into_list(call, "data")? {
                if let Some(key) = text_of(&row, KEY).map(str::to_owned) {
                    there.insert(key, row);
                }
            }
        }
        Ok(there)
    }

    /// A page of all records, with the mapped fields that the permit covers: at most 200.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit is for another act; `CRM-FIELD-RESTRICTED` and `SYN-SCHEMA`;
    /// `Protocol` for a token that is over or belongs to another question; faults of the
    /// transport.
    pub async fn list(
        &self,
        from: Option<&PageToken>,
        limit: usize,
        permit: &Permit<'_>,
    ) -> Result<Page> {
        let call = Call::new(Port::Crm, "list");
        permit.require_act(&READING)?;
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let (fields, limit) = (self.listed(), limit.clamp(1, 200).to_string());
        let request = || {
            let request = self.client.request(call, Method::GET, &[MODULE])?;
            let request = request.query("fields", &fields).query("per_page", &limit);
            Ok(match from {
                Some(token) => request.query("page_token", &token.0),
                None => request,
            })
        };
        let answer = self.client.answer(call, request).await?;
        let next = answer.body["info"]["next_page_token"]
            .as_str()
            .filter(|_| answer.has_more())
            .map(|token| PageToken(token.to_owned()));
        if answer.has_more() && next.is_none() {
            return Err(protocol(call, "there is more and no way to it"));
        }
        let rows = answer.into_list(call, "data")?;
        let records = rows.into_iter().map(|row| self.loaded(call, row, permit));
        Ok(Page {
            records: records.collect::<Result<_>>()?,
            next,
        })
    }

    /// The records of a matter, by the vendor's search: what was entered in the last minute or
    /// so may be missing from its index. At most 2 000.
    ///
    /// # Errors
    /// As [`list`](Self::list); `SYN-REPARENT` never: the answer is compared, and what does not
    /// belong is left out.
    pub async fn of_matter(&self, matter: MatterId, permit: &Permit<'_>) -> Result<Vec<Loaded>> {
        let call = Call::new(Port::Crm, "of matter");
        permit.require_act(&SEARCHING)?;
        if permit.matter().is_some_and(|of| of != matter) {
            return Err(Code::AclDeny.into());
        }
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let (fields, key) = (self.listed(), matter.to_string());
        // An id of ours: nothing personal stands in this address, and nothing to escape.
        let criteria = format!("({MATTER}:equals:{key})");
        let mut records = Vec::new();
        for page in 1..=MOST_PAGES {
            let page = page.to_string();
            let request = || {
                let path = [MODULE, "search"];
                let request = self.client.request(call, Method::GET, &path)?;
                Ok(request
                    .query("criteria", &criteria)
                    .query("fields", &fields)
                    .query("per_page", "200")
                    .query("page", &page))
            };
            let answer = self.client.answer(call, request).await?;
            let more = answer.has_more();
            for row in answer.into_list(call, "data")? {
                if text_of(&row, MATTER) == Some(&key) {
                    records.push(self.loaded(call, row, permit)?);
                }
            }
            if !more {
                return Ok(records);
            }
        }
        Err(Refusal::new(Code::SynSchema)
            .about("records", records.len())
            .into())
    }

    /// The records with exactly this value in a mapped field, for telling two clients with one
    /// passport. The value goes in the body of a query, never in an address; letter case counts,
    /// although it does not to the CRM.
    ///
    /// # Errors
    /// `SYN-UNMAPPED` for a field that is not on the map; `ACL-DENY` when the permit is for
    /// another act; `Misconfigured` for a value that no query can hold, or a field that is no
    /// text; `CRM-FIELD-RESTRICTED` when the field is withheld and so cannot be searched.
    pub async fn find_by(
        &self,
        field: &FieldName,
        value: &Pii<String>,
        permit: &Permit<'_>,
    ) -> Result<Vec<Locator>> {
        let call = Call::new(Port::Crm, "find by");
        permit.require_act(&SEARCHING)?;
        let line = self.config.map.of(field).ok_or_else(|| {
            Error::from(Refusal::new(Code::SynUnmapped).about("field", field.label().clone()))
        })?;
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let wanted = value.expose(permit);
        let text = quoted(wanted).filter(|_| line.form == ValueForm::Text);
        let text = text.ok_or_else(|| {
            let fault = call.fault(FaultKind::Misconfigured);
            Error::from(fault.because("no query can hold this value"))
        })?;
        let (name, text) = (&line.api_name, text.as_str());
        let query = zeroize::Zeroizing::new(format!(
            "select id, {name} from {MODULE} where {name} = {text} limit 0, 200"
        ));
        let answer = query_for(credits(200), &self.client, call, &query).await?;
        answer
            .into_list(call, "data")?
            .iter()
            .filter(|row| row[name].as_str() == Some(wanted))
            .map(|row| locator(call, &text_id(call, row)?))
            .collect()
    }

    /// Fetches several records, each as [`fetch`](kta_core::ports::Crm::fetch) does, a hundred in
    /// a call: gives for each, in their order, the record or why not.
    ///
    /// The field metadata is asked anew behind each call in which a mapped field is empty, once
    /// for all of its records. Where the vendor does not show in a list what a fetch must know
    /// (whether processing is stopped; subforms), the record is fetched alone.
    ///
    /// # Errors
    /// `CRM-FIELD-RESTRICTED`, `SYN-SCHEMA`; faults of the transport. What is about one record,
    /// such as `ACL-DENY` or `NotFound`, stands in its place.
    pub async fn fetch_many(
        &self,
        wanted: &[(SubjectId, Locator)],
        permit: &Permit<'_>,
    ) -> Result<Vec<Result<Fetched>>> {
        let call = Call::new(Port::Crm, "fetch many");
        permit.require_act(&READING)?;
        let mut fetched = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(MOST_ROWS) {
            let (rows, metadata) = self.rows_by_id(call, some, permit).await?;
            for (subject, at) in some {
                let row = rows.get(at.as_str()).cloned();
                let alone =
                    self.has_rows() || row.as_ref().is_some_and(|row| row.get(STOPPED).is_none());
                fetched.push(match alone {
                    true => self.fetch(*subject, at, permit).await,
                    false => self
                        .own(call, row.into_iter().collect(), *subject, permit)
                        .and_then(|row| self.fetched(call, *subject, at, row, &metadata, permit)),
                });
            }
        }
        Ok(fetched)
    }

    /// These records with every field that a fetch looks at, and metadata that is not older.
    async fn rows_by_id(
        &self,
        call: Call,
        some: &[(SubjectId, Locator)],
        permit: &Permit<'_>,
    ) -> Result<(BTreeMap<String, Value>, FieldMetadata)> {
        let metadata = self.metadata(call, permit.now()).await?;
        let mapped = self.config.map.fields().iter();
        let mapped = mapped
            .filter(|line| line.form != ValueForm::Rows)
            .map(|line| line.api_name.as_str());
        let own = [KEY, SUBJECT, MATTER, BASIS, "Modified_Time", STOPPED];
        let names: BTreeSet<&str> = mapped.chain(own).chain(metadata.free_texts()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let ids: Vec<&str> = some
            .iter()
            .map(|(_, at)| at.as_str())
            .filter(|id| is_id(id))
            .collect();
        let ids = ids.join(",");
        let mut rows: BTreeMap<String, Value> = BTreeMap::new();
        for names in names.chunks(MOST_FIELDS) {
            let fields = names.join(",");
            let answer = self.by_ids(call, &ids, &fields).await?;
            for row in answer.into_list(call, "data")? {
                let id = text_id(call, &row)?;
                match (rows.get_mut(&id).and_then(Value::as_object_mut), row) {
                    (Some(known), Value::Object(more)) => known.extend(more),
                    (_, row) => {
                        rows.insert(id, row);
                    }
                }
            }
        }
        let lines = self.config.map.fields();
        let missing = rows
            .values()
            .any(|row| lines.iter().any(|line| is_empty(&row[&line.api_name])));
        // Empty, or withheld? Only the metadata of this moment can tell.
        let metadata = match missing {
            true => self.fresh_metadata(call, permit.now()).await?,
            false => metadata,
        };
        metadata.admit(&self.config.map)?;
        Ok((rows, metadata))
    }

    /// These fields of these live records, a hundred at most; both with commas between.
    pub(crate) async fn by_ids(&self, call: Call, ids: &str, fields: &str) -> Result<Answer> {
        let request = || {
            let request = self.client.request(call, Method::GET, &[MODULE])?;
            Ok(request
                .query("ids", ids)
                .query("fields", fields)
                .query("per_page", "200"))
        };
        self.client.answer(call, request).await
    }

    fn has_rows(&self) -> bool {
        let mut lines = self.config.map.fields().iter();
        lines.any(|line| line.form == ValueForm::Rows)
    }

    /// The names that a list asks for; at most fifty, says the vendor.
    fn listed(&self) -> String {
        let mapped = self.config.map.fields().iter();
        let mapped = mapped
            .filter(|line| line.form != ValueForm::Rows)
            .map(|line| line.api_name.as_str());
        let own = [
            KEY,
            SUBJECT,
            MATTER,
            BASIS,
            "Owner",
            "Modified_Time",
            STOPPED,
        ];
        let names: Vec<&str> = own.into_iter().chain(mapped).take(50).collect();
        names.join(",")
    }

    fn loaded(&self, call: Call, mut row: Value, permit: &Permit<'_>) -> Result<Loaded> {
        let subject = text_of(&row, SUBJECT).and_then(|text| text.parse().ok());
        let stopped = row[STOPPED].as_bool();
        let mut fields = Fields::new();
        for line in self.config.map.fields() {
            let is_covered = stopped != Some(true)
                && subject.is_some_and(|subject| {
                    permit.require(&READING, subject, line.category).is_ok()
                });
            if let (true, Some(value)) = (is_covered, take(&mut row, line)) {
                fields.insert(line.field.clone(), value);
            }
        }
        Ok(Loaded {
            locator: locator(call, &text_id(call, &row)?)?,
            record: text_of(&row, KEY).and_then(|text| text.parse().ok()),
            subject,
            matter: text_of(&row, MATTER).and_then(|text| text.parse().ok()),
            owner: row["Owner"]["id"]
                .as_str()
                .and_then(|id| Locator::new(id).ok()),
            modified: modified(call, &row)?,
            basis: text_of(&row, BASIS).and_then(basis_of),
            stopped,
            fields,
        })
    }
}

/// Rows of one write.
const MOST_ROWS: usize = 100;
/// Fields of one list.
const MOST_FIELDS: usize = 50;
/// Values of one `in`.
const MOST_VALUES: usize = 50;
/// Pages of a search, 200 each.
const MOST_PAGES: u32 = 10;
