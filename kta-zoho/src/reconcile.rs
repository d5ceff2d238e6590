//! Whether the CRM still holds what we think it holds: both sides of a window, and every way in
//! which they can differ without an event that says so.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::audit::{Label, merkle};
use kta_core::id::{Digest, MatterId, RecordId, SubjectId};
use kta_core::pii::Locator;
use kta_core::policy::{Act, LawfulBasis, Permit};
use kta_core::time::Timestamp;
use kta_core::{Code, Port, Refusal, Result};
use kta_http::Call;
use serde_json::Value;

use crate::ZohoCrm;
use crate::basis::basis_of;
use crate::coql::{credits, parse_instant, query_for, text_id};
use crate::error::protocol;
use crate::fields::Shape;
use crate::load::Contents;
use crate::map::{BASIS, KEY, MATTER, SUBJECT};
use crate::records::MODULE;
use crate::recycle_bin::{MOST_PAGES, deleted_page};

/// A record as our own register has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Our key.
    pub record: RecordId,
    /// The CRM's id of it.
    pub locator: Locator,
    /// Whose data it is.
    pub subject: SubjectId,
    /// The matter it is kept for.
    pub matter: MatterId,
    /// The CRM's id of its owner when it was last transferred; `None` where nobody noted it.
    pub owner: Option<Locator>,
    /// The CRM's time of change when it was last transferred.
    pub modified: Timestamp,
}

/// One side of a window: how many records, and the root over them.
///
/// A leaf is our key, the CRM's id, person, matter and time of change, so that both sides have
/// the same root if and only if they have the same records in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many records with a key of ours.
    pub count: u64,
    /// The Merkle root over them (RFC 6962), in the order of their keys.
    pub root: Digest,
}

/// What a reconciliation found.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    /// Our side.
    pub ours: Window,
    /// The CRM's side.
    pub theirs: Window,
    /// What must not be: each with the record or field it is about.
    ///
    /// - `CRM-VANISHED`: gone without a deletion, as a merge leaves it;
    /// - `SYN-REPARENT`: under another person, matter, owner or id than it was;
    /// - `CRM-NO-BASIS`: no lawful basis, or none that the law knows;
    /// - `CRM-FIELD-RESTRICTED`: a mapped field is withheld, so it only looks empty;
    /// - `SYN-LOCKED`: somebody stopped the processing of the person's data;
    /// - `SYN-SCHEMA`: a field that matters is gone or another one than it was.
    pub findings: Vec<Refusal>,
    /// Records that somebody deleted: there is an event that says so.
    pub deleted: Vec<Locator>,
    /// Records that were changed since they were last transferred.
    pub behind: Vec<Locator>,
    /// Records with a key of ours that our register does not have: entered and not registered,
    /// or put back after they were erased.
    pub unknown: Vec<Locator>,
    /// How many records have no key of ours: entered past us.
    pub unkeyed: u64,
}

impl Reconciliation {
    /// Whether both sides are the same and nothing was found.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ours == self.theirs && self.findings.is_empty()
    }
}

impl ZohoCrm {
    /// Holds what our register knows against everything the CRM has now.
    ///
    /// `shape` is the fields as they were the last time; without it, fields are only held
    /// against the map. Memory grows with what is known, not with what the records hold; nothing
    /// that says who somebody is comes over the wire.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit is for another act; faults of the transport.
    pub async fn reconcile(
        &self,
        known: impl IntoIterator<Item = Known>,
        shape: Option<&Shape>,
        permit: &Permit<'_>,
    ) -> Result<Reconciliation> {
        permit.require_act(&RECONCILING)?;
        let known: BTreeMap<RecordId, Known> =
            known.into_iter().map(|one| (one.record, one)).collect();
        let mut found = Found::default();
        let now = self.shape(permit).await?;
        found.findings.extend(now.flaws(&self.config.map));
        if let Some(before) = shape {
            found.findings.extend(now.drift(before, &self.config.map));
        }
        if known.len() > MANY {
            // A job costs fifty credits, however many rows it brings.
            let mut load = match self.load(None, Contents::Index, permit).await {
                Ok(load) => load,
                // What is withheld or gone is among the findings already.
                Err(error) if error.refusal().is_some() => {
                    self.walk(&known, &mut found).await?;
                    return self.conclude(known, found).await;
                }
                Err(error) => return Err(error),
            };
            loop {
                let page = load.page(PAGE, permit).await?;
                for loaded in page.records {
                    found.see(&known, loaded.into());
                }
                if !page.more {
                    break;
                }
            }
        } else {
            self.walk(&known, &mut found).await?;
        }
        self.conclude(known, found).await
    }

