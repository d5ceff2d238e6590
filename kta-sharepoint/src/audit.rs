//! The tenant's own audit log, by its query: a job that ends with records, minutes or hours later.
//!
//! Microsoft keeps the log 180 days (Audit Standard), the firm needs 24 months: what is not exported in time
//! is lost. [`AuditPlan`] says which intervals are due and which are lost; an interval that was exported is
//! asked for once more later, and [`still`] tells whether the log still says the same.

use crate::SharePoint;
use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::{Category, Locator};
use kta_core::policy::{Act, Permit};
use kta_core::ports::AuditFeed;
use kta_core::ports::crm::AuditRow;
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// A span of the vendor's log: from the first instant up to the second.
pub type Interval = (Timestamp, Timestamp);

/// What of the vendor's log is to be exported now, and what can be no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPlan {
    /// Intervals to ask for, oldest first, none longer than 30 days.
    pub due: Vec<Interval>,
    /// Intervals that were never exported and are older than the vendor keeps: `AUD-GAP`.
    pub lost: Vec<Interval>,
}

impl AuditPlan {
    /// The plan at `now`, when these intervals were exported and everything since `since` is wanted.
    ///
    /// The log is not written at once: the last 24 hours are left for the next time.
    #[must_use]
    pub fn of(exported: &[Interval], since: Timestamp, now: Timestamp) -> Self {
        let (kept, settled) = (
            now - TimeDelta::days(VENDORS_DAYS),
            now - TimeDelta::hours(SETTLES_HOURS),
        );
        let mut done: Vec<Interval> = exported.to_vec();
        done.sort();
        let (mut at, mut plan) = (since, Self::default());
        let after = [(settled, settled)];
        for (from, to) in done.into_iter().chain(after) {
            let end = from.min(settled);
            if at < end {
                if at < kept {
                    plan.lost.push((at, end.min(kept)));
                }
                let mut start = at.max(kept);
                while start < end {
                    let stop = end.min(start + TimeDelta::days(STEP_DAYS));
                    plan.due.push((start, stop));
                    start = stop;
                }
            }
            at = at.max(to);
        }
        plan
    }

    /// Refuses when something was lost.
    ///
    /// # Errors
    /// `AUD-GAP`.
    pub fn whole(&self) -> Result<()> {
        if self.lost.is_empty() {
            Ok(())
        } else {
            Err(Code::AudGap.into())
        }
    }
}

/// Whether an interval that was exported as `sealed` still reads the same.
///
/// # Errors
/// `AUD-GAP` when a row is gone, `AUD-LATE` when there are more.
pub fn still(sealed: &[Digest], again: &[AuditRow]) -> Result<()> {
    let then: BTreeSet<&Digest> = sealed.iter().collect();
    let now: BTreeSet<&Digest> = again.iter().map(|row| &row.digest).collect();
    if then.difference(&now).next().is_some() {
        return Err(Code::AudGap.into());
    }
    if now.difference(&then).next().is_some() {
        return Err(Code::AudLate.into());
    }
    Ok(())
}

#[async_trait]
impl AuditFeed for SharePoint {
    /// The application wants `AuditLogsQuery-SharePoint.Read.All`; the query is in the worldwide cloud only.
    ///
    /// Beyond the port's errors: `AUD-GAP` for an interval that begins before what the vendor keeps;
    /// `Throttled` when the query is still running: asked again, the same query goes on.
    async fn rows(
        &self,
        from: Timestamp,
        to: Timestamp,
        permit: &Permit<'_>,
    ) -> Result<Vec<AuditRow>> {
        permit.require_act(&[Act::Manage, Act::Report, Act::Review])?;
        if from < permit.now() - TimeDelta::days(VENDORS_DAYS) {
            return Err(Code::AudGap.into());
        }
        let id = self.query(from, to).await?;
        self.finished(&id).await?;
        let url = self
            .graph
            .url(&["security", "auditLog", "queries", &id, "records"])?;
        let records: Option<Vec<Value>> = self.graph.list(ROWS, url, MOST).await?;
        let records = records.ok_or_else(|| {
            ROWS.fault(FaultKind::Unavailable)
                .because("the query's records are gone")
        })?;
        let mut rows = records.iter().map(row).collect::<Result<Vec<_>>>()?;
        rows.retain(|row| row.at >= from - TimeDelta::seconds(1) && row.at <= to);
        rows.sort_by_key(|row| (row.at, row.digest));
        rows.dedup_by_key(|row| row.digest);
        Ok(rows)
    }
}

