//! An RSA key and a certificate of it, made for this run.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// The key in PKCS #8 and its certificate, both in DER form.
pub(crate) fn certificate() -> (Vec<u8>, Vec<u8>) {
    of(rcgen::CertificateParams::new(vec!["kta.example".to_owned()]).unwrap())
}

/// The same of a certificate that says this.
pub(crate) fn of(params: rcgen::CertificateParams) -> (Vec<u8>, Vec<u8>) {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let key = key.as_der().unwrap().as_ref().to_vec();
    let pkcs8 = PrivatePkcs8KeyDer::from(key.clone());
    let pair =
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    (key, certificate.der().to_vec())
}
