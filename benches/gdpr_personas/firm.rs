//! What a firm does at each operation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kta_core::audit::{Event, Outcome};
use kta_core::crypto::Hierarchy;
use kta_core::id::{ActorId, Digest, MatterId, RecordId, SubjectId, TenantId};
use kta_core::memory::{ManualClock, RulesPolicy};
use kta_core::pii::{
    Category, Classification, FieldKind, FieldName, FieldSpec, Fields, Matter, MatterState, Party,
    Pii, Record, RecordKey, Schema,
};
use kta_core::policy::{Act, Actor, Form, Gate, Permit, Role, Sealer, SpecialGround};
use kta_core::ports::store::{
    Change, ChangeSet, Committed, Durability, Expected, Ledger as _, RecordBy, RecordQuery,
    Store as _,
};
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Error, Result, audit::Label};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};
use kta_storage::{SqliteKeyTable, SqliteOptions, SqliteStore};

use crate::catalogue::{Catalogue, purposes};
use crate::generate::{Meta, Op, Set, data, mark, mix};
use crate::model::Answer;
use crate::permits::Permits;

/// What stands while operations go through.
pub(crate) struct Firm {
    pub(crate) gate: Gate,
    pub(crate) matter: MatterId,
    pub(crate) people: Vec<SubjectId>,
    pub(crate) clock: ManualClock,
    pub(crate) store: SqliteStore,
    pub(crate) sealer: Sealer,
    schema: Schema,
    field: FieldName,
    pub(crate) folder: PathBuf,
}

/// What changes with them.
pub(crate) struct Books {
    pub(crate) catalogue: Catalogue,
    /// The entry of each record's deletion, which whoever asked for it was given as a receipt.
    pub(crate) receipts: std::collections::HashMap<u32, Option<u64>>,
    pub(crate) second: u32,
}

