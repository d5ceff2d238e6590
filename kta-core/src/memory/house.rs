//! A whole house in memory: for quick starts, tests and demonstrations, never for real data.

use std::sync::Arc;

use ed25519_dalek::SigningKey;

use crate::audit::{Label, LocalSigner};
use crate::crypto::Hierarchy;
use crate::error::Result;
use crate::id::TenantId;
use crate::memory::{
    FaultPlan, Flaky, ManualClock, MemoryBlobs, MemoryChannel, MemoryCrm, MemoryIntake,
    MemoryKeyTable, MemoryKms, MemoryLibrary, MemoryReader, MemoryScanner, MemoryStore,
    RulesPolicy, SeededEntropy,
};
use crate::pipeline::profile::Profile;
use crate::pipeline::{Doors, House};
use crate::policy::Sealer;
use crate::ports::Erase;
use crate::retention::{Applies, Bound, Combine, Holder, PackRef, Period, Rule, Schedule, Term};
use crate::time::Timestamp;

/// The ports of a house in memory. They outlive the houses that are opened over them, as disks
/// outlive processes: [`open`](Self::open) again is a restart.
#[derive(Debug)]
pub struct MemoryPorts {
    tenant: TenantId,
    entropy: Arc<SeededEntropy>,
    /// The clock of everything.
    pub clock: ManualClock,
    /// Store, work queue and audit log.
    pub store: MemoryStore,
    /// Sealed blobs.
    pub blobs: Arc<MemoryBlobs>,
    /// The CRM.
    pub crm: Arc<MemoryCrm>,
    /// The document library.
    pub library: Arc<MemoryLibrary>,
    /// The agency's channel.
    pub channel: Arc<MemoryChannel>,
    /// The channel by which clients submit, called `web-form`.
    pub intake: Arc<MemoryIntake>,
    /// Children of a branch of the key tree, from 2 to 256, when the first house is opened.
    pub fan_out: u16,
    kms: Arc<MemoryKms>,
    table: Arc<MemoryKeyTable>,
}

impl MemoryPorts {
    /// Empty ports of one firm at `now`. The same seed gives the same ids and keys.
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let entropy = Arc::new(SeededEntropy::new(seed));
        Self {
            tenant: TenantId::random(&*entropy),
            clock: ManualClock::at(now),
            store: MemoryStore::new(),
            blobs: Arc::new(MemoryBlobs::new()),
            crm: Arc::new(MemoryCrm::new()),
            library: Arc::new(MemoryLibrary::new()),
            channel: Arc::new(MemoryChannel::new()),
            intake: Arc::new(MemoryIntake::new(Label::fixed("web-form"))),
            fan_out: 256,
            kms: Arc::new(MemoryKms::new(Arc::clone(&entropy) as _)),
            table: Arc::new(MemoryKeyTable::new()),
            entropy,
        }
    }

    /// Opens a house over the ports.
    ///
    /// # Errors
    /// Faults of the key side.
    pub async fn open(&self) -> Result<House> {
        self.open_under(&FaultPlan::none()).await
    }

    /// Opens a house whose ports fail as `plan` says.
    ///
    /// # Errors
    /// Faults of the key side, planned ones among them.
    pub async fn open_under(&self, plan: &Arc<FaultPlan>) -> Result<House> {
        let (clock, entropy) = (Arc::new(self.clock.clone()), Arc::clone(&self.entropy));
        let kms = Arc::new(Flaky::new(self.kms.clone(), plan));
        let table = Arc::new(Flaky::new(self.table.clone(), plan));
        let now = crate::time::Clock::now(&self.clock);
        let chance = Arc::clone(&entropy) as _;
        let keys = Hierarchy::open_with_fan_out(self.tenant, kms, table, chance, now, self.fan_out)
            .await?;
        let store = Arc::new(Flaky::new(Arc::new(self.store.clone()), plan));
        let blobs = Arc::new(Flaky::new(self.blobs.clone(), plan));
        let crm = Arc::new(Flaky::new(self.crm.clone(), plan));
        let library = Arc::new(Flaky::new(self.library.clone(), plan));
        let channel = Arc::new(Flaky::new(self.channel.clone(), plan));
        let intake = Arc::new(Flaky::new(self.intake.clone(), plan));
        let key = SigningKey::from_bytes(&[7; 32]);
        let doors = Doors {
            jobs: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            collaboration: Arc::clone(&library) as _,
            scanner: Arc::new(MemoryScanner::new()),
            reader: Arc::new(MemoryReader::new()),
            policy: Arc::new(RulesPolicy::new()),
            signer: Arc::new(LocalSigner::new("memory.example/log", key)?),
            erasers: vec![
                Arc::clone(&store) as Arc<dyn Erase>,
                Arc::clone(&blobs) as _,
                Arc::clone(&crm) as _,
                Arc::clone(&library) as _,
                Arc::clone(&channel) as _,
                intake as _,
            ],
            store,
            blobs,
            crm,
            documents: library,
            channel,
            clock,
            entropy: Arc::clone(&entropy) as _,
        };
        let sealer = Sealer::new(Arc::new(keys), entropy);
        let mut house = House::new(self.tenant, doors, sealer);
        house
            .profiles
            .insert(Label::fixed("us.h1b"), Profile::h1b());
        house
            .schedules
            .insert(Label::fixed("CASE.FILE"), seven_years());
        // This clock is moved by hand, over years at a time.
        house.watch = None;
        house.verified_domains.push("example.com".to_owned());
        Ok(house)
    }
}

/// The one rule of the house in memory: seven years from closing, a minor's from majority. It is
/// not law, packs are, and so it is never overdue for review.
fn seven_years() -> Schedule {
    let class = Label::fixed("CASE.FILE");
    let bound = |trigger, when_known| Bound {
        trigger,
        add: Period::years(7),
        when_known,
        needed_when: None,
    };
    let term = Term {
        op: Combine::Max,
        of: vec![
            bound(Label::fixed("matter_closed"), false),
            bound(Label::fixed("majority"), true),
        ],
    };
    let rule = Rule {
        id: Label::fixed("memory.seven-years"),
        applies: Applies::default(),
        holder: Holder::Firm,
        floor: Some(term),
        ceiling: None,
        while_open: None,
        citation: "none: a rule for tests".into(),
        source: "none".into(),
        reviewed_on: chrono::NaiveDate::from_ymd_opt(2999, 1, 1).unwrap_or_default(),
        verified: true,
        pack: PackRef {
            id: Label::fixed("memory"),
            version: Label::fixed("1"),
            digest: crate::id::Digest::of(b"memory"),
        },
    };
    Schedule {
        class,
        rules: vec![rule],
    }
}
