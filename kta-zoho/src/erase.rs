//! Erasing a record with everything beneath it, and looking for what is left.
//!
//! ```text
//!  live record ─► notes (emptied, deleted, purged) ─► attachments (deleted, purged)
//!       ▲               ─► name overwritten ─► record deleted ─► purged from the bin, by id
//!       │ restored first, when somebody deleted it by hand: only a live record's notes and
//!  recycle bin   attachments can be reached; after every live one, as the key is in one live record
//! ```
//!
//! Before a note or an attachment goes, the name becomes a marker with the ids of what goes next
//! ([`marker`]), and with our key before the record does: whoever goes on after a kill knows by it what is
//! still in the recycle bin.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{Locator, Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Erase, Erased, Method as ErasureMethod, Probe, Residue};
use kta_core::{Code, Error, Port, Result};
use kta_http::{Call, Method};

use crate::coql::{ids_of, is_id};
use crate::map::{LAST_NAME, SUBJECT};
use crate::notes::ERASED;
use crate::records::MODULE;
use crate::recycle_bin::{deleted_line, one_row, unless_gone};
use crate::{ZohoCrm, attachments, marker, notes, recycle_bin};

#[async_trait]
impl Erase for ZohoCrm {
    fn system(&self) -> System {
        ZohoCrm::SYSTEM
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        let call = Call::new(Port::Erase, "erase");
        placement.admit(&Self::SYSTEM, Act::Destroy, permit)?;
        let mut steps = Steps::default();
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        for id in self.find(call, placement).await?.0 {
            match self.live_and_theirs(call, placement, &id).await? {
                Some(marked) => live.push((id, marked)),
                None => dead.push(id),
            }
        }
        for (id, marked) in live {
            self.erase_live(call, placement, &id, &marked, &mut steps)
                .await?;
        }
        // Our key is in one live record at most, so these can come back only now.
        for id in dead {
            self.erase_dead(call, placement, &id, &mut steps).await?;
        }
        if steps.0.is_empty() {
            steps.took("record.absent", None);
        }
        let window = Some(permit.now() + self.config.backup_window);
        Ok(Erased {
            method: ErasureMethod::ProviderDeletion,
            steps: steps.0,
            window,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        let call = Call::new(Port::Erase, "probe");
        placement.admit(&Self::SYSTEM, Act::Probe, permit)?;
        let mut seen = Seen::default();
        let (ids, found) = self.find(call, placement).await?;
        seen.asked("record.query", found, "record", None, true);
        let last = marker::last(placement.stored_record()?.record);
        for id in &ids {
            self.probe_id(call, id, &last, &mut seen).await?;
        }
        Ok(seen.into_probe(permit))
    }
}

impl ZohoCrm {
    /// The ids of the copy: as registered, as our key finds it, and as a broken-off erasure left it in
    /// the bin. They differ when the process died between entering and registering, or somebody deleted a
    /// copy or put one back.
    async fn find(&self, call: Call, placement: &Placement) -> Result<(BTreeSet<String>, bool)> {
        let (client, record) = (&*self.client, placement.stored_record()?.record);
        let mut ids: BTreeSet<String> = located(placement).into_iter().collect();
        let live = ids_of(client, call, MODULE, record).await?;
        let found = !live.is_empty();
        ids.extend(live);
        ids.extend(recycle_bin::named(client, call, MODULE, &marker::last(record)).await?);
        Ok((ids, found))
    }

    /// Erases a record that is not live: brought back first when the recycle bin has it.
    async fn erase_dead(
        &self,
        call: Call,
        placement: &Placement,
        id: &str,
        steps: &mut Steps,
    ) -> Result<()> {
        let client = &*self.client;
        if recycle_bin::look(client, call, id).await?.is_some() {
            recycle_bin::restore(client, call, id).await?;
            steps.took("recycle_bin.restore", None);
            if let Some(marked) = self.live_and_theirs(call, placement, id).await? {
                return self.erase_live(call, placement, id, &marked, steps).await;
            }
        }
        self.purge(call, id, steps).await
    }

    /// Erases a live record; `marked` is what a broken-off erasure of it may have left in the bin.
    async fn erase_live(
        &self,
        call: Call,
        placement: &Placement,
        id: &str,
        marked: &[String],
        steps: &mut Steps,
    ) -> Result<()> {
        let client = &*self.client;
        for one in marked {
            recycle_bin::purge_related(client, call, one).await?;
        }
        let count = notes::erase_all(client, call, id).await?;
        steps.took("notes.delete", Some(count));
        let count = attachments::erase_all(client, call, id).await?;
        steps.took("attachments.delete", Some(count));
        let last = marker::last(placement.stored_record()?.record);
        marker::overwrite(client, call, id, &last).await?;
        steps.took("record.overwrite_name", None);
        let path = [MODULE, id];
        let request = || {
            let request = client.request(call, Method::DELETE, &path)?;
            Ok(request.query("wf_trigger", "false"))
        };
        unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
        steps.took("record.delete", None);
        self.purge(call, id, steps).await
    }

    async fn purge(&self, call: Call, id: &str, steps: &mut Steps) -> Result<()> {
        if recycle_bin::purge(&self.client, call, id).await? {
            steps.took("recycle_bin.delete", None);
        }
        Ok(())
    }

    /// `None` when the record is not live, else the ids that a marker in its name has. One that is
    /// somebody else's is not touched.
    async fn live_and_theirs(
        &self,
        call: Call,
        placement: &Placement,
        id: &str,
    ) -> Result<Option<Vec<String>>> {
        let path = [MODULE, id];
        let fields = format!("{SUBJECT},{LAST_NAME}");
        let request = || {
            let request = self.client.request(call, Method::GET, &path)?;
            Ok(request.query("fields", &fields))
        };
        let rows = self
            .client
            .answer(call, request)
            .await?
            .into_list(call, "data")?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        match row[SUBJECT].as_str() {
            Some(subject) if subject == placement.subject.to_string() => {
                let name = row[LAST_NAME].as_str().unwrap_or_default();
                Ok(Some(marker::read(name)))
            }
            _ => Err(Error::from(Code::AclDeny)),
        }
    }

    /// `last` is the name under which an erased record went.
    async fn probe_id(&self, call: Call, id: &str, last: &str, seen: &mut Seen) -> Result<()> {
        let client = &*self.client;
        let path = [MODULE, id];
        let request = || {
            Ok(client
                .request(call, Method::GET, &path)?
                .query("fields", "id"))
        };
        let rows = client
            .answer(call, request)
            .await?
            .into_list(call, "data")?;
        seen.asked("record.get", !rows.is_empty(), "record", None, true);

        let binned = recycle_bin::look(client, call, id).await?;
        let until = binned
            .and_then(|one| one.since)
            .map(|since| since + BIN_WINDOW);
        seen.asked(
            "recycle_bin.get",
            binned.is_some(),
            "recycle_bin",
            until,
            true,
        );

        let line = deleted_line(client, call, MODULE, id).await?;
        let named = line
            .as_ref()
            .is_some_and(|line| line.display_name != last && line.display_name != ERASED);
        seen.asked("deleted.list", line.is_some(), "deleted_list", None, named);

        // What somebody deleted from under the record by hand went before the record did.
        let gone = line.and_then(|line| line.since);
        let (count, last) = recycle_bin::related(client, call, gone).await?;
        let until = last.map(|last| last + BIN_WINDOW);
        seen.asked(
            "recycle_bin.list",
            count > 0,
            "recycle_bin.unattributed",
            until,
            true,
        );

        let count = notes::count(client, call, id).await?;
        seen.asked("notes.query", count > 0, "notes", None, true);

        // Under a record that is gone the next two cannot be asked; the label says so.
        match unless_gone(attachments::list(client, call, id).await)? {
            Some(ids) => {
                seen.asked(
                    "attachments.list",
                    !ids.is_empty(),
                    "attachments",
                    None,
                    true,
                );
            }
            None => seen.label("attachments.list:no-record"),
        }
        let path = [MODULE, id, "__timeline"];
        let request = || client.request(call, Method::GET, &path);
        match unless_gone(client.answer(call, request).await)? {
            Some(answer) => {
                let entries = answer.into_list(call, "__timeline")?;
                seen.asked("timeline.get", !entries.is_empty(), "timeline", None, true);
            }
            None => seen.label("timeline.get:no-record"),
        }
        Ok(())
    }
}

fn located(placement: &Placement) -> Option<String> {
    let text = placement.locator.as_ref().map(Locator::as_str)?;
    is_id(text).then(|| text.to_owned())
}

/// The steps of an erasure, for its certificate.
#[derive(Default)]
struct Steps(Vec<Label>);

impl Steps {
    fn took(&mut self, step: &'static str, count: Option<u32>) {
        let text = count.map_or_else(|| step.to_owned(), |count| format!("{step}:{count}"));
        self.0.extend(Label::new(text));
    }
}

/// What a probe asked and saw.
#[derive(Default)]
struct Seen {
    asked: Vec<Label>,
    residues: Vec<Residue>,
}

impl Seen {
    fn asked(
        &mut self,
        question: &'static str,
        found: bool,
        what: &'static str,
        until: Option<kta_core::time::Timestamp>,
        content: bool,
    ) {
        let mut known = self.residues.iter_mut();
        match known.find(|residue| residue.what.as_str() == what) {
            _ if !found => {}
            Some(known) => {
                known.until = known.until.zip(until).map(|(one, other)| one.max(other));
                known.content |= content;
            }
            None => self.residues.extend(Label::new(what).map(|what| Residue {
                what,
                until,
                content,
            })),
        }
        let answer = if found { "found" } else { "nothing" };
        self.asked
            .extend(Label::new(format!("{question}:{answer}")));
    }

    fn label(&mut self, question: &'static str) {
        self.asked.extend(Label::new(question));
    }

    /// The evidence is a digest of questions and answers in these words, not of the vendor's
    /// bytes: those could hold a name, and a digest of a name can be guessed.
    fn into_probe(self, permit: &Permit<'_>) -> Probe {
        let at = permit.now();
        let lines: Vec<&str> = self.asked.iter().map(Label::as_str).collect();
        let text = format!("{}\n{}", at.to_rfc3339(), lines.join("\n"));
        let evidence = Digest::of(text.as_bytes());
        Probe {
            at,
            asked: self.asked,
            evidence,
            residues: self.residues,
        }
    }
}

/// How long the recycle bin keeps an entry, says the vendor's help page.
const BIN_WINDOW: TimeDelta = TimeDelta::days(60);
