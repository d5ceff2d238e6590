//! TLS: protocol versions, trusted roots, pins, and the evidence of each session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kta_core::id::Digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// Which certificate authorities are trusted.
#[derive(Clone, Debug)]
pub enum Roots {
    /// These and no others, in DER form.
    Only(Vec<Vec<u8>>),
    /// Those that the operating system trusts. Not a list compiled into this program: when an
    /// authority is distrusted, the system's update takes it away here too, and the firm's
    /// administrators see and govern one list.
    System,
}

/// One TLS session's evidence: to whom, by which version, on which certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// The server's name, which stands on the allow-list.
    pub host: String,
    /// SHA-256 of the server's certificate in DER form.
    pub certificate: Digest,
    /// The negotiated version.
    pub version: TlsVersion,
}

/// The versions of TLS this house speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// The sessions of one client, the last full handshake for each host and certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<BTreeMap<Digest, Known>>>);

/// The host, and the version once the handshake got that far.
type Known = (String, Option<TlsVersion>);

impl Sessions {
    pub(crate) fn list(&self) -> Vec<TlsSession> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = |(certificate, (host, version)): (&Digest, &Known)| {
            version.map(|version| TlsSession {
                host: host.clone(),
                certificate: *certificate,
                version,
            })
        };
        known.iter().filter_map(session).collect()
    }

    fn seen(&self, certificate: Digest, host: &ServerName<'_>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_SESSIONS {
            known.pop_first();
        }
        known
            .entry(certificate)
            .or_insert((host.to_str().into_owned(), None));
    }

    fn negotiated(&self, certificate: Digest, version: TlsVersion) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, negotiated)) = known.get_mut(&certificate) {
            *negotiated = Some(version);
        }
    }
}

/// A client configuration with the ring provider handed in: nothing depends on a process-wide
/// default that another library could set. The flag says whether any root is trusted.
pub(crate) fn client_config(
    roots: &Roots,
    pins: BTreeSet<Digest>,
    sessions: Sessions,
) -> Result<(ClientConfig, bool), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Only(certificates) => {
            for certificate in certificates {
                store.add(CertificateDer::from(certificate.as_slice()))?;
            }
        }
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let trusts_any = !store.is_empty();
    let chain = if trusts_any {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone());
        Some(
            builder
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?,
        )
    } else {
        None
    };
    let verifier = Arc::new(Verifier {
        chain,
        provider: provider.clone(),
        pins,
        sessions,
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, trusts_any))
}

/// The usual chain verification, and after it the pins; it also notes what was negotiated.
/// It can only be stricter than the verification inside it, never laxer.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    pins: BTreeSet<Digest>,
    sessions: Sessions,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = self
            .chain
            .as_ref()
            .ok_or(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer,
            ))?;
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let certificate = Digest::of(end_entity);
        if !self.pins.is_empty() && !self.pins.contains(&certificate) {
            let unpinned = CertificateError::ApplicationVerificationFailure;
            return Err(rustls::Error::InvalidCertificate(unpinned));
        }
        self.sessions.seen(certificate, server_name);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)?;
        self.sessions.negotiated(Digest::of(cert), TlsVersion::V1_2);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)?;
        self.sessions.negotiated(Digest::of(cert), TlsVersion::V1_3);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const MOST_SESSIONS: usize = 64;