impl SharePoint {
    /// The query of this interval: one that still runs, or another one.
    async fn query(&self, from: Timestamp, to: Timestamp) -> Result<String> {
        let instant = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let name = format!("kta {} {}", instant(from), instant(to));
        let url = self.graph.url(&["security", "auditLog", "queries"])?;
        let known: Option<Vec<Query>> = self.graph.list(ROWS, url.clone(), MOST).await?;
        let running = known.into_iter().flatten().find(|query| {
            query.display_name.as_deref() == Some(name.as_str()) && query.is_running()
        });
        if let Some(running) = running {
            return Ok(running.id);
        }
        let body = json!({
            "displayName": name,
            "filterStartDateTime": instant(from),
            // The vendor counts seconds: the last one begun is asked for whole.
            "filterEndDateTime": instant(to + TimeDelta::seconds(1)),
            "serviceFilters": ["SharePoint", "OneDrive"],
        });
        // Made twice it is two jobs with the same records, which harms nobody.
        let make = || Ok(Request::post(ROWS, url.clone()).json(&body).repeatable());
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 201 => Ok(answer.parse::<Query>(ROWS)?.id),
            _ => Err(answer.unexpected(ROWS)),
        }
    }

    async fn finished(&self, id: &str) -> Result<()> {
        let url = self.graph.url(&["security", "auditLog", "queries", id])?;
        let mut wait = FIRST_WAIT;
        for _ in 0..LOOKS {
            let query: Option<Query> = self.graph.find(ROWS, url.clone()).await?;
            let query = query.ok_or_else(|| {
                ROWS.fault(FaultKind::Unavailable)
                    .because("the query is gone")
            })?;
            match query.status.as_deref() {
                Some("succeeded") => return Ok(()),
                _ if query.is_running() => {}
                _ => {
                    let fault = ROWS.fault(FaultKind::Unavailable);
                    return Err(fault.because("the query failed").into());
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        let retry_after = Some(LONGEST_WAIT * 2);
        let fault = ROWS.fault(FaultKind::Throttled { retry_after });
        Err(fault.because("the query still runs").into())
    }
}

/// What of a record may stand in our log: when, what, on which item by its id, and the digest of the rest.
fn row(record: &Value) -> Result<AuditRow> {
    let protocol = |text| ROWS.fault(FaultKind::Protocol).because(text);
    let text = |key: &str| record[key].as_str();
    let at = text("createdDateTime").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.ok_or_else(|| protocol("a record has no time"))?;
    let action = text("operation").unwrap_or_default().replace(' ', "_");
    let action = Label::new(action).map_err(|_| protocol("an operation is not a word"))?;
    // Addresses and names stay behind; an item's unique id is a random number.
    let data = &record["auditData"];
    let on = ["ListItemUniqueId", "UniqueId"].iter().find_map(|key| {
        let found = data[*key]
            .as_str()
            .or(data["dynamicProperties"][*key].as_str())?;
        let random = found.len() == 36 && found.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        random.then(|| Locator::new(found).ok()).flatten()
    });
    let category = match on {
        Some(_) => Category::Identity,
        None => Category::FirmRecord,
    };
    let whole = record.to_string();
    Ok(AuditRow {
        at: at.with_timezone(&Utc),
        action,
        on,
        digest: Digest::of(whole.as_bytes()),
        category,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

impl Query {
    fn is_running(&self) -> bool {
        matches!(self.status.as_deref(), Some("notStarted" | "running"))
    }
}

const ROWS: Call = Call::new(Port::Documents, "audit rows");
/// What Audit (Standard) keeps.
const VENDORS_DAYS: i64 = 180;
const SETTLES_HOURS: i64 = 24;
const STEP_DAYS: i64 = 30;
const MOST: usize = 1_000_000;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// With the waits above: about five minutes.
const LOOKS: u32 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i64) -> Timestamp {
        Timestamp::from_timestamp(1_768_435_200 + n * 86_400, 0).unwrap()
    }

    #[test]
    fn what_was_never_exported_is_due_while_the_vendor_keeps_it_and_lost_afterwards() {
        let plan = AuditPlan::of(&[], day(-200), day(0));
        assert_eq!(plan.lost, [(day(-200), day(-180))]);
        assert_eq!(plan.due.first().unwrap().0, day(-180));
        assert_eq!(plan.due.last().unwrap().1, day(-1));
        assert!(plan.due.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert!(
            plan.due
                .iter()
                .all(|(from, to)| *to - *from <= TimeDelta::days(30))
        );
        assert_eq!(
            plan.whole().unwrap_err().refusal().unwrap().code(),
            Code::AudGap
        );
    }

    #[test]
    fn a_hole_between_exports_is_found_however_they_are_ordered_and_overlap() {
        let exported = [
            (day(-20), day(-10)),
            (day(-60), day(-30)),
            (day(-25), day(-15)),
        ];
        let plan = AuditPlan::of(&exported, day(-60), day(0));
        assert_eq!(plan.due, [(day(-30), day(-25)), (day(-10), day(-1))]);
        assert!(plan.whole().is_ok());
        let all = [(day(-60), day(0))];
        assert_eq!(AuditPlan::of(&all, day(-60), day(0)), AuditPlan::default());
    }

    #[test]
    fn a_row_that_is_gone_is_a_gap_and_one_that_came_later_is_late() {
        let row = |n: u8| AuditRow {
            at: day(0),
            action: Label::fixed("FileDeleted"),
            on: None,
            digest: Digest::of(&[n]),
            category: Category::FirmRecord,
        };
        let sealed = [Digest::of(&[1]), Digest::of(&[2])];
        assert!(still(&sealed, &[row(2), row(1)]).is_ok());
        let code = |rows: &[AuditRow]| still(&sealed, rows).unwrap_err().refusal().unwrap().code();
        assert_eq!(code(&[row(1)]), Code::AudGap);
        assert_eq!(code(&[row(1), row(2), row(3)]), Code::AudLate);
        assert_eq!(code(&[row(1), row(3)]), Code::AudGap);
    }

    #[test]
    fn a_record_leaves_names_and_addresses_behind() {
        let record = json!({ "createdDateTime": "2026-01-15T09:00:00Z", "operation": "FileDeleted",
            "userPrincipalName": "testa@firm.example", "objectId": "https://x/testa.pdf",
            "auditData": { "dynamicProperties": {
                "ListItemUniqueId": "00000000-0000-4000-a000-000000000001" } } });
        let read = row(&record).unwrap();
        assert!(!format!("{read:?}").contains("testa"));
        assert!(read.on.is_some());
        let named = json!({ "createdDateTime": "2026-01-15T09:00:00Z", "operation": "FileDeleted",
            "auditData": { "UniqueId": "testa" } });
        assert!(row(&named).unwrap().on.is_none());
    }
}