impl Firm {
    pub(crate) async fn open(folder: &Path, users: u32) -> Self {
        let tenant = TenantId::derived(&[b"the firm of the personas"]);
        let clock = ManualClock::at(beginning());
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        // As much as the peers have.
        let options = SqliteOptions::default().cache(64 << 20);
        let store = SqliteStore::open_with(folder.join("store.db"), &options).unwrap();
        let unlock = folder.join("unlock");
        std::fs::write(&unlock, [7; 32]).unwrap();
        restrict(&unlock);
        let unlock = Unlock::key_file(&unlock);
        let ring = LocalKeyring::create(&folder.join("keyring"), &unlock, entropy.clone()).unwrap();
        let table = Arc::new(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
        let keys = Hierarchy::open(tenant, Arc::new(ring), table, entropy.clone(), beginning());
        let keys = Arc::new(keys.await.unwrap());
        let people: Vec<_> = (0..users)
            .map(|user| SubjectId::from_bytes(bytes(user)))
            .collect();
        for some in people.chunks(1000) {
            keys.enroll_all(some).await.unwrap();
        }
        let gate = Gate::new(
            tenant,
            Arc::new(RulesPolicy::new()),
            Arc::new(store.clone()),
            Arc::new(clock.clone()),
            entropy.clone(),
        );
        // One actor at work on everybody: what is measured here is not a day in a firm.
        let gate = gate.with_budgets(kta_core::policy::Budgets::unlimited());
        let matter = MatterId::derived(&[b"the matter of the personas"]);
        let firm = Self {
            gate,
            matter,
            people,
            clock,
            store,
            sealer: Sealer::new(keys, entropy),
            schema: Schema {
                name: Label::fixed("personas.v1"),
                fields: vec![FieldSpec {
                    name: FieldName::fixed("data"),
                    kind: FieldKind::Text,
                    classification: Classification::of(Category::Identity),
                    indexed: false,
                }],
            },
            field: FieldName::fixed("data"),
            folder: folder.to_path_buf(),
        };
        firm.found();
        firm
    }

    /// Lists the actors and files the one matter whose parties are all the persons.
    fn found(&self) {
        let trained = beginning().date_naive() + chrono::Days::new(3650);
        self.gate.amend_directory(|directory| {
            for role in ROLES {
                directory.list(Actor::new(actor(role), role).trained_until(trained));
            }
            let team = [Role::Attorney, Role::Paralegal].map(|role| (actor(role), role));
            directory.file(Matter {
                tenant: self.gate.tenant(),
                id: self.matter,
                kind: Label::fixed("us.h1b"),
                state: MatterState::Review,
                team: team.into(),
                parties: self
                    .people
                    .iter()
                    .map(|person| (*person, Party::Beneficiary))
                    .collect(),
                walled: std::collections::BTreeSet::new(),
                purposes: purposes(),
                ground: Some(SpecialGround::LegalClaims),
                triggers: std::collections::BTreeMap::new(),
                open_points: std::collections::BTreeSet::new(),
                originals_held: 0,
            });
        });
    }

    pub(crate) async fn done(
        &self,
        op: Op,
        books: &mut Books,
        permits: &Permits<'_>,
    ) -> Result<Answer> {
        match op {
            Op::Create { number } => {
                let permit = permits.store();
                let (record, class) = self.made(books, number, permit).await;
                let event = about(permit.event(Act::Store, Outcome::Done), &record);
                let change = class.into_iter().fold(self.change(), ChangeSet::with);
                self.commit(change.with(created(record)).event(event))
                    .await?;
                Ok(Answer::rows(1))
            }
            Op::Delete { number } => self.delete(number, books, permits.destroy()).await,
            Op::ReadData { number, purpose } => {
                let permit = permits.open(purpose);
                let mut answer = Answer::default();
                match self.store.record(&self.key(number)).await? {
                    Some(record) => {
                        let fields = self.sealer.open(&record, permit).await?;
                        answer.row(mark(number, self.text(&fields, permit).as_bytes()));
                    }
                    None => self.missed(number, permit).await?,
                }
                Ok(answer)
            }
            Op::ReadDataByPurpose { purposes, purpose } => {
                let mut records = Vec::new();
                for class in books.catalogue.in_force(purposes) {
                    let by = RecordBy::Class(class);
                    let query = RecordQuery::all(self.gate.tenant(), by).for_purpose(purpose);
                    records.extend(self.store.records(&query).await?);
                }
                self.read(&records, permits.open(purpose)).await
            }
            Op::ReadDataByUser { user, purpose } => {
                let person = self.people[user as usize];
                let records = self.of_person(person, Some(purpose)).await?;
                self.read(&records, permits.open(purpose)).await
            }
            Op::ReadMetaByUser { user } => {
                let person = self.people[user as usize];
                let permit = permits.search();
                permit.require(&[Act::Search], person, Category::Identity)?;
                let records = self.of_person(person, None).await?;
                let mut answer = Answer::default();
                for record in &records {
                    let meta = self.meta(record).await?;
                    answer.row(mix(u64::from(number_of(record)), meta.mark()));
                }
                let event = permit.event(Act::Search, Outcome::Done).of_subject(person);
                self.log(event.with("records", records.len())).await?;
                Ok(answer)
            }
            Op::UpdateData { number, version } => {
                self.amend(number, version, permits.amend()).await
            }
            Op::UpdateMeta { number, set } => {
                let record = self.store.record(&self.key(number)).await?;
                let records: Vec<_> = record.into_iter().collect();
                self.reclass(&records, self.key(number).subject, set, books, permits)
                    .await
            }
            Op::UpdateMetaByPurpose { purposes, set } => {
                self.supersede(purposes, set, books, permits.manage()).await
            }
            Op::UpdateMetaByUser { user, set } => {
                let person = self.people[user as usize];
                let records = self.of_person(person, None).await?;
                self.reclass(&records, person, set, books, permits).await
            }
            Op::ReadLog { lines } => {
                let tenant = self.gate.tenant();
                let size = self.store.size(tenant).await?;
                let from = size.saturating_sub(u64::from(lines));
                let lines = self.store.entries(tenant, from, lines as usize).await?;
                let event = permits.log().event(Act::Review, Outcome::Done);
                self.log(event.with("entries", lines.len())).await?;
                Ok(Answer::rows(
                    lines.iter().filter(|line| !line.is_empty()).count() as u64,
                ))
            }
            Op::VerifyDeletion { number } => self.verify(number, books, permits.search()).await,
        }
    }

    /// A sealed record, and the changes that put its class in force.
    pub(crate) async fn made(
        &self,
        books: &mut Books,
        number: u32,
        permit: &Permit<'_>,
    ) -> (Record, Vec<Change>) {
        let meta = Meta::of(number, books.second);
        let mut changes = Vec::new();
        let class = books.catalogue.put_in_force(meta, &mut changes);
        let fields = self.fields(number, 0);
        let form = self.form(number, class, 1);
        (
            self.sealer.seal(form, &fields, permit).await.unwrap(),
            changes,
        )
    }

    async fn amend(&self, number: u32, version: u32, permit: &Permit<'_>) -> Result<Answer> {
        let Some(record) = self.store.record(&self.key(number)).await? else {
            self.missed(number, permit).await?;
            return Ok(Answer::rows(0));
        };
        let fields = self.fields(number, version);
        let form = self.form(number, record.class, record.revision + 1);
        let event = about(permit.event(Act::Amend, Outcome::Done), &record);
        let put = Change::PutRecord {
            expected: Expected::Revision(record.revision),
            record: self.sealer.seal(form, &fields, permit).await?,
            index: Vec::new(),
        };
        self.commit(self.change().with(put).event(event)).await?;
        Ok(Answer::rows(1))
    }

    async fn delete(&self, number: u32, books: &mut Books, permit: &Permit<'_>) -> Result<Answer> {
        let key = self.key(number);
        permit.require(&[Act::Destroy], key.subject, Category::Identity)?;
        if self.store.record(&key).await?.is_none() {
            self.missed(number, permit).await?;
            return Ok(Answer::rows(0));
        }
        let event = permit
            .event(Act::Destroy, Outcome::Done)
            .of_subject(key.subject);
        let event = event.with("record", key.record);
        let change = self.change().with(Change::RemoveRecord(key)).event(event);
        let committed = self.commit(change).await?;
        books.receipts.insert(number, committed.first);
        Ok(Answer::rows(1))
    }

    /// Whether a record is gone and its deletion is on the log under the receipt; and that is
    /// logged.
    async fn verify(&self, number: u32, books: &Books, permit: &Permit<'_>) -> Result<Answer> {
        let key = self.key(number);
        permit.require(&[Act::Search], key.subject, Category::Identity)?;
        let mut gone = self.store.record(&key).await?.is_none();
        if let Some(Some(receipt)) = books.receipts.get(&number) {
            let entries = self.store.entries(self.gate.tenant(), *receipt, 1).await?;
            let entry = String::from_utf8_lossy(&entries[0]);
            gone &= entry.contains("\"destroy\"") && entry.contains(&key.record.to_string());
        }
        let event = permit
            .event(Act::Review, Outcome::Done)
            .of_subject(key.subject);
        self.log(event.with("record", key.record)).await?;
        Ok(Answer::rows(u64::from(gone)))
    }

    /// One field of everything under a set of purposes: every class of it gets a successor. One
    /// entry commits to the set of classes.
    async fn supersede(
        &self,
        purposes: u8,
        set: Set,
        books: &mut Books,
        permit: &Permit<'_>,
    ) -> Result<Answer> {
        permit.require_act(&[Act::Manage])?;
        let mut changes = Vec::new();
        let classes = books
            .catalogue
            .supersede(purposes, set, books.second, &mut changes);
        let event = permit.event(Act::Manage, Outcome::Done);
        let event = event
            .with("classes", classes.len() / 32)
            .with("set", Digest::of(&classes));
        let change = changes.into_iter().fold(self.change(), ChangeSet::with);
        self.commit(change.event(event)).await?;
        Ok(Answer::rows(u64::MAX))
    }

    /// One field of some records of a person: each moves to the class that says so.
    async fn reclass(
        &self,
        records: &[Record],
        person: SubjectId,
        set: Set,
        books: &mut Books,
        permits: &Permits<'_>,
    ) -> Result<Answer> {
        let permit = permits.amend();
        permit.require(&[Act::Amend], person, Category::Identity)?;
        let (mut changes, mut moves) = (Vec::new(), Vec::new());
        for record in records {
            let meta = self.meta(record).await?.with(set, books.second);
            let to = books.catalogue.put_in_force(meta, &mut changes);
            moves.push(Change::Reclass {
                key: record.key,
                from: record.class,
                to,
            });
        }
        let event = permit.event(Act::Amend, Outcome::Done).of_subject(person);
        let change = changes
            .into_iter()
            .chain(moves)
            .fold(self.change(), ChangeSet::with);
        self.commit(change.event(event.with("records", records.len())))
            .await?;
        Ok(Answer::rows(records.len() as u64))
    }

    /// Removes everything of a class, five hundred records a change set with one entry each.
    pub(crate) async fn empty(&self, class: Digest, permit: &Permit<'_>) -> Result<u64> {
        let mut gone = 0;
        loop {
            let query =
                RecordQuery::all(self.gate.tenant(), RecordBy::Class(class)).page(None, 500);
            let records = self.store.records(&query).await?;
            if records.is_empty() {
                return Ok(gone);
            }
            let (mut change, mut set) = (self.change(), Vec::new());
            for record in &records {
                permit.require(&[Act::Destroy], record.key.subject, Category::Identity)?;
                set.extend_from_slice(record.key.record.as_bytes());
                change = change.with(Change::RemoveRecord(record.key));
            }
            let event = permit
                .event(Act::Destroy, Outcome::Done)
                .with("class", class);
            let event = event
                .with("records", records.len())
                .with("set", Digest::of(&set));
            self.commit(change.event(event)).await?;
            gone += records.len() as u64;
        }
    }

    async fn read(&self, records: &[Record], permit: &Permit<'_>) -> Result<Answer> {
        let opened = self.sealer.open_all(records, permit).await?;
        let mut answer = Answer::default();
        for (record, fields) in records.iter().zip(&opened) {
            answer.row(mark(
                number_of(record),
                self.text(fields, permit).as_bytes(),
            ));
        }
        Ok(answer)
    }

    pub(crate) async fn of_person(
        &self,
        person: SubjectId,
        purpose: Option<kta_core::policy::Purpose>,
    ) -> Result<Vec<Record>> {
        let mut query = RecordQuery::all(self.gate.tenant(), RecordBy::Subject(person));
        query.purpose = purpose;
        self.store.records(&query).await
    }

    /// What the class that governs a record says.
    pub(crate) async fn meta(&self, record: &Record) -> Result<Meta> {
        let class = self.gate.class(record.class).await?;
        let class = class.ok_or_else(|| Error::from(Code::RetUnclassed))?;
        Ok(Meta::read(&class))
    }

    async fn missed(&self, number: u32, permit: &Permit<'_>) -> Result<()> {
        let key = self.key(number);
        let event = permit
            .event(permit.act(), Outcome::Done)
            .of_subject(key.subject);
        self.log(event.with("record", key.record).with("found", 0_usize))
            .await
    }

    async fn log(&self, event: Event) -> Result<()> {
        self.gate.log(vec![event], Durability::Bounded).await
    }

    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        self.store.commit(change).await
    }

