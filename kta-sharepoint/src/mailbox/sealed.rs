//! A notice sealed for its recipient alone, as S/MIME 4.0 has it (RFC 8551, RFC 5083, RFC 5084).
//!
//! ```text
//!   ContentInfo ─ AuthEnvelopedData ─┬─ the message key, by RSA-OAEP (SHA-256) for the certificate
//!                                    └─ the MIME entity, by AES-256-GCM
//! ```
//!
//! Authenticated encryption is all that is offered: content under CBC can be rewritten on its way so that a
//! mail reader gives it away. Subject, addresses and time travel in the clear, as with all mail.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::enveloped_data::{
    EncryptedContentInfo, KeyTransRecipientInfo, RecipientIdentifier, RecipientInfo, RecipientInfos,
};
use der::asn1::{ContextSpecific, ObjectIdentifier, OctetString};
use der::{Any, Decode as _, Encode as _, Sequence, TagMode, TagNumber};
use kta_core::id::Digest;
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Fault, FaultKind, Port, Result};
use std::fmt;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

/// The certificate of somebody to whom the firm writes. No authority vouches for it here: the firm does, by
/// the fingerprint that it had confirmed by another way than mail.
#[derive(Clone)]
pub struct RecipientCertificate {
    addresses: Vec<String>,
    from: Timestamp,
    until: Timestamp,
    holder: IssuerAndSerialNumber,
    key: Vec<u8>,
}

impl RecipientCertificate {
    /// The certificate in DER form whose SHA-256 was confirmed.
    ///
    /// # Errors
    /// `NET-CERT` when the fingerprint is another's; a `Misconfigured` fault for what is no certificate, or
    /// one that is not for mail: no RSA key of 2048 to 8192 bits, no address in it, or a use that leaves
    /// encryption out.
    pub fn confirmed(der: &[u8], fingerprint: Digest) -> Result<Self> {
        if Digest::of(der) != fingerprint {
            return Err(Code::NetCert.into());
        }
        let certificate = Certificate::from_der(der).map_err(|_| unusable())?;
        let inside = certificate.tbs_certificate;
        let usage: Option<(bool, KeyUsage)> = inside.get().map_err(|_| unusable())?;
        let purpose: Option<(bool, ExtendedKeyUsage)> = inside.get().map_err(|_| unusable())?;
        let names: Option<(bool, SubjectAltName)> = inside.get().map_err(|_| unusable())?;
        let encrypts = usage.is_none_or(|(_, usage)| usage.key_encipherment());
        let for_mail = purpose.is_none_or(|(_, purpose)| {
            let named = |wanted: &ObjectIdentifier| purpose.0.contains(wanted);
            named(&EMAIL_PROTECTION) || named(&ANY_PURPOSE)
        });
        let addresses: Vec<String> = names
            .into_iter()
            .flat_map(|(_, names)| names.0)
            .filter_map(|name| match name {
                GeneralName::Rfc822Name(address) => Some(address.to_string().to_lowercase()),
                _ => None,
            })
            .collect();
        let key = inside.subject_public_key_info;
        let rsa = key.algorithm.oid == RSA;
        let key = key.to_der().map_err(|_| unusable())?;
        let bits = PublicEncryptingKey::from_der(&key).map(|key| key.key_size_bits());
        let strong = rsa && bits.is_ok_and(|bits| (2048..=8192).contains(&bits));
        if !encrypts || !for_mail || !strong || addresses.is_empty() {
            return Err(unusable().into());
        }
        Ok(Self {
            addresses,
            from: moment(inside.validity.not_before.to_unix_duration())?,
            until: moment(inside.validity.not_after.to_unix_duration())?,
            holder: IssuerAndSerialNumber {
                issuer: inside.issuer,
                serial_number: inside.serial_number,
            },
            key,
        })
    }

    /// Seals a text for whoever has the certificate's key, as the headers and body of an S/MIME message.
    ///
    /// # Errors
    /// `NET-CERT` when it is not this person's, or not valid now.
    pub(super) fn seal(
        &self,
        text: &str,
        address: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String> {
        let theirs = self.addresses.contains(&address.to_lowercase());
        if !theirs || now < self.from || now > self.until {
            return Err(Code::NetCert.into());
        }
        let entity = format!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
            folded(text.as_bytes())
        );
        let envelope = self.envelope(entity.into_bytes(), entropy);
        let envelope = envelope.ok_or_else(|| broken("the notice could not be sealed"))?;
        Ok(format!(
            "Content-Type: application/pkcs7-mime; smime-type=authEnveloped-data;\r\n \
             name=\"smime.p7m\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"smime.p7m\"\r\n\r\n{}",
            folded(&envelope)
        ))
    }

