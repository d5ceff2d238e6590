//! What a change of the schedules would do, simulated over a copy of the whole population.

use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use chrono::{Datelike as _, NaiveDate};
use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::retention::{Facts, Outcome, Schedule, judge};
use serde::{Deserialize, Serialize};

/// Schedules by class, as [`compile`](super::compile) gives them.
pub type Schedules = BTreeMap<Label, Schedule>;

/// One record of the population: its class and what is known of it, nothing personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its retention class.
    pub class: Label,
    /// What is known of it.
    pub facts: Facts,
}

/// What a change of the schedules would do to a population, class by class and month by month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// The day of the simulation.
    pub today: NaiveDate,
    /// Digest of the schedules in force.
    pub before: Digest,
    /// Digest of the schedules that would come.
    pub after: Digest,
    /// What happens in each class.
    pub classes: BTreeMap<Label, Tally>,
}

/// What a change of the schedules would do to the records of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// How many records there are.
    pub records: u64,
    /// Where they stand under the schedules in force.
    pub before: Standing,
    /// Where they would stand.
    pub after: Standing,
    /// Records that would become eligible for destruction today and are not.
    pub newly_eligible: u64,
    /// Records that could be destroyed today and cannot be: eligible, and by verified rules only.
    pub newly_destroyable: u64,
    /// Records that would be sealed from ordinary use and are not.
    pub newly_restricted: u64,
    /// Records that are sealed from ordinary use and would not be.
    pub released: u64,
    /// Records that would become eligible on an earlier day.
    pub earlier: u64,
    /// Records that would become eligible on a later day.
    pub later: u64,
    /// How many become eligible in a month, named by its first day.
    pub months: BTreeMap<NaiveDate, Month>,
}

/// How many records stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Their time is over.
    pub eligible: u64,
    /// Under a legal hold.
    pub held: u64,
    /// Kept until a day that is known.
    pub kept: u64,
    /// Offered to their owner first.
    pub offered: u64,
    /// Something goes on still.
    pub open: u64,
    /// Kept beyond the maximum, sealed from ordinary use.
    pub restricted: u64,
    /// No rule applies, which is no permission.
    pub unclassed: u64,
    /// A date is unknown.
    pub undetermined: u64,
}

/// How many records become eligible in one month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Month {
    /// Under the schedules in force.
    pub before: u64,
    /// Under those that would come.
    pub after: u64,
}

/// Simulates what `after` would do instead of `before`, record by record, on as many threads as
/// the machine has. The population is a stream: what is held of it at once does not grow with it.
///
/// `progress` is told how many records were handed out, several times a second; what it answers
/// may end the simulation, which then gives nothing.
pub fn forecast(
    before: &Schedules,
    after: &Schedules,
    today: NaiveDate,
    population: impl IntoIterator<Item = Case>,
    mut progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Option<Forecast> {
    let change = Change::of(before, after);
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_WORKERS);
    let (give, take) = sync_channel::<Vec<Case>>(workers * 2);
    let (back, spent) = sync_channel::<Vec<Case>>(workers * 4);
    let take = Mutex::new(take);
    let classes = thread::scope(|scope| {
        let work = || change.work(&take, &back);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let finished = hand_out(population, give, &spent, &mut progress);
        let mut classes = BTreeMap::<Label, Tally>::new();
        for thread in threads {
            // A worker panics for no input; if one did, its part is missing and so is the whole.
            for (class, tally) in thread.join().ok()? {
                classes.entry(class).or_default().add(&tally);
            }
        }
        finished.then_some(classes)
    })?;
    Some(Forecast {
        today,
        before: digest(before),
        after: digest(after),
        classes,
    })
}

impl Forecast {
    /// How many records were simulated.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.classes.values().map(|tally| tally.records).sum()
    }

    /// What happens in all classes together.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.classes.values().for_each(|tally| total.add(tally));
        total
    }
}

/// Names schedules by all that is in them.
pub(super) fn digest(schedules: &Schedules) -> Digest {
    // Serialising structs of strings, lists and maps with string keys cannot fail.
    Digest::of(&serde_json::to_vec(schedules).unwrap_or_default())
}

fn hand_out(
    population: impl IntoIterator<Item = Case>,
    give: SyncSender<Vec<Case>>,
    spent: &Receiver<Vec<Case>>,
    progress: &mut impl FnMut(u64) -> ControlFlow<()>,
) -> bool {
    let mut given = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for case in population {
        batch.push(case);
        if batch.len() == BATCH {
            given += batch.len() as u64;
            let next = spent
                .try_recv()
                .unwrap_or_else(|_| Vec::with_capacity(BATCH));
            if give.send(core::mem::replace(&mut batch, next)).is_err()
                || progress(given).is_break()
            {
                return false;
            }
        }
    }
    given += batch.len() as u64;
    give.send(batch).is_ok() && progress(given).is_continue()
}

/// Two sets of schedules, and in which classes they differ.
struct Change<'s> {
    before: &'s Schedules,
    after: &'s Schedules,
    differ: BTreeSet<&'s Label>,
}

impl<'s> Change<'s> {
    fn of(before: &'s Schedules, after: &'s Schedules) -> Self {
        let all = before.keys().chain(after.keys());
        let differ = all.filter(|class| before.get(*class) != after.get(*class));
        Self {
            before,
            after,
            differ: differ.collect(),
        }
    }