    pub(crate) fn change(&self) -> ChangeSet {
        let mut change = ChangeSet::new(self.gate.tenant(), self.gate.now());
        change.durability = Durability::Bounded;
        change
    }

    fn key(&self, number: u32) -> RecordKey {
        RecordKey {
            tenant: self.gate.tenant(),
            subject: self.people[number as usize % self.people.len()],
            record: RecordId::from_bytes(bytes(number)),
        }
    }

    fn form(&self, number: u32, class: Digest, revision: u64) -> Form<'_> {
        Form {
            key: self.key(number),
            matter: Some(self.matter),
            schema: &self.schema,
            class,
            revision,
            minor: false,
        }
    }

    fn fields(&self, number: u32, version: u32) -> Fields {
        let value = Pii::new(data(number, version));
        [(self.field.clone(), value)].into_iter().collect()
    }

    pub(crate) fn text<'a>(&self, fields: &'a Fields, permit: &'a Permit<'_>) -> &'a str {
        let value = fields.field(self.field.as_str());
        value.map_or("", |value| value.expose(permit))
    }

    pub(crate) fn clock_at(&self, second: u32) -> Timestamp {
        beginning() + chrono::TimeDelta::seconds(i64::from(second))
    }
}

pub(crate) fn created(record: Record) -> Change {
    Change::PutRecord {
        record,
        index: Vec::new(),
        expected: Expected::Absent,
    }
}

fn about(event: Event, record: &Record) -> Event {
    event
        .of_subject(record.key.subject)
        .with("record", record.key.record)
}

/// Twelve bytes that look like nothing, and the number.
fn bytes(number: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(u64::from(number), 1).to_be_bytes());
    bytes[8..12].copy_from_slice(&mix(u64::from(number), 2).to_be_bytes()[..4]);
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn number_of(record: &Record) -> u32 {
    let bytes = record.key.record.as_bytes();
    bytes
        .last_chunk()
        .map_or(0, |last| u32::from_be_bytes(*last))
}

pub(crate) fn actor(role: Role) -> ActorId {
    ActorId::derived(&[b"personas", role.as_str().as_bytes()])
}

fn beginning() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

/// A key file for its owner only, as the keyring asks.
fn restrict(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = file;
}

const ROLES: [Role; 4] = [
    Role::Attorney,
    Role::Dpo,
    Role::Paralegal,
    Role::ServiceDestroy,
];
