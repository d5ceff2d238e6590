//! The document library's adapter against plain `curl`, both against the emulator in a process of its own;
//! how many calls a library costs; how much memory a large file takes.
//!
//! ```text
//! cargo bench --bench sharepoint
//! KTA_BENCH=short cargo bench --bench sharepoint          under half a minute
//! cargo bench --bench sharepoint -- memory                some of memory, upload, calls
//! ```
//!
//! What the figures do not mean: nothing of Microsoft's speed is in them. Loopback has no distance and the
//! emulator no disk; what is compared is the adapter's own work (two hashes, fragments kept back, requests of
//! its own) with a program that does nothing but send.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and it speaks"
)]

#[allow(
    dead_code,
    reason = "uploads last whole rounds; the race of short turns is for others"
)]
#[path = "../figures/mod.rs"]
mod figures;
mod place;
mod upload;

use figures::{Figures, sized};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::{Documents as _, Inventory as _};
use kta_sharepoint::Known;
use kta_sharepoint::emulator::{Emulator, Options};
use place::{Place, document, tiny};
use std::collections::{BTreeMap, BTreeSet};

/// What can be asked for by name.
type Part = (&'static str, fn(&mut Figures));

fn main() -> std::io::Result<()> {
    if std::env::args().any(|word| word == place::SERVE) {
        return place::serve();
    }
    let mut figures = Figures::new("sharepoint");
    figures.remark("the peer sends the same fragments of the same upload session over one connection, and hashes nothing");
    // Memory first: what the other parts once held would count as this one's.
    let parts: [Part; 3] = [
        ("memory", upload::memory),
        ("upload", upload::throughput),
        ("calls", calls),
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

/// How many requests a library of some thousand files costs to list and to survey.
fn calls(figures: &mut Figures) {
    let count = sized(2_000, 300);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let emulator = Emulator::start(Options::default()).await.unwrap();
        let place = Place::of(&emulator);
        emulator.set_now(place.desk.now());
        let library = place.connect().await;
        let session = place.desk.session(Role::Paralegal);
        let whole = place.desk.whole(place.desk.beneficiary());
        let permit = session.permit(Act::Store, whole).await.unwrap();
        let mut known = Vec::new();
        for n in 0..count {
            let bytes = format!("invented paper {n}");
            let document = document(&place.desk, n, bytes.as_bytes());
            let put = library.put(&document, None, tiny(&bytes), place::key(n), &permit);
            known.push(Known {
                document: document.id,
                matter: document.matter,
                versions: BTreeSet::from([put.await.unwrap().version]),
            });
        }
        let thousand = |calls: usize| calls as f64 * 1_000.0 / f64::from(count);
        let before = emulator.journal().len();
        let (mut cursor, mut seen) = (None, 0);
        loop {
            let page = library.inventory(cursor.as_ref(), &permit).await.unwrap();
            seen += page.items.len();
            cursor = Some(page.next);
            if !page.more {
                break;
            }
        }
        assert!(
            seen > count as usize,
            "every file was listed, the ready-made one too"
        );
        let listing = emulator.journal().len() - before;
        figures.at_most(
            "calls per 1,000 inventoried files",
            thousand(listing),
            "calls",
            10.0,
        );
        drop(permit);
        let session = place.desk.session(Role::Ciso);
        let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
        let before = emulator.journal().len();
        let survey = library
            .survey(&known, &BTreeMap::new(), &permit)
            .await
            .unwrap();
        assert_eq!(survey.files, count as usize + 1);
        assert_eq!(
            survey.findings.len(),
            1,
            "only the ready-made file is unknown"
        );
        let asked = emulator.journal().len() - before;
        let claim = "calls per 1,000 surveyed files, versions and permissions of each";
        figures.at_most(claim, thousand(asked), "calls", 120.0);
        figures.remark(
            "SharePoint counts a batch by what is in it: about 7 resource units a surveyed file",
        );
    });
}
