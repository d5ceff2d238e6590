//! From what a channel holds to the [`Delivery`] that the pipeline receives.

use std::collections::BTreeMap;

use kta_core::audit::Label;
use kta_core::id::{DeliveryId, Digest};
use kta_core::pii::{Locator, MediaType, Pii};
use kta_core::ports::{ChannelFacts, Delivery, DeliveryPart, IntakeChannel};
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal};

use crate::limits::Limits;
use crate::mail::Attachment;
use crate::safety::{self, Budget};
use crate::verdict::{
    AuthResult, Envelope, MailFacts, Origin, Tls, Token, Verdict, WebFacts, judge_mail, judge_web,
};

/// What was found, before it is judged part by part.
pub(crate) struct Arrival {
    pub(crate) locator: Locator,
    pub(crate) at: Timestamp,
    pub(crate) facts: ChannelFacts,
    pub(crate) sender: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) attachments: Vec<Attachment>,
}

/// Checks every attachment and gives the delivery its id.
pub(crate) fn delivery(arrival: Arrival, limits: &Limits) -> Delivery {
    let Arrival {
        locator,
        at,
        facts,
        sender,
        fields,
        attachments,
    } = arrival;
    let mut budget = Budget::of(limits);
    let mut seen: Vec<Digest> = fields
        .iter()
        .map(|(name, value)| Digest::of(format!("{}:{name}{value}", name.len()).as_bytes()))
        .collect();
    let parts: Vec<DeliveryPart> = attachments
        .into_iter()
        .enumerate()
        .map(|(index, Attachment { name, bytes })| {
            let digest = Digest::of(&bytes);
            seen.push(digest);
            let length = bytes.len() as u64;
            let checked = safety::check_within(name.as_deref(), &bytes, limits, &mut budget);
            let (media, content) = match checked {
                Ok(kind) => (kind.into(), Ok(Pii::new(bytes))),
                Err(code) => (
                    MediaType::octets(),
                    Err(Refusal::new(code).about("part", index)),
                ),
            };
            DeliveryPart {
                name: Pii::new(name.unwrap_or_default()),
                media,
                digest,
                length,
                content,
            }
        })
        .collect();
    Delivery {
        id: id(facts.channel, &sender, &seen),
        locator,
        at,
        facts,
        sender: Pii::new(sender),
        fields: fields
            .into_iter()
            .map(|(name, value)| (name, Pii::new(value)))
            .collect(),
        parts,
        refused: None,
    }
}

/// A delivery of which only its digest is known: it is kept off the pipeline.
pub(crate) fn refused(
    locator: Locator,
    at: Timestamp,
    facts: ChannelFacts,
    whole: Digest,
    code: Code,
) -> Delivery {
    let refusal = Refusal::new(code).about("digest", whole);
    Delivery {
        id: id(facts.channel, "", &[whole]),
        locator,
        at,
        facts,
        sender: Pii::new(String::new()),
        fields: BTreeMap::new(),
        parts: Vec::new(),
        refused: Some(refusal),
    }
}

fn id(channel: IntakeChannel, sender: &str, digests: &[Digest]) -> DeliveryId {
    let channel = match channel {
        IntakeChannel::Mail => b"mail".as_slice(),
        IntakeChannel::WebForm => b"web_form",
    };
    let mut parts = vec![channel, sender.as_bytes()];
    parts.extend(digests.iter().map(|digest| digest.as_bytes().as_slice()));
    DeliveryId::derived(&parts)
}

/// What a message's headers prove, in the words of the port.
///
/// `encrypted_in_transit` is about the hop into the firm's gateway, the only one that the firm
/// can see; what earlier hops say of themselves is a remark.
#[must_use]
pub fn mail_facts(facts: &MailFacts) -> ChannelFacts {
    let mut remarks = remarks(&judge_mail(facts));
    if facts.foreign_results {
        remarks.push(Label::fixed("foreign-authres-ignored"));
    }
    ChannelFacts {
        channel: IntakeChannel::Mail,
        encrypted_in_transit: facts.arrival.is_some_and(|tls| tls >= Tls::V1_2),
        sender_vouched: match facts.dmarc {
            Some(AuthResult::Pass) => Some(true),
            Some(AuthResult::Fail | AuthResult::SoftFail) => Some(false),
            Some(AuthResult::Neutral | AuthResult::Error) | None => None,
        },
        encrypted_content: facts.envelope != Envelope::None,
        remarks,
    }
}

/// What a form's request proves, in the words of the port.
#[must_use]
pub fn web_facts(facts: &WebFacts) -> ChannelFacts {
    ChannelFacts {
        channel: IntakeChannel::WebForm,
        encrypted_in_transit: facts.tls >= Tls::V1_2,
        sender_vouched: match (facts.token, facts.origin) {
            (Token::Wrong, _) | (_, Origin::Foreign) => Some(false),
            (Token::Valid, Origin::Own) => Some(true),
            (Token::Expired, _) | (_, Origin::Absent) => None,
        },
        encrypted_content: false,
        remarks: remarks(&judge_web(facts)),
    }
}

fn remarks(verdict: &Verdict) -> Vec<Label> {
    // Reasons are label characters only; the filter keeps this total rather than trusting that.
    verdict
        .reasons()
        .iter()
        .filter_map(|reason| Label::new(reason.as_str()).ok())
        .collect()
}
