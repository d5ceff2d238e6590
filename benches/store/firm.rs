//! Our side: the whole road. Cedar decides, the gate logs, the store keeps, the sealer opens.

use std::path::Path;
use std::sync::Arc;

use kta_core::audit::{Label, Outcome};
use kta_core::crypto::Hierarchy;
use kta_core::id::{ActorId, Digest, TenantId};
use kta_core::memory::MemoryKms;
use kta_core::pii::{Category, FieldName, Fields, Matter, MatterState, Party, Pii, Schema};
use kta_core::policy::{
    Act, Actor, Form, Gate, LawfulBasis, Permit, Purpose, Role, Scope, Sealer, Session,
};
use kta_core::ports::Store as _;
use kta_core::ports::store::{Change, ChangeSet, Committed, Expected, RecordBy, RecordQuery};
use kta_core::time::{Clock as _, Entropy};
use kta_keys::OsEntropy;
use kta_policy::CedarPolicy;
use kta_storage::{SqliteKeyTable, SqliteStore, SystemClock};

use crate::people::{IN_MATTER, fields, key, matter, schema};

/// A firm on disk: the store's file, the key table's file, and a custodian in memory, because a
/// custodian is asked once an epoch and not in anything that is timed here.
pub(crate) struct Firm {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) gate: Gate,
    pub(crate) sealer: Sealer,
    pub(crate) schema: Schema,
    tenant: TenantId,
}

impl Firm {
    /// Opens one with this many people in its matters, who have keys and no records yet.
    pub(crate) async fn open(folder: &Path, people: usize) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let tenant = TenantId::derived(&[b"a firm"]);
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let store = Arc::new(SqliteStore::open(folder.join("firm.db")).unwrap());
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
        let gate = Gate::new(tenant, policy, Arc::clone(&store) as _, Arc::new(SystemClock), Arc::clone(&entropy));
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
        let sealer = Sealer::new(keys, entropy);
        Self { store, gate, sealer, schema: schema(), tenant }
    }

    /// The attorney at work.
    pub(crate) fn session(&self) -> Session<'_> {
        self.gate.session(attorney(), Role::Attorney, Purpose::Representation)
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
        let everybody = (first..(first + IN_MATTER).min(people)).map(|who| key(self.tenant, who).subject);
        let scope = Scope::over(everybody, [Category::Identity]).in_matter(matter(first));
        session.permit(act, scope).await.unwrap()
    }

    /// Seals a person's record, with its index tags and the entry of it.
    pub(crate) async fn sealed(&self, set: ChangeSet, who: usize, permit: &Permit<'_>) -> ChangeSet {
        let fields = fields(&self.schema, who);
        let form = Form {
            key: key(self.tenant, who),
            matter: Some(matter(who)),
            schema: &self.schema,
            class: class(who),
            revision: 1,
            minor: false,
        };
        let record = self.sealer.seal(form, &fields, permit).await.unwrap();
        let index = self.sealer.tags(&self.schema, &fields).await.unwrap();
        let event = permit
            .event(Act::Store, Outcome::Done)
            .of_subject(form.key.subject)
            .with("record", form.key.record);
        set.with(Change::PutRecord { record, index, expected: Expected::Absent }).event(event)
    }

    /// Puts people, a transaction for all of them.
    pub(crate) async fn put(&self, people: core::ops::Range<usize>, all: usize) {
        let session = self.session();
        let mut set = ChangeSet::new(self.tenant, self.gate.now());
        let mut permit = None;
        for who in people {
            if permit.is_none() || who.is_multiple_of(IN_MATTER) {
                let first = who / IN_MATTER * IN_MATTER;
                permit = Some(self.matter_permit(&session, Act::Store, first, all).await);
            }
            set = self.sealed(set, who, permit.as_ref().unwrap()).await;
        }
        let done = self.store.commit(set).await.unwrap();
        assert!(done.entries > 0);
    }

    /// A person's record, opened under a permit: what is timed as a read.
    pub(crate) async fn get(&self, who: usize, permit: &Permit<'_>) -> Fields {
        let record = self.store.record(&key(self.tenant, who)).await.unwrap().unwrap();
        self.sealer.open(&record, permit).await.unwrap()
    }

    /// The same by the e-mail address, through the blind index.
    pub(crate) async fn find(&self, email: String, permit: &Permit<'_>) -> Fields {
        const EMAIL: FieldName = FieldName::fixed("email");
        let email = Pii::new(email);
        for tag in self.sealer.search_tags(&self.schema, &EMAIL, &email).await.unwrap() {
            let query = RecordQuery {
                tenant: self.tenant,
                by: RecordBy::Tag(EMAIL, tag),
                after: None,
                limit: 8,
            };
            for record in self.store.records(&query).await.unwrap() {
                let open = self.sealer.open(&record, permit).await.unwrap();
                if open.field("email").is_some_and(|found| found.expose(permit) == email.expose(permit)) {
                    return open;
                }
            }
        }
        panic!("nobody has this address");
    }

    /// A change set of this firm.
    pub(crate) fn set(&self) -> ChangeSet {
        ChangeSet::new(self.tenant, self.gate.now())
    }

    /// Commits one.
    pub(crate) async fn commit(&self, set: ChangeSet) -> Committed {
        self.store.commit(set).await.unwrap()
    }
}

fn attorney() -> ActorId {
    ActorId::derived(&[b"an invented attorney"])
}

fn class(who: usize) -> Digest {
    Digest::of(&[(who % crate::people::PURPOSES) as u8])
}
