//! Records and operations, by number and seed: every contestant gets the same.

use kta_core::policy::Purpose;

/// What is known about a record besides its data, as the workload has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Meta {
    /// One of 25 sets of purposes.
    pub(crate) purposes: u8,
    /// Until when it is kept, in seconds after the workload's beginning.
    pub(crate) until: u32,
    /// One of 100 objections.
    pub(crate) objection: u8,
    /// One of 2 decisions: which lawful basis.
    pub(crate) decision: u8,
    /// One of 10 lists of who has access.
    pub(crate) access: u8,
    /// One of 10 recipients.
    pub(crate) shared: u8,
    /// One of 10 sources.
    pub(crate) source: u8,
    /// One of 10 categories.
    pub(crate) category: u8,
}

impl Meta {
    /// Of the record of this number, written at this second.
    pub(crate) fn of(number: u32, second: u32) -> Self {
        Self {
            purposes: (number % PURPOSES) as u8,
            until: second + LIVES[number as usize % LIVES.len()],
            objection: (number % 100) as u8,
            decision: (number % 2) as u8,
            access: (number % 10) as u8,
            shared: (number % 10) as u8,
            source: (number % 10) as u8,
            category: (number % 10) as u8,
        }
    }

    /// The same with one field set, at this second.
    pub(crate) fn with(mut self, set: Set, second: u32) -> Self {
        match set.field {
            Field::Until => self.until = second + LIVES[usize::from(set.value) % LIVES.len()],
            Field::Objection => self.objection = set.value % 100,
            Field::Decision => self.decision = set.value % 2,
            Field::Access => self.access = set.value % 10,
            Field::Shared => self.shared = set.value % 10,
            Field::Source => self.source = set.value % 10,
            Field::Category => self.category = set.value % 10,
        }
        self
    }

    /// The purposes of the house that this set has.
    pub(crate) fn set(self) -> Vec<Purpose> {
        let bits = self.purposes % 15 + 1;
        let mut set: Vec<_> = USES
            .into_iter()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 == 1)
            .map(|(_, purpose)| purpose)
            .collect();
        if self.purposes >= 15 {
            set.push(Purpose::Retention);
        }
        set
    }

    /// What the person objected to: one objection in ten is to one of the purposes.
    pub(crate) fn objected(self) -> Option<Purpose> {
        let number = usize::from(self.objection);
        (number % 10 == 7).then(|| USES[number / 10 % USES.len()])
    }

    /// A number that tells it from others.
    pub(crate) fn mark(self) -> u64 {
        let fields = [
            self.purposes,
            self.objection,
            self.decision,
            self.access,
            self.shared,
            self.source,
            self.category,
        ];
        let start = mix(0x6d65_7461, u64::from(self.until));
        fields
            .iter()
            .fold(start, |mark, field| mix(mark, u64::from(*field)))
    }
}

/// Which field an update sets, and to what. The purposes and the person stay: another person's
/// record is another record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) field: Field,
    pub(crate) value: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Until,
    Objection,
    Decision,
    Access,
    Shared,
    Source,
    Category,
}

/// A hundred digits that follow from a record's number and from how often it was written.
pub(crate) fn data(number: u32, version: u32) -> String {
    let mut state = mix(u64::from(number), u64::from(version));
    (0..100)
        .map(|_| {
            state = mix(state, 1);
            char::from(b'0' + (state % 10) as u8)
        })
        .collect()
}

/// A number that tells data from other data.
pub(crate) fn mark(number: u32, data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let start = mix(u64::from(number), data.len() as u64);
    let whole = words
        .iter()
        .fold(start, |mark, word| mix(mark, u64::from_le_bytes(*word)));
    rest.iter()
        .fold(whole, |mark, byte| mix(mark, u64::from(*byte)))
}

