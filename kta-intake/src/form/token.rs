//! The form's one-time token: what shows that a post comes from our own page in that browser.
//!
//! `EXPIRY.NONCE.MAC` stands in a hidden field, the nonce alone in a `__Host-` cookie that no
//! other site can read or set. Nothing needs to be remembered on the server.

use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kta_core::time::{Entropy, Timestamp};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::verdict::Token;

/// The secret under which tokens are made. One per site; a new one ends all open forms.
pub struct FormKey(Zeroizing<[u8; 32]>);

impl FormKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A token and its cookie value for a page served `now`, good until `until`.
    #[must_use]
    pub fn issue(
        &self,
        edition: &str,
        until: Timestamp,
        entropy: &dyn Entropy,
    ) -> (String, String) {
        let mut random = [0; 16];
        entropy.fill(&mut random);
        let (expiry, nonce) = (until.timestamp().to_string(), hex(&random));
        let mac = hex(&self.mac(edition, &expiry, &nonce).finalize().into_bytes());
        (format!("{expiry}.{nonce}.{mac}"), nonce)
    }

    /// What a posted token and cookie are worth `now`.
    #[must_use]
    pub fn check(&self, edition: &str, token: &str, cookie: Option<&str>, now: Timestamp) -> Token {
        let mut pieces = token.split('.');
        let (Some(expiry), Some(nonce), Some(mac), None) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Token::Wrong;
        };
        let ours = unhex(mac)
            .is_some_and(|mac| self.mac(edition, expiry, nonce).verify_slice(&mac).is_ok());
        let until = expiry
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_timestamp(seconds, 0));
        match until {
            Some(until) if ours && cookie == Some(nonce) => {
                if now <= until {
                    Token::Valid
                } else {
                    Token::Expired
                }
            }
            _ => Token::Wrong,
        }
    }

    fn mac(&self, edition: &str, expiry: &str, nonce: &str) -> Hmac<Sha256> {
        // HMAC pads a short key with zeros to its block (RFC 2104 §2); a block needs no check.
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(&*self.0);
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        mac.update(["kta-form/1", edition, expiry, nonce].join("\n").as_bytes());
        mac
    }
}

impl fmt::Debug for FormKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormKey(..)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}
