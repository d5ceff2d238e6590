//! Access decisions against plain Cedar over the whole set of policies, and what the time of an
//! answer tells of a wall.
//!
//! ```text
//! cargo bench --bench policy
//! KTA_BENCH=short cargo bench --bench policy          under half a minute
//! cargo bench --bench policy -- access                some of its parts
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and it speaks"
)]

mod access;
#[path = "../figures/mod.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod figures;
mod firm;
mod plain;
mod walls;

use figures::Figures;

/// What can be asked for by name.
type Part = (&'static str, fn(&mut Figures));

/// A part a module.
const PARTS: &[Part] = &[("access", access::measure), ("walls", walls::measure)];

fn main() -> std::io::Result<()> {
    let mut figures = Figures::new("policy");
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure(&mut figures);
        }
    }
    figures.write()
}