    /// Every record by queries, in the order of their ids.
    async fn walk(&self, known: &BTreeMap<RecordId, Known>, found: &mut Found) -> Result<()> {
        let mut after = "0".to_owned();
        loop {
            let text = format!(
                "select id, {KEY}, {SUBJECT}, {MATTER}, {BASIS}, Owner, Modified_Time from {MODULE} \
                 where id > '{after}' order by id asc limit 0, {PAGE}"
            );
            let answer = query_for(credits(PAGE), &self.client, RECONCILE, &text).await?;
            let more = answer.has_more();
            for row in answer.into_list(RECONCILE, "data")? {
                after = text_id(RECONCILE, &row)?;
                found.see(known, Seen::read(&row)?);
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn conclude(
        &self,
        known: BTreeMap<RecordId, Known>,
        mut found: Found,
    ) -> Result<Reconciliation> {
        let missing: Vec<&Known> = known
            .values()
            .filter(|one| !found.present.contains(&one.record))
            .collect();
        let deleted = match missing.is_empty() {
            true => BTreeSet::new(),
            false => self.deleted_among(&missing).await?,
        };
        let mut told = Vec::new();
        for one in missing {
            if deleted.contains(one.locator.as_str()) {
                told.push(one.locator.clone());
            } else if !self.came_meanwhile(one).await? {
                found.find(Code::CrmVanished, one);
            }
        }
        let present = known.values();
        let present: Vec<&Known> = present
            .filter(|one| found.present.contains(&one.record))
            .collect();
        let ids: Vec<&Locator> = present.iter().map(|one| &one.locator).collect();
        let stopped = self.stopped(RECONCILE, &ids).await?;
        for one in present {
            if stopped.get(&one.locator) == Some(&true) {
                found.find(Code::SynLocked, one);
            }
        }
        let ours = Window::over(known.values().map(|one| (one.record, one.leaf())));
        Ok(Reconciliation {
            ours,
            theirs: Window::over(found.leaves),
            findings: found.findings,
            deleted: told,
            behind: found.behind,
            unknown: found.unknown,
            unkeyed: found.unkeyed,
        })
    }

    /// Which of these the deleted list knows. It is read until all are found, or to its end.
    async fn deleted_among(&self, missing: &[&Known]) -> Result<BTreeSet<String>> {
        let mut left: BTreeSet<&str> = missing.iter().map(|one| one.locator.as_str()).collect();
        let mut deleted = BTreeSet::new();
        for page in 1..=MOST_PAGES {
            let answer = deleted_page(&self.client, RECONCILE, MODULE, page, None).await?;
            let more = answer.has_more();
            for row in answer.into_list(RECONCILE, "data")? {
                let id = text_id(RECONCILE, &row)?;
                if left.remove(id.as_str()) {
                    deleted.insert(id);
                }
            }
            if !more || left.is_empty() {
                return Ok(deleted);
            }
        }
        Err(protocol(RECONCILE, "the pages do not end"))
    }

    /// Whether a record that was not among the others is there after all: restored, or moved
    /// between two pages.
    async fn came_meanwhile(&self, one: &Known) -> Result<bool> {
        let path = [MODULE, one.locator.as_str()];
        let request = || {
            let request = self
                .client
                .request(RECONCILE, kta_http::Method::GET, &path)?;
            Ok(request.query("fields", KEY))
        };
        let rows = self
            .client
            .answer(RECONCILE, request)
            .await?
            .into_list(RECONCILE, "data")?;
        let key = one.record.to_string();
        Ok(rows.first().is_some_and(|row| row[KEY] == key.as_str()))
    }
}

impl Known {
    fn leaf(&self) -> Digest {
        leaf(
            self.record,
            &self.locator,
            Some(self.subject),
            Some(self.matter),
            self.modified,
        )
    }
}

impl Window {
    fn over(leaves: impl IntoIterator<Item = (RecordId, Digest)>) -> Self {
        let leaves: BTreeMap<RecordId, Digest> = leaves.into_iter().collect();
        Self {
            count: leaves.len() as u64,
            root: merkle::root(leaves.into_values()),
        }
    }
}

/// A record as the CRM has it.
struct Seen {
    locator: Locator,
    record: Option<RecordId>,
    subject: Option<SubjectId>,
    matter: Option<MatterId>,
    owner: Option<Locator>,
    modified: Timestamp,
    basis: Option<LawfulBasis>,
}

impl Seen {
    fn read(row: &Value) -> Result<Self> {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let modified = parse_instant(&row["Modified_Time"]);
        Ok(Self {
            locator: Locator::new(text_id(RECONCILE, row)?)
                .map_err(|_| protocol(RECONCILE, "a row has no id"))?,
            record: text(KEY).parse().ok(),
            subject: text(SUBJECT).parse().ok(),
            matter: text(MATTER).parse().ok(),
            owner: row["Owner"]["id"]
                .as_str()
                .and_then(|id| Locator::new(id).ok()),
            modified: modified.ok_or_else(|| protocol(RECONCILE, "a row has no time"))?,
            basis: basis_of(text(BASIS)),
        })
    }
}

impl From<crate::load::Loaded> for Seen {
    fn from(loaded: crate::load::Loaded) -> Self {
        Self {
            locator: loaded.locator,
            record: loaded.record,
            subject: loaded.subject,
            matter: loaded.matter,
            owner: loaded.owner,
            modified: loaded.modified,
            basis: loaded.basis,
        }
    }
}

#[derive(Default)]
struct Found {
    present: BTreeSet<RecordId>,
    leaves: Vec<(RecordId, Digest)>,
    findings: Vec<Refusal>,
    behind: Vec<Locator>,
    unknown: Vec<Locator>,
    unkeyed: u64,
}

impl Found {
    fn see(&mut self, known: &BTreeMap<RecordId, Known>, seen: Seen) {
        let Some(record) = seen.record else {
            self.unkeyed += 1;
            return;
        };
        let theirs = leaf(
            record,
            &seen.locator,
            seen.subject,
            seen.matter,
            seen.modified,
        );
        self.leaves.push((record, theirs));
        let Some(one) = known.get(&record) else {
            self.unknown.push(seen.locator);
            return;
        };
        self.present.insert(record);
        let owner_moved = one.owner.is_some() && one.owner != seen.owner;
        let moved = seen.locator != one.locator
            || seen.subject != Some(one.subject)
            || seen.matter != Some(one.matter)
            || owner_moved;
        if moved {
            self.find(Code::SynReparent, one);
        }
        if seen.basis.is_none() {
            self.find(Code::CrmNoBasis, one);
        }
        if seen.modified != one.modified {
            self.behind.push(seen.locator);
        }
    }

    fn find(&mut self, code: Code, one: &Known) {
        let mut refusal = Refusal::new(code).about("record", one.record);
        if let Ok(id) = Label::new(one.locator.as_str()) {
            refusal = refusal.about("crm", id);
        }
        self.findings.push(refusal);
    }
}

fn leaf(
    record: RecordId,
    locator: &Locator,
    subject: Option<SubjectId>,
    matter: Option<MatterId>,
    modified: Timestamp,
) -> Digest {
    let mut bytes = record.as_bytes().to_vec();
    let id = locator.as_str().as_bytes();
    bytes.extend_from_slice(&(id.len() as u64).to_be_bytes());
    bytes.extend_from_slice(id);
    for part in [
        subject.map(|id| id.as_bytes().to_vec()),
        matter.map(|id| id.as_bytes().to_vec()),
    ] {
        bytes.push(u8::from(part.is_some()));
        bytes.extend(part.unwrap_or_default());
    }
    bytes.extend_from_slice(&modified.timestamp().to_be_bytes());
    merkle::leaf_hash(&bytes)
}

const RECONCILE: Call = Call::new(Port::Crm, "reconcile");
const RECONCILING: [Act; 4] = [Act::Process, Act::Retain, Act::Review, Act::Transfer];
/// From so many records on a bulk read is cheaper than queries: fifty credits against three for
/// each two thousand.
const MANY: usize = 34_000;
const PAGE: usize = 2_000;
