//! Our side: the whole road. Cedar decides, the gate logs, the store keeps, the sealer opens.

use std::path::Path;
use std::sync::Arc;

use kta_core::audit::{Label, Outcome};
use kta_core::crypto::{Hierarchy, IndexTag};
use kta_core::id::{ActorId, Digest, TenantId};
use kta_core::memory::MemoryKms;
use kta_core::pii::{Category, FieldName, Fields, Matter, MatterState, Party, Pii, Record, Schema};
use kta_core::policy::{
    Act, Actor, Form, Gate, Grain, LawfulBasis, Origin, Permit, PolicyClass, Purpose, Role, Scope,
    Sealer, Session,
};
use kta_core::ports::Store;
use kta_core::ports::store::{Change, ChangeSet, Expected, RecordBy, RecordQuery};
use kta_core::time::{Clock as _, Entropy};
use kta_keys::OsEntropy;
use kta_policy::CedarPolicy;
use kta_storage::{SqliteKeyTable, SqliteOptions, SqliteStore, SystemClock};

use crate::people::{IN_MATTER, fields, key, matter, schema};

/// A firm on disk: the store's file, the key table's file, and a custodian in memory, because a
/// custodian is asked once an epoch and not in anything that is timed here.
pub(crate) struct Firm<S = SqliteStore> {
    pub(crate) store: Arc<S>,
    pub(crate) gate: Gate,
    pub(crate) sealer: Sealer,
    pub(crate) schema: Schema,
    tenant: TenantId,
    grain: Grain,
    classes: Vec<Digest>,
}

impl Firm {
    /// Opens one with this many people in its matters, who have keys and no records yet.
    pub(crate) async fn open(folder: &Path, people: usize, grain: Grain) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let options = SqliteOptions::default().cache(CACHE);
        let store = SqliteStore::open_with(folder.join("firm.db"), &options).unwrap();
        Self::over(store, folder, people, grain).await
    }

    /// Fills the store with everybody.
    pub(crate) async fn fill(&self, people: usize) {
        self.fill_some(people, people).await;
    }

    /// Fills the store with the first of its people, and writes the log home.
    pub(crate) async fn fill_some(&self, some: usize, people: usize) {
        self.pour(some, people).await;
        self.store.checkpoint().await.unwrap();
    }
}

