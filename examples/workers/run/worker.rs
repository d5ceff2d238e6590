//! One worker: it leases jobs, does them, and holds nothing that another could not take over.

use std::io::{BufRead as _, Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use kta_core::audit::{Label, Outcome};
use kta_core::pii::{Category, FieldName, Pii, Record, Schema};
use kta_core::policy::{Act, Directory, Form, Gate, Purpose, Role, Scope, Sealer, Session};
use kta_core::ports::store::{Change, ChangeSet, Expected, Job, RecordBy, RecordQuery, Settled};
use kta_core::ports::{Jobs as _, Store as _};
use kta_core::{Error, Fault, FaultKind, Port};
use kta_keys::OsEntropy;
use kta_policy::CedarPolicy;
use kta_storage::{PgStore, SystemClock};

use super::Failure;
use super::task::{Step, Task, class, declared, mail};

/// Works on the task that standard input tells of, until standard input ends: when whoever
/// started it says so, or is no more.
pub async fn work() -> Result<(), Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let worker = Worker::open(serde_json::from_str(&line)?).await?;
    // A thread of its own: a runtime that ends would wait for one of its own to have read.
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(|| end.send(std::io::stdin().lock().read_to_end(&mut Vec::new())));
    tokio::select! {
        ended = ended => ended?.map(drop).map_err(Into::into),
        failed = worker.go_on() => failed,
    }
}

struct Worker {
    task: Task,
    store: PgStore,
    gate: Gate,
    sealer: Sealer,
    schema: Schema,
}

impl Worker {
    async fn open(task: Task) -> Result<Self, Failure> {
        let store = task.store().await?;
        let gate = Gate::new(
            task.tenant,
            Arc::new(CedarPolicy::shipped()?),
            Arc::new(store.clone()),
            Arc::new(SystemClock),
            Arc::new(OsEntropy),
        );
        // Here one actor opens everybody, to load the store.
        let gate = gate.with_budgets(kta_core::policy::Budgets::unlimited());
        let keys = Arc::new(task.keys().await?);
        let worker = Self {
            sealer: Sealer::new(keys, Arc::new(OsEntropy)),
            schema: Schema::person(),
            task,
            store,
            gate,
        };
        worker.look().await?;
        Ok(worker)
    }

    /// Reads who is who and what is walled: others may have changed it.
    async fn look(&self) -> kta_core::Result<()> {
        let directory = Directory::filed(&self.store, self.task.tenant).await?;
        self.gate.amend_directory(|it| *it = directory);
        Ok(())
    }