pub(crate) fn mix(one: u64, other: u64) -> u64 {
    let mut mixed = (one ^ other.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

/// One operation of the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Create { number: u32 },
    Delete { number: u32 },
    ReadData { number: u32, purpose: Purpose },
    ReadDataByPurpose { purposes: u8, purpose: Purpose },
    ReadDataByUser { user: u32, purpose: Purpose },
    ReadMetaByUser { user: u32 },
    UpdateData { number: u32, version: u32 },
    UpdateMeta { number: u32, set: Set },
    UpdateMetaByPurpose { purposes: u8, set: Set },
    UpdateMetaByUser { user: u32, set: Set },
    ReadLog { lines: u32 },
    VerifyDeletion { number: u32 },
}

impl Op {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create { .. } => "create a record",
            Self::Delete { .. } => "delete by key",
            Self::ReadData { .. } => "read data by key",
            Self::ReadDataByPurpose { .. } => "read data by purpose",
            Self::ReadDataByUser { .. } => "read data by user",
            Self::ReadMetaByUser { .. } => "read metadata by user",
            Self::UpdateData { .. } => "update data by key",
            Self::UpdateMeta { .. } => "update metadata by key",
            Self::UpdateMetaByPurpose { .. } => "update metadata by purpose",
            Self::UpdateMetaByUser { .. } => "update metadata by user",
            Self::ReadLog { .. } => "read the log's end",
            Self::VerifyDeletion { .. } => "verify a deletion",
        }
    }
}

/// A persona with one of its mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The mix is the same in both.
    Controller,
    CustomerPaper,
    CustomerD,
    ProcessorPaper,
    ProcessorD,
    /// D has no regulator.
    Regulator,
}

impl Lane {
    pub(crate) const ALL: [Self; 6] = [
        Self::Regulator,
        Self::ProcessorPaper,
        Self::ProcessorD,
        Self::CustomerPaper,
        Self::CustomerD,
        Self::Controller,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller (paper and D)",
            Self::CustomerPaper => "customer (paper)",
            Self::CustomerD => "customer (D)",
            Self::ProcessorPaper => "processor (paper)",
            Self::ProcessorD => "processor (D)",
            Self::Regulator => "regulator (paper)",
        }
    }
}

/// Draws operations.
pub(crate) struct Draw {
    state: u64,
    records: u32,
    users: u32,
    zipf: Zipf,
    next: u32,
    written: u32,
}

impl Draw {
    pub(crate) fn new(seed: u64, records: u32, users: u32) -> Self {
        Self {
            state: mix(seed, 0x6b74_6100),
            records,
            users,
            zipf: Zipf::new(records),
            next: records,
            written: 0,
        }
    }

    pub(crate) fn op(&mut self, lane: Lane) -> Op {
        let dice = self.below(100);
        match lane {
            Lane::Controller => match dice {
                0..25 => self.create(),
                25..50 => Op::Delete {
                    number: self.below(self.records),
                },
                50..75 => Op::UpdateMetaByPurpose {
                    purposes: self.below(PURPOSES) as u8,
                    set: self.set(),
                },
                _ => Op::UpdateMetaByUser {
                    user: self.below(self.users),
                    set: self.set(),
                },
            },
            Lane::CustomerPaper => match dice {
                0..20 => self.own(),
                20..40 => Op::ReadMetaByUser {
                    user: self.zipf() % self.users,
                },
                40..60 => self.write(),
                60..80 => Op::UpdateMeta {
                    number: self.zipf(),
                    set: self.set(),
                },
                _ => Op::Delete {
                    number: self.zipf(),
                },
            },
            Lane::CustomerD => match dice {
                0..20 => self.own(),
                20..40 => Op::ReadMetaByUser {
                    user: self.zipf() % self.users,
                },
                40..80 => self.write(),
                _ => Op::Delete {
                    number: self.zipf(),
                },
            },
            Lane::ProcessorPaper => match dice {
                0..80 => self.process(),
                _ => self.by_purpose(),
            },
            Lane::ProcessorD => match dice {
                0..80 => self.process(),
                80..90 => self.by_purpose(),
                _ => Op::ReadDataByUser {
                    user: self.zipf() % self.users,
                    purpose: self.purpose(),
                },
            },
            Lane::Regulator => match dice {
                0..46 => Op::ReadMetaByUser {
                    user: self.zipf() % self.users,
                },
                46..77 => Op::ReadLog {
                    lines: 1 + self.below(1000),
                },
                _ => Op::VerifyDeletion {
                    number: self.below(self.records),
                },
            },
        }
    }