impl<S: Store + 'static> Firm<S> {
    /// One over an open store, with its key table in the folder.
    pub(crate) async fn over(store: S, folder: &Path, people: usize, grain: Grain) -> Self {
        let store = Arc::new(store);
        let tenant = TenantId::derived(&[b"a firm"]);
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let table = Arc::new(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
        let kms = Arc::new(MemoryKms::new(Arc::clone(&entropy)));
        let now = SystemClock.now();
        let keys = Hierarchy::open(tenant, kms, table, Arc::clone(&entropy), now);
        let keys = Arc::new(keys.await.unwrap());
        let everybody: Vec<_> = (0..people).map(|who| key(tenant, who).subject).collect();
        for some in everybody.chunks(1 << 14) {
            keys.enroll_all(some).await.unwrap();
        }
        let policy = Arc::new(CedarPolicy::shipped().unwrap());
        let gate = Gate::new(
            tenant,
            policy,
            Arc::clone(&store) as _,
            Arc::new(SystemClock),
            Arc::clone(&entropy),
        );
        // One actor at work on everybody: what is measured here is not a day in a firm.
        let gate = gate.with_budgets(kta_core::policy::Budgets::unlimited());
        gate.amend_directory(|directory| {
            let trained = now.date_naive() + chrono::Days::new(300);
            directory.list(Actor::new(attorney(), Role::Attorney).trained_until(trained));
            for first in (0..people).step_by(IN_MATTER) {
                let parties = (first..(first + IN_MATTER).min(people))
                    .map(|who| (key(tenant, who).subject, Party::Beneficiary));
                directory.file(Matter {
                    tenant,
                    id: matter(first),
                    kind: Label::fixed("us.h1b"),
                    state: MatterState::Drafting,
                    team: [(attorney(), Role::Attorney)].into(),
                    parties: parties.collect(),
                    walled: Default::default(),
                    purposes: [(Purpose::Representation, LawfulBasis::Contract)].into(),
                    ground: None,
                    triggers: Default::default(),
                    open_points: Default::default(),
                    originals_held: 0,
                });
            }
        });
        let sealer = Sealer::new(keys, entropy).with_grain(grain);
        let classes: Vec<_> = (0..crate::values::PURPOSES).map(class).collect();
        let interned = classes.iter().cloned().map(Change::Intern);
        let set = interned.fold(ChangeSet::new(tenant, now), ChangeSet::with);
        store.commit(set).await.unwrap();
        let classes = classes.iter().map(PolicyClass::id).collect();
        Self {
            classes,
            store,
            gate,
            sealer,
            schema: schema(),
            tenant,
            grain,
        }
    }

    /// How its records are sealed, in the words of the figures.
    pub(crate) fn sealed(&self) -> &'static str {
        crate::sealed(self.grain)
    }

    /// The attorney at work.
    pub(crate) fn session(&self) -> Session<'_> {
        self.gate
            .session(attorney(), Role::Attorney, Purpose::Representation)
    }

    /// Over one person's data.
    pub(crate) fn scope(&self, who: usize) -> Scope {
        Scope::of(key(self.tenant, who).subject, Category::Identity).in_matter(matter(who))
    }

    /// One permit over a whole matter.
    pub(crate) async fn matter_permit<'s>(
        &self,
        session: &'s Session<'_>,
        act: Act,
        first: usize,
        people: usize,
    ) -> Permit<'s> {
        let everybody =
            (first..(first + IN_MATTER).min(people)).map(|who| key(self.tenant, who).subject);
        let scope = Scope::over(everybody, [Category::Identity]).in_matter(matter(first));
        session.permit(act, scope).await.unwrap()
    }

    /// Seals a person's record, with its index tags and the entry of it.
    pub(crate) async fn record_of(
        &self,
        set: ChangeSet,
        who: usize,
        permit: &Permit<'_>,
    ) -> ChangeSet {
        let fields = fields(&self.schema, who);
        let form = Form {
            key: key(self.tenant, who),
            matter: Some(matter(who)),
            schema: &self.schema,
            class: self.classes[who % self.classes.len()],
            revision: 1,
            minor: false,
        };
        let record = self.sealer.seal(form, &fields, permit).await.unwrap();
        let index = self.sealer.tags(&self.schema, &fields).await.unwrap();
        let event = permit
            .event(Act::Store, Outcome::Done)
            .of_subject(form.key.subject)
            .with("record", form.key.record);
        set.with(Change::PutRecord {
            record,
            index,
            expected: Expected::Absent,
        })
        .event(event)
    }

    /// A permit for each of these matters.
    pub(crate) async fn permits<'s>(
        &self,
        session: &'s Session<'_>,
        act: Act,
        people: core::ops::Range<usize>,
        all: usize,
    ) -> Vec<Permit<'s>> {
        let mut permits = Vec::new();
        let matters: Vec<_> = people.step_by(IN_MATTER).collect();
        // Many at a time, so that they share the waiting for the disk.
        for some in matters.chunks(128) {
            let asked = some
                .iter()
                .map(|first| self.matter_permit(session, act, *first, all));
            permits.extend(futures_util::future::join_all(asked).await);
        }
        permits
    }

    /// Puts people, a transaction for all of them, under the permits of their matters.
    pub(crate) async fn put(&self, people: core::ops::Range<usize>, permits: &[Permit<'_>]) {
        self.commit(self.sealed_set(people, permits).await).await;
    }

    /// People's sealed records with their index tags and entries, not yet committed.
    pub(crate) async fn sealed_set(
        &self,
        people: core::ops::Range<usize>,
        permits: &[Permit<'_>],
    ) -> ChangeSet {
        let first = people.start / IN_MATTER;
        let mut set = self.set();
        for who in people {
            set = self
                .record_of(set, who, &permits[who / IN_MATTER - first])
                .await;
        }
        set
    }

    /// Commits what [`sealed_set`](Self::sealed_set) made.
    pub(crate) async fn commit(&self, set: ChangeSet) {
        let many = set.events.len() as u64;
        assert_eq!(self.store.commit(set).await.unwrap().entries, many);
    }

    /// Puts one person, alone.
    pub(crate) async fn put_one(&self, who: usize, permit: &Permit<'_>) {
        let set = self.record_of(self.set(), who, permit).await;
        assert_eq!(self.store.commit(set).await.unwrap().entries, 1);
    }

    /// A record with an e-mail address only, and its tags.
    pub(crate) async fn with_email(
        &self,
        who: usize,
        email: String,
        permit: &Permit<'_>,
    ) -> (Record, Vec<(FieldName, IndexTag)>) {
        let form = Form {
            key: key(self.tenant, who),
            matter: None,
            schema: &self.schema,
            class: self.classes[who % self.classes.len()],
            revision: 1,
            minor: false,
        };
        let index = self.email_tags(email.clone()).await;
        let mut fields = Fields::new();
        fields.set(&self.schema, "email", email).unwrap();
        (
            self.sealer.seal(form, &fields, permit).await.unwrap(),
            index,
        )
    }

    /// The tags of an e-mail address.
    pub(crate) async fn email_tags(&self, email: String) -> Vec<(FieldName, IndexTag)> {
        let mut fields = Fields::new();
        fields.set(&self.schema, "email", email).unwrap();
        self.sealer.tags(&self.schema, &fields).await.unwrap()
    }

    /// Puts the first of its people, a thousand a transaction.
    pub(crate) async fn pour(&self, some: usize, people: usize) {
        let session = self.session();
        for first in (0..some).step_by(1000) {
            let range = first..(first + 1000).min(some);
            let permits = self
                .permits(&session, Act::Store, range.clone(), people)
                .await;
            self.put(range, &permits).await;
        }
    }

    /// A person's record, opened under a permit: what is timed as a read.
    pub(crate) async fn get(&self, who: usize, permit: &Permit<'_>) -> Fields {
        let record = self
            .store
            .record(&key(self.tenant, who))
            .await
            .unwrap()
            .unwrap();
        self.sealer.open(&record, permit).await.unwrap()
    }

    /// The same by the e-mail address, through the blind index.
    pub(crate) async fn find(&self, email: String, permit: &Permit<'_>) -> Fields {
        const EMAIL: FieldName = FieldName::fixed("email");
        let email = Pii::new(email);
        for tag in self
            .sealer
            .search_tags(&self.schema, &EMAIL, &email)
            .await
            .unwrap()
        {
            let query = RecordQuery::all(self.tenant, RecordBy::Tag(EMAIL, tag)).page(None, 64);
            for record in self.store.records(&query).await.unwrap() {
                // A tag is short, so others have it too; they are not this permit's business.
                let (subject, category) = (record.key.subject, Category::Identity);
                if permit.require(&[Act::Open], subject, category).is_err() {
                    continue;
                }
                let open = self.sealer.open(&record, permit).await.unwrap();
                if open
                    .field("email")
                    .is_some_and(|found| found.expose(permit) == email.expose(permit))
                {
                    return open;
                }
            }
        }
        panic!("nobody has this address");
    }

    /// A permit of its own for one person, and the record opened under it.
    pub(crate) async fn get_admitted(&self, who: usize) -> usize {
        let session = self.session();
        let permit = session.permit(Act::Open, self.scope(who)).await.unwrap();
        self.get(who, &permit).await.len()
    }

    /// An empty change set of this firm.
    pub(crate) fn set(&self) -> ChangeSet {
        ChangeSet::new(self.tenant, self.gate.now())
    }

    /// The firm.
    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }
}

fn attorney() -> ActorId {
    ActorId::derived(&[b"an invented attorney"])
}

/// As many classes as the peers have purposes.
fn class(number: usize) -> PolicyClass {
    PolicyClass {
        purposes: [(Purpose::Representation, LawfulBasis::Contract)].into(),
        ground: None,
        origin: Origin::Direct,
        retention: Label::new(format!("CASE.{number}")).unwrap(),
        sharing: Default::default(),
        objections: Default::default(),
    }
}

/// Bytes of page cache: everything stays in memory, here as at the peers.
const CACHE: u64 = 256 << 20;
