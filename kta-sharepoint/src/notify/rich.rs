//! Notifications that bring the changed thing along, sealed for the firm's certificate.
//!
//! As Graph defines it: a fresh AES-256 key, sealed by RSA-OAEP (SHA-1) for the certificate that the
//! subscription named; HMAC-SHA256 under that key over the ciphertext, compared *before* anything is
//! decrypted; AES-256-CBC with PKCS #7, whose first vector is the key's first 16 bytes. That it is Graph
//! who speaks is told by the delivery's tokens, signed by the login host.

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey, PublicKeyComponents,
};
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kta_core::pii::{Locator, Pii};
use kta_core::time::Timestamp;
use kta_core::{Fault, FaultKind, Port, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// The firm's private keys for notifications, by the certificate ids that subscriptions named. Old ones
/// stay until no subscription names them.
#[derive(Default)]
pub struct RichKeys(BTreeMap<String, OaepPrivateDecryptingKey>);

impl RichKeys {
    /// No keys yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with the RSA key (2048 to 4096 bits, PKCS #8 DER) of the certificate of this id.
    ///
    /// # Errors
    /// A `Misconfigured` fault for anything else, and for an id longer than 128 characters.
    pub fn with(mut self, certificate_id: &str, pkcs8: &[u8]) -> Result<Self> {
        let unusable = || {
            Fault::new(FaultKind::Misconfigured, Port::Intake, "notifications")
                .because("not an RSA key in PKCS #8, or an id that is too long")
        };
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| unusable())?;
        if !(2048..=4096).contains(&key.key_size_bits()) || certificate_id.len() > 128 {
            return Err(unusable().into());
        }
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| unusable())?;
        self.0.insert(certificate_id.to_owned(), key);
        Ok(self)
    }

    /// The content, if it was sealed for one of these keys and is whole.
    pub(super) fn open(&self, subscription: &Locator, sealed: &Sealed) -> Option<Content> {
        let key = self.0.get(&sealed.encryption_certificate_id)?;
        let wrapped = STANDARD.decode(&sealed.data_key).ok()?;
        let mut room = Zeroizing::new(vec![0; key.min_output_size()]);
        let symmetric = key
            .decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped, &mut room, None)
            .ok()?;
        let symmetric: &[u8; 32] = (&*symmetric).try_into().ok()?;
        let mut data = Zeroizing::new(STANDARD.decode(&sealed.data).ok()?);
        let signature = STANDARD.decode(&sealed.data_signature).ok()?;
        let mac = hmac::Key::new(hmac::HMAC_SHA256, symmetric);
        // In constant time, and before the padding of anything forged could tell something.
        hmac::verify(&mac, &data, &signature).ok()?;
        let cipher = UnboundCipherKey::new(&AES_256, symmetric).ok()?;
        let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(cipher).ok()?;
        let first: &[u8; 16] = symmetric.first_chunk()?;
        let context = DecryptionContext::Iv128(FixedLength::from(first));
        let opened = cipher.decrypt(&mut data, context).ok()?;
        Some(Content {
            subscription: subscription.clone(),
            resource: Pii::new(opened.to_vec()),
        })
    }
}

impl fmt::Debug for RichKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RichKeys({})", self.0.len())
    }
}

/// What came along with one notification.
#[derive(Debug)]
pub struct Content {
    /// The subscription.
    pub subscription: Locator,
    /// The changed thing, as Graph writes it in JSON.
    pub resource: Pii<Vec<u8>>,
}

/// Whose signature under a delivery counts: the login host's keys, for this application, from Graph.
pub struct SigningKeys {
    keys: BTreeMap<String, PublicKeyComponents<Vec<u8>>>,
    application: String,
    issuers: Vec<String>,
}

impl SigningKeys {
    /// The keys of the login host's `discovery/v2.0/keys` (RFC 7517), for the application that made the
    /// subscription, in this tenant. `login` is the login host's address, as in [`Config`](crate::Config).
    ///
    /// # Errors
    /// A `Protocol` fault when it is no key set or holds no RSA key.
    pub fn new(key_set: &[u8], application: &str, tenant: &str, login: &str) -> Result<Self> {
        let refused = || {
            Fault::new(FaultKind::Protocol, Port::Intake, "notifications")
                .because("not a set of RSA keys")
        };
        let set: KeySet = serde_json::from_slice(key_set).map_err(|_| refused())?;
        let read = |key: PublicKey| {
            let n = URL_SAFE_NO_PAD.decode(key.n?).ok()?;
            let e = URL_SAFE_NO_PAD.decode(key.e?).ok()?;
            Some((key.kid?, PublicKeyComponents { n, e }))
        };
        let keys: BTreeMap<_, _> = set.keys.into_iter().filter_map(read).collect();
        if keys.is_empty() {
            return Err(refused().into());
        }
        Ok(Self {
            keys,
            application: application.to_owned(),
            issuers: vec![
                format!("{}/{tenant}/v2.0", login.trim_end_matches('/')),
                format!("https://sts.windows.net/{tenant}/"),
            ],
        })
    }

    /// Whether there is a token and every token holds.
    pub(super) fn vouch(&self, tokens: &[String], now: Timestamp) -> bool {
        !tokens.is_empty()
            && tokens.len() <= MOST_TOKENS
            && tokens.iter().all(|t| self.holds(t, now))
    }

    fn holds(&self, token: &str, now: Timestamp) -> bool {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return false;
        };
        let Some(head) = decoded::<Header>(header) else {
            return false;
        };
        let key = head.kid.as_ref().and_then(|kid| self.keys.get(kid));
        let (Some(key), "RS256") = (key, head.alg.as_str()) else {
            return false;
        };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
            return false;
        };
        let signed = format!("{header}.{claims}");
        let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature);
        if verified.is_err() {
            return false;
        }
        decoded::<Claims>(claims).is_some_and(|claims| {
            let sender = claims.appid.or(claims.azp);
            let early = claims.nbf.is_some_and(|from| from > now.timestamp() + SKEW);
            claims.aud == self.application
                && sender.as_deref() == Some(GRAPH)
                && self.issuers.contains(&claims.iss)
                && claims.exp > now.timestamp()
                && !early
        })
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.keys.len())
    }
}

/// `encryptedContent` of a notification.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sealed {
    data: String,
    data_key: String,
    data_signature: String,
    encryption_certificate_id: String,
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
struct PublicKey {
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    appid: Option<String>,
    #[serde(default)]
    azp: Option<String>,
}

/// Graph's change tracking, as the publisher of notifications.
const GRAPH: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";
const MOST_TOKENS: usize = 16;
const SKEW: i64 = 300;
