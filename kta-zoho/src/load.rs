//! The initial load: every record of the organisation by bulk read jobs, a page at a time, in
//! memory that does not grow with their number.
//!
//! ```text
//!  POST read (page n) ─► poll ─► GET result ─► unzip ─► lines ─► records
//!        ▲                                                          │ told in pages, each with
//!        └── more_records: page n + 1 ◄─────────────────────────────┘ a cursor to go on from
//! ```
//!
//! A job is a snapshot of its moment. The cursor after the last record belongs to the
//! [`ChangeFeed`](kta_core::ports::ChangeFeed) and begins before the first job did, so that what
//! was changed meanwhile is told again. Beyond one job's 200 000 records the pages are cut from
//! several snapshots: a record can slip from one to another between them, and
//! [`ZohoCrm::reconcile`] finds it.

use core::fmt;
use std::collections::VecDeque;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use kta_core::id::{MatterId, RecordId, SubjectId};
use kta_core::pii::{ContentStream, Fields, Locator};
use kta_core::policy::{Act, LawfulBasis, Permit};
use kta_core::ports::Cursor;
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Method};
use serde_json::{Value, json};

use crate::ZohoCrm;
use crate::columns::Columns;
use crate::coql::{instant, is_id, parse_instant};
use crate::csv::{Line, Lines};
use crate::error::protocol;
use crate::feed::after_load;
use crate::map::{BASIS, KEY, MATTER, SUBJECT};
use crate::records::MODULE;
use crate::unzip::Unzip;
use crate::value::ValueForm;

/// What a load brings of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Ids, keys, basis and time of change: nothing that says who it is.
    Index,
    /// The mapped fields besides, as far as the permit covers the person.
    Mapped,
}

/// A record as a load brings it.
#[derive(Debug)]
pub struct Loaded {
    /// The CRM's id.
    pub locator: Locator,
    /// Our key in it, if it has one.
    pub record: Option<RecordId>,
    /// Whose data it is, if it says so in our words.
    pub subject: Option<SubjectId>,
    /// The matter it is kept for, likewise.
    pub matter: Option<MatterId>,
    /// The CRM's id of its owner.
    pub owner: Option<Locator>,
    /// When it was last changed.
    pub modified: Timestamp,
    /// The lawful basis that the CRM shows.
    pub basis: Option<LawfulBasis>,
    /// Whether somebody stopped the processing of the person's data; `None` where nobody asked
    /// (an index), or the record is gone since the file was made.
    pub stopped: Option<bool>,
    /// The mapped fields that are not empty and that the permit covers; none in an index, and
    /// none of a person whose processing is stopped.
    pub fields: Fields,
}

/// A page of a load.
#[derive(Debug)]
pub struct LoadPage {
    /// The records.
    pub records: Vec<Loaded>,
    /// Where to go on: with [`ZohoCrm::load`] while there is more, with the change feed then.
    pub next: Cursor,
    /// Whether there is more.
    pub more: bool,
}

/// A load under way. It can be dropped at any page and begun again from that page's cursor.
pub struct Load {
    crm: ZohoCrm,
    contents: Contents,
    place: Place,
    open: Option<Open>,
    queue: VecDeque<Loaded>,
    turned: Option<Turn>,
}

/// What comes behind a result that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    End,
    Page,
}

/// A result that is being read.
struct Open {
    stream: ContentStream,
    piece: Bytes,
    unzip: Unzip,
    lines: Lines,
    columns: Option<Columns>,
    /// Rows read, and how many of them were told before.
    read: u64,
    skip: u64,
    result: JobResult,
}

