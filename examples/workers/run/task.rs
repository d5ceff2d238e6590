//! What all workers of a run share: the firm, its people and what is to be done with each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use kta_core::audit::{Event, Label, Outcome};
use kta_core::crypto::Hierarchy;
use kta_core::id::{ActorId, JobId, MatterId, PlacementId, RecordId, SubjectId, TenantId};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Fields, Locator, Matter, MatterState, Party, Placement, PlacementKind,
    PlacementState, RecordKey, Schema,
};
use kta_core::policy::{Act, Actor, LawfulBasis, Origin, PolicyClass, Purpose, Role};
use kta_core::ports::Store as _;
use kta_core::ports::store::{Change, ChangeSet, Expected, Job, JobState, Register, Sheet};
use kta_core::time::{Clock as _, Timestamp};
use kta_keys::OsEntropy;
use kta_storage::{PgKeyTable, PgOptions, PgStore, SystemClock};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::custodian::InTurns;

/// A run, as its workers are told of it on their standard input.
// No `Debug`: there is a password in the URL.
#[derive(Clone, Serialize, Deserialize)]
pub struct Task {
    url: String,
    folder: PathBuf,
    pub(super) lease: Duration,
    pub(super) tenant: TenantId,
    pub(super) people: u32,
}

impl Task {
    /// Founds a firm: its access list, its matters, and a job for each person. Everything a
    /// worker must know is in the store then.
    pub async fn found(
        url: String,
        folder: &Path,
        lease: Duration,
        people: u32,
    ) -> Result<Self, Failure> {
        let task = Self {
            url,
            folder: folder.to_path_buf(),
            lease,
            tenant: TenantId::random(&OsEntropy),
            people,
        };
        task.custodian().create()?;
        task.keys().await?;
        let (store, now) = (task.store().await?, SystemClock.now());
        let event = Event::new(
            task.tenant,
            task.clerk(),
            Label::fixed("workers"),
            Act::Manage,
            Outcome::Done,
        );
        let day = now.date_naive() + TimeDelta::days(300);
        let clerk = Actor::new(task.clerk(), Role::Paralegal).trained_until(day);
        let set = ChangeSet::new(task.tenant, now)
            .with(file(Register::Actors, clerk.id.to_string(), &clerk)?)
            .with(Change::Intern(class()))
            .event(event.clone().with("people", u64::from(people)));
        store.commit(set).await?;
        for first in (0..people).step_by(PARTIES) {
            let numbers = first..people.min(first + PARTIES as u32);
            let matter = task.matter(first);
            let mut set = ChangeSet::new(task.tenant, now)
                .with(file(Register::Matters, matter.id.to_string(), &matter)?)
                .event(event.clone().in_matter(matter.id));
            set.changes
                .extend(numbers.map(|number| Change::Enqueue(task.job(Step::Enter, number, now))));
            store.commit(set).await?;
        }
        Ok(task)
    }

    pub(super) async fn store(&self) -> Result<PgStore, Failure> {
        Ok(PgStore::open(&self.options()?.named_statements()).await?)
    }

    pub(super) async fn keys(&self) -> Result<Hierarchy, Failure> {
        let table = PgKeyTable::open(&self.options()?).await?;
        let keys = Hierarchy::open(
            self.tenant,
            Arc::new(self.custodian()),
            Arc::new(table),
            Arc::new(OsEntropy),
            SystemClock.now(),
        );
        Ok(keys.await?)
    }

    fn custodian(&self) -> InTurns {
        InTurns::at(self.folder.join("keyring"), self.folder.join("key"))
    }

    fn options(&self) -> Result<PgOptions, Failure> {
        let options = PgOptions::new(&SecretString::from(self.url.as_str()))?;
        Ok(options.connections(4))
    }

    pub(super) fn clerk(&self) -> ActorId {
        ActorId::derived(&[self.tenant.as_bytes(), b"clerk"])
    }

    pub(super) fn subject(&self, number: u32) -> SubjectId {
        SubjectId::derived(&[self.tenant.as_bytes(), &number.to_be_bytes()])
    }

    pub(super) fn matter_of(&self, number: u32) -> MatterId {
        let matter = number / PARTIES as u32;
        MatterId::derived(&[self.tenant.as_bytes(), &matter.to_be_bytes()])
    }

    pub(super) fn matters(&self) -> impl Iterator<Item = MatterId> {
        (0..self.people)
            .step_by(PARTIES)
            .map(|number| self.matter_of(number))
    }

