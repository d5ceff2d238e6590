//! The end of a file: links, file with all versions, both stages of the recycle bin; then the probe.
//!
//! ```text
//!   label forbids? ── DST-HOLD
//!        │ no
//!   shares withdrawn, own name again ─► permanentDelete ─► bin entries of that name ended, stage 1, then 2
//!                                         │ not offered
//!                                         └► delete, to the bin
//! ```
//!
//! The probe asks by other ways than the erasure went: by path as well as by id, the lists of both bin
//! stages, and the Preservation Hold library, whose copies nothing here can remove.

use crate::client::Client;
use crate::items::Item;
use crate::recycle_bin::{Entry, Found, Rest};
use crate::{SharePoint, names};
use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::id::{Digest, DocumentId, IdempotencyKey};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Erase, Erased, Method, Probe, Residue};
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Request};
use serde_json::json;
use std::fmt::Write as _;

#[async_trait]
impl Erase for SharePoint {
    fn system(&self) -> System {
        crate::SYSTEM
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&crate::SYSTEM, Act::Destroy, permit)?;
        let off = || {
            ERASE
                .fault(FaultKind::Unsupported)
                .because("destruction is switched off")
        };
        let (destroying, bins) = self.destroyer.as_ref().ok_or_else(off)?;
        let document = document(placement)?;
        let mut steps = Vec::new();
        let mut window = None;
        for item in self.live(ERASE, placement, document).await? {
            if self.forbidden_by_label(ERASE, &item.id).await? {
                return Err(Refusal::new(Code::DstHold)
                    .about("placement", placement.id)
                    .into());
            }
            self.withdraw_all(&item).await?;
            steps.push(Label::fixed("shares.withdraw"));
            if item.name != names::file(document) {
                rename(destroying, self.by_id(&item.id, &[]), document).await?;
                steps.push(Label::fixed("file.rename"));
            }
            if self.delete_for_good(destroying, &item).await? {
                steps.push(Label::fixed("file.permanent_delete"));
            } else {
                steps.push(Label::fixed("file.delete"));
                if bins.is_none() {
                    window = Some(permit.now() + TimeDelta::days(BIN_DAYS));
                }
            }
        }
        if let Some(rest) = bins {
            let ended = end_entries(rest, &names::file(document)).await?;
            if ended > 0 {
                steps.push(Label::fixed("recycle_bin.delete"));
            }
            window = window.max(kept(rest, placement, document, permit.now()).await?);
        }
        if steps.is_empty() {
            steps.push(Label::fixed("file.absent"));
        }
        Ok(Erased {
            method: Method::ProviderDeletion,
            steps,
            window,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&crate::SYSTEM, Act::Probe, permit)?;
        let document = document(placement)?;
        let mut seen = Seen::new(permit.now());
        if let Some(locator) = &placement.locator {
            let there = self.item(PROBE, locator.as_str()).await?.is_some();
            seen.asked("file.by_id", usize::from(there));
            seen.left(there, "file", None);
        }
        if let Some(matter) = placement.matter {
            let there = self
                .item_at(PROBE, &self.path(matter, document))
                .await?
                .is_some();
            seen.asked("file.by_path", usize::from(there));
            seen.left(there, "file", None);
        }
        // The bins are an administrator's of the site to look into, as whoever destroys is.
        match self.destroying_rest().or(self.rest()) {
            Some(rest) => {
                let of = |entry: &Entry| entry.of(document, placement.matter);
                let entries = rest.entries(PROBE, |entry| of(entry).is_some()).await?;
                seen.asked("recycle_bin.list", entries.len());
                for entry in &entries {
                    // A deleted matter folder may hold the file, and what was renamed may be it; ending
                    // those could take others along.
                    let what = match (of(entry), entry.item_state) {
                        (Some(Found::File), 2) => "recycle_bin.second_stage",
                        (Some(Found::File), _) => "recycle_bin",
                        (Some(Found::Folder), _) => "recycle_bin.folder",
                        (Some(Found::Unattributed) | None, _) => "recycle_bin.unattributed",
                    };
                    let deleted = entry.deleted_date.unwrap_or(seen.at);
                    seen.left(true, what, Some(deleted + TimeDelta::days(BIN_DAYS)));
                }
                let held = rest.held(PROBE, &document.to_string()).await?;
                seen.asked("hold_library.list", held);
                // If the hold ended today: its clean-up first, then the second-stage bin.
                seen.left(
                    held > 0,
                    "hold_library",
                    Some(seen.at + TimeDelta::days(HOLD_DAYS)),
                );
            }
            None => seen.asked("recycle_bin.unasked", 0),
        }
        Ok(seen.into_probe())
    }
}

impl SharePoint {
    /// The live file of a placement, by id and by path: usually the same, at times only one is known.
    async fn live(
        &self,
        call: Call,
        placement: &Placement,
        document: DocumentId,
    ) -> Result<Vec<Item>> {
        let mut found = Vec::new();
        if let Some(locator) = &placement.locator
            && let Some(item) = self.item(call, locator.as_str()).await?
        {
            // An id that names another file than the placement's is not followed. One whose name is nobody's
            // is ours in our folder: somebody renamed it.
            let ours = match names::document(&item.name) {
                Some(named) => named == document,
                None => placement.matter.is_some() && item.matter() == placement.matter,
            };
            if !ours {
                let fault = call.fault(FaultKind::Protocol);
                return Err(fault.because("the library's id names another file").into());
            }
            found.push(item);
        }
        if let Some(matter) = placement.matter
            && let Some(item) = self.item_at(call, &self.path(matter, document)).await?
            && found.iter().all(|known| known.id != item.id)
        {
            // It goes first, so that a renamed one can have its name.
            found.insert(0, item);
        }
        Ok(found)
    }

