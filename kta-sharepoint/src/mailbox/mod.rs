//! A mailbox of the firm as a registered channel, through Graph.
//!
//! ```text
//!   inbox ── oldest ──► $value (MIME) ──► Opener ──► Delivery ──► the log
//!     ▲                                                             │
//!     └── a notification, or the next look ──── processed ◄── move ─┘ acknowledge
//! ```
//!
//! The inbox itself is the queue: a message waits in it until it is acknowledged, and is then moved, so
//! that a lost notification, a killed process or an expired subscription loses nothing. Messages are
//! named by immutable ids, which a move does not change; moving twice is moving once.

mod changes;
mod erase;
mod notice;
#[cfg(feature = "smime")]
mod sealed;

pub use changes::MailChanges;
pub use notice::{Notice, Protection};
#[cfg(feature = "smime")]
pub use sealed::RecipientCertificate;

use crate::client::{Client, json_get};
use crate::config::Config;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use kta_core::audit::Label;
use kta_core::id::{DeliveryId, Digest};
use kta_core::pii::{Locator, Pii};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{ChannelFacts, Delivery, Intake, IntakeChannel};
use kta_core::time::{Clock, Entropy, Timestamp};
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Request, Url};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Reads a message for the mailbox: by which way it came, who sent it, what it holds, and whether its
/// parts are safe. `kta-intake` has everything that one is made of.
pub trait Opener: fmt::Debug + Send + Sync {
    /// The delivery that this message is; what cannot be read is a delivery that is `refused`.
    fn open(&self, message: RawMessage<'_>) -> Delivery;
}

/// A message as the mailbox holds it. Personal from end to end, and therefore without `Debug`.
pub struct RawMessage<'m> {
    /// The mailbox's name for it, which goes into the delivery.
    pub locator: Locator,
    /// When the mailbox took it in.
    pub at: Timestamp,
    /// The whole message, RFC 5322 and MIME.
    pub mime: &'m [u8],
}

/// A mailbox that clients write to.
#[derive(Clone)]
pub struct Mailbox {
    graph: Client,
    address: String,
    processed: String,
    channel: Label,
    opener: Arc<dyn Opener>,
    #[cfg(feature = "smime")]
    entropy: Arc<dyn Entropy>,
    /// Messages longer than this are refused with `INT-SIZE`; bytes.
    limit: usize,
    /// What was given last, so that acknowledging it needs no second reading.
    given: Arc<Mutex<Option<(DeliveryId, String)>>>,
}

impl Mailbox {
    /// Opens the mailbox with this address and finds or makes its folder for what was processed.
    ///
    /// The application wants Graph's `Mail.ReadWrite`, and `Mail.Send` for notices, both limited to
    /// this mailbox by an application access policy of Exchange. Of `config` only the tenant, the
    /// application and the transport are used.
    ///
    /// # Errors
    /// A `Misconfigured` fault for a wrong tenant or application, `NotFound` for no such mailbox.
    pub async fn open(
        config: &Config,
        address: &str,
        channel: Label,
        opener: Arc<dyn Opener>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let graph = Client::graph(config, clock, Arc::clone(&entropy))?;
        let processed = processed_folder(&graph, address).await?;
        Ok(Self {
            graph,
            address: address.to_owned(),
            processed,
            channel,
            opener,
            #[cfg(feature = "smime")]
            entropy,
            limit: LARGEST,
            given: Arc::default(),
        })
    }