impl ZohoCrm {
    /// Begins a load, or goes on with one from the cursor of a page.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit is for another act; `CRM-FIELD-RESTRICTED` and `SYN-SCHEMA`
    /// when a mapped field is withheld or gone; `Misconfigured` for what is no cursor of a load.
    pub async fn load(
        &self,
        from: Option<&Cursor>,
        contents: Contents,
        permit: &Permit<'_>,
    ) -> Result<Load> {
        permit.require_act(&LOADING)?;
        // Withheld fields are empty in a bulk file too.
        self.fresh_metadata(LOAD, permit.now())
            .await?
            .admit(&self.config.map)?;
        let place = from.map_or_else(|| Ok(Place::default()), Place::read)?;
        Ok(Load {
            crm: self.clone(),
            contents,
            place,
            open: None,
            queue: VecDeque::new(),
            turned: None,
        })
    }
}

impl Load {
    /// The next page, of about `limit` records.
    ///
    /// # Errors
    /// Faults of the transport, of which a transient one leaves the load where it was; `Protocol`
    /// when the file is not what the job promised.
    pub async fn page(&mut self, limit: usize, permit: &Permit<'_>) -> Result<LoadPage> {
        permit.require_act(&LOADING)?;
        let limit = limit.max(1);
        let mut broken = 0;
        while self.queue.len() < limit && self.turned.is_none() {
            match self.advance(permit).await {
                Ok(()) => {}
                // The same file once more, from its beginning; what was told is skipped.
                Err(error) if broken < MOST_BROKEN && is_broken(&error) => {
                    self.put_back();
                    broken += 1;
                    tokio::time::sleep(self.crm.config.waits.0 * broken).await;
                }
                Err(error) => {
                    self.put_back();
                    return Err(error);
                }
            }
        }
        let count = self.queue.len().min(limit);
        // Asked before anything leaves the queue: a failure leaves the load where it was.
        let stopped = match self.contents {
            Contents::Index => None,
            Contents::Mapped => {
                let ids: Vec<&Locator> = self
                    .queue
                    .iter()
                    .take(count)
                    .map(|one| &one.locator)
                    .collect();
                Some(self.crm.stopped(LOAD, &ids).await?)
            }
        };
        let mut records: Vec<Loaded> = self.queue.drain(..count).collect();
        if let Some(stopped) = stopped {
            for one in &mut records {
                one.stopped = stopped.get(&one.locator).copied();
                // What is stopped does not flow, nor what nobody can say that of.
                if one.stopped != Some(false) {
                    one.fields = Fields::new();
                }
            }
        }
        self.place.told += count as u64;
        // A page ends where its file does, so that a cursor is about one file.
        let over = self.queue.is_empty() && self.turned == Some(Turn::End);
        if self.queue.is_empty() && self.turned == Some(Turn::Page) {
            self.turned = None;
            self.place.page += 1;
            (self.place.job, self.place.told) = (None, 0);
        }
        let next = match over {
            true => after_load(self.place.started.unwrap_or(Timestamp::UNIX_EPOCH)),
            false => self.place.write(),
        };
        Ok(LoadPage {
            records,
            next,
            more: !over,
        })
    }

    /// Forgets what was read and not told.
    fn put_back(&mut self) {
        self.open = None;
        self.queue.clear();
    }

    /// Reads a little more of the present result, or opens the next one.
    async fn advance(&mut self, permit: &Permit<'_>) -> Result<()> {
        let Some(open) = &mut self.open else {
            let open = self.start().await?;
            self.open = Some(open);
            return Ok(());
        };
        if open.piece.is_empty() {
            match open.stream.next().await {
                Some(piece) => open.piece = piece?,
                None => return self.close(permit),
            }
        }
        // A little at a time: it may swell a thousandfold.
        let piece = open.piece.split_to(open.piece.len().min(PIECE));
        self.take(&piece, permit)
    }