    fn envelope(&self, entity: Vec<u8>, entropy: &dyn Entropy) -> Option<Vec<u8>> {
        let mut content_key = Zeroizing::new([0; 32]);
        let mut nonce = [0; 12];
        entropy.fill(&mut *content_key);
        entropy.fill(&mut nonce);
        let cipher = UnboundKey::new(&AES_256_GCM, &*content_key).ok()?;
        let mut content = Zeroizing::new(entity);
        let tag = LessSafeKey::new(cipher)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut content,
            )
            .ok()?;
        let key = PublicEncryptingKey::from_der(&self.key).ok()?;
        let key = OaepPublicEncryptingKey::new(key).ok()?;
        let mut room = vec![0; key.ciphertext_size()];
        let wrapped = key
            .encrypt(&OAEP_SHA256_MGF1SHA256, &*content_key, &mut room, None)
            .ok()?;
        let to = KeyTransRecipientInfo {
            version: CmsVersion::V0,
            rid: RecipientIdentifier::IssuerAndSerialNumber(self.holder.clone()),
            key_enc_alg: algorithm(OAEP, &oaep()?)?,
            enc_key: OctetString::new(&*wrapped).ok()?,
        };
        let gcm = GcmParameters {
            nonce: OctetString::new(nonce).ok()?,
            tag_length: 16,
        };
        let data = AuthEnvelopedData {
            version: CmsVersion::V0,
            recipients: RecipientInfos::try_from(vec![RecipientInfo::Ktri(to)]).ok()?,
            content: EncryptedContentInfo {
                content_type: DATA,
                content_enc_alg: algorithm(GCM, &gcm)?,
                encrypted_content: Some(OctetString::new(content.as_slice()).ok()?),
            },
            mac: OctetString::new(tag.as_ref()).ok()?,
        };
        let info = ContentInfo {
            content_type: AUTH_ENVELOPED,
            content: Any::encode_from(&data).ok()?,
        };
        info.to_der().ok()
    }
}

impl fmt::Debug for RecipientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientCertificate")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// RFC 5083, section 2.1, without the attributes that a notice has none of.
#[derive(Sequence)]
struct AuthEnvelopedData {
    version: CmsVersion,
    recipients: RecipientInfos,
    content: EncryptedContentInfo,
    mac: OctetString,
}

/// RFC 5084, section 3.2.
#[derive(Sequence)]
struct GcmParameters {
    nonce: OctetString,
    tag_length: u8,
}

/// RFC 8017, appendix A.2.1: SHA-256 for the hash and for the mask.
#[derive(Sequence)]
struct OaepParameters {
    hash: ContextSpecific<AlgorithmIdentifierOwned>,
    mask: ContextSpecific<AlgorithmIdentifierOwned>,
}

fn oaep() -> Option<OaepParameters> {
    let explicit = |number, value| ContextSpecific {
        tag_number: number,
        tag_mode: TagMode::Explicit,
        value,
    };
    let sha256 = AlgorithmIdentifierOwned {
        oid: SHA256,
        parameters: Some(Any::null()),
    };
    Some(OaepParameters {
        hash: explicit(TagNumber::N0, sha256.clone()),
        mask: explicit(TagNumber::N1, algorithm(MGF1, &sha256)?),
    })
}

fn algorithm<P>(oid: ObjectIdentifier, parameters: &P) -> Option<AlgorithmIdentifierOwned>
where
    P: der::Tagged + der::EncodeValue,
{
    Some(AlgorithmIdentifierOwned {
        oid,
        parameters: Some(Any::encode_from(parameters).ok()?),
    })
}

/// Base64 in lines that mail takes.
pub(super) fn folded(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut lines = String::with_capacity(text.len() + text.len() / 38);
    for line in text.as_bytes().chunks(76) {
        lines.extend(line.iter().copied().map(char::from));
        lines.push_str("\r\n");
    }
    lines
}

fn moment(since: Duration) -> Result<Timestamp> {
    let seconds = i64::try_from(since.as_secs()).map_err(|_| unusable())?;
    Ok(DateTime::from_timestamp(seconds, 0).ok_or_else(unusable)?)
}

fn unusable() -> Fault {
    Fault::new(FaultKind::Misconfigured, Port::Channel, "notify")
        .because("not a certificate that mail can be encrypted for")
}

fn broken(what: &'static str) -> Fault {
    Fault::new(FaultKind::Corrupt, Port::Channel, "notify").because(what)
}

const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const AUTH_ENVELOPED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.23");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const EMAIL_PROTECTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4");
const GCM: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.46");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const OAEP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
