//! What clients send, as it arrives.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::error::Result;
use crate::id::{DeliveryId, Digest};
use crate::pii::{Locator, MediaType, Pii};
use crate::policy::Permit;
use crate::time::Timestamp;

/// A registered channel by which clients submit data.
///
/// # Behavior
/// - `oldest` gives the oldest delivery that was not acknowledged, the same one until it is.
/// - The same bytes from the same sender have the same delivery id.
/// - An acknowledged delivery is not given again; acknowledging it again is no error.
/// - What cannot be read is refused with its code, can be acknowledged like any other, and does
///   not stop what stands behind it.
/// - Nothing is lost when the process dies between `oldest` and `acknowledge`.
#[async_trait]
pub trait Intake: core::fmt::Debug + Send + Sync {
    /// The name under which placements and receipts know this channel.
    fn channel(&self) -> Label;

    /// The oldest delivery that was not acknowledged.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the channel. What
    /// cannot be read is no error: see [`Delivery::refused`].
    async fn oldest(&self, permit: &Permit<'_>) -> Result<Option<Delivery>>;

    /// Takes the delivery off the channel; only after it is on the log.
    ///
    /// # Errors
    /// `ACL-DENY` as for [`oldest`](Self::oldest); faults of the channel.
    async fn acknowledge(&self, delivery: DeliveryId, permit: &Permit<'_>) -> Result<()>;
}

/// One message or submission.
#[derive(Debug)]
pub struct Delivery {
    /// Its id: derived from the sender and the digests of its parts.
    pub id: DeliveryId,
    /// The channel's own name for it.
    pub locator: Locator,
    /// When it arrived, as the channel says.
    pub at: Timestamp,
    /// What the channel can say about its security.
    pub facts: ChannelFacts,
    /// The declared sender, such as an e-mail address.
    pub sender: Pii<String>,
    /// Form fields by name, or `subject` and `body` of a message.
    pub fields: BTreeMap<String, Pii<String>>,
    /// The attachments, in order; a refused one carries its refusal instead of content.
    pub parts: Vec<DeliveryPart>,
    /// Why the whole delivery cannot be taken in, if it cannot: it is kept off the pipeline,
    /// logged and acknowledged.
    pub refused: Option<crate::refusal::Refusal>,
}

/// One attachment.
#[derive(Debug)]
pub struct DeliveryPart {
    /// The declared file name; personal, because people name files after people.
    pub name: Pii<String>,
    /// What the bytes are, decided from the bytes.
    pub media: MediaType,
    /// SHA-256 of the bytes as they arrived.
    pub digest: Digest,
    /// Length in bytes.
    pub length: u64,
    /// The bytes, or why they are not let in.
    pub content: Result<Pii<Vec<u8>>, crate::refusal::Refusal>,
}

/// The facts from which a channel verdict is computed: what was observed, never what was
/// claimed by somebody whom the firm does not trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelFacts {
    /// By which kind of channel.
    pub channel: IntakeChannel,
    /// Whether every observed hop was encrypted by a version that is good enough.
    pub encrypted_in_transit: bool,
    /// Whether the sender's domain vouches for the message (DMARC pass for mail; a valid
    /// anti-forgery token and origin for the web form). `None` when nothing trusted says.
    pub sender_vouched: Option<bool>,
    /// Whether the content itself was encrypted for the firm.
    pub encrypted_content: bool,
    /// Everything that spoke against it, for example `hop-plain`, `dmarc-none`,
    /// `foreign-authres-ignored`.
    pub remarks: Vec<Label>,
}

/// The kinds of channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntakeChannel {
    /// E-mail.
    Mail,
    /// The website's form.
    WebForm,
}