    fn take(&mut self, piece: &[u8], permit: &Permit<'_>) -> Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let Open {
            unzip,
            lines,
            columns,
            read,
            skip,
            ..
        } = open;
        let (crm, contents, queue) = (&self.crm, self.contents, &mut self.queue);
        let mut line = |line: &Line| {
            let Some(columns) = columns.as_ref() else {
                *columns = Some(Columns::read(line, crm, contents)?);
                return Ok(());
            };
            *read += 1;
            if *read > *skip {
                queue.push_back(columns.loaded(line, crm, permit)?);
            }
            Ok(())
        };
        unzip.push(piece, |text| match text.is_empty() {
            true => Ok(()),
            false => lines.push(text, &mut line),
        })
    }

    /// The end of a result: everything in it was read, or it is not what was promised.
    fn close(&mut self, permit: &Permit<'_>) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        // The last line may lack its end.
        let (crm, contents, queue) = (&self.crm, self.contents, &mut self.queue);
        let (columns, read, skip) = (&mut open.columns, &mut open.read, open.skip);
        open.lines.push(&[], |line| {
            let Some(columns) = columns.as_ref() else {
                *columns = Some(Columns::read(line, crm, contents)?);
                return Ok(());
            };
            *read += 1;
            if *read > skip {
                queue.push_back(columns.loaded(line, crm, permit)?);
            }
            Ok(())
        })?;
        open.unzip.finish()?;
        if open.read != open.result.count {
            return Err(protocol(LOAD, "the file has other rows than its job says"));
        }
        self.turned = Some(match open.result.more {
            true => Turn::Page,
            false => Turn::End,
        });
        Ok(())
    }

    async fn start(&mut self) -> Result<Open> {
        let result = loop {
            let job = match self.place.job.clone() {
                Some(job) => job,
                None => self.order().await?,
            };
            let ended = self.crm.wait_for(&job).await?;
            if let Ended::Done(result) = ended {
                break result;
            }
            // Results are kept for a day; later, and after a failure, it is another snapshot from its
            // beginning: a failed job stays what it is however often it is asked.
            self.place.job = None;
            self.place.told = 0;
            if let Ended::Failed = ended {
                let fault = LOAD.fault(FaultKind::Unavailable);
                return Err(fault.because("the job failed").into());
            }
        };
        let address = ["read", result.job.as_str(), "result"];
        let request = || self.crm.client.bulk(LOAD, Method::GET, &address);
        let stream = self.crm.client.stream(LOAD, LARGEST, request).await?;
        let stream = stream.ok_or_else(|| protocol(LOAD, "the result is gone"))?;
        Ok(Open {
            stream,
            piece: Bytes::new(),
            unzip: Unzip::new(LOAD),
            lines: Lines::new(LOAD),
            columns: None,
            read: 0,
            skip: self.place.told,
            result,
        })
    }

    /// Orders the job of the present page.
    async fn order(&mut self) -> Result<String> {
        let map = self.crm.config.map.fields().iter();
        let map = map.filter(|line| line.form != ValueForm::Rows);
        let mapped = map.map(|line| line.api_name.as_str());
        let mut fields = INDEX.to_vec();
        if self.contents == Contents::Mapped {
            fields.extend(mapped);
        }
        let body = json!({
            "query": {
                "module": {"api_name": MODULE}, "fields": fields, "page": self.place.page,
            },
            "file_type": "csv",
        });
        let client = &self.crm.client;
        // Ordered twice it is two files of the same rows, which costs and harms nobody.
        let request = || {
            let request = client.bulk(LOAD, Method::POST, &["read"])?;
            Ok(request.repeatable().json(&body))
        };
        let answer = client.answer_for(BULK_READ, LOAD, request).await?;
        let now = answer.server_time;
        let details = answer.into_details(LOAD, "data")?;
        let job = details["id"].as_str().filter(|id| is_id(id));
        let job = job
            .ok_or_else(|| protocol(LOAD, "the job has no id"))?
            .to_owned();
        if self.place.started.is_none() {
            let created = parse_instant(&details["created_time"]);
            let started = now.into_iter().chain(created).min();
            let started = started.ok_or_else(|| protocol(LOAD, "the job has no time"))?;
            self.place.started = Some(started);
        }
        self.place.job = Some(job.clone());
        Ok(job)
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("contents", &self.contents)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl ZohoCrm {
    /// Waits until a job has come to its end.
    async fn wait_for(&self, job: &str) -> Result<Ended> {
        let path = ["read", job];
        let mut wait = self.config.waits.0;
        for _ in 0..MOST_LOOKS {
            let request = || self.client.bulk(LOAD, Method::GET, &path);
            let answer = self.client.answer(LOAD, request).await;
            let Some(answer) = crate::recycle_bin::unless_gone(answer)? else {
                return Ok(Ended::Gone);
            };
            let rows = answer.into_list(LOAD, "data")?;
            let row = rows
                .first()
                .ok_or_else(|| protocol(LOAD, "the job is gone"))?;
            match row["state"].as_str() {
                Some("COMPLETED") => return JobResult::read(job, &row["result"]).map(Ended::Done),
                Some("ADDED" | "QUEUED" | "IN PROGRESS" | "IN_PROGRESS") => {}
                Some("FAILURE" | "FAILED") => return Ok(Ended::Failed),
                _ => return Err(protocol(LOAD, "the job is in no known state")),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.config.waits.1);
        }
        let fault = LOAD.fault(FaultKind::Throttled { retry_after: None });
        Err(fault.because("the job is not done").into())
    }
}

/// How a job ended.
#[derive(Debug)]
enum Ended {
    Done(JobResult),
    Failed,
    /// The vendor does not know it, or not any more.
    Gone,
}

/// What a finished job says of its result.
#[derive(Debug)]
struct JobResult {
    job: String,
    count: u64,
    more: bool,
}

impl JobResult {
    fn read(job: &str, result: &Value) -> Result<Self> {
        let said = result["count"]
            .as_u64()
            .zip(result["more_records"].as_bool());
        let (count, more) = said.ok_or_else(|| protocol(LOAD, "the job has no result"))?;
        Ok(Self {
            job: job.to_owned(),
            count,
            more,
        })
    }
}

/// Where a load goes on: in which job's result, behind how many of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    started: Option<Timestamp>,
    page: u32,
    job: Option<String>,
    told: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            started: None,
            page: 1,
            job: None,
            told: 0,
        }
    }
}

