//! Messages as clients send them, and the reader a firm hands to the mailbox.
#![allow(dead_code, reason = "each test file uses its own part")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kta_core::ports::Delivery;
use kta_core::{Code, Refusal};
use kta_intake::MailOpener;
use kta_intake::mail::Gateway;
use kta_sharepoint::{Opener, RawMessage};

/// The reader of `kta-intake`.
#[derive(Debug)]
pub(crate) struct Reader(MailOpener);

pub(crate) fn reader() -> Reader {
    let gateway = Gateway::named("mx.kta.example");
    Reader(MailOpener::new(gateway, ["intake@firm.example"]))
}

impl Opener for Reader {
    fn open(&self, message: RawMessage<'_>) -> Delivery {
        self.0.open(message.locator, message.at, message.mime)
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
