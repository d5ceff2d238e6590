//! Messages as clients send them, and the reader a firm hands to the mailbox.
#![allow(dead_code, reason = "each test file uses its own part")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kta_core::id::{DeliveryId, Digest};
use kta_core::pii::{MediaType, Pii};
use kta_core::ports::{Delivery, DeliveryPart};
use kta_core::{Code, Refusal};
use kta_intake::mail::{self, Attachment, Gateway, Letter};
use kta_intake::{Limits, mail_facts, safety};
use kta_sharepoint::{Opener, RawMessage};
use std::collections::BTreeMap;

/// The reader of `kta-intake`, put together from its public parts.
#[derive(Debug)]
pub(crate) struct Reader;

impl Opener for Reader {
    fn open(&self, message: RawMessage<'_>) -> Delivery {
        let (gateway, limits) = (Gateway::named("mx.kta.example"), Limits::default());
        let facts = mail::way(message.mime, &gateway, &limits).unwrap_or_default();
        let read = mail::read(message.mime, &gateway, &limits);
        let whole = Digest::of(message.mime);
        let mut delivery = Delivery {
            id: DeliveryId::derived(&[b"mail", b"", whole.as_bytes()]),
            locator: message.locator,
            at: message.at,
            facts: mail_facts(&facts),
            sender: Pii::new(String::new()),
            fields: BTreeMap::new(),
            parts: Vec::new(),
            refused: None,
        };
        match read {
            Ok(letter) => fill(&mut delivery, letter, &limits),
            Err(code) => {
                delivery.refused = Some(Refusal::new(code).about("digest", whole));
            }
        }
        delivery
    }
}

fn fill(delivery: &mut Delivery, letter: Letter, limits: &Limits) {
    delivery.parts = letter
        .attachments
        .into_iter()
        .map(|attachment| part(attachment, limits))
        .collect();
    let digests = delivery.parts.iter().map(|part| *part.digest.as_bytes());
    let digests: Vec<[u8; 32]> = digests
        .chain([*Digest::of(letter.body.as_bytes()).as_bytes()])
        .collect();
    let mut of: Vec<&[u8]> = vec![b"mail", letter.sender.as_bytes()];
    of.extend(digests.iter().map(|digest| digest.as_slice()));
    delivery.id = DeliveryId::derived(&of);
    delivery.sender = Pii::new(letter.sender);
    delivery.fields = BTreeMap::from([
        ("subject".to_owned(), Pii::new(letter.subject)),
        ("body".to_owned(), Pii::new(letter.body)),
    ]);
}

fn part(attachment: Attachment, limits: &Limits) -> DeliveryPart {
    let Attachment { name, bytes } = attachment;
    let checked = safety::check(name.as_deref(), &bytes, limits);
    let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
    let (media, content): (MediaType, Result<_, Refusal>) = match checked {
        Ok(kind) => (kind.into(), Ok(Pii::new(bytes))),
        Err(code) => (MediaType::octets(), Err(Refusal::new(code))),
    };
    DeliveryPart {
        name: Pii::new(name.unwrap_or_default()),
        media,
        digest,
        length,
        content,
    }
}

/// A message with one attachment, with the gateway's own lines on top.
pub(crate) fn mime(sender: &str, text: &str, (name, bytes): (&str, &[u8])) -> Vec<u8> {
    let (name, bytes) = (STANDARD.encode(name), STANDARD.encode(bytes));
    format!(
        "Authentication-Results: mx.kta.example; dmarc=pass; dkim=pass; spf=pass\r\n\
         Received: from mail.client.example (mail.client.example [192.0.2.1])\r\n\
         \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\
         \tby mx.kta.example (Postfix) with ESMTPS id 1; Mon, 2 Mar 2026 08:00:00 +0000\r\n\
         From: {sender}\r\nTo: intake@firm.example\r\nSubject: papers\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"kit\"\r\n\r\n\
         --kit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n\
         --kit\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Disposition: attachment; filename=\"=?utf-8?B?{name}?=\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{bytes}\r\n--kit--\r\n"
    )
    .into_bytes()
}

/// What is cut off before its end.
pub(crate) fn unreadable() -> &'static [u8] {
    b"From: a@client.example\r\nContent-Type: multipart/mixed\r\n\r\ncut of"
}

/// The code of a refused delivery.
pub(crate) fn refused(delivery: &Delivery) -> Option<Code> {
    delivery.refused.as_ref().map(Refusal::code)
}
