//! How the comparing benches measure and what they leave behind.
//!
//! Contestants of one comparison run in turn, round after round, in one process, so that a slow
//! spell of the machine falls on all of them; what is kept is the median over the rounds of the
//! ratio within a round. The table goes to standard output and to `target/figures/NAME.json`.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Whether a run of under half a minute was asked for: `KTA_BENCH=short`.
pub(crate) fn short() -> bool {
    std::env::var("KTA_BENCH").is_ok_and(|wish| wish == "short")
}

/// `long` in an ordinary run, `short` in a short one.
pub(crate) fn sized<T>(long: T, brief: T) -> T {
    if short() { brief } else { long }
}

/// The figures of one bench, in the order in which they were found.
pub(crate) struct Figures {
    name: &'static str,
    figures: Vec<Value>,
    remarks: Vec<String>,
}

impl Figures {
    /// No figures yet.
    pub(crate) fn new(name: &'static str) -> Self {
        println!("{name}: {}", if short() { "short run" } else { "full run" });
        Self {
            name,
            figures: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// A figure that should be at most `target`.
    pub(crate) fn at_most(&mut self, claim: &str, value: f64, unit: &str, target: f64) {
        self.add(claim, value, unit, target, "at most", value <= target);
    }

    /// A figure that should be at least `target`.
    pub(crate) fn at_least(&mut self, claim: &str, value: f64, unit: &str, target: f64) {
        self.add(claim, value, unit, target, "at least", value >= target);
    }

    /// What the reader of the figures has to know.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        let remark = remark.into();
        println!("  note: {remark}");
        self.remarks.push(remark);
    }

    /// Prints the table and writes the file.
    pub(crate) fn write(self) -> std::io::Result<()> {
        let folder = target().join("figures");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.name));
        let report = json!({
            "machine": machine(),
            "run": if short() { "short" } else { "full" },
            "figures": self.figures,
            "remarks": self.remarks,
        });
        fs::write(&path, format!("{report:#}\n"))?;
        println!("written to target/figures/{}.json", self.name);
        Ok(())
    }

    fn add(&mut self, claim: &str, value: f64, unit: &str, target: f64, sense: &str, holds: bool) {
        let mark = if holds { "holds" } else { "MISSED" };
        println!("  {claim}: {value:.3} {unit} ({sense} {target}) {mark}");
        self.figures.push(json!({
            "claim": claim, "value": value, "unit": unit, "target": target, "sense": sense,
            "holds": holds,
        }));
    }
}

/// Times of contestants that ran in turn.
pub(crate) struct Race {
    /// Seconds for one operation: a row a round, a column a contestant.
    rounds: Vec<Vec<f64>>,
}

impl Race {
    /// Runs each contestant once a round. A turn is as many operations as take about ten
    /// milliseconds, at least one.
    pub(crate) fn run<const N: usize>(
        rounds: usize,
        mut contestants: [&mut dyn FnMut(); N],
    ) -> Self {
        let mut turns = [1_u32; N];
        for (turn, contestant) in turns.iter_mut().zip(&mut contestants) {
            // The loop warms up, too.
            while time(*turn, *contestant) < TURN && *turn < 1 << 24 {
                *turn *= 2;
            }
        }
        let mut round = || {
            let pairs = turns.iter().zip(&mut contestants);
            pairs
                .map(|(turn, contestant)| time(*turn, *contestant).as_secs_f64() / f64::from(*turn))
                .collect()
        };
        Self {
            rounds: (0..rounds).map(|_| round()).collect(),
        }
    }

    /// The median seconds that one operation of a contestant took.
    pub(crate) fn seconds(&self, contestant: usize) -> f64 {
        median(self.rounds.iter().map(|round| round[contestant]).collect())
    }

    /// The median over the rounds of how many times longer `this` took than `that`.
    pub(crate) fn ratio(&self, this: usize, that: usize) -> f64 {
        median(
            self.rounds
                .iter()
                .map(|round| round[this] / round[that])
                .collect(),
        )
    }
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}

/// The value below which this share of the values lies.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// Where cargo puts what is built.
pub(crate) fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"))
}

fn time(operations: u32, contestant: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..operations {
        black_box(&mut *contestant)();
    }
    start.elapsed()
}

/// The processor and what the build may take for granted of it.
fn machine() -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "processor": field("model name"),
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "built_for": {
            "aes": cfg!(target_feature = "aes"),
            "vaes": cfg!(target_feature = "vaes"),
            "avx512f": cfg!(target_feature = "avx512f"),
            "pclmulqdq": cfg!(target_feature = "pclmulqdq"),
        },
    })
}

/// How long a contestant's turn lasts at least.
const TURN: Duration = Duration::from_millis(10);
