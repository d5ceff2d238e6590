//! Several amendments in one call, each under the time it expects.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{SubsecRound as _, TimeDelta};
use kta_core::id::SubjectId;
use kta_core::pii::{Fields, Locator};
use kta_core::policy::Permit;
use kta_core::ports::Crm as _;
use kta_core::time::Timestamp;
use kta_core::{Error, FaultKind, Port, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::ZohoCrm;
use crate::coql::{instant, is_id, text_id};
use crate::error::protocol;
use crate::map::{MATTER, SUBJECT};
use crate::records::{AMENDING, MODULE, is_conflict, modified, row_of};
use crate::value::{ValueForm, Write};

/// An amendment of one record, as [`amend`](kta_core::ports::Crm::amend) takes it.
#[derive(Debug)]
pub struct Amendment {
    /// Whose record it is.
    pub subject: SubjectId,
    /// Where it is.
    pub locator: Locator,
    /// The time of change that the caller saw.
    pub expected: Timestamp,
    /// What is to stand in it.
    pub fields: Fields,
}

impl ZohoCrm {
    /// Amends several records, each as [`amend`](kta_core::ports::Crm::amend) does, a hundred in
    /// a call: gives for each, in their order, its new time of change or why not. What fails for
    /// one does not touch the others.
    ///
    /// A call has one `If-Unmodified-Since` for all of its rows: the second before they were read
    /// and found as expected, so that whoever writes after that reading is seen. What cannot go
    /// so (rows of subforms; a record changed within that second; a call that is refused as a
    /// whole) is amended alone.
    ///
    /// # Errors
    /// Refusals before anything is sent: `SYN-UNMAPPED`, `ACL-DENY`, `CRM-FIELD-RESTRICTED`,
    /// `SYN-SCHEMA`; `Conflict` when a record stands twice; faults of the transport, after which
    /// amending all again is amending the rest.
    pub async fn amend_many(
        &self,
        amendments: &[Amendment],
        permit: &Permit<'_>,
    ) -> Result<Vec<Result<Timestamp>>> {
        let call = AMEND_MANY;
        let mut seen = std::collections::BTreeSet::new();
        for one in amendments {
            let lines = self.lines(&one.fields)?;
            self.require_all(&AMENDING, one.subject, &lines, permit)?;
            if !seen.insert(one.locator.as_str()) {
                let fault = call.fault(FaultKind::Conflict);
                return Err(fault.because("a record stands twice").into());
            }
        }
        self.metadata(call, permit.now())
            .await?
            .admit(&self.config.map)?;
        let mut outcomes = Vec::with_capacity(amendments.len());
        for some in amendments.chunks(MOST_ROWS) {
            let mut done = self.amend_some(some, permit).await?;
            for one in some {
                outcomes.push(match done.remove(one.locator.as_str()) {
                    Some(outcome) => outcome,
                    None => self.amend_alone(one, permit).await,
                });
            }
        }
        Ok(outcomes)
    }

    /// What could be done in one call; what is not among it is to be done alone.
    async fn amend_some<'a>(
        &self,
        some: &'a [Amendment],
        permit: &Permit<'_>,
    ) -> Result<BTreeMap<&'a str, Result<Timestamp>>> {
        let mut done = BTreeMap::new();
        let (mut rows, mut read) = self.read_before(some).await?;
        let is_young = |rows: &BTreeMap<String, Value>, read: Timestamp| {
            let mut times = rows
                .values()
                .filter_map(|row| modified(AMEND_MANY, row).ok());
            times.any(|at| at >= read)
        };
        if is_young(&rows, read) {
            // Times have whole seconds: see `amend`.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            (rows, read) = self.read_before(some).await?;
        }
        let (mut cells, mut sent) = (Vec::new(), Vec::new());
        for one in some {
            let row = rows.remove(one.locator.as_str());
            let row = self.own(AMEND_MANY, row.into_iter().collect(), one.subject, permit);
            let at = match row.and_then(|row| modified(AMEND_MANY, &row)) {
                Ok(at) => at,
                Err(error) => {
                    done.insert(one.locator.as_str(), Err(error));
                    continue;
                }
            };
            let lines = self.lines(&one.fields)?;
            let alone = at != one.expected.trunc_subsecs(0)
                || at >= read
                || lines.iter().any(|line| line.form == ValueForm::Rows);
            if !alone {
                let mut row = row_of(&lines, &one.fields, permit)?;
                row.set("id", one.locator.as_str());
                cells.push(row);
                sent.push(one);
            }
        }
        if sent.is_empty() {
            return Ok(done);
        }
        let since = instant(read - TimeDelta::seconds(1));
        let write = Write::many(cells, None);
        let request = || {
            let request = self.client.request(AMEND_MANY, Method::PUT, &[MODULE])?;
            Ok(request.header("if-unmodified-since", &since).json(&write))
        };
        // One credit for each ten rows.
        let price = sent.len().div_ceil(10) as u64;
        let answer = self.client.answer_for(price, AMEND_MANY, request).await;
        let answered = match answer {
            Ok(answer) => answer.into_rows(AMEND_MANY, "data", sent.len())?,
            // Somebody was faster with one of them, or our own first attempt with all.
            Err(error) if is_conflict(&error) => return Ok(done),
            Err(error) => return Err(error),
        };
        for (one, outcome) in sent.into_iter().zip(answered) {
            match outcome.and_then(|details| modified(AMEND_MANY, &details)) {
                Err(error) if is_conflict(&error) => {}
                outcome => drop(done.insert(one.locator.as_str(), outcome)),
            }
        }
        Ok(done)
    }

    /// Whose these records are and when they were changed, and the second of the reading.
    async fn read_before(
        &self,
        some: &[Amendment],
    ) -> Result<(BTreeMap<String, Value>, Timestamp)> {
        let ids = some.iter().map(|one| one.locator.as_str());
        let ids: Vec<&str> = ids.filter(|id| is_id(id)).collect();
        let (ids, fields) = (ids.join(","), format!("{SUBJECT},{MATTER},Modified_Time"));
        let answer = self.by_ids(AMEND_MANY, &ids, &fields).await?;
        let read = answer
            .server_time
            .ok_or_else(|| protocol(AMEND_MANY, "the answer has no time"))?;
        let rows = answer.into_list(AMEND_MANY, "data")?;
        let named = rows
            .into_iter()
            .map(|row| Ok((text_id(AMEND_MANY, &row)?, row)));
        Ok((named.collect::<Result<_>>()?, read))
    }

    async fn amend_alone(&self, one: &Amendment, permit: &Permit<'_>) -> Result<Timestamp> {
        let (subject, at) = (one.subject, &one.locator);
        let amended = self.amend(subject, at, one.expected, &one.fields, permit);
        let error: Error = match amended.await {
            Err(error) if is_conflict(&error) => error,
            outcome => return outcome,
        };
        // Perhaps our own first attempt, whose answer was lost.
        let lines = self.lines(&one.fields)?;
        self.is_there(AMEND_MANY, subject, at, (&lines, &one.fields), permit)
            .await?
            .ok_or(error)
    }
}

const AMEND_MANY: Call = Call::new(Port::Crm, "amend many");
/// Rows of one write.
const MOST_ROWS: usize = 100;
