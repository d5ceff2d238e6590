//! Conformance kits: how an adapter shows that it keeps a port's contract.
//!
//! ```text
//! // kta-acme/tests/conformance.rs
//! async fn fresh() -> kta_acme::AcmeKms { … }                // an empty one, its own namespace
//! kta_core::kms_conformance!(#[tokio::test] fresh);           // one call, one named test a case
//! ```
//!
//! Each kit is a module of plain public async functions over `&dyn Port`, one for each rule of
//! the contract and named for it; each makes its own port through the caller's `fresh`. The
//! macro only names them, and passes the caller's own test attribute through, so that this crate
//! needs no runtime. A new case reaches every adapter at its next build.
//!
//! A case fails by panicking, as tests do.

// A kit is a test: it asserts, and what it says goes to a test's output.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

/// Makes the exported macro of a kit from the list of its cases.
///
/// `conformance_cases!($ kms_conformance = kms: case_one, case_two);` gives
/// `kms_conformance!(#[test_attribute] fresh);`, which expands to one test function a case. The
/// lone `$` is needed to write the inner macro's own `$`.
macro_rules! conformance_cases {
    ($d:tt $(#[$doc:meta])* $name:ident = $kit:ident: $($case:ident),+ $(,)?) => {
        $(#[$doc])*
        #[macro_export]
        macro_rules! $name {
            (#[$d($d attribute:tt)*] $d fresh:path) => {
                $(
                    #[$d($d attribute)*]
                    async fn $case() {
                        let port = $d fresh().await;
                        $crate::conformance::$kit::$case(&port).await;
                    }
                )+
            };
        }
    };
}

pub mod access_review;
pub mod audit_feed;
pub mod blobs;
pub mod change_feed;
pub mod channel;
pub mod collaboration;
pub mod crm;
mod desk;
pub mod discard;
pub mod documents;
pub mod erase;
pub mod intake;
pub mod inventory;
pub mod key_table;
pub mod kms;
pub mod labels;
mod marks;
mod papers;
pub mod reader;
pub mod scanner;
pub mod store;

pub use desk::{Desk, unused_tenant};

/// The outcome's refusal code.
///
/// # Panics
/// When it is not a refusal.
#[track_caller]
pub(crate) fn code<T: core::fmt::Debug>(outcome: crate::Result<T>) -> crate::Code {
    match outcome {
        Err(crate::Error::Refused(refusal)) => refusal.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The outcome's kind of fault.
///
/// # Panics
/// When it is not a fault.
#[track_caller]
pub(crate) fn fault<T: core::fmt::Debug>(outcome: crate::Result<T>) -> crate::FaultKind {
    match outcome {
        Err(crate::Error::Broken(fault)) => fault.kind(),
        other => panic!("expected a fault, got {other:?}"),
    }
}

/// Polls a future once, then drops it: a caller that went away in the middle.
pub(crate) fn cancelled<T>(future: impl Future<Output = T>) {
    let mut future = core::pin::pin!(future);
    let waker = core::task::Waker::noop();
    let _ = future
        .as_mut()
        .poll(&mut core::task::Context::from_waker(waker));
}