    fn work(
        &self,
        take: &Mutex<Receiver<Vec<Case>>>,
        back: &SyncSender<Vec<Case>>,
    ) -> BTreeMap<Label, Tally> {
        let mut tallies = BTreeMap::<Label, Tally>::new();
        loop {
            let batch = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut batch) = batch else { return tallies };
            for case in &batch {
                if !tallies.contains_key(&case.class) {
                    tallies.insert(case.class.clone(), Tally::default());
                }
                if let Some(tally) = tallies.get_mut(&case.class) {
                    self.count(case, tally);
                }
            }
            batch.clear();
            // Where nobody wants it back it is simply freed.
            drop(back.try_send(batch));
        }
    }

    fn count(&self, case: &Case, tally: &mut Tally) {
        let before = Fate::of(self.before.get(&case.class), &case.facts);
        let after = if self.differ.contains(&case.class) {
            Fate::of(self.after.get(&case.class), &case.facts)
        } else {
            before
        };
        tally.records += 1;
        *before.place(&mut tally.before) += 1;
        *after.place(&mut tally.after) += 1;
        tally.newly_eligible += u64::from(after.is_eligible() && !before.is_eligible());
        tally.newly_destroyable += u64::from(after.destroyable && !before.destroyable);
        tally.newly_restricted += u64::from(after.is_restricted() && !before.is_restricted());
        tally.released += u64::from(before.is_restricted() && !after.is_restricted());
        match (before.day, after.day) {
            (Some(old), Some(new)) => {
                tally.earlier += u64::from(new < old);
                tally.later += u64::from(new > old);
            }
            (None, Some(_)) => tally.earlier += 1,
            (Some(_), None) => tally.later += 1,
            (None, None) => {}
        }
        if let Some(month) = before.month() {
            tally.months.entry(month).or_default().before += 1;
        }
        if let Some(month) = after.month() {
            tally.months.entry(month).or_default().after += 1;
        }
    }
}

/// What one record has to expect.
#[derive(Clone, Copy)]
struct Fate {
    kind: Kind,
    /// From which day on nothing stands against its destruction, as far as is known.
    day: Option<NaiveDate>,
    destroyable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Eligible,
    Held,
    Kept,
    Offered,
    Open,
    Restricted,
    Unclassed,
    Undetermined,
}

impl Fate {
    fn of(schedule: Option<&Schedule>, facts: &Facts) -> Self {
        let evaluation = schedule.and_then(|schedule| judge(schedule, facts).ok());
        let Some(evaluation) = evaluation else {
            return Self {
                kind: Kind::Unclassed,
                day: None,
                destroyable: false,
            };
        };
        let (kind, day) = match evaluation.outcome {
            Outcome::Eligible { since, .. } => (Kind::Eligible, Some(since)),
            Outcome::Held(_) => (Kind::Held, None),
            Outcome::Keep { until } => (Kind::Kept, Some(until)),
            Outcome::KeepRestricted { until, .. } => (Kind::Restricted, Some(until)),
            Outcome::NotComputable { .. } => (Kind::Open, None),
            Outcome::OfferTransfer => (Kind::Offered, None),
            // What the algorithm may say one day and this crate does not know is kept, too.
            _ => (Kind::Undetermined, None),
        };
        Self {
            kind,
            day,
            destroyable: kind == Kind::Eligible && evaluation.executable,
        }
    }

    fn is_eligible(self) -> bool {
        self.kind == Kind::Eligible
    }

    fn is_restricted(self) -> bool {
        self.kind == Kind::Restricted
    }

    fn month(self) -> Option<NaiveDate> {
        self.day.and_then(|day| day.with_day(1))
    }

    fn place(self, standing: &mut Standing) -> &mut u64 {
        match self.kind {
            Kind::Eligible => &mut standing.eligible,
            Kind::Held => &mut standing.held,
            Kind::Kept => &mut standing.kept,
            Kind::Offered => &mut standing.offered,
            Kind::Open => &mut standing.open,
            Kind::Restricted => &mut standing.restricted,
            Kind::Unclassed => &mut standing.unclassed,
            Kind::Undetermined => &mut standing.undetermined,
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.before.add(&other.before);
        self.after.add(&other.after);
        self.newly_eligible += other.newly_eligible;
        self.newly_destroyable += other.newly_destroyable;
        self.newly_restricted += other.newly_restricted;
        self.released += other.released;
        self.earlier += other.earlier;
        self.later += other.later;
        for (month, counts) in &other.months {
            let here = self.months.entry(*month).or_default();
            here.before += counts.before;
            here.after += counts.after;
        }
    }
}

impl Standing {
    fn add(&mut self, other: &Self) {
        self.eligible += other.eligible;
        self.held += other.held;
        self.kept += other.kept;
        self.offered += other.offered;
        self.open += other.open;
        self.restricted += other.restricted;
        self.unclassed += other.unclassed;
        self.undetermined += other.undetermined;
    }
}

/// Records handed to a worker at a time.
const BATCH: usize = 4096;
/// More threads than this wait for the one that reads the population.
const MOST_WORKERS: usize = 16;
