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

/// What can be asked for by name.
type Part = (&'static str, fn(&mut Figures));

fn main() -> std::io::Result<()> {
    let mut figures = Figures::new("store");
    figures.remark("ours goes the whole road: Cedar decides, the gate logs, the store keeps, the sealer opens; the peers have neither access control nor audit");
    let parts: [Part; 4] = [
        ("read", read::measure),
        ("durable", durable::measure),
        ("bulk", bulk::fill),
        ("search", bulk::search),
    ];
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for (name, measure) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure(&mut figures);
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
