//! The store under access check and audit, against stores that have neither.
//!
//! ```text
//! cargo bench --bench store
//! KTA_BENCH=short cargo bench --bench store          under half a minute
//! cargo bench --bench store -- read durable          some of read, durable, bulk, search
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and it speaks"
)]

mod bulk;
mod cipher;
mod durable;
#[path = "../figures/mod.rs"]
mod figures;
mod firm;
mod people;
mod plain;
mod postgres;
mod read;
mod served;
mod values;

use figures::Figures;
use kta_core::policy::Grain;

/// What can be asked for by name, and by which grains it is measured.
type Part = (&'static str, &'static [Grain], fn(&mut Figures, Grain));

const BOTH: &[Grain] = &[Grain::Field, Grain::Classification];

/// How the fields of a record are sealed, in the words of the figures.
fn sealed(grain: Grain) -> &'static str {
    match grain {
        Grain::Field => "each field alone",
        Grain::Classification => "fields together",
    }
}

fn main() -> std::io::Result<()> {
    let mut figures = Figures::new("store");
    figures.remark("ours goes the whole road: Cedar decides, the gate logs, the store keeps, the sealer opens; the peers have neither access control nor audit");
    let parts: [Part; 4] = [
        ("read", BOTH, read::measure),
        ("durable", BOTH, durable::measure),
        ("bulk", BOTH, bulk::fill),
        ("search", &[Grain::Field], bulk::search),
    ];
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for (name, grains, measure) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            grains
                .iter()
                .for_each(|grain| measure(&mut figures, *grain));
        }
    }
    figures.write()
}

/// One thread that runs everything: what is timed is the work, not the going between threads.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
