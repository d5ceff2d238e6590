//! What changed in the CRM since a cursor, by polling: the vendor's notifications are
//! best-effort and end by themselves.

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::id::RecordId;
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::ports::crm::Change;
use kta_core::ports::{ChangeFeed, ChangePage, Cursor};
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Port, Result};
use kta_http::Call;
use serde_json::Value;

use crate::ZohoCrm;
use crate::coql::{instant, is_id, parse_instant, query, text_id};
use crate::error::protocol;
use crate::map::KEY;
use crate::records::MODULE;
use crate::recycle_bin::{MOST_PAGES, deleted_page};

#[async_trait]
impl ChangeFeed for ZohoCrm {
    async fn changes(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
        permit: &Permit<'_>,
    ) -> Result<ChangePage> {
        let call = Call::new(Port::Crm, "changes");
        permit.require_act(&FEEDING)?;
        let place = cursor.map_or_else(|| Ok(Place::start()), |cursor| Place::read(call, cursor))?;
        let limit = limit.clamp(1, MOST_ROWS);
        let answer = query(&self.client, call, &place.query(limit)).await?;
        let (more, server_time) = (answer.has_more(), answer.server_time);
        let rows = answer.into_list(call, "data")?;
        let mut changes =
            rows.iter().map(|row| changed(call, row)).collect::<Result<Vec<Change>>>()?;
        let mut next = place.clone();
        if let Some(last) = changes.last() {
            // A second that is still running may bring more: only a past one is left behind.
            let past = server_time.is_some_and(|now| now - last.at >= TimeDelta::seconds(2));
            next.at = last.at;
            next.after = (more && past).then(|| last.locator.as_str().to_owned());
        }
        if !more {
            let deleted = self.deletions(call, place.deleted).await?;
            next.deleted = deleted.iter().map(|change| change.at).fold(place.deleted, Ord::max);
            changes.extend(deleted);
            changes.sort_by_key(|change| change.at);
        }
        Ok(ChangePage { changes, next: next.write(), more })
    }
}

impl ZohoCrm {
    /// Deletions since an instant, it included.
    async fn deletions(&self, call: Call, since: Timestamp) -> Result<Vec<Change>> {
        // The header excludes its own second; what happened in it is told once more.
        let since = instant(since - TimeDelta::seconds(1));
        let mut deletions = Vec::new();
        for page in 1..=MOST_PAGES {
            let answer = deleted_page(&self.client, call, MODULE, page, Some(&since)).await?;
            let more = answer.has_more();
            for row in answer.into_list(call, "data")? {
                let at = parse_instant(&row["deleted_time"])
                    .ok_or_else(|| protocol(call, "a deletion has no time"))?;
                let locator = locator(call, &row)?;
                deletions.push(Change { locator, record: None, at, deleted: true });
            }
            if !more {
                return Ok(deletions);
            }
        }
        Err(protocol(call, "the pages do not end"))
    }
}

/// Where the feed goes on. Everything of the instant `at` is told again, unless `after` names
/// the last id of it that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    at: Timestamp,
    after: Option<String>,
    deleted: Timestamp,
}

impl Place {
    fn start() -> Self {
        Self { at: Timestamp::UNIX_EPOCH, after: None, deleted: Timestamp::UNIX_EPOCH + TimeDelta::days(1) }
    }

    fn query(&self, limit: usize) -> String {
        let at = instant(self.at);
        let condition = match &self.after {
            None => format!("Modified_Time >= '{at}'"),
            Some(id) => {
                format!("((Modified_Time = '{at}' and id > '{id}') or Modified_Time > '{at}')")
            }
        };
        format!(
            "select id, {KEY}, Modified_Time from {MODULE} where {condition} \
             order by Modified_Time asc, id asc limit 0, {limit}"
        )
    }

    fn write(&self) -> Cursor {
        let after = self.after.as_deref().unwrap_or("-");
        Cursor(format!("{FORM}/{}/{after}/{}", instant(self.at), instant(self.deleted)))
    }

    fn read(call: Call, cursor: &Cursor) -> Result<Self> {
        let parsed = || {
            let mut parts = cursor.0.split('/');
            let form = parts.next()?;
            let (at, after, deleted) = (parts.next()?, parts.next()?, parts.next()?);
            let time = |text: &str| parse_instant(&Value::from(text));
            let fits = form == FORM && parts.next().is_none() && (after == "-" || is_id(after));
            let after = (after != "-").then(|| after.to_owned());
            fits.then_some(Self { at: time(at)?, after, deleted: time(deleted)? })
        };
        parsed().ok_or_else(|| {
            call.fault(FaultKind::Misconfigured).because("not a cursor of this feed").into()
        })
    }
}

fn changed(call: Call, row: &Value) -> Result<Change> {
    let at = parse_instant(&row["Modified_Time"])
        .ok_or_else(|| protocol(call, "a row has no time"))?;
    let record: Option<RecordId> = row[KEY].as_str().and_then(|key| key.parse().ok());
    Ok(Change { locator: locator(call, row)?, record, at, deleted: false })
}

fn locator(call: Call, row: &Value) -> Result<Locator> {
    Locator::new(text_id(call, row)?).map_err(|_| protocol(call, "a row has no id"))
}

const FEEDING: [Act; 5] = [Act::Process, Act::Retain, Act::Review, Act::Search, Act::Transfer];
const FORM: &str = "z1";
const MOST_ROWS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call::new(Port::Crm, "changes");

    #[test]
    fn a_cursor_comes_back_as_the_same_place() {
        let places = [
            Place::start(),
            Place { after: Some("5843104000000413002".into()), ..Place::start() },
        ];
        for place in places {
            assert_eq!(Place::read(CALL, &place.write()), Ok(place));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "z1", "z2/1970-01-01T00:00:00+00:00/-/1970-01-01T00:00:00+00:00", "z1/x/-/x", "z1/1970-01-01T00:00:00+00:00/' or id > '0/1970-01-01T00:00:00+00:00"] {
            assert!(Place::read(CALL, &Cursor(text.into())).is_err(), "{text}");
        }
    }
}
