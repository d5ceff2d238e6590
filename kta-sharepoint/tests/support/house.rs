//! A library in the emulator, an adapter to it, and a desk that gives permits.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test file uses its own part"
)]

use kta_core::conformance::Desk;
use kta_core::id::{Digest, DocumentId, IdempotencyKey, PlacementId};
use kta_core::memory::SeededEntropy;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Classification, Content, Document, DocumentKind, Locator, MediaType, Placement,
    PlacementKind, PlacementState,
};
use kta_core::policy::{Permit, Role, Session};
use kta_core::ports::{Documents, Erase, Erased, Probe, StoredDocument};
use kta_core::{Code, Error, FaultKind, Result};
use kta_http::Roots;
use kta_sharepoint::emulator::{Emulator, Options};
use kta_sharepoint::{AppCredential, Config, SYSTEM, SharePoint};
use std::sync::Arc;
use std::time::Duration;

/// A permit over all of the beneficiary's data; a macro, because a permit borrows its session.
macro_rules! permit {
    ($house:expr, $session:expr, $act:ident) => {
        $session
            .permit(
                kta_core::policy::Act::$act,
                $house.desk.whole($house.desk.beneficiary()),
            )
            .await
            .unwrap()
    };
}
pub(crate) use permit;

/// An emulated tenant whose clock is the desk's, an adapter, a desk.
pub(crate) struct House {
    pub(crate) emulator: Emulator,
    pub(crate) desk: Desk,
    pub(crate) library: SharePoint,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let emulator = Emulator::start(options).await.unwrap();
        let desk = Desk::new("sharepoint");
        emulator.set_now(desk.now());
        let library = connect(&emulator, &desk, config(&emulator)).await.unwrap();
        Self {
            emulator,
            desk,
            library,
        }
    }

    pub(crate) fn worker(&self) -> Session<'_> {
        self.desk.session(Role::Paralegal)
    }

    pub(crate) fn destroyer(&self) -> Session<'_> {
        self.desk.session(Role::ServiceDestroy)
    }

    /// A document of the beneficiary with this content.
    pub(crate) fn document(&self, name: &str, content: &[u8]) -> Document {
        Document {
            tenant: self.desk.tenant(),
            id: DocumentId::derived(&[self.desk.tenant().as_bytes(), name.as_bytes()]),
            subject: self.desk.beneficiary(),
            matter: self.desk.matter(),
            kind: DocumentKind::Passport,
            classification: Classification::of(Category::Identity),
            digest: Digest::of(content),
            length: content.len() as u64,
            media: MediaType::pdf(),
            derived_from: Vec::new(),
        }
    }

    /// Puts these bytes under a key of this name.
    pub(crate) async fn put(
        &self,
        document: &Document,
        bytes: &[u8],
        name: &str,
        permit: &Permit<'_>,
    ) -> Result<StoredDocument> {
        let content = content(bytes);
        self.library
            .put(document, None, content, key(name), permit)
            .await
    }

    /// Erases under a permit of its own.
    pub(crate) async fn erase(&self, placement: &Placement) -> Result<Erased> {
        let session = self.destroyer();
        let permit = permit!(self, session, Destroy);
        self.library.erase(placement, key("e"), &permit).await
    }

    /// Probes under a permit of its own.
    pub(crate) async fn probe(&self, placement: &Placement) -> Probe {
        let session = self.destroyer();
        let permit = permit!(self, session, Probe);
        self.library.probe(placement, &permit).await.unwrap()
    }

    /// Everything that goes over the wire in addresses, and every name the tenant holds.
    pub(crate) fn assert_unseen(&self, canary: &str) {
        for each in self.emulator.journal() {
            assert!(
                !each.target.contains(canary),
                "{} {}",
                each.method,
                each.target
            );
        }
    }

    pub(crate) fn placement(&self, document: &Document, locator: Option<&Locator>) -> Placement {
        Placement {
            tenant: document.tenant,
            id: PlacementId::derived(&[document.id.as_bytes()]),
            subject: document.subject,
            matter: Some(document.matter),
            system: SYSTEM,
            kind: PlacementKind::LibraryFile,
            of: CopyOf::Document(document.id),
            category: document.classification.category,
            locator: locator.cloned(),
            state: PlacementState::Present,
            since: self.desk.now(),
        }
    }

    /// Files of the library besides the ready-made one.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = self.emulator.files(self.emulator.drive());
        files.retain(|id| id != self.emulator.item());
        files
    }
}

pub(crate) fn config(emulator: &Emulator) -> Config {
    Config::new(
        emulator.graph_url(),
        emulator.login_url(),
        emulator.tenant(),
        emulator.client_id(),
        secret(emulator),
        emulator.site(),
    )
    .unwrap()
    .destroying_as(emulator.destroyer_id(), secret(emulator))
    // As many attempts as in earnest, sooner.
    .waiting(Duration::from_millis(10), Duration::from_secs(30))
    // Nothing here speaks TLS; reading the machine's roots for each adapter takes its time.
    .trusting(Roots::Only(Vec::new()))
}

pub(crate) fn secret(emulator: &Emulator) -> AppCredential {
    AppCredential::secret(emulator.client_secret().to_owned().into())
}

pub(crate) async fn connect(
    _: &Emulator,
    desk: &Desk,
    config: Config,
) -> kta_core::Result<SharePoint> {
    let entropy = Arc::new(SeededEntropy::new(7));
    SharePoint::connect(config, Arc::new(desk.clock().clone()), entropy).await
}

pub(crate) fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::derived("test", &[name.as_bytes()])
}

/// Content in chunks of an awkward size.
pub(crate) fn content(bytes: &[u8]) -> Content {
    let chunks: Vec<_> = bytes
        .chunks(100_003)
        .map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk)))
        .collect();
    let stream = Box::pin(futures_util::stream::iter(chunks));
    Content::new(
        bytes.len() as u64,
        Digest::of(bytes),
        MediaType::pdf(),
        stream,
    )
}

/// The same, breaking off after `good` bytes.
pub(crate) fn broken(bytes: &[u8], good: usize) -> Content {
    let fault = kta_core::Fault::new(FaultKind::Unavailable, kta_core::Port::Blobs, "read");
    let mut chunks: Vec<kta_core::Result<bytes::Bytes>> = bytes[..good]
        .chunks(100_003)
        .map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk)))
        .collect();
    chunks.push(Err(Error::from(fault)));
    let stream = Box::pin(futures_util::stream::iter(chunks));
    Content::new(
        bytes.len() as u64,
        Digest::of(bytes),
        MediaType::pdf(),
        stream,
    )
}

/// Bytes that do not repeat, so that a shifted fragment shows.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(outcome: kta_core::Result<T>) -> Code {
    match outcome {
        Err(Error::Refused(refusal)) => refusal.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn fault<T: std::fmt::Debug>(outcome: kta_core::Result<T>) -> FaultKind {
    match outcome {
        Err(Error::Broken(fault)) => fault.kind(),
        other => panic!("expected a fault, got {other:?}"),
    }
}
