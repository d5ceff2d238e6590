//! The web form as a registered channel: posts are taken into a durable spool, then served.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use kta_core::audit::Label;
use kta_core::id::{DeliveryId, Digest, IdempotencyKey};
use kta_core::pii::{Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{ChannelFacts, Delivery, Erase, Erased, Intake, Probe};
use kta_core::time::{Clock, Entropy};
use kta_core::{Code, Fault, FaultKind, Port, Refusal, Result};
use serde::{Deserialize, Serialize};

use crate::delivery::{self, Arrival};
use crate::erase;
use crate::folder::{FORM, Folder, Name, Waiting};
use crate::form::{self, FormKey, Head, Post};
use crate::limits::Limits;
use crate::queue::{Queue, broken};
use crate::verdict::{Origin, Tls, Token, WebFacts};

/// Which form, on which site.
#[derive(Clone, Debug)]
pub struct Site {
    /// The site's origin as browsers send it, for example `https://intake.kta.example`.
    pub origin: String,
    /// The form's path, for example `/forms/h1b`.
    pub path: String,
    /// The edition in force, which the form carries in its field `form_version`.
    pub edition: String,
    /// Whether the site sends HSTS.
    pub hsts: bool,
    /// The header in which the firm's TLS end point states the TLS version, in lower case. The
    /// end point must set it on every request, and nobody else may reach the form's address.
    pub tls_header: String,
}

impl Site {
    fn host(&self) -> &str {
        self.origin
            .split_once("://")
            .map_or(self.origin.as_str(), |(_, host)| host)
    }
}

/// The website's form.
///
/// [`submit`](Self::submit) takes a request in: when it returns, the post is on disk. `Intake`
/// serves it from there, as it would a mailbox; an acknowledged post stays until disposal. A
/// post that was taken in stays so, under the facts and limits of that moment, whatever site or
/// limits the form is opened with later.
#[derive(Debug)]
pub struct WebForm {
    queue: Queue,
    channel: Label,
    site: Site,
    key: FormKey,
    limits: Limits,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    count: AtomicU64,
}

impl WebForm {
    /// The form whose posts are spooled at `root`, made if need be. What a killed
    /// [`submit`](Self::submit) left in `tmp/` 36 hours ago or earlier is erased.
    ///
    /// # Errors
    /// A `Misconfigured` fault when the spool cannot be made or swept.
    pub fn open(
        root: impl Into<PathBuf>,
        channel: Label,
        site: Site,
        key: FormKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let folder = Folder::open(root, clock.now()).map_err(|_| {
            Fault::new(FaultKind::Misconfigured, Port::Intake, "open")
                .because("the form's spool cannot be made")
        })?;
        Ok(Self {
            queue: Queue::new(folder),
            channel,
            site,
            key,
            limits: Limits::default(),
            clock,
            entropy,
            count: AtomicU64::new(0),
        })
    }

    /// The same form with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The site and form this is.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// How much is taken in at once.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A token for a page that is served now, and the value of its cookie [`COOKIE`].
    #[must_use]
    pub fn token(&self) -> (String, String) {
        let until = self.clock.now() + PAGE_LIFE;
        self.key.issue(&self.site.edition, until, &*self.entropy)
    }

    /// Takes in one request: `head` up to and with its empty line, and `body`.
    ///
    /// # Errors
    /// `INT-CHANNEL` for another site, path or method, `INT-SIZE`, `INT-BOMB`, `INT-MALFORMED`;
    /// `INT-SPOOF` when token or origin show that the post is not from our own page. Nothing is
    /// kept then. A fault when the spool cannot be written.
    pub async fn submit(&self, head: &[u8], body: impl Into<Bytes>) -> Result<DeliveryId> {
        let body = body.into();
        let at = self.clock.now();
        let parsed = Head::parse(head, self.limits.header)?;
        self.admit(&parsed)?;
        let post = take_apart(&parsed, body.clone(), &self.limits).await?;
        let facts = self.facts(&parsed, &post, at);
        if facts.token == Token::Wrong || facts.origin == Origin::Foreign {
            return Err(Code::IntSpoof.into());
        }
        let facts = delivery::web_facts(&facts);
        let cover = Cover {
            version: 1,
            head: head.len(),
            facts: facts.clone(),
            limits: Some(self.limits),
        };
        // A struct of words, numbers and labels always serialises.
        let mut first = serde_json::to_vec(&cover).map_err(|_| broken("submit"))?;
        first.push(b'\n');

        let mut random = [0; 8];
        self.entropy.fill(&mut random);
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let name = Name::fresh(at, count, &token, FORM).ok_or_else(|| broken("submit"))?;
        let arrival = self.arrival(&name, facts, post)?;
        let id = delivery::delivery(arrival, &self.limits).id;
        self.queue
            .folder()
            .deliver(&name, &[&first, head, &body])
            .map_err(|_| broken("submit"))?;
        Ok(id)
    }

    /// The door: only a post to this form on this site.
    fn admit(&self, head: &Head) -> Result<(), Code> {
        let here = head
            .header("host")
            .is_some_and(|h| h.eq_ignore_ascii_case(self.site.host()));
        if head.method() != "POST" || head.path() != self.site.path || !here {
            return Err(Code::IntChannel);
        }
        Ok(())
    }

    fn facts(&self, head: &Head, post: &Post, now: kta_core::time::Timestamp) -> WebFacts {
        let token = post.field("csrf_token").unwrap_or_default();
        let edition = post.field("form_version").unwrap_or_default();
        let origin = match (head.header("origin"), head.header("referer")) {
            (Some(origin), _) if origin == self.site.origin => Origin::Own,
            (Some(_), _) => Origin::Foreign,
            (None, Some(referer)) => match referer.strip_prefix(self.site.origin.as_str()) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Origin::Own,
                _ => Origin::Foreign,
            },
            (None, None) => Origin::Absent,
        };
        WebFacts {
            tls: head
                .only(&self.site.tls_header)
                .map_or(Tls::None, Tls::read),
            hsts: self.site.hsts,
            // The token is bound to the edition of its page, in force or not.
            token: self.key.check(edition, token, head.cookie(COOKIE), now),
            origin,
            form_current: edition == self.site.edition,
        }
    }

    fn arrival(&self, name: &Name, facts: ChannelFacts, mut post: Post) -> Result<Arrival> {
        let sender = post
            .field("submitter")
            .unwrap_or_default()
            .trim()
            .to_lowercase();
        if !crate::mail::is_address(&sender) {
            return Err(Code::IntMalformed.into());
        }
        post.fields.retain(|(name, _)| name != "csrf_token");
        Ok(Arrival {
            locator: name.locator().ok_or_else(|| broken("submit"))?,
            at: name.at(),
            facts,
            sender,
            fields: post.fields,
            attachments: post.files,
        })
    }

    async fn load(&self, name: &Name) -> Result<Option<Delivery>> {
        let Some(beginning) = self.queue.beginning(name, COVER)? else {
            return Ok(None);
        };
        // What was written here was within the limits then. What has no cover is refused below.
        let frozen = Cover::read(&beginning)
            .ok()
            .and_then(|(cover, _)| cover.limits);
        let limits = frozen.unwrap_or(self.limits);
        // Head, body and cover.
        let most = limits.message.saturating_add(limits.header);
        let most = most.saturating_add(COVER);
        let bytes = match self.queue.read(name, most)? {
            Some(Waiting::Whole(bytes)) => Bytes::from(bytes),
            Some(Waiting::TooLarge(digest)) => {
                return Ok(self.refused(name, digest, Code::IntSize.into()));
            }
            None => return Ok(None),
        };
        let arrival = match self.reopen(name, &bytes, &limits).await {
            Ok(arrival) => arrival,
            Err(kta_core::Error::Refused(refusal)) => {
                return Ok(self.refused(name, Digest::of(&bytes), refusal));
            }
            Err(broken) => return Err(broken),
        };
        Ok(Some(delivery::delivery(arrival, &limits)))
    }

    /// Takes apart what was admitted; the door's questions are not asked again.
    async fn reopen(&self, name: &Name, bytes: &Bytes, limits: &Limits) -> Result<Arrival> {
        let (cover, length) = Cover::read(bytes)?;
        let rest = bytes.slice(length..);
        if cover.head > rest.len() {
            return Err(Code::IntMalformed.into());
        }
        let head = Head::parse(&rest[..cover.head], limits.header)?;
        let post = take_apart(&head, rest.slice(cover.head..), limits).await?;
        self.arrival(name, cover.facts, post)
    }

    fn refused(&self, name: &Name, whole: Digest, refusal: Refusal) -> Option<Delivery> {
        let facts = delivery::web_facts(&WebFacts {
            tls: Tls::None,
            hsts: self.site.hsts,
            token: Token::Wrong,
            origin: Origin::Absent,
            form_current: false,
        });
        Some(delivery::refused(
            name.locator()?,
            name.at(),
            facts,
            whole,
            refusal.code(),
        ))
    }
}

