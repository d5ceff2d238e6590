//! The four personas of GDPRbench (Shastri and others, VLDB 2020) as a workalike: controller,
//! customer, processor and regulator against the house and against plain SQLite, with a model
//! beside them that knows every answer. Nothing is printed as holding when one answer was wrong.
//!
//! ```text
//! cargo bench --bench gdpr_personas                       100,000 records, 10,000 operations a persona
//! KTA_BENCH=short cargo bench --bench gdpr_personas       under half a minute
//! cargo bench --bench gdpr_personas -- controller         some of controller, customer, processor, regulator
//! ```
//!
//! The published client is not reused: parts of it match no row and check nothing. Nor are these
//! figures comparable with the paper's absolute numbers: other hardware, another client.
//!
//! | workload | here |
//! |---|---|
//! | purpose, one of 25 | one of 25 sets of the house's purposes, each with a basis |
//! | time to live | the retention class's end; a tenth of the records lives 30 s of an injected clock |
//! | user | the data subject, with a key of his or her own |
//! | objection, one of 100 | a number; every tenth is an objection to one of the purposes |
//! | decision | which lawful basis |
//! | access, shared | labels of sharing |
//! | source | origin, with the ground for special categories |
//! | category | the retention class |
//! | data, 100 digits | one sealed field |
//!
//! An update of metadata sets any of these but the purpose and the user: another person's record
//! is another record.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and it speaks"
)]

mod catalogue;
mod chart;
mod engine;
#[path = "../figures/mod.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod figures;
mod firm;
mod generate;
mod house;
mod model;
mod permits;
mod plain;

use std::collections::BTreeMap;
use std::time::Instant;

use chart::Bar;
use engine::Engine;
use figures::{Figures, median, quantile, sized, target};
use generate::{Draw, Lane, Op};
use house::House;
use model::{Answer, Model};
use plain::Plain;

fn main() -> std::io::Result<()> {
    let mut figures = Figures::new("gdpr_personas");
    let records: u32 = sized(100_000, 10_000);
    let users = records / 10;
    let rounds: usize = sized(5, 5);
    let each: usize = sized(2_000, 200);
    let scanned: usize = sized(100, 40);
    let folder = tempfile::tempdir_in(target())?;

    let lanes = wanted();
    let mut arena = Arena::fill(folder.path(), records, users);
    arena.weigh(&mut figures, records);
    arena.expire(31);

    let mut draw = Draw::new(1, records, users);
    // First a little of everything for all three, because without indexes it takes too long.
    let mut bare = BTreeMap::new();
    for lane in lanes.iter().copied() {
        let ops = arena.prepare(lane, scanned, &mut draw);
        let seconds = arena.turn(&ops, &mut Log::default(), true);
        bare.insert(lane.name(), ops.len() as f64 / seconds[2]);
    }
    arena.bare = None;
    let mut bars = Vec::new();
    let mut results = Vec::new();
    for lane in lanes {
        let mut log = Log::default();
        let mut times = Vec::new();
        for _ in 0..rounds {
            let ops = arena.prepare(lane, each, &mut draw);
            times.push(arena.turn(&ops, &mut log, false));
        }
        let ratio = median(times.iter().map(|round| round[1] / round[0]).collect());
        let rate = |at: usize| each as f64 / median(times.iter().map(|round| round[at]).collect());
        println!(
            "\n  {}: {:.0} op/s, SQLite indexed {:.0}, not indexed {:.0}; {:.1} rows of it touched by an operation",
            lane.name(),
            rate(0),
            rate(1),
            bare[lane.name()],
            log.rows(),
        );
        log.print();
        bars.push(Bar {
            name: lane.name(),
            rates: [rate(0), rate(1), bare[lane.name()]],
            ratio,
        });
        results.push((lane, ratio));
    }
    arena.expire(10_001);
    arena.compare_states();
    let void = arena.report(&mut figures);
    for (lane, ratio) in results {
        let goal = if lane == Lane::Controller { 20.0 } else { 0.7 };
        let claim = format!("{} ÷ indexed SQLite, {records} records", lane.name());
        figures.at_least(&claim, if void { 0.0 } else { ratio }, "times", goal);
    }
    figures.remark("a workalike of GDPRbench: not comparable with the paper's absolute numbers");
    figures.remark("ours with admission, class check, sealing and an audit entry for each operation; the baselines with none of these");
    figures.remark("entries and writes bounded (survive a killed process), the baselines at synchronous=NORMAL; openings of many persons' records durable");
    figures.remark("one permit for each act and session, over the declared set of persons, admitted durably before the operations and not in their time");
    figures.remark("an update by purpose supersedes classes, a reading by purpose opens a set: one entry that commits to the set, not one for each record");
    figures.remark("policy: the plain rules, with which the shipped Cedar policy agrees rule by rule; one matter of all persons is too large a fact for Cedar to be handed at each decision");
    std::fs::create_dir_all(target().join("figures"))?;
    std::fs::write(
        target().join("figures/gdpr_personas.svg"),
        chart::draw(&bars, records, void),
    )?;
    println!("written to target/figures/gdpr_personas.svg");
    figures.write()?;
    assert!(!void, "the run is void: an answer was wrong");
    Ok(())
}