    async fn go_on(&self) -> Result<(), Failure> {
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() > LOOKING {
                match self.look().await {
                    Ok(()) => looked = Instant::now(),
                    Err(error) if may_pass(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match self.batch().await {
                Ok(0) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(_) => {}
                // What is leased comes back when the lease has ended, to whoever asks then.
                Err(error) if may_pass(&error) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Leases jobs and works on them together.
    async fn batch(&self) -> kta_core::Result<usize> {
        let now = self.gate.now();
        let until = now + self.task.lease;
        let jobs = self.store.lease(self.task.tenant, now, until, BATCH);
        let jobs = jobs.await?;
        if !jobs.is_empty() {
            // Whoever kills us wants us at work.
            let _ = writeln!(std::io::stdout(), "{AT_WORK}");
        }
        let new: Vec<_> = jobs
            .iter()
            .filter(|job| Step::parse(job.kind.as_str()) == Some(Step::Enter))
            .filter_map(|job| job.subject)
            .collect();
        if !new.is_empty() {
            self.sealer.keys().enroll_all(&new).await?;
        }
        try_join_all(jobs.iter().map(|job| self.one(job))).await?;
        Ok(jobs.len())
    }

    async fn one(&self, job: &Job) -> kta_core::Result<()> {
        let session =
            self.gate
                .session(self.task.clerk(), Role::Paralegal, Purpose::Representation);
        let session = session.through(Label::fixed("workers"));
        match self.try_one(job, &session).await {
            Err(Error::Refused(refusal)) => {
                let event = session.event(Act::Process, Outcome::Refused);
                let event = event.of_subject(job.subject).refused(refusal.code());
                let dead = settle(job, Settled::Dead(Some(refusal.code())));
                let set = ChangeSet::new(self.task.tenant, self.gate.now());
                let set = set.with(dead).event(event);
                self.store.commit(set).await.map(drop)
            }
            // Somebody else got the job when our lease had ended: the whole set was refused.
            Err(error) if error.fault().map(Fault::kind) == Some(FaultKind::Conflict) => Ok(()),
            outcome => outcome,
        }
    }

    async fn try_one(&self, job: &Job, session: &Session<'_>) -> kta_core::Result<()> {
        let number = core::str::from_utf8(&job.payload).ok();
        let number = number.and_then(|number| number.parse().ok());
        match (Step::parse(job.kind.as_str()), number) {
            (Some(Step::Enter), Some(number)) => self.enter(number, job, session).await,
            (Some(Step::Review), Some(number)) => self.review(number, job, session).await,
            _ => Err(broken("a job that is none of ours").into()),
        }
    }

    /// Seals and stores: the record, its index entries, its placement, the next job, the end of
    /// this one and the entry of it are one change set.
    async fn enter(&self, number: u32, job: &Job, session: &Session<'_>) -> kta_core::Result<()> {
        let permit = session.permit(Act::Store, self.scope(number)).await?;
        let unfit = |_| broken("an invented value that is none");
        let fields = declared(number, &self.schema).map_err(unfit)?;
        let form = Form {
            key: self.task.record(number),
            matter: Some(self.task.matter_of(number)),
            schema: &self.schema,
            class: class().id(),
            revision: 1,
            minor: false,
        };
        let record = self.sealer.seal(form, &fields, &permit).await?;
        let index = self.sealer.tags(&self.schema, &fields).await?;
        let now = self.gate.now();
        let event = permit.event(Act::Store, Outcome::Done);
        let set = ChangeSet::new(self.task.tenant, now)
            .with(Change::PutPlacement(
                self.task.placement(number, now).map_err(unfit)?,
            ))
            .with(Change::PutRecord {
                record,
                index,
                expected: Expected::Absent,
            })
            .with(Change::Enqueue(self.task.job(Step::Review, number, now)))
            .with(settle(job, Settled::Done))
            .event(done(event, number, job, self));
        self.store.commit(set).await.map(drop)
    }

    /// Finds the person by mail address, opens the record and compares it.
    async fn review(&self, number: u32, job: &Job, session: &Session<'_>) -> kta_core::Result<()> {
        let permit = session.permit(Act::Open, self.scope(number)).await?;
        let wanted = Pii::new(mail(number));
        let record = self.find(number, &wanted).await?;
        let record = record.ok_or(broken("a person whom the index does not find"))?;
        let fields = self.sealer.open(&record, &permit).await?;
        let opened = fields.field("email").map(|value| value.expose(&permit));
        if opened != Some(wanted.expose(&permit)) {
            return Err(broken("a record that is not what was sealed").into());
        }
        let event = permit.event(Act::Review, Outcome::Done);
        let set = ChangeSet::new(self.task.tenant, self.gate.now())
            .with(settle(job, Settled::Done))
            .event(done(event, number, job, self));
        self.store.commit(set).await.map(drop)
    }

    /// The person's record among those that share an entry of the index with it.
    async fn find(&self, number: u32, mail: &Pii<String>) -> kta_core::Result<Option<Record>> {
        let name = FieldName::fixed("email");
        let tags = self.sealer.search_tags(&self.schema, &name, mail);
        for tag in tags.await? {
            let by = RecordBy::Tag(name.clone(), tag);
            let mut query = RecordQuery::all(self.task.tenant, by).page(None, 64);
            loop {
                let page = self.store.records(&query).await?;
                let Some(last) = page.last() else { break };
                query.after = Some(last.key.record);
                let ours = |record: &Record| record.key == self.task.record(number);
                if let Some(record) = page.into_iter().find(ours) {
                    return Ok(Some(record));
                }
            }
        }
        Ok(None)
    }

    fn scope(&self, number: u32) -> Scope {
        let scope = Scope::over(
            [self.task.subject(number)],
            [Category::Identity, Category::Case],
        );
        scope.in_matter(self.task.matter_of(number))
    }
}

/// The entry by which a job is counted.
fn done(
    event: kta_core::audit::Event,
    number: u32,
    job: &Job,
    worker: &Worker,
) -> kta_core::audit::Event {
    event
        .of_subject(worker.task.subject(number))
        .with("step", job.kind.clone())
}

fn settle(job: &Job, outcome: Settled) -> Change {
    Change::Settle {
        job: job.id,
        lease: Some(job.lease),
        outcome,
    }
}

/// Whether to go on after this.
fn may_pass(error: &Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.is_transient() || fault.kind() == FaultKind::OutcomeUnknown)
}

const fn broken(detail: &'static str) -> Fault {
    Fault::new(FaultKind::Protocol, Port::Store, "work").because(detail)
}

/// What a worker says when it has jobs in hand.
pub(super) const AT_WORK: &str = "at work";

/// How many jobs are leased at a time.
const BATCH: usize = 32;
/// For how long a wall that was built elsewhere may not be known here.
const LOOKING: Duration = Duration::from_secs(5);
