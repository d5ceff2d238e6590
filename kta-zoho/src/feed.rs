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
use crate::coql::{credits, instant, is_id, parse_instant, query_for, text_id};
use crate::error::protocol;
use crate::load::OVERLAP;
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
        let place =
            cursor.map_or_else(|| Ok(Place::start()), |cursor| Place::read(call, cursor))?;
        let limit = limit.clamp(1, MOST_ROWS);
        let answer = query_for(credits(limit), &self.client, call, &place.query(limit)).await?;
        let (more, answer_time) = (answer.has_more(), answer.server_time);
        let rows = answer.into_list(call, "data")?;
        let mut changes = rows
            .iter()
            .map(|row| changed(call, row))
            .collect::<Result<Vec<Change>>>()?;
        let mut next = place.after_page(&changes, answer_time);
        if !more {
            let deleted = self.deletions(call, place.deleted).await?;
            next.deleted = deleted
                .iter()
                .map(|change| change.at)
                .fold(place.deleted, Ord::max);
            next = next.rewound();
            changes.extend(deleted);
            changes.sort_by_key(|change| change.at);
        }
        Ok(ChangePage {
            changes,
            next: next.write(),
            more,
        })
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
                deletions.push(Change {
                    locator,
                    record: None,
                    at,
                    deleted: true,
                });
            }
            if !more {
                return Ok(deletions);
            }
        }
        Err(protocol(call, "the pages do not end"))
    }
}

/// Where the feed goes on: after the record `after` of the instant `at`, or with everything of
/// that instant.
///
/// Times have whole seconds, and a second that is still running may bring more, with any id. So
/// the first such second that was read is remembered in `running`, and when the end is reached
/// the feed goes back to it: what is told twice harms nobody, what is skipped is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    at: Timestamp,
    after: Option<String>,
    running: Option<Timestamp>,
    deleted: Timestamp,
}

/// The cursor with which the feed goes on behind an initial load that began at `started`. It
/// goes back a little, so that clocks that differ lose nothing.
pub(crate) fn after_load(started: Timestamp) -> Cursor {
    let at = started - OVERLAP;
    let place = Place {
        at,
        after: None,
        running: None,
        deleted: at,
    };
    place.write()
}

impl Place {
    fn start() -> Self {
        let first_day = Timestamp::UNIX_EPOCH + TimeDelta::days(1);
        Self {
            at: Timestamp::UNIX_EPOCH,
            after: None,
            running: None,
            deleted: first_day,
        }
    }

    fn after_page(&self, changes: &[Change], answer_time: Option<Timestamp>) -> Self {
        let mut next = self.clone();
        let over = |at: Timestamp| answer_time.is_some_and(|now| now - at >= TimeDelta::seconds(2));
        let first_running = changes.iter().map(|change| change.at).find(|at| !over(*at));
        next.running = self.running.into_iter().chain(first_running).min();
        if let Some(last) = changes.last() {
            next.at = last.at;
            next.after = Some(last.locator.as_str().to_owned());
        }
        next
    }

    fn rewound(mut self) -> Self {
        self.at = self
            .running
            .take()
            .map_or(self.at, |running| running.min(self.at));
        self.after = None;
        self
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
        let running = self.running.map_or_else(|| "-".to_owned(), instant);
        let (at, deleted) = (instant(self.at), instant(self.deleted));
        Cursor(format!("{FORM}/{at}/{after}/{running}/{deleted}"))
    }

    fn read(call: Call, cursor: &Cursor) -> Result<Self> {
        let parsed = || {
            let [form, at, after, running, deleted] =
                cursor.0.split('/').collect::<Vec<_>>().try_into().ok()?;
            let time = |text: &str| parse_instant(&Value::from(text));
            let after = (after != "-").then(|| after.to_owned());
            let running = match running {
                "-" => None,
                text => Some(time(text)?),
            };
            let fits = form == FORM && after.as_deref().is_none_or(is_id);
            fits.then_some(Self {
                at: time(at)?,
                after,
                running,
                deleted: time(deleted)?,
            })
        };
        parsed().ok_or_else(|| {
            call.fault(FaultKind::Misconfigured)
                .because("not a cursor of this feed")
                .into()
        })
    }
}

fn changed(call: Call, row: &Value) -> Result<Change> {
    let at =
        parse_instant(&row["Modified_Time"]).ok_or_else(|| protocol(call, "a row has no time"))?;
    let record: Option<RecordId> = row[KEY].as_str().and_then(|key| key.parse().ok());
    Ok(Change {
        locator: locator(call, row)?,
        record,
        at,
        deleted: false,
    })
}

fn locator(call: Call, row: &Value) -> Result<Locator> {
    Locator::new(text_id(call, row)?).map_err(|_| protocol(call, "a row has no id"))
}

const FEEDING: [Act; 5] = [
    Act::Process,
    Act::Retain,
    Act::Review,
    Act::Search,
    Act::Transfer,
];
const FORM: &str = "z1";
const MOST_ROWS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call::new(Port::Crm, "changes");

    #[test]
    fn a_cursor_comes_back_as_the_same_place() {
        let after = Some("5843104000000413002".to_owned());
        let running = Some(Timestamp::UNIX_EPOCH + TimeDelta::days(9));
        let places = [
            Place::start(),
            Place {
                after,
                running,
                ..Place::start()
            },
        ];
        for place in places {
            assert_eq!(Place::read(CALL, &place.write()), Ok(place));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let at = "1970-01-01T00:00:00+00:00";
        let bad = [
            String::new(),
            "z1".into(),
            format!("z2/{at}/-/-/{at}"),
            format!("z1/{at}/-/-/{at}/more"),
            "z1/x/-/-/x".into(),
            format!("z1/{at}/' or id > '0/-/{at}"),
        ];
        for text in bad {
            assert!(Place::read(CALL, &Cursor(text.clone())).is_err(), "{text}");
        }
    }
}