    pub(super) fn record(&self, number: u32) -> RecordKey {
        let subject = self.subject(number);
        RecordKey {
            tenant: self.tenant,
            subject,
            record: RecordId::derived(&[subject.as_bytes(), b"person"]),
        }
    }

    pub(super) fn placement(&self, number: u32, now: Timestamp) -> Result<Placement, Failure> {
        let key = self.record(number);
        Ok(Placement {
            tenant: self.tenant,
            id: PlacementId::derived(&[key.record.as_bytes()]),
            subject: key.subject,
            matter: Some(self.matter_of(number)),
            system: Placement::STORE,
            kind: PlacementKind::StoreRecord,
            of: CopyOf::Record(key.record),
            category: Category::Identity,
            locator: Some(Locator::new(key.record.to_string())?),
            state: PlacementState::Present,
            since: now,
        })
    }

    pub(super) fn job(&self, step: Step, number: u32, due: Timestamp) -> Job {
        let subject = self.subject(number);
        let id = [
            self.tenant.as_bytes().as_slice(),
            step.as_str().as_bytes(),
            subject.as_bytes(),
        ];
        Job {
            id: JobId::derived(&id),
            kind: Label::fixed(step.as_str()),
            subject: Some(subject),
            matter: Some(self.matter_of(number)),
            due,
            attempts: 0,
            state: JobState::Waiting,
            lease: 0,
            leased_until: None,
            reason: None,
            payload: number.to_string().into_bytes(),
        }
    }

    fn matter(&self, first: u32) -> Matter {
        let numbers = first..self.people.min(first + PARTIES as u32);
        Matter {
            tenant: self.tenant,
            id: self.matter_of(first),
            kind: Label::fixed("us.h1b"),
            state: MatterState::Review,
            team: BTreeMap::from([(self.clerk(), Role::Paralegal)]),
            parties: numbers
                .map(|number| (self.subject(number), Party::Beneficiary))
                .collect(),
            walled: BTreeSet::new(),
            purposes: class().purposes,
            ground: None,
            triggers: BTreeMap::new(),
            open_points: BTreeSet::new(),
            originals_held: 0,
        }
    }
}

/// What is done with a person, each in a job of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Sealed and stored.
    Enter,
    /// Found by mail address, opened and compared.
    Review,
}

impl Step {
    pub(super) const ALL: [Self; 2] = [Self::Enter, Self::Review];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "workers.enter",
            Self::Review => "workers.review",
        }
    }

    pub(super) fn parse(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == kind)
    }
}

/// What an invented person declared. The mail address is looked for where it must not be.
pub(super) fn declared(number: u32, schema: &Schema) -> Result<Fields, Failure> {
    let letters: String = format!("{number:06}")
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect();
    let born = NaiveDate::from_ymd_opt(1960, 1, 1).ok_or("a date")?;
    let born = born + TimeDelta::days(i64::from(number % 14_000));
    let mut fields = Fields::new();
    for (name, value) in [
        ("family_name", format!("Invented{letters}")),
        ("given_names", format!("Nobody{letters}")),
        ("birth_date", born.to_string()),
        ("passport_number", format!("ZZ{number:07}")),
        ("email", mail(number)),
        ("phone", format!("+999 55 {number:07}")),
    ] {
        fields.set(schema, name, value)?;
    }
    Ok(fields)
}

pub(super) fn mail(number: u32) -> String {
    format!("nobody.{number}@{CANARY}")
}

/// In every mail address, and nowhere on the log.
pub(super) const CANARY: &str = "invented.example.org";

/// The role of a connection string.
pub fn role_in(url: &str) -> Result<String, Failure> {
    let config: tokio_postgres::Config = url.parse().map_err(|_| "the URL cannot be read")?;
    Ok(config.get_user().ok_or("the URL names no role")?.to_owned())
}

pub(super) fn class() -> PolicyClass {
    PolicyClass {
        purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
        ground: None,
        origin: Origin::Direct,
        retention: Label::fixed("CASE.FILE"),
        sharing: BTreeSet::new(),
        objections: BTreeSet::new(),
    }
}

fn file<T: Serialize>(register: Register, id: String, what: &T) -> Result<Change, Failure> {
    let sheet = Sheet {
        register,
        id: Label::new(id)?,
        subject: None,
        matter: None,
        revision: 1,
        body: serde_json::to_vec(what)?,
    };
    let expected = Expected::Absent;
    Ok(Change::File { sheet, expected })
}

/// How many people a matter has.
const PARTIES: usize = 100;