    /// Takes back every share set on the item itself, so that none outlives it in a cache.
    async fn withdraw_all(&self, item: &Item) -> Result<()> {
        let all = self.permissions(ERASE, &item.id).await?.unwrap_or_default();
        for permission in all.iter().filter(|each| each.inherited_from.is_none()) {
            self.withdraw(ERASE, &item.id, &permission.id).await?;
        }
        Ok(())
    }

    /// Deletes past the recycle bin; where that is not offered, into it. Tells which it was.
    async fn delete_for_good(&self, graph: &Client, item: &Item) -> Result<bool> {
        let url = graph.url(&self.by_id(&item.id, &["permanentDelete"]))?;
        let answer = graph
            .ask(|| Ok(Request::post(ERASE, url.clone()).repeatable()))
            .await?;
        match answer.status {
            200 | 204 => return Ok(true),
            403 if self.forbidden_by_label(ERASE, &item.id).await? => {
                return Err(Code::DstHold.into());
            }
            // Not offered here, not for an application with `Sites.Selected`, or gone already: the ordinary
            // deletion tells which.
            400 | 403 | 404 | 405 | 501 => {}
            _ => return Err(answer.unexpected(ERASE)),
        }
        let url = graph.url(&self.by_id(&item.id, &[]))?;
        let answer = graph
            .ask(|| Ok(Request::delete(ERASE, url.clone())))
            .await?;
        match answer.status {
            200 | 204 => Ok(false),
            404 => Ok(true),
            // A record label came, or the shares it had were not ours to withdraw.
            403 if self.forbidden_by_label(ERASE, &item.id).await? => Err(Code::DstHold.into()),
            _ => Err(answer.unexpected(ERASE)),
        }
    }
}

/// Gives a file that somebody renamed its own name again: by it the recycle bin's entry is found, also after a
/// kill, and what somebody wrote into the name does not outlive the file.
async fn rename(graph: &Client, path: Vec<String>, document: DocumentId) -> Result<()> {
    let url = graph.url(&path)?;
    let body = json!({ "name": names::file(document) });
    let make = || Ok(Request::patch(ERASE, url.clone()).json(&body).repeatable());
    let answer = graph.ask(make).await?;
    match answer.status {
        // Gone: somebody deleted it meanwhile, and the bin tells the rest.
        200 | 404 => Ok(()),
        _ => Err(answer.unexpected(ERASE)),
    }
}

/// Ends every entry of this name in both stages. Ending one in the first stage may move it to the
/// second, so the list is read again until it is empty.
async fn end_entries(rest: &Rest, name: &str) -> Result<usize> {
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let entries: Vec<Entry> = rest.entries(ERASE, |entry| entry.leaf_name == name).await?;
        if entries.is_empty() {
            return Ok(ended);
        }
        for entry in &entries {
            rest.end(ERASE, entry).await?;
            ended += 1;
        }
    }
    Err(ERASE
        .fault(FaultKind::Unavailable)
        .because("the recycle bin does not let go")
        .into())
}

/// Until when the provider keeps what nothing here can remove.
async fn kept(
    rest: &Rest,
    placement: &Placement,
    document: DocumentId,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let held = rest.held(ERASE, &document.to_string()).await?;
    let mut until = (held > 0).then(|| now + TimeDelta::days(HOLD_DAYS));
    let of = |entry: &Entry| entry.of(document, placement.matter);
    for entry in rest.entries(ERASE, |entry| of(entry).is_some()).await? {
        let deleted = entry.deleted_date.unwrap_or(now);
        until = until.max(Some(deleted + TimeDelta::days(BIN_DAYS)));
    }
    Ok(until)
}

fn document(placement: &Placement) -> Result<DocumentId> {
    match placement.of {
        CopyOf::Document(id) => Ok(id),
        CopyOf::Record(_) => {
            let fault = ERASE.fault(FaultKind::Protocol);
            Err(fault
                .because("a record is not a file of this library")
                .into())
        }
    }
}

/// A probe in the making.
struct Seen {
    at: Timestamp,
    asked: Vec<Label>,
    answers: String,
    residues: Vec<Residue>,
}

impl Seen {
    fn new(at: Timestamp) -> Self {
        Self {
            at,
            asked: Vec::new(),
            answers: String::new(),
            residues: Vec::new(),
        }
    }

    fn asked(&mut self, question: &'static str, found: usize) {
        self.asked.push(Label::fixed(question));
        // Writing to a string cannot fail.
        let _ = writeln!(self.answers, "{question}={found}");
    }

    fn left(&mut self, there: bool, what: &'static str, until: Option<Timestamp>) {
        let residue = Residue {
            what: Label::fixed(what),
            until,
            content: true,
        };
        if there && !self.residues.contains(&residue) {
            self.residues.push(residue);
        }
    }

    fn into_probe(self) -> Probe {
        let evidence = Digest::of(self.answers.as_bytes());
        Probe {
            at: self.at,
            asked: self.asked,
            evidence,
            residues: self.residues,
        }
    }
}

const ERASE: Call = Call::new(Port::Erase, "erase");
const PROBE: Call = Call::new(Port::Erase, "probe");
/// Both stages of the recycle bin together, unless an administrator set 7 to 180 days.
const BIN_DAYS: i64 = 93;
/// Up to 37 days of the hold library's clean-up, then the second-stage bin.
const HOLD_DAYS: i64 = 37 + BIN_DAYS;
const ROUNDS: usize = 4;
