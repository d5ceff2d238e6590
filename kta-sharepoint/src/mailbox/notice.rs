//! Notices that go out: short, and never unprotected.
//!
//! There are two protections, and nothing is sent without one:
//!
//! - **The recipient's own certificate** (feature `smime`): the text is sealed here, so that neither Exchange
//!   nor anybody on the way reads it. Who has no certificate, or one that ended, gets nothing this way.
//! - **A mail-flow rule of the tenant** that turns the header `x-kta-protect: encrypt` into Microsoft Purview
//!   Message Encryption, after TLS to Graph. The rule is the administrator's; nothing in Graph shows that it
//!   acted on a message. Therefore it counts only as the dated statement that it was seen in the tenant's
//!   exported settings, and a statement older than 30 days is refused. The keys are Microsoft's.
//!
//! Subject, addresses and time travel in the clear either way.

#[cfg(feature = "smime")]
use super::sealed::RecipientCertificate;
use super::{Mailbox, Page};
#[cfg(feature = "smime")]
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use kta_core::id::IdempotencyKey;
use kta_core::pii::Pii;
use kta_core::policy::{Act, Permit};
use kta_core::ports::Recipient;
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Result};
use kta_http::{Call, Request};
use serde_json::json;
use std::fmt::Write as _;

/// A notice to one recipient.
#[derive(Debug)]
pub struct Notice {
    /// To whom.
    pub to: Recipient,
    /// The subject, which travels and is listed in the clear: words of the firm, nothing of the case.
    pub subject: String,
    /// The text.
    pub body: Pii<String>,
}

/// What keeps a notice from being read on its way.
#[derive(Clone, Debug)]
pub struct Protection(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Rule(Timestamp),
    #[cfg(feature = "smime")]
    Sealed(Box<RecipientCertificate>),
}

impl Protection {
    /// The recipient's certificate: the text is sealed before it leaves this process.
    #[cfg(feature = "smime")]
    #[must_use]
    pub fn sealed(certificate: RecipientCertificate) -> Self {
        Self(Kind::Sealed(Box::new(certificate)))
    }

    /// The tenant's mail-flow rule that encrypts notices, as it was seen in the exported settings at this
    /// time.
    #[must_use]
    pub const fn seen(at: Timestamp) -> Self {
        Self(Kind::Rule(at))
    }
}

impl Mailbox {
    /// Sends a notice once, however often it is asked with the same key: the message is named after the
    /// key, and a message of that name among the mailbox's messages is not sent again. Until Exchange
    /// lists what it sent, which takes seconds, a second process could still send it twice.
    ///
    /// Whether it was sent by this call is told; `false` means it had been sent before.
    ///
    /// # Errors
    /// `CFG-STALE` when the rule was last seen more than 30 days ago; `NET-CERT` when the certificate is not
    /// the recipient's or not valid now; `DLP-BLOCK` for a subject that holds an address or a run of digits
    /// as long as an identity number; `ACL-DENY` without a permit to transmit or share; a `Protocol` fault for
    /// a text above 1 MiB; `OutcomeUnknown` when the answer was lost: ask again with the same key.
    pub async fn send(
        &self,
        notice: &Notice,
        protection: &Protection,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<bool> {
        permit.require_act(&[Act::Share, Act::Transmit])?;
        if tells(&notice.subject) {
            return Err(Code::DlpBlock.into());
        }
        let text = notice.body.expose(permit).as_str();
        if text.len() > LONGEST {
            let fault = SEND.fault(FaultKind::Protocol);
            return Err(fault.because("the text is too long for a notice").into());
        }
        let name = message_id(key);
        let (body, kind) = match &protection.0 {
            Kind::Rule(seen) if permit.now() - *seen > TimeDelta::days(STALE_DAYS) => {
                return Err(Code::CfgStale.into());
            }
            Kind::Rule(_) => (
                for_the_rule(notice, text, &name, permit),
                "application/json",
            ),
            #[cfg(feature = "smime")]
            Kind::Sealed(certificate) => {
                let to = notice.to.address(permit);
                let sealed = certificate.seal(text, to, permit.now(), &*self.entropy)?;
                let mime = self.message(notice, to, &name, &sealed);
                (STANDARD.encode(mime), "text/plain")
            }
        };
        if self.was_sent(&name).await? {
            return Ok(false);
        }
        let url = self.url(&["sendMail"])?;
        let make = || Ok(Request::post(SEND, url.clone()).bytes(body.clone().into_bytes(), kind));
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 202 => Ok(true),
            _ => Err(answer.unexpected(SEND)),
        }
    }

    /// A message of which only what all mail shows is in the clear.
    #[cfg(feature = "smime")]
    fn message(&self, notice: &Notice, to: &str, name: &str, sealed: &str) -> String {
        let from = &self.address;
        let subject = encoded(&notice.subject);
        format!(
            "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {name}\r\n\
             MIME-Version: 1.0\r\n{sealed}"
        )
    }

    async fn was_sent(&self, name: &str) -> Result<bool> {
        let mut url = self.url(&["messages"])?;
        url.query_pairs_mut()
            .append_pair("$filter", &format!("internetMessageId eq '{name}'"))
            .append_pair("$select", "id,receivedDateTime");
        let page: Option<Page> = self.find(SEND, url).await?;
        Ok(page.is_some_and(|page| !page.value.is_empty()))
    }
}

/// The message in Graph's own words, marked for the rule.
fn for_the_rule(notice: &Notice, text: &str, name: &str, permit: &Permit<'_>) -> String {
    let message = json!({
        "message": {
            "internetMessageId": name,
            "subject": notice.subject,
            "body": { "contentType": "text", "content": text },
            "toRecipients": [{ "emailAddress": { "address": notice.to.address(permit) } }],
            "internetMessageHeaders": [{ "name": HEADER, "value": "encrypt" }],
        },
        "saveToSentItems": true,
    });
    message.to_string()
}

/// A name for the message that only this key has (RFC 5322, `.invalid` by RFC 2606).
fn message_id(key: IdempotencyKey) -> String {
    let mut hex = String::new();
    for byte in key.as_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    format!("<notice.{hex}@kta.invalid>")
}

/// A header's text as RFC 2047 writes it: words of at most 75 characters, none cut inside a letter.
#[cfg(feature = "smime")]
fn encoded(text: &str) -> String {
    let mut words = vec![String::new()];
    for letter in text.chars() {
        if let Some(word) = words
            .last_mut()
            .filter(|word| word.len() + letter.len_utf8() <= 45)
        {
            word.push(letter);
        } else {
            words.push(letter.to_string());
        }
    }
    let words = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

/// Whether a subject looks as if it named somebody.
fn tells(subject: &str) -> bool {
    let digits = subject
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max();
    subject.contains('@') || digits.unwrap_or(0) >= 7 || subject.chars().any(char::is_control)
}

const SEND: Call = Call::new(Port::Channel, "notify");
const HEADER: &str = "x-kta-protect";
const STALE_DAYS: i64 = 30;
/// Bytes of a notice: it tells that there is something, it is not the thing.
const LONGEST: usize = 1 << 20;
