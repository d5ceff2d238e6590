//! The sealing side of notifications with content, and the login host's signature under them.

use super::state::State;
use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::OnceLock;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::ParsedCertificate;

/// The login host's signing key, made when it is first wanted.
#[derive(Default)]
pub(crate) struct Signer(OnceLock<Option<KeyPair>>);

impl Signer {
    fn key(&self) -> Option<&KeyPair> {
        self.0
            .get_or_init(|| KeyPair::generate(KeySize::Rsa2048).ok())
            .as_ref()
    }
}

/// The login host's `discovery/v2.0/keys`.
pub(crate) fn key_set(state: &State) -> Value {
    let public = state
        .signer
        .key()
        .map(|key| key.public_key().as_ref().to_vec());
    let Some((n, e)) = public.as_deref().and_then(integers) else {
        return json!({ "keys": [] });
    };
    json!({ "keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
        "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
    }]})
}

/// A token that vouches for a delivery (RFC 7515, RS256).
pub(crate) fn token(state: &State) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (now, settings) = (state.now().timestamp(), &state.settings);
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID });
    let claims = json!({
        "aud": settings.client_id,
        "iss": format!("{}/{}/v2.0", settings.login, settings.tenant),
        "iat": now, "nbf": now, "exp": now + 3600,
        "azp": "0bf30f3b-4a52-48df-9a82-234910c4a086",
    });
    let message = format!("{}.{}", part(header), part(claims));
    let signature = state.signer.key().and_then(|key| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message.as_bytes(),
            &mut signature,
        )
        .ok()?;
        Some(signature)
    });
    format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(signature.unwrap_or_default())
    )
}

/// `encryptedContent` for a certificate in base64.
pub(crate) fn seal(certificate: &str, name: &str, content: &Value) -> Option<Value> {
    let public = public_key(certificate)?;
    let mut key = [0u8; 32];
    aws_lc_rs::rand::fill(&mut key).ok()?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &key).ok()?);
    let mut data = content.to_string().into_bytes();
    let first: &[u8; 16] = key.first_chunk()?;
    let context = EncryptionContext::Iv128(FixedLength::from(first));
    cipher.ok()?.less_safe_encrypt(&mut data, context).ok()?;
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &data);
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public
        .encrypt(&OAEP_SHA1_MGF1SHA1, &key, &mut wrapped, None)
        .ok()?;
    Some(json!({
        "data": STANDARD.encode(&data),
        "dataSignature": STANDARD.encode(signature.as_ref()),
        "dataKey": STANDARD.encode(&*wrapped),
        "encryptionCertificateId": name,
        "encryptionCertificateThumbprint": "",
    }))
}

/// The RSA key of a certificate in base64.
pub(crate) fn public_key(certificate: &str) -> Option<OaepPublicEncryptingKey> {
    let der = CertificateDer::from(STANDARD.decode(certificate).ok()?);
    let info = ParsedCertificate::try_from(&der).ok()?;
    let info = info.subject_public_key_info();
    let key = PublicEncryptingKey::from_der(info.as_ref()).ok()?;
    OaepPublicEncryptingKey::new(key).ok()
}

/// Whether one of these certificates' keys signed an assertion (RFC 7515).
pub(crate) fn signed_by(
    certificates: &[Vec<u8>],
    assertion: &str,
    algorithm: Option<&str>,
) -> bool {
    let Some((message, signature)) = assertion.rsplit_once('.') else {
        return false;
    };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
        return false;
    };
    let parameters = match algorithm {
        Some("PS256") => &RSA_PSS_2048_8192_SHA256,
        _ => &RSA_PKCS1_2048_8192_SHA256,
    };
    certificates.iter().any(|der| {
        let der = CertificateDer::from(der.as_slice());
        ParsedCertificate::try_from(&der).is_ok_and(|parsed| {
            let info = parsed.subject_public_key_info();
            let key = UnparsedPublicKey::new(parameters, info.as_ref());
            key.verify(message.as_bytes(), &signature).is_ok()
        })
    })
}

/// The two numbers of an `RSAPublicKey` (RFC 8017, A.1.1) without their leading zeros.
fn integers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, _) = element(der, 0x30)?;
    let (n, rest) = element(inside, 0x02)?;
    let (e, _) = element(rest, 0x02)?;
    let bare = |number: &'_ [u8]| number.iter().take_while(|byte| **byte == 0).count();
    Some((&n[bare(n)..], &e[bare(e)..]))
}

fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first().filter(|(first, _)| **first == tag)?;
    debug_assert_eq!(*first, tag);
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        let length = bytes
            .iter()
            .fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, rest)
    };
    rest.split_at_checked(length)
}

const KEY_ID: &str = "emulated";
