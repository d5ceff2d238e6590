//! AWS Signature Version 4, the part that a `POST` to `/` with a whole body needs.
//!
//! Written here and not taken from the SDK: what is needed is two hashes and four HMACs, and the
//! SDK's own crate brings a runtime of its own. Checked against the vectors that AWS publishes,
//! and by the emulator against AWS's own client.

use hmac::{Hmac, KeyInit as _, Mac as _};
use kta_core::id::Digest;
use kta_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What one request's signature is made over, and for whom.
pub(crate) struct Signing<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Canonical form: sorted and percent-encoded already.
    pub(crate) query: &'a str,
    /// Names in lower case, sorted; `host` and `x-amz-date` among them.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) at: Timestamp,
}

impl Signing<'_> {
    /// What follows `AWS4-HMAC-SHA256` in the `Authorization` header.
    pub(crate) fn authorization(&self, id: &str, secret: &SecretString) -> String {
        format!(
            "Credential={id}/{}, SignedHeaders={}, Signature={}",
            self.scope(),
            self.names(),
            self.signature(secret)
        )
    }

    /// The signature in hexadecimal digits.
    pub(crate) fn signature(&self, secret: &SecretString) -> String {
        let canonical = self.canonical();
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            stamp(self.at),
            self.scope(),
            Digest::of(canonical.as_bytes())
        );
        let first = Zeroizing::new(format!("AWS4{}", secret.expose_secret()));
        let mut key = mac(first.as_bytes(), date(self.at).as_bytes());
        for part in [self.region, self.service, "aws4_request", &text] {
            key = mac(&*key, part.as_bytes());
        }
        Digest::from_bytes(*key).to_string()
    }

    /// The canonical request. Among its headers may be a session token.
    fn canonical(&self) -> Zeroizing<String> {
        let (names, body) = (self.names(), Digest::of(self.body).to_string());
        let line = |(name, value): &(&str, &str)| name.len() + value.len() + 2;
        let headers: usize = self.headers.iter().map(line).sum();
        let begin = [self.method, "\n", self.path, "\n", self.query, "\n"];
        let end = ["\n", &names, "\n", &body];
        let around = begin.iter().chain(&end).map(|part| part.len());
        // Room for all of it: a text that grows leaves what it held where it was.
        let room = around.sum::<usize>() + headers;
        let mut text = Zeroizing::new(String::with_capacity(room));
        begin.iter().for_each(|part| text.push_str(part));
        for (name, value) in self.headers {
            for part in [*name, ":", value.trim(), "\n"] {
                text.push_str(part);
            }
        }
        end.iter().for_each(|part| text.push_str(part));
        debug_assert!(text.len() <= room, "it did not grow");
        text
    }

    fn scope(&self) -> String {
        let (date, region, service) = (date(self.at), self.region, self.service);
        format!("{date}/{region}/{service}/aws4_request")
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }
}

/// An instant as `x-amz-date` has it.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.format("%Y%m%dT%H%M%SZ").to_string()
}

fn date(at: Timestamp) -> String {
    at.format("%Y%m%d").to_string()
}

fn mac(key: &[u8], text: &[u8]) -> Zeroizing<[u8; 32]> {
    // HMAC takes keys of any length.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The vectors of AWS's signature suite ("get-vanilla", "post-vanilla") and of its manual.
    #[test]
    fn the_published_vectors_are_met() {
        let secret = SecretString::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let vanilla = |method| Signing {
            method,
            path: "/",
            query: "",
            headers: &[
                ("host", "example.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
            region: "us-east-1",
            service: "service",
            at: at("2015-08-30T12:36:00Z"),
        };
        assert_eq!(
            vanilla("GET").signature(&secret),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            vanilla("POST").signature(&secret),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let manual = Signing {
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                (
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8",
                ),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            service: "iam",
            ..vanilla("GET")
        };
        assert_eq!(
            manual.authorization("AKIDEXAMPLE", &secret),
            "Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }
}
