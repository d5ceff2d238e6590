//! What it costs that a person can be made unreadable: sealing against the bare cipher, content
//! in segments against one call, rotation with readers at work, and the erasure of one person
//! against deleting the rows.
//!
//! ```text
//! cargo bench --bench sealing
//! RUSTFLAGS="-C target-cpu=native" cargo bench --bench sealing     the tuned build
//! KTA_BENCH=short cargo bench --bench sealing                       under half a minute
//! cargo bench --bench sealing -- field stream                       some of field, stream, erase, rotate
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and it speaks"
)]

mod erase;
mod field;
#[path = "../figures/mod.rs"]
mod figures;
mod rotate;
mod stream;

use kta_core::crypto::aead::{Provider, backend, is_tuned};
use kta_core::crypto::{SealContext, SecretKey, SubjectKey};
use kta_core::id::{RecordId, SubjectId, TenantId};
use kta_core::memory::SeededEntropy;

use figures::Figures;

/// What can be asked for by name.
type Part = (&'static str, fn(&mut Figures));

fn main() -> std::io::Result<()> {
    let mut figures = Figures::new("sealing");
    let backend = backend(Provider::current());
    figures.remark(format!("cipher: {backend}"));
    let build = if is_tuned() { "tuned" } else { "default" };
    figures.remark(format!("build: {build}"));
    figures.at_most(
        "portable cipher code in use (0 no, 1 yes)",
        f64::from(u8::from(backend.is_soft())),
        "",
        0.0,
    );
    let parts: [Part; 4] = [
        ("field", field::measure),
        ("stream", stream::measure),
        ("erase", erase::measure),
        ("rotate", rotate::measure),
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

/// `default` in the ordinary build, `tuned` in one for this processor's own instructions.
fn by_build(default: f64, tuned: f64) -> f64 {
    if is_tuned() { tuned } else { default }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn subject_key() -> SubjectKey {
    let context = place("");
    let secret = SecretKey::random(&SeededEntropy::new(1));
    SubjectKey::new(context.tenant, context.subject, 1, &secret)
}

fn place(field: &str) -> SealContext<'_> {
    SealContext {
        // Written down rather than derived: this stands inside what is timed.
        tenant: TenantId::from_bytes([1; 16]),
        subject: SubjectId::from_bytes([2; 16]),
        matter: None,
        record: RecordId::from_bytes([3; 16]),
        field,
        revision: 1,
    }
}