impl Place {
    fn write(&self) -> Cursor {
        let started = self.started.map_or_else(|| "-".to_owned(), instant);
        let job = self.job.as_deref().unwrap_or("-");
        Cursor(format!(
            "{FORM}/{started}/{}/{job}/{}",
            self.page, self.told
        ))
    }

    fn read(cursor: &Cursor) -> Result<Self> {
        let parsed = || {
            let [form, started, page, job, told] =
                cursor.0.split('/').collect::<Vec<_>>().try_into().ok()?;
            let started = match started {
                "-" => None,
                text => Some(parse_instant(&Value::from(text))?),
            };
            let job = (job != "-").then(|| job.to_owned());
            let page = page.parse().ok().filter(|page| *page > 0)?;
            let told = told.parse().ok()?;
            (form == FORM && job.as_deref().is_none_or(is_id)).then_some(Self {
                started,
                page,
                job,
                told,
            })
        };
        parsed().ok_or_else(|| {
            LOAD.fault(FaultKind::Misconfigured)
                .because("not a cursor of a load")
                .into()
        })
    }
}

/// A file that broke off or was changed on its way is fetched again.
fn is_broken(error: &kta_core::Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.is_transient() || fault.kind() == FaultKind::Protocol)
}

/// How far a cursor of the change feed goes back behind the beginning of a load.
pub(crate) const OVERLAP: TimeDelta = TimeDelta::minutes(5);

pub(crate) const LOAD: Call = Call::new(Port::Crm, "load");
const LOADING: [Act; 4] = [Act::Process, Act::Retain, Act::Review, Act::Transfer];
const INDEX: [&str; 7] = ["id", KEY, SUBJECT, MATTER, BASIS, "Owner", "Modified_Time"];
const FORM: &str = "b1";
const BULK_READ: u64 = 50;
/// Two hundred thousand records of 16 KiB, packed.
const LARGEST: u64 = 3 << 30;
const MOST_BROKEN: u32 = 4;
const MOST_LOOKS: u32 = 240;
const PIECE: usize = 4 << 10;
