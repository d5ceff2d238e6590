//! What the audit log says was done, and whether the store says the same.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kta_core::audit::{Entry, Label, Log, Outcome};
use kta_core::id::SubjectId;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Placement, PlacementState};
use kta_core::ports::store::{JobState, PlacementQuery, RecordBy, RecordQuery};
use kta_core::ports::{Jobs as _, Ledger as _, Store as _};
use kta_storage::PgStore;

use super::Failure;
use super::task::{CANARY, Step, Task};
use super::watch::Plan;

/// Reads the log as it grows.
pub struct Count<'t> {
    task: &'t Task,
    log: Log,
    done: BTreeMap<(Step, SubjectId), u32>,
    admitted: u64,
}

impl<'t> Count<'t> {
    pub fn of(task: &'t Task) -> Self {
        Self {
            task,
            log: Log::new("workers.example"),
            done: BTreeMap::new(),
            admitted: 0,
        }
    }

    pub async fn read_on(&mut self, store: &PgStore) -> Result<(), Failure> {
        loop {
            let entries = store.entries(self.task.tenant, self.log.size(), PAGE);
            let entries = entries.await?;
            if entries.is_empty() {
                return Ok(());
            }
            for bytes in entries {
                // Refuses a gap, a repetition and a step back in time.
                self.log.append(&bytes)?;
                let found = |canary: &[u8]| bytes.windows(canary.len()).any(|it| it == canary);
                if found(CANARY.as_bytes()) {
                    return Err("a mail address on the log".into());
                }
                self.one(&Entry::parse(&bytes).map_err(kta_core::Error::from)?)?;
            }
        }
    }

    fn one(&mut self, entry: &Entry) -> Result<(), Failure> {
        let event = &entry.event;
        if event.outcome == Outcome::Refused {
            return Err(format!("entry {} is a refusal", entry.seq).into());
        }
        self.admitted += u64::from(event.outcome == Outcome::Admitted);
        let Some(step) = event.facts.get(&Label::fixed("step")) else {
            return Ok(());
        };
        let step = Step::parse(&step.to_string()).ok_or("an unknown step on the log")?;
        let subject = event.subject.ok_or("a step with nobody")?;
        *self.done.entry((step, subject)).or_default() += 1;
        Ok(())
    }

    pub fn done(&self) -> u64 {
        self.done.len() as u64
    }

    pub fn done_with(&self, step: Step) -> usize {
        self.done.keys().filter(|(done, _)| *done == step).count()
    }

    /// Compares everything with what was to be done.
    pub async fn finish(
        mut self,
        store: &PgStore,
        plan: &Plan,
        killed: usize,
        took: Duration,
    ) -> Result<Counted, Failure> {
        self.read_on(store).await?;
        let task = self.task;
        let expected: BTreeMap<_, _> = (0..task.people)
            .flat_map(|number| Step::ALL.map(|step| ((step, task.subject(number)), 1)))
            .collect();
        if self.done != expected {
            let repeated = self.done.values().filter(|times| **times > 1).count();
            let lost = expected.len() - self.done.len().min(expected.len());
            return Err(format!("{lost} steps lost, {repeated} repeated").into());
        }
        for matter in task.matters() {
            self.every_record_has_its_placement(store, matter).await?;
        }
        let jobs = store.jobs(task.tenant, None).await?;
        let left = jobs.iter().filter(|job| job.state != JobState::Done);
        let left = left.count();
        if left > 0 || jobs.len() != expected.len() {
            return Err(format!("{} jobs, of which {left} are left or dead", jobs.len()).into());
        }
        let again = jobs.iter().filter(|job| job.attempts > 1).count();
        Ok(Counted {
            plan: *plan,
            killed,
            entries: self.log.size(),
            admitted: self.admitted,
            again,
            took,
        })
    }

    async fn every_record_has_its_placement(
        &self,
        store: &PgStore,
        matter: kta_core::id::MatterId,
    ) -> Result<(), Failure> {
        let task = self.task;
        let numbers = (0..task.people).filter(|number| task.matter_of(*number) == matter);
        let expected: BTreeSet<_> = numbers.map(|number| task.record(number).record).collect();
        let query = RecordQuery::all(task.tenant, RecordBy::Matter(matter));
        let records = store.records(&query).await?;
        let records: BTreeSet<_> = records.iter().map(|record| record.key.record).collect();
        let query = PlacementQuery::in_matter(task.tenant, matter);
        let present = |copy: &&Placement| copy.state == PlacementState::Present;
        let copies = store.placements(&query).await?;
        let placed: BTreeSet<_> = copies
            .iter()
            .filter(present)
            .filter_map(|copy| match copy.of {
                CopyOf::Record(record) => Some(record),
                CopyOf::Document(_) => None,
            })
            .collect();
        if records != expected || placed != expected || copies.len() != placed.len() {
            return Err("records and placements are not the same".into());
        }
        Ok(())
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub plan: Plan,
    /// How many workers; fewer than planned when everything was done too soon.
    pub killed: usize,
    /// On the log.
    pub entries: u64,
    /// Permits, with those of jobs that were done again.
    pub admitted: u64,
    /// Jobs that somebody else took over.
    pub again: usize,
    pub took: Duration,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            workers, people, ..
        } = self.plan;
        let seconds = self.took.as_secs_f64();
        writeln!(
            f,
            "{people} people, each entered once and read once, none lost and none repeated:\n\
             counted from {} entries of the log, {} of them permits. Every record has its placement;\n\
             no job is left or dead. {workers} workers at a time, {} killed, {} jobs taken over.",
            self.entries, self.admitted, self.killed, self.again
        )?;
        write!(
            f,
            "{:.0} people/s in {seconds:.1} s ({:.0} entries/s)",
            f64::from(people) / seconds,
            self.entries as f64 / seconds
        )
    }
}

const PAGE: usize = 4096;