/// The lanes that were asked for by the first word of their names; all when none was.
fn wanted() -> Vec<Lane> {
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let wanted = |lane: &Lane| {
        let name = lane.name();
        words.is_empty() || words.iter().any(|word| name.starts_with(word.as_str()))
    };
    Lane::ALL.into_iter().filter(wanted).collect()
}

/// The contestants and the model, all in the same state.
struct Arena {
    model: Model,
    house: House,
    indexed: Plain,
    bare: Option<Plain>,
    asked: u64,
    wrong: u64,
    denied: BTreeMap<&'static str, u64>,
    turns: usize,
}

impl Arena {
    fn fill(folder: &std::path::Path, records: u32, users: u32) -> Self {
        let start = Instant::now();
        let house = House::open(folder, records, users);
        let ours = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let indexed = Plain::open(folder, true, records, users);
        let theirs = start.elapsed().as_secs_f64();
        let bare = Plain::open(folder, false, records, users);
        println!(
            "  load of {records} records with the keys of {users} persons: {ours:.2} s, SQLite indexed {theirs:.2} s"
        );
        Self {
            model: Model::new(records, users),
            house,
            indexed,
            bare: Some(bare),
            asked: 0,
            wrong: 0,
            denied: BTreeMap::new(),
            turns: 0,
        }
    }

    fn weigh(&mut self, figures: &mut Figures, records: u32) {
        let personal = f64::from(records) * 100.0;
        let factor = |bytes: u64| bytes as f64 / personal;
        let [all, log] = self.house.bytes();
        let parts = self.house.breakdown(records);
        let [theirs, line] = self.indexed.bytes();
        figures.at_most(
            "space factor after the load, indexes, keys and log in",
            factor(all),
            "times",
            4.5,
        );
        figures.remark(format!(
            "space factor without the log {:.2}; SQLite indexed {:.2}, without its log {:.2}",
            factor(all - log),
            factor(theirs),
            factor(theirs - line),
        ));
        figures.remark(format!("bytes a record of the store: {parts}"));
    }

    /// Operations, after what they need: for the regulator some deletions to verify.
    fn prepare(&mut self, lane: Lane, count: usize, draw: &mut Draw) -> Vec<Op> {
        if lane == Lane::Regulator {
            let deletion = |_| Op::Delete { number: draw.any() };
            let deletions: Vec<_> = (0..count / 8).map(deletion).collect();
            let bare = self.bare.is_some();
            self.turn(&deletions, &mut Log::default(), bare);
        }
        (0..count).map(|_| draw.op(lane)).collect()
    }

    /// Lets each contestant do the operations, in another order each time, and checks what they
    /// answer. Gives the seconds of each.
    fn turn(&mut self, ops: &[Op], log: &mut Log, all: bool) -> [f64; 3] {
        let expected: Vec<_> = ops.iter().map(|op| self.model.answer(*op)).collect();
        let mut seconds = [f64::NAN; 3];
        self.turns += 1;
        for at in 0..3 {
            let at = (at + self.turns) % 3;
            let turn = match (at, &mut self.bare) {
                (0, _) => self.house.turn(ops),
                (1, _) => self.indexed.turn(ops),
                (_, Some(bare)) if all => bare.turn(ops),
                _ => continue,
            };
            seconds[at] = turn.seconds;
            for ((op, expected), (answer, seconds)) in ops.iter().zip(&expected).zip(&turn.answers)
            {
                let expected = expected[at.min(1)];
                self.asked += 1;
                if let (0, Some(code)) = (at, answer.refused) {
                    *self.denied.entry(code.as_str()).or_default() += 1;
                }
                // Who touches classes does not count records: the states are compared.
                let right = *answer == expected || *answer == Answer::rows(u64::MAX);
                if !right {
                    self.wrong += 1;
                    println!("  WRONG by {at}: {op:?} gave {answer:?}, not {expected:?}");
                }
                log.add(at, op.name(), *seconds, expected.rows);
            }
        }
        seconds
    }