    /// Any of the records there were at the beginning.
    pub(crate) fn any(&mut self) -> u32 {
        self.below(self.records)
    }

    /// The person reads what is kept of him or her: a purpose that the law gives.
    fn own(&mut self) -> Op {
        Op::ReadData {
            number: self.zipf(),
            purpose: Purpose::Compliance,
        }
    }

    /// Mostly a purpose that the record has, as whoever processes it knows.
    fn process(&mut self) -> Op {
        let number = self.zipf();
        let set = Meta::of(number, 0).set();
        let purpose = match self.below(20) {
            0 => self.purpose(),
            dice => set[dice as usize % set.len()],
        };
        Op::ReadData { number, purpose }
    }

    fn by_purpose(&mut self) -> Op {
        let purposes = self.below(PURPOSES) as u8;
        let number = u32::from(purposes);
        let set = Meta::of(number, 0).set();
        let of_use: Vec<_> = set
            .into_iter()
            .filter(|purpose| !purpose.is_legal())
            .collect();
        let purpose = of_use[self.below(of_use.len() as u32) as usize];
        Op::ReadDataByPurpose { purposes, purpose }
    }

    fn create(&mut self) -> Op {
        self.next += 1;
        Op::Create {
            number: self.next - 1,
        }
    }

    fn write(&mut self) -> Op {
        self.written += 1;
        Op::UpdateData {
            number: self.zipf(),
            version: self.written,
        }
    }

    fn set(&mut self) -> Set {
        let fields = [
            Field::Until,
            Field::Objection,
            Field::Decision,
            Field::Access,
            Field::Shared,
            Field::Source,
            Field::Category,
        ];
        Set {
            field: fields[self.below(7) as usize],
            value: self.below(100) as u8,
        }
    }

    fn purpose(&mut self) -> Purpose {
        USES[self.below(4) as usize]
    }

    /// A key by the scrambled Zipf distribution.
    fn zipf(&mut self) -> u32 {
        let share = self.share();
        let drawn = self.zipf.draw(share);
        (mix(u64::from(drawn), 0x5a69_7066) % u64::from(self.records)) as u32
    }

    fn below(&mut self, most: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.state, 7) % u64::from(most)) as u32
    }

    fn share(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.state, 9) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Zipf with an exponent of 0.99, as YCSB draws it (Gray and others, 1994).
struct Zipf {
    items: f64,
    zeta: f64,
    eta: f64,
    alpha: f64,
}

impl Zipf {
    fn new(items: u32) -> Self {
        let zeta = |items: u32| {
            (1..=items)
                .map(|at| f64::from(at).powf(-THETA))
                .sum::<f64>()
        };
        let (all, two) = (zeta(items), zeta(2));
        Self {
            items: f64::from(items),
            zeta: all,
            eta: (1.0 - (2.0 / f64::from(items)).powf(1.0 - THETA)) / (1.0 - two / all),
            alpha: 1.0 / (1.0 - THETA),
        }
    }

    fn draw(&self, share: f64) -> u32 {
        let at = share * self.zeta;
        if at < 1.0 {
            0
        } else if at < 1.0 + 0.5_f64.powf(THETA) {
            1
        } else {
            (self.items * (self.eta * share - self.eta + 1.0).powf(self.alpha)) as u32
        }
    }
}

const THETA: f64 = 0.99;

/// How many sets of purposes there are: each covers a twenty-fifth of the records.
pub(crate) const PURPOSES: u32 = 25;

/// The purposes that need a basis and can be objected to.
pub(crate) const USES: [Purpose; 4] = [
    Purpose::Filing,
    Purpose::Marketing,
    Purpose::Representation,
    Purpose::Security,
];

/// How many seconds records live, by their number: a tenth of them thirty.
const LIVES: [u32; 10] = [
    30, 10_000, 12_000, 14_000, 16_000, 18_000, 20_000, 22_000, 24_000, 1_000_000,
];