    /// The same, refusing messages longer than this many bytes.
    #[must_use]
    pub const fn within(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The inbox's messages, oldest first, at most `top`.
    async fn waiting(&self, call: Call, top: usize, skip: usize) -> Result<Vec<Waiting>> {
        let mut url = self.url(&["mailFolders", "inbox", "messages"])?;
        url.query_pairs_mut()
            .append_pair("$orderby", "receivedDateTime asc")
            .append_pair("$select", "id,receivedDateTime")
            .append_pair("$top", &top.to_string())
            .append_pair("$skip", &skip.to_string());
        let page: Option<Page> = self.find(call, url).await?;
        let page = page.ok_or_else(|| call.fault(FaultKind::NotFound))?;
        Ok(page.value)
    }

    /// Reads one waiting message; `None` when somebody took it away meanwhile.
    async fn load(&self, call: Call, waiting: &Waiting) -> Result<Option<Delivery>> {
        let Ok(locator) = Locator::new(waiting.id.as_str()) else {
            return Err(call.fault(FaultKind::Protocol).because("not an id").into());
        };
        let at = waiting.received_date_time;
        let url = self.url(&["messages", &waiting.id, "$value"])?;
        let read = match self.mime(call, url).await {
            Ok(read) => read,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(match read {
            Mime::Whole(mime) => self.opener.open(RawMessage {
                locator,
                at,
                mime: &mime,
            }),
            Mime::TooLarge(digest) => too_large(locator, at, digest),
        }))
    }

    /// The MIME of a message, or only its digest when it is longer than allowed.
    async fn mime(&self, call: Call, url: Url) -> Result<Mime> {
        let mut stream = self.graph.download(call, url, VENDORS_LARGEST).await?;
        let (mut hash, mut mime, mut over) = (Sha256::new(), Vec::new(), false);
        while let Some(chunk) = stream.next().await {
            let chunk: Bytes = chunk?;
            hash.update(&chunk);
            over |= mime.len() + chunk.len() > self.limit;
            if over {
                mime = Vec::new();
            } else {
                mime.extend_from_slice(&chunk);
            }
        }
        Ok(if over {
            Mime::TooLarge(Digest::from_bytes(hash.finalize().into()))
        } else {
            Mime::Whole(mime)
        })
    }

    /// Moves a message from the inbox to the folder for what was processed. One that is there
    /// already, or gone, is no error.
    async fn put_away(&self, call: Call, id: &str) -> Result<()> {
        match self.folder_of(call, id).await? {
            None => return Ok(()),
            Some(folder) if folder == self.processed => return Ok(()),
            Some(_) => {}
        }
        let url = self.url(&["messages", id, "move"])?;
        let body = json!({ "destinationId": self.processed });
        let make = || {
            // With immutable ids a second move finds the message where it should be.
            let request = Request::post(call, url.clone()).json(&body).repeatable();
            Ok(request.header("prefer", IMMUTABLE))
        };
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 201 | 404 => Ok(()),
            _ => Err(answer.unexpected(call)),
        }
    }

    async fn folder_of(&self, call: Call, id: &str) -> Result<Option<String>> {
        let mut url = self.url(&["messages", id])?;
        url.query_pairs_mut()
            .append_pair("$select", "id,parentFolderId");
        let placed: Option<Placed> = self.find(call, url).await?;
        Ok(placed.map(|placed| placed.parent_folder_id))
    }

    async fn find<T: serde::de::DeserializeOwned>(
        &self,
        call: Call,
        url: Url,
    ) -> Result<Option<T>> {
        let make = || Ok(json_get(call, url.clone()).header("prefer", IMMUTABLE));
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 => answer.parse(call).map(Some),
            404 => Ok(None),
            _ => Err(answer.unexpected(call)),
        }
    }

    fn url(&self, tail: &[&str]) -> Result<Url> {
        let segments: Vec<&str> = ["users", self.address.as_str()]
            .into_iter()
            .chain(tail.iter().copied())
            .collect();
        self.graph.url(&segments)
    }

    fn given(&self) -> MutexGuard<'_, Option<(DeliveryId, String)>> {
        // One assignment is all that happens under the lock.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn graph(&self) -> &Client {
        &self.graph
    }

    /// What a subscription to this inbox watches.
    pub(crate) fn resource(&self) -> String {
        format!("users/{}/mailFolders('inbox')/messages", self.address)
    }
}

#[async_trait]
impl Intake for Mailbox {
    fn channel(&self) -> Label {
        self.channel.clone()
    }

