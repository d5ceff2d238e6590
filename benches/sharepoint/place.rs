//! Where the measuring takes place: an emulator, here or in a process of its own, and a desk.

use kta_core::conformance::Desk;
use kta_core::id::{Digest, DocumentId, IdempotencyKey};
use kta_core::memory::SeededEntropy;
use kta_core::pii::{Category, Classification, Content, Document, DocumentKind, MediaType};
use kta_http::Roots;
use kta_sharepoint::emulator::{Emulator, Options};
use kta_sharepoint::{AppCredential, Config, SharePoint};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// The word that makes this program an emulator.
pub(crate) const SERVE: &str = "--serve-emulator";

/// Serves an emulator until standard input ends.
pub(crate) fn serve() -> std::io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let emulator = runtime.block_on(async {
        let mut options = Options::default();
        options.quota = 64 << 30;
        Emulator::start(options).await
    })?;
    emulator.set_now(Desk::opening_hour());
    println!("{}", told(&emulator));
    std::io::stdout().flush()?;
    let mut nothing = String::new();
    let _ = std::io::stdin().read_line(&mut nothing);
    Ok(())
}

/// An emulator in a process of its own, which ends with this value.
pub(crate) struct Elsewhere {
    child: Child,
    pub(crate) place: Place,
}

impl Elsewhere {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap();
        let place = Place {
            desk: Desk::new("bench"),
            told,
        };
        Self { child, place }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Without its input it ends by itself; gone already is as good.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub(crate) struct Place {
    pub(crate) desk: Desk,
    told: Value,
}

impl Place {
    pub(crate) fn of(emulator: &Emulator) -> Self {
        Self {
            desk: Desk::new("bench"),
            told: told(emulator),
        }
    }

    pub(crate) fn word(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap()
    }

    pub(crate) async fn connect(&self) -> SharePoint {
        let secret = AppCredential::secret(self.word("client_secret").to_owned().into());
        let config = Config::new(
            self.word("graph_url"),
            self.word("login_url"),
            self.word("tenant"),
            self.word("client_id"),
            secret,
            self.word("site"),
        );
        let config = config.unwrap().trusting(Roots::Only(Vec::new()));
        let clock = Arc::new(self.desk.clock().clone());
        SharePoint::connect(config, clock, Arc::new(SeededEntropy::new(1)))
            .await
            .unwrap()
    }
}

fn told(emulator: &Emulator) -> Value {
    json!({
        "graph_url": emulator.graph_url(),
        "login_url": emulator.login_url(),
        "tenant": emulator.tenant(),
        "client_id": emulator.client_id(),
        "client_secret": emulator.client_secret(),
        "token": emulator.token(),
        "site": emulator.site(),
        "drive": emulator.drive(),
    })
}

/// A document of the desk's beneficiary.
pub(crate) fn document(desk: &Desk, n: u32, content: &[u8]) -> Document {
    described(desk, n, Digest::of(content), content.len() as u64)
}

/// A document of this digest and length.
pub(crate) fn described(desk: &Desk, n: u32, digest: Digest, length: u64) -> Document {
    Document {
        tenant: desk.tenant(),
        id: DocumentId::derived(&[b"bench", &n.to_be_bytes()]),
        subject: desk.beneficiary(),
        matter: desk.matter(),
        kind: DocumentKind::Passport,
        classification: Classification::of(Category::Identity),
        digest,
        length,
        media: MediaType::pdf(),
        derived_from: Vec::new(),
    }
}

/// Content in one piece.
pub(crate) fn tiny(text: &str) -> Content {
    let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
    let (length, digest) = (bytes.len() as u64, Digest::of(&bytes));
    let stream = Box::pin(futures_util::stream::iter([Ok(bytes)]));
    Content::new(length, digest, MediaType::pdf(), stream)
}

pub(crate) fn key(n: u32) -> IdempotencyKey {
    IdempotencyKey::derived("bench", &[&n.to_be_bytes()])
}
