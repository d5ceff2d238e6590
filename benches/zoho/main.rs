//! What it costs to keep in step with a CRM of a hundred thousand contacts.
//!
//! ```text
//! cargo bench --bench zoho
//! KTA_BENCH=short cargo bench --bench zoho       under half a minute, fewer rounds
//! ```
//!
//! The emulator runs in a process of its own, so that time, memory and CPU of this one are the
//! client's. The numbers say nothing about the vendor's own speed, nor about a network.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and it speaks"
)]

#[path = "../figures/mod.rs"]
#[allow(dead_code, reason = "other benches race")]
mod figures;
mod measure;
mod office;

use std::time::Instant;

use figures::{Figures, median, sized};
use kta_core::ports::{ChangeFeed as _, Crm as _};
use kta_zoho::Contents;

use office::{CHANGED, Office};

fn main() -> std::io::Result<()> {
    if std::env::args().any(|word| word == office::SERVE) {
        return office::serve();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut figures = Figures::new("zoho");
    figures.remark("the emulator is another process on the same machine and its two cores; no TLS, no network, and nothing about the vendor's own speed");
    runtime.block_on(async {
        load(&mut figures).await;
        changes(&mut figures).await;
        fetch(&mut figures).await;
    });
    figures.write()
}

/// The initial load of a hundred thousand contacts, and of a tenth of them.
async fn load(figures: &mut Figures) {
    let rounds = sized(7, 3);
    let small = Office::open(SMALL).await;
    let large = Office::open(LARGE).await;
    let mut peaks = Vec::new();
    for office in [&small, &large] {
        let before = measure::resident();
        measure::forget_peak();
        run_load(office, Contents::Mapped).await;
        peaks.push(measure::peak().saturating_sub(before));
    }
    let [of_small, of_large] = [0, 1].map(|at: usize| peaks[at] as f64 / f64::from(1 << 20));
    figures.at_most(
        "initial load of 100 000 contacts with all fields: memory of the client above what it had",
        of_large,
        "MiB",
        32.0,
    );
    figures.remark(format!("of 10 000 contacts it was {of_small:.1} MiB; pages of 1 000 records are dropped as they are told"));

    let (mut cpu, mut index, mut share, mut rate) = (vec![], vec![], vec![], vec![]);
    let (mut calls, mut looked) = (0, 0);
    for _ in 0..rounds {
        let (asked, spent, began) = (large.requests().await, measure::cpu(), Instant::now());
        run_load(&large, Contents::Mapped).await;
        let took = began.elapsed().as_secs_f64();
        cpu.push((measure::cpu() - spent).as_secs_f64() * 1e6 / f64::from(LARGE));
        looked = large.calls_since(asked).await;
        rate.push(f64::from(LARGE) / took);
        let (asked, spent) = (large.requests().await, measure::cpu());
        run_load(&large, Contents::Index).await;
        index.push((measure::cpu() - spent).as_secs_f64() * 1e6 / f64::from(LARGE));
        calls = large.calls_since(asked).await;
        share.push(large.whole_result().await.as_secs_f64() / took);
        large.rest().await;
    }
    figures.at_most(
        "initial load: client CPU per record with all fields",
        median(cpu),
        "us",
        30.0,
    );
    figures.at_most(
        "initial load: client CPU per record, ids and keys only",
        median(index),
        "us",
        15.0,
    );
    figures.at_most(
        "initial load of 100 000 contacts, ids and keys only: calls",
        calls as f64,
        "calls",
        5.0,
    );
    figures.remark("fields, job, its state twice, result; the token is already there. The least that is possible is three: job, state, result");
    figures.at_most(
        "initial load of 100 000 contacts with all fields: calls",
        looked as f64,
        "calls",
        1_005.0,
    );
    figures.remark("a thousand of them ask whose processing is stopped, a hundred people in a call: neither bulk files nor queries have it");
    figures.at_least("initial load: throughput as a share of the emulator's own ceiling (the same job, its file thrown away)", median(share), "x", 0.5);
    figures.remark(format!("{:.0} records a second", median(rate)));
}

async fn run_load(office: &Office, contents: Contents) {
    let permit = office.permit().await;
    let mut load = office.crm.load(None, contents, &permit).await.unwrap();
    let mut told = 0;
    loop {
        let page = load.page(1_000, &permit).await.unwrap();
        told += page.records.len();
        if contents == Contents::Mapped {
            let whole = page.records.iter().all(|one| one.fields.len() == 4);
            assert!(whole, "every field of every record");
        }
        if !page.more {
            break;
        }
    }
    assert_eq!(told, office.contacts as usize);
}

/// A thousand changes among a hundred thousand contacts.
async fn changes(figures: &mut Figures) {
    let office = Office::open(LARGE).await;
    let permit = office.firm().await;
    let (mut cpu, mut calls) = (vec![], vec![]);
    let cursor = office.before_the_changes();
    for _ in 0..sized(7, 3) {
        let (asked, spent) = (office.requests().await, measure::cpu());
        let (mut next, mut told) = (cursor.clone(), 0);
        loop {
            let page = office
                .crm
                .changes(Some(&next), 2_000, &permit)
                .await
                .unwrap();
            told += page.changes.len();
            next = page.next;
            if !page.more {
                break;
            }
        }
        assert_eq!(told, CHANGED as usize);
        cpu.push((measure::cpu() - spent).as_secs_f64() * 1e6 / f64::from(CHANGED));
        calls.push(office.calls_since(asked).await as f64);
    }
    figures.at_most(
        "a thousand changes among 100 000 contacts: calls to hear of them",
        median(calls),
        "calls",
        2.0,
    );
    figures.at_most("changes: client CPU per change", median(cpu), "us", 50.0);
    let permit = office.permit().await;
    let ids = office.some_ids(CHANGED as usize, &permit).await;
    let wanted: Vec<_> = ids.into_iter().map(|id| (office.subject(), id)).collect();
    let (mut cpu, mut calls) = (vec![], vec![]);
    for _ in 0..sized(7, 3) {
        let (asked, spent) = (office.requests().await, measure::cpu());
        let fetched = office.crm.fetch_many(&wanted, &permit).await.unwrap();
        let whole = |one: &kta_core::Result<kta_core::ports::crm::Fetched>| {
            one.as_ref().is_ok_and(|one| one.fields.len() == 4)
        };
        assert!(fetched.iter().all(whole));
        cpu.push((measure::cpu() - spent).as_secs_f64() * 1e6 / f64::from(CHANGED));
        calls.push(office.calls_since(asked).await as f64);
    }
    figures.at_most(
        "a thousand changes: calls to fetch them whole, a hundred in a call",
        median(calls),
        "calls",
        20.0,
    );
    figures.at_most(
        "fetching a hundred in a call: client CPU per record",
        median(cpu),
        "us",
        150.0,
    );
    figures.remark("ten lists, and ten times whether an empty field is withheld: these records leave ten mapped fields empty");
}

/// One record after the other.
async fn fetch(figures: &mut Figures) {
    let office = Office::open(SMALL).await;
    let permit = office.permit().await;
    let ids = office.some_ids(sized(400, 150), &permit).await;
    let (mut cpu, mut share) = (vec![], vec![]);
    for _ in 0..sized(7, 3) {
        let (spent, began) = (measure::cpu(), Instant::now());
        for id in &ids {
            let fetched = office
                .crm
                .fetch(office.subject(), id, &permit)
                .await
                .unwrap();
            assert_eq!(fetched.fields.len(), 4);
        }
        let took = began.elapsed().as_secs_f64();
        cpu.push((measure::cpu() - spent).as_secs_f64() * 1e6 / ids.len() as f64);
        let began = Instant::now();
        for id in &ids {
            office.plain_get(id).await;
        }
        share.push(began.elapsed().as_secs_f64() / took);
    }
    figures.at_most(
        "fetching one record in a call: client CPU",
        median(cpu),
        "us",
        2_000.0,
    );
    figures.at_least("fetching: throughput as a share of the emulator's own ceiling (the same call, its answer thrown away)", median(share), "x", 0.3);
    figures.remark("these records leave ten mapped fields empty, and whoever finds an empty field asks the CRM whether it is withheld: every such fetch here is two calls");
}

const SMALL: u32 = 10_000;
const LARGE: u32 = 100_000;