    async fn oldest(&self, permit: &Permit<'_>) -> Result<Option<Delivery>> {
        permit.require_act(&[Act::Receive])?;
        for waiting in self.waiting(OLDEST, FEW, 0).await? {
            if let Some(delivery) = self.load(OLDEST, &waiting).await? {
                *self.given() = Some((delivery.id, waiting.id));
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    async fn acknowledge(&self, delivery: DeliveryId, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Receive])?;
        let given = self.given().clone();
        if let Some((_, id)) = given.filter(|(known, _)| *known == delivery) {
            return self.put_away(ACKNOWLEDGE, &id).await;
        }
        // Another process gave it, or this one before it was started again: it is looked for.
        let mut seen = 0;
        loop {
            let page = self.waiting(ACKNOWLEDGE, MANY, seen).await?;
            for waiting in &page {
                let found = self.load(ACKNOWLEDGE, waiting).await?;
                if found.is_some_and(|found| found.id == delivery) {
                    return self.put_away(ACKNOWLEDGE, &waiting.id).await;
                }
            }
            seen += page.len();
            if page.len() < MANY {
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// The folder for what was processed, made if need be.
async fn processed_folder(graph: &Client, address: &str) -> Result<String> {
    let url = graph.url(&["users", address, "mailFolders"])?;
    let mut search = url.clone();
    search
        .query_pairs_mut()
        .append_pair("$filter", &format!("displayName eq '{PROCESSED}'"));
    let look = async || -> Result<Option<String>> {
        let found: Option<Vec<Folder>> = graph.list(OPEN, search.clone(), 10).await?;
        let found = found.ok_or_else(|| {
            OPEN.fault(FaultKind::NotFound)
                .because("there is no such mailbox")
        })?;
        Ok(found.into_iter().next().map(|folder| folder.id))
    };
    if let Some(id) = look().await? {
        return Ok(id);
    }
    let body = json!({ "displayName": PROCESSED });
    let make = || Ok(Request::post(OPEN, url.clone()).json(&body).repeatable());
    let answer = graph.ask(make).await?;
    match answer.status {
        201 => Ok(answer.parse::<Folder>(OPEN)?.id),
        // Another worker made it, or we ourselves and the answer was lost.
        409 => {
            let made = look().await?;
            Ok(made.ok_or_else(|| OPEN.fault(FaultKind::Conflict))?)
        }
        _ => Err(answer.unexpected(OPEN)),
    }
}

/// A message that is kept off the pipeline because of its length: only its digest is known.
fn too_large(locator: Locator, at: Timestamp, digest: Digest) -> Delivery {
    Delivery {
        id: DeliveryId::derived(&[b"mail", b"", digest.as_bytes()]),
        locator,
        at,
        facts: ChannelFacts {
            channel: IntakeChannel::Mail,
            encrypted_in_transit: false,
            sender_vouched: None,
            encrypted_content: false,
            remarks: vec![Label::fixed("unread")],
        },
        sender: Pii::new(String::new()),
        fields: BTreeMap::new(),
        parts: Vec::new(),
        refused: Some(Refusal::new(Code::IntSize).about("digest", digest)),
    }
}

fn is_absent(error: &kta_core::Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.kind() == FaultKind::NotFound)
}

enum Mime {
    TooLarge(Digest),
    Whole(Vec<u8>),
}

#[derive(Deserialize)]
struct Page {
    value: Vec<Waiting>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    id: String,
    received_date_time: DateTime<Utc>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    parent_folder_id: String,
}

#[derive(Deserialize)]
struct Folder {
    id: String,
}

const OPEN: Call = Call::new(Port::Intake, "open");
const OLDEST: Call = Call::new(Port::Intake, "oldest");
const ACKNOWLEDGE: Call = Call::new(Port::Intake, "acknowledge");
/// Ids that a move does not change.
const IMMUTABLE: &str = "IdType=\"ImmutableId\"";
/// The folder that acknowledged messages are moved to.
const PROCESSED: &str = "KTA processed";
/// As the mail reader of `kta-intake` allows it.
const LARGEST: usize = 50 << 20;
/// Exchange Online takes no message above 150 MB; what is longer is not read to its end.
const VENDORS_LARGEST: u64 = 200 << 20;
const FEW: usize = 5;
const MANY: usize = 50;
