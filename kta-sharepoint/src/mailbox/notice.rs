//! Notices that go out: short, without case data, and never unprotected.
//!
//! What "encrypted" rests on, exactly: the message goes to Graph over TLS, carries the header
//! `x-kta-protect: encrypt`, and a mail-flow rule of the tenant turns that header into Microsoft Purview
//! Message Encryption. The rule is the administrator's; nothing in Graph shows that it acted on a message.
//! Therefore a notice is only sent on a [`Protection`], the dated statement that the rule was seen in the
//! tenant's exported settings, and a statement older than 30 days is refused. Encryption towards the
//! recipient is Microsoft's, with Microsoft's keys; it is no end-to-end encryption.

use super::{Mailbox, Page};
use chrono::TimeDelta;
use kta_core::id::IdempotencyKey;
use kta_core::pii::Pii;
use kta_core::policy::{Act, Permit};
use kta_core::ports::Recipient;
use kta_core::time::Timestamp;
use kta_core::{Code, Port, Result};
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

/// When the tenant's mail-flow rule that encrypts notices was last seen in its exported settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    seen: Timestamp,
}

impl Protection {
    /// The rule was seen at this time.
    #[must_use]
    pub const fn seen(at: Timestamp) -> Self {
        Self { seen: at }
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
    /// `CFG-STALE` when the protection was last seen more than 30 days ago; `DLP-BLOCK` for a subject
    /// that holds an address or a run of digits as long as an identity number; `ACL-DENY` without a permit
    /// to transmit or share; `OutcomeUnknown` when the answer was lost: ask again with the same key.
    pub async fn send(
        &self,
        notice: &Notice,
        protection: Protection,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<bool> {
        permit.require_act(&[Act::Share, Act::Transmit])?;
        if permit.now() - protection.seen > TimeDelta::days(STALE_DAYS) {
            return Err(Code::CfgStale.into());
        }
        if tells(&notice.subject) {
            return Err(Code::DlpBlock.into());
        }
        let name = message_id(key);
        if self.was_sent(&name).await? {
            return Ok(false);
        }
        let body = json!({
            "message": {
                "internetMessageId": name,
                "subject": notice.subject,
                "body": { "contentType": "text", "content": notice.body.expose(permit).as_str() },
                "toRecipients": [{ "emailAddress": { "address": notice.to.address(permit) } }],
                "internetMessageHeaders": [{ "name": HEADER, "value": "encrypt" }],
            },
            "saveToSentItems": true,
        });
        let url = self.url(&["sendMail"])?;
        let make = || Ok(Request::post(SEND, url.clone()).json(&body));
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 202 => Ok(true),
            _ => Err(answer.unexpected(SEND)),
        }
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

/// A name for the message that only this key has (RFC 5322, `.invalid` by RFC 2606).
fn message_id(key: IdempotencyKey) -> String {
    let mut hex = String::new();
    for byte in key.as_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    format!("<notice.{hex}@kta.invalid>")
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