    /// Goes on to this second: what is over by then goes, everywhere.
    fn expire(&mut self, second: u32) {
        self.model.second = second;
        let expected = self.model.expire();
        let mut told = Vec::new();
        let engines: [Option<&mut dyn Engine>; 3] = [
            Some(&mut self.house),
            Some(&mut self.indexed),
            self.bare.as_mut().map(|bare| bare as &mut dyn Engine),
        ];
        for engine in engines.into_iter().flatten() {
            let start = Instant::now();
            let gone = engine.expire(second);
            told.push(format!("{:.2} s", start.elapsed().as_secs_f64()));
            self.asked += 1;
            self.wrong += u64::from(gone != expected);
        }
        println!(
            "  second {second}: {expected} records expired (ours {})",
            told.join(", SQLite ")
        );
        self.compare_states();
    }

    /// Whether everybody has what the model has, and nothing else.
    fn compare_states(&mut self) {
        let expected = self.model.state();
        let engines: [Option<&mut dyn Engine>; 3] = [
            Some(&mut self.house),
            Some(&mut self.indexed),
            self.bare.as_mut().map(|bare| bare as &mut dyn Engine),
        ];
        for (at, engine) in engines.into_iter().enumerate() {
            let Some(engine) = engine else { continue };
            let state = engine.state();
            self.asked += expected.rows;
            if state != expected {
                self.wrong += 1;
                println!("  WRONG state of {at}: {state:?}, not {expected:?}");
            }
        }
    }

    /// Whether the run is void.
    fn report(&self, figures: &mut Figures) -> bool {
        println!();
        let right = 1.0 - self.wrong as f64 / self.asked as f64;
        figures.at_least("correctness, against the model", right * 100.0, "%", 100.0);
        figures.remark(format!(
            "{} answers and records compared, {} wrong",
            self.asked, self.wrong
        ));
        for (code, count) in &self.denied {
            figures.remark(format!(
                "{count} readings denied with {code}, each as the model has it"
            ));
        }
        let [in_force, ever] = self.house.classes();
        figures.remark(format!(
            "{in_force} classes in force at the end, {ever} in all; {} entries in the log; {} records left",
            self.house.entries(), self.model.live(),
        ));
        self.wrong > 0
    }
}

/// Times and rows of the operations of a lane, by their names.
#[derive(Default)]
struct Log {
    times: BTreeMap<&'static str, [Vec<f64>; 3]>,
    rows: BTreeMap<&'static str, u64>,
    count: u64,
}

impl Log {
    fn add(&mut self, contestant: usize, name: &'static str, seconds: f64, rows: u64) {
        self.times.entry(name).or_default()[contestant].push(seconds);
        if contestant == 1 {
            *self.rows.entry(name).or_default() += rows;
            self.count += 1;
        }
    }

    /// Rows that an operation touches, in the mean.
    fn rows(&self) -> f64 {
        self.rows.values().sum::<u64>() as f64 / self.count as f64
    }

    fn print(&mut self) {
        println!(
            "    {:<28}{:>8}{:>10}{:>12}{:>12}{:>14}{:>14}",
            "operation", "times", "rows/op", "p50 µs", "p99 µs", "SQLite p50", "SQLite p99"
        );
        for (name, [ours, theirs, _]) in &mut self.times {
            let rows = self.rows[name] as f64 / theirs.len() as f64;
            let micros = |times: &mut Vec<f64>, share| quantile(times, share) * 1e6;
            println!(
                "    {name:<28}{:>8}{rows:>10.1}{:>12.1}{:>12.1}{:>14.1}{:>14.1}",
                ours.len(),
                micros(ours, 0.5),
                micros(ours, 0.99),
                micros(theirs, 0.5),
                micros(theirs, 0.99),
            );
        }
    }
}
