//! From a message to the delivery it is, wherever the message lay.

use kta_core::Code;
use kta_core::id::Digest;
use kta_core::pii::Locator;
use kta_core::ports::{ChannelFacts, Delivery};
use kta_core::time::Timestamp;

use crate::delivery::{self, Arrival};
use crate::limits::Limits;
use crate::mail::{self, Gateway};
use crate::verdict::MailFacts;

/// Reads messages for a channel: which way each came, who sent it, what it holds, and whether each
/// part is safe. [`Maildir`](crate::Maildir) reads with one; a mailbox in another crate can too.
///
/// A message is read whole, at most [`Limits::message`] bytes of it; its content is held once.
#[derive(Clone, Debug)]
pub struct MailOpener {
    gateway: Gateway,
    addresses: Vec<String>,
    limits: Limits,
}

impl MailOpener {
    /// For mail to `addresses` through `gateway`.
    #[must_use]
    pub fn new(gateway: Gateway, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let addresses = addresses.into_iter().map(|each| each.into().to_lowercase());
        Self {
            gateway,
            addresses: addresses.collect(),
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The limits: what is longer than [`Limits::message`] need not be read for [`open`](Self::open).
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The delivery that a message is. `locator` is the channel's name for it and `at` when the channel
    /// took it in, which counts where the gateway's own line says no time.
    ///
    /// What cannot be read, is too long, or is for somebody else is a delivery that is `refused`, known by
    /// its digest alone.
    #[must_use]
    pub fn open(&self, locator: Locator, at: Timestamp, message: &[u8]) -> Delivery {
        if message.len() > self.limits.message {
            return self.too_large(locator, at, Digest::of(message));
        }
        let facts = mail::way(message, &self.gateway, &self.limits);
        let facts = facts.map_or_else(|_| unknown(), |facts| delivery::mail_facts(&facts));
        let letter = match mail::read(message, &self.gateway, &self.limits) {
            Ok(letter) if !self.is_for_us(&letter.recipients) => Err(Code::IntChannel),
            other => other,
        };
        let letter = match letter {
            Ok(letter) => letter,
            Err(code) => {
                return delivery::refused(locator, at, facts, Digest::of(message), code);
            }
        };
        let received = letter.received;
        let arrival = Arrival {
            locator,
            at: received
                .and_then(|at| Timestamp::from_timestamp(at, 0))
                .unwrap_or(at),
            facts,
            sender: letter.sender,
            fields: vec![
                ("subject".into(), letter.subject),
                ("body".into(), letter.body),
            ],
            attachments: letter.attachments,
        };
        delivery::delivery(arrival, &self.limits)
    }

    /// The delivery that a message of this digest is when it is longer than the limit: `INT-SIZE`.
    #[must_use]
    pub fn too_large(&self, locator: Locator, at: Timestamp, digest: Digest) -> Delivery {
        delivery::refused(locator, at, unknown(), digest, Code::IntSize)
    }

    fn is_for_us(&self, recipients: &[String]) -> bool {
        recipients
            .iter()
            .any(|recipient| self.addresses.contains(recipient))
    }
}

/// Nothing is known about the way: no channel is worse.
fn unknown() -> ChannelFacts {
    delivery::mail_facts(&MailFacts::default())
}
