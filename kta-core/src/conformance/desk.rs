//! A small firm with an ordinary gate, from which kits and tests take their permits.

use core::fmt;
use core::hash::{BuildHasher as _, Hasher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::audit::Label;
use crate::error::Result;
use crate::id::{ActorId, HoldId, MatterId, SubjectId, TenantId};
use crate::memory::{ManualClock, MemoryStore, RulesPolicy, SeededEntropy};
use crate::pii::{Category, Matter, MatterState, Party};
use crate::policy::{
    Actor, Directory, Gate, LawfulBasis, Purpose, Role, Scope, Session, SpecialGround,
};
use crate::ports::store::{Change, ChangeSet, Store as _};
use crate::retention::Hold;
use crate::time::{Clock as _, Timestamp};

/// A firm of invented people: one trained actor in every role, one matter of a family of four
/// and its petitioner, and one matter of somebody else. Its gate is the real one, over a
/// [`MemoryStore`], a [`ManualClock`], [`SeededEntropy`] and [`RulesPolicy`].
///
/// Each desk is a tenant of its own, so that a kit can run against a store that others use.
///
/// ```
/// use kta_core::conformance::Desk;
/// use kta_core::pii::Category;
/// use kta_core::policy::{Act, Role};
/// # fn block<F: Future>(f: F) -> F::Output {
/// #     let mut f = std::pin::pin!(f);
/// #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop { if let std::task::Poll::Ready(out) = f.as_mut().poll(&mut cx) { return out; } }
/// # }
/// # block(async {
/// let desk = Desk::new("example");
/// let session = desk.session(Role::Paralegal);
/// let scope = desk.scope(desk.beneficiary(), Category::Identity);
/// let permit = session.permit(Act::Open, scope).await.expect("on the team, trained, covered");
/// # });
/// ```
pub struct Desk {
    gate: Gate,
    clock: ManualClock,
    store: MemoryStore,
}

impl Desk {
    /// A desk for this case, in a tenant that no other desk has.
    #[must_use]
    pub fn new(case: &str) -> Self {
        Self::of(unused_tenant(case))
    }

    /// A desk of this firm.
    #[must_use]
    pub fn of(tenant: TenantId) -> Self {
        let (clock, store) = (ManualClock::at(Self::opening_hour()), MemoryStore::new());
        let [seed @ .., _, _, _, _, _, _, _, _] = *tenant.as_bytes();
        let gate = Gate::new(
            tenant,
            Arc::new(RulesPolicy::new()),
            Arc::new(store.clone()),
            Arc::new(clock.clone()),
            Arc::new(SeededEntropy::new(u64::from_be_bytes(seed))),
        );
        let desk = Self { gate, clock, store };
        desk.gate
            .amend_directory(|directory| *directory = desk.directory());
        desk
    }

    /// When every desk opens: 15 January 2026, 09:00 UTC.
    #[must_use]
    pub fn opening_hour() -> Timestamp {
        // 1,768,467,600 seconds are that instant, well inside the years that an instant can have.
        Timestamp::from_timestamp(1_768_467_600, 0).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The firm.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.gate.tenant()
    }

    /// The gate.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The clock by which the gate goes.
    #[must_use]
    pub const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The store in which the gate logs.
    #[must_use]
    pub const fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// Places a legal hold over this person.
    ///
    /// # Errors
    /// Those of the store in which the gate logs.
    pub async fn hold(&self, subject: SubjectId) -> Result<HoldId> {
        let hold = Hold {
            tenant: self.tenant(),
            id: HoldId::derived(&[subject.as_bytes()]),
            subjects: BTreeSet::from([subject]),
            matters: BTreeSet::new(),
            reason: Label::fixed("litigation.desk"),
            placed_by: self.actor(Role::LegalHold),
            placed_at: self.now(),
            released: None,
        };
        let change = ChangeSet::new(self.tenant(), self.now());
        let change = change.with(Change::PlaceHold(hold.clone()));
        self.store.commit(change).await?;
        self.gate.read_holds().await?;
        Ok(hold.id)
    }

    /// Releases a hold that [`hold`](Self::hold) placed.
    ///
    /// # Errors
    /// Those of the store in which the gate logs.
    pub async fn release(&self, hold: HoldId) -> Result<()> {
        let by = self.actor(Role::LegalHold);
        let change = ChangeSet::new(self.tenant(), self.now());
        let change = change.with(Change::ReleaseHold { hold, by });
        self.store.commit(change).await?;
        self.gate.read_holds().await
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A session of the actor in this role, for the purpose that such an actor works for.
    #[must_use]
    pub fn session(&self, role: Role) -> Session<'_> {
        self.session_for(role, usual_purpose(role))
    }

    /// A session of the actor in this role, for this purpose.
    #[must_use]
    pub fn session_for(&self, role: Role, purpose: Purpose) -> Session<'_> {
        self.gate
            .session(self.actor(role), role, purpose)
            .through(Label::fixed("desk"))
    }

    /// The actor in this role.
    #[must_use]
    pub fn actor(&self, role: Role) -> ActorId {
        ActorId::derived(&[self.tenant().as_bytes(), role.as_str().as_bytes()])
    }

    /// The family's matter.
    #[must_use]
    pub fn matter(&self) -> MatterId {
        MatterId::derived(&[self.tenant().as_bytes(), b"family"])
    }

    /// The other client's matter, with the same team.
    #[must_use]
    pub fn other_matter(&self) -> MatterId {
        MatterId::derived(&[self.tenant().as_bytes(), b"other"])
    }

    /// The person for whom the petition is filed; the actor in the role of a subject.
    #[must_use]
    pub fn beneficiary(&self) -> SubjectId {
        self.person("beneficiary")
    }

    /// The beneficiary's spouse.
    #[must_use]
    pub fn spouse(&self) -> SubjectId {
        self.person("spouse")
    }

    /// The beneficiary's two children.
    #[must_use]
    pub fn children(&self) -> [SubjectId; 2] {
        [self.person("child one"), self.person("child two")]
    }

    /// The employer's contact; the actor in the role of a petitioner.
    #[must_use]
    pub fn petitioner(&self) -> SubjectId {
        self.person("petitioner")
    }

    /// The only party of the other matter.
    #[must_use]
    pub fn stranger(&self) -> SubjectId {
        self.person("stranger")
    }

    /// A person's data of one category, in the matter where the person is a party.
    #[must_use]
    pub fn scope(&self, subject: SubjectId, category: Category) -> Scope {
        let other = subject == self.stranger();
        let matter = if other {
            self.other_matter()
        } else {
            self.matter()
        };
        Scope::of(subject, category).in_matter(matter)
    }

    /// A person's data of every category, in the matter where the person is a party.
    #[must_use]
    pub fn whole(&self, subject: SubjectId) -> Scope {
        let other = subject == self.stranger();
        let matter = if other {
            self.other_matter()
        } else {
            self.matter()
        };
        Scope::over([subject], Category::ALL).in_matter(matter)
    }

    fn person(&self, who: &str) -> SubjectId {
        SubjectId::derived(&[self.tenant().as_bytes(), who.as_bytes()])
    }

    fn directory(&self) -> Directory {
        let mut directory = Directory::default();
        for role in Role::ALL {
            let mut actor = Actor::new(self.actor(role), role);
            actor.trained_until = NaiveDate::from_ymd_opt(2027, 1, 14);
            match role {
                Role::Petitioner => {
                    actor.subject = Some(self.petitioner());
                    actor.party = Some(Party::Petitioner);
                }
                Role::Subject => {
                    actor.subject = Some(self.beneficiary());
                    actor.party = Some(Party::Beneficiary);
                }
                _ => {}
            }
            directory.list(actor);
        }
        let [one, two] = self.children();
        directory.file(self.filed(
            self.matter(),
            [
                (self.beneficiary(), Party::Beneficiary),
                (self.spouse(), Party::Spouse),
                (one, Party::Child),
                (two, Party::Child),
                (self.petitioner(), Party::Petitioner),
            ],
        ));
        directory.file(self.filed(self.other_matter(), [(self.stranger(), Party::Beneficiary)]));
        directory
    }

    fn filed(&self, id: MatterId, parties: impl IntoIterator<Item = (SubjectId, Party)>) -> Matter {
        let team = [Role::Attorney, Role::Paralegal].map(|role| (self.actor(role), role));
        let basis = |purpose| match purpose {
            Purpose::Representation | Purpose::Filing => LawfulBasis::Contract,
            _ => LawfulBasis::LegalObligation,
        };
        let purposes = [
            Purpose::Compliance,
            Purpose::Disposition,
            Purpose::Filing,
            Purpose::Representation,
            Purpose::Retention,
            Purpose::Security,
        ];
        Matter {
            tenant: self.tenant(),
            id,
            kind: Label::fixed("us.h1b"),
            state: MatterState::Review,
            team: BTreeMap::from(team),
            parties: parties.into_iter().collect(),
            walled: BTreeSet::new(),
            purposes: purposes.map(|purpose| (purpose, basis(purpose))).into(),
            ground: Some(SpecialGround::LegalClaims),
            triggers: BTreeMap::new(),
            open_points: BTreeSet::new(),
            originals_held: 0,
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({})", self.tenant())
    }
}

/// A firm that nothing else in this or another run uses.
#[must_use]
pub fn unused_tenant(case: &str) -> TenantId {
    // Not secret, only different each time: what a hash map would use.
    let salt = RandomState::new().build_hasher().finish();
    TenantId::derived(&[b"conformance", case.as_bytes(), &salt.to_be_bytes()])
}

const fn usual_purpose(role: Role) -> Purpose {
    match role {
        Role::Auditor | Role::Dpo | Role::LegalHold => Purpose::Compliance,
        Role::Ciso | Role::Sysadmin => Purpose::Security,
        Role::Records | Role::ServiceRetention => Purpose::Retention,
        Role::ServiceDestroy => Purpose::Disposition,
        _ => Purpose::Representation,
    }
}