#[async_trait]
impl Intake for WebForm {
    fn channel(&self) -> Label {
        self.channel.clone()
    }

    async fn oldest(&self, permit: &Permit<'_>) -> Result<Option<Delivery>> {
        permit.require_act(&[Act::Receive])?;
        for name in self.queue.waiting("oldest")? {
            if let Some(delivery) = self.load(&name).await? {
                self.queue.give(delivery.id, name);
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    async fn acknowledge(&self, delivery: DeliveryId, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Receive])?;
        if self.queue.acknowledge_given(delivery)? {
            return Ok(());
        }
        for name in self.queue.waiting("acknowledge")? {
            let found = self.load(&name).await?;
            if found.is_some_and(|found| found.id == delivery) {
                return self.queue.acknowledge(&name);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Erase for WebForm {
    fn system(&self) -> System {
        self.channel.clone()
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        erase::erase((&self.channel, self.queue.folder()), placement, permit)
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        erase::probe(
            (&self.channel, self.queue.folder()),
            placement,
            self.clock.now(),
            permit,
        )
    }
}

/// What stands before a spooled request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cover {
    version: u8,
    head: usize,
    facts: ChannelFacts,
    /// The limits under which it was admitted; posts of older versions do not say.
    #[serde(default)]
    limits: Option<Limits>,
}

impl Cover {
    /// The cover at the beginning of a spooled post, and how long it is.
    fn read(bytes: &[u8]) -> Result<(Self, usize), Code> {
        let cut = bytes.iter().take(COVER).position(|b| *b == b'\n');
        let cut = cut.ok_or(Code::IntMalformed)?;
        let cover: Self = serde_json::from_slice(&bytes[..cut]).map_err(|_| Code::IntMalformed)?;
        if cover.version != 1 {
            return Err(Code::IntMalformed);
        }
        Ok((cover, cut + 1))
    }
}

async fn take_apart(head: &Head, body: Bytes, limits: &Limits) -> Result<Post, Code> {
    let length = head
        .header("content-length")
        .map(|l| l.parse() == Ok(body.len()));
    if length == Some(false) {
        return Err(Code::IntMalformed);
    }
    let content_type = head.header("content-type").ok_or(Code::IntMalformed)?;
    form::read(content_type, body, limits).await
}

/// The cookie that ties a form to the browser which loaded it.
pub const COOKIE: &str = "__Host-kta-form";

/// How long a loaded form may be filled in.
const PAGE_LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(2);
/// The longest cover line.
const COVER: usize = 4 << 10;
