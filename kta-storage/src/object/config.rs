//! Where the blobs are, and who we are there.

use core::fmt;
use std::sync::Arc;

use kta_core::Result;
use object_store::StaticCredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::azure::{AzureAccessKey, AzureCredential, AzureCredentialProvider};
use secrecy::{ExposeSecret as _, SecretString};

use super::wire::misconfigured;

/// A bucket of S3, or of a server that speaks its protocol. `Debug` shows no credential.
#[derive(Clone)]
pub struct S3Config {
    pub(super) endpoint: String,
    pub(super) region: String,
    pub(super) bucket: String,
    pub(super) credentials: AwsCredentialProvider,
    pub(super) part: usize,
}

impl S3Config {
    /// A bucket of AWS in `region`, with one access key.
    ///
    /// # Errors
    /// `Misconfigured` when region or bucket are no names of the kind.
    pub fn new(region: &str, bucket: &str, (id, secret): (&str, SecretString)) -> Result<Self> {
        let credential = AwsCredential {
            key_id: id.to_owned(),
            secret_key: secret.expose_secret().to_owned(),
            token: None,
        };
        let provider = StaticCredentialProvider::new(credential);
        Self::with_credentials(region, bucket, Arc::new(provider))
    }

    /// The same with credentials that change: of the machine, of a web identity.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_credentials(
        region: &str,
        bucket: &str,
        credentials: AwsCredentialProvider,
    ) -> Result<Self> {
        Ok(Self {
            endpoint: format!("https://s3.{}.amazonaws.com", name(region)?),
            region: name(region)?,
            bucket: name(bucket)?,
            credentials,
            part: PART,
        })
    }

    /// The same at another server. Its own name is in the address, the bucket in the path.
    #[must_use]
    pub fn endpoint(mut self, url: &str) -> Self {
        url.clone_into(&mut self.endpoint);
        self
    }

    /// The same with parts of this length in bytes: 5 MiB to 256 MiB, 8 MiB unless said. Blobs
    /// that are shorter go in one request; one blob has at most ten thousand parts.
    ///
    /// # Errors
    /// `Misconfigured` for another length.
    pub fn part_size(mut self, bytes: usize) -> Result<Self> {
        self.part = part(bytes)?;
        Ok(self)
    }
}

/// A container of Azure Blob Storage. `Debug` shows no credential.
#[derive(Clone)]
pub struct AzureConfig {
    pub(super) endpoint: String,
    pub(super) account: String,
    pub(super) container: String,
    pub(super) credentials: AzureCredentialProvider,
    pub(super) part: usize,
}

impl AzureConfig {
    /// A container of this storage account, with one of the account's keys (in Base64).
    ///
    /// # Errors
    /// `Misconfigured` when the names or the key are none.
    pub fn new(account: &str, container: &str, key: &SecretString) -> Result<Self> {
        let key = AzureAccessKey::try_new(key.expose_secret())
            .map_err(|_| misconfigured("the account key is not in Base64"))?;
        let provider = StaticCredentialProvider::new(AzureCredential::AccessKey(key));
        Self::with_credentials(account, container, Arc::new(provider))
    }

    /// The same with tokens of Microsoft Entra, which change. Shared access signatures are
    /// refused when it connects: they stand in addresses.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_credentials(
        account: &str,
        container: &str,
        credentials: AzureCredentialProvider,
    ) -> Result<Self> {
        Ok(Self {
            endpoint: format!("https://{}.blob.core.windows.net", name(account)?),
            account: name(account)?,
            container: name(container)?,
            credentials,
            part: PART,
        })
    }

    /// The same at another server; a path names the account there, as with Azurite.
    #[must_use]
    pub fn endpoint(mut self, url: &str) -> Self {
        url.clone_into(&mut self.endpoint);
        self
    }

    /// As [`S3Config::part_size`].
    ///
    /// # Errors
    /// `Misconfigured` for another length.
    pub fn part_size(mut self, bytes: usize) -> Result<Self> {
        self.part = part(bytes)?;
        Ok(self)
    }
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AzureConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureConfig")
            .field("account", &self.account)
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

fn name(text: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.contains("..") {
        Ok(text.to_owned())
    } else {
        Err(misconfigured("not a name of a bucket, region or account"))
    }
}

fn part(bytes: usize) -> Result<usize> {
    if (5 * MIB..=256 * MIB).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(misconfigured("a part is 5 MiB to 256 MiB long"))
    }
}

const MIB: usize = 1024 * 1024;
const PART: usize = 8 * MIB;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn debug_and_errors_show_no_credential() {
        let secret = || SecretString::from("CANARYSECRET".to_owned());
        let s3 = S3Config::new("eu-central-1", "firm", ("AKIACANARY", secret())).unwrap();
        let azure = AzureConfig::new("firm", "blobs", &secret()).unwrap();
        let bad = AzureConfig::new("firm", "blobs", &"CANARY!".to_owned().into()).unwrap_err();
        let told = format!("{s3:?} {azure:?} {bad} {bad:?}");
        assert!(!told.contains("CANARY"), "{told}");
    }

    #[tokio::test]
    async fn a_signature_in_the_address_is_refused_before_anything_is_sent() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let shared = AzureCredential::SASToken(vec![pair("sv", "1"), pair("sig", "CANARY")]);
        let provider = Arc::new(StaticCredentialProvider::new(shared));
        let config = AzureConfig::with_credentials("firm", "blobs", provider).unwrap();
        let config = config.endpoint("http://127.0.0.1:9");
        let refused = crate::ObjectBlobs::azure(&config).await.unwrap_err();
        let code = refused.refusal().map(kta_core::Refusal::code);
        assert_eq!(code, Some(kta_core::Code::NetTokenLeak));
        assert!(!format!("{refused} {refused:?}").contains("CANARY"));
    }

    #[test]
    fn names_that_lead_elsewhere_and_parts_that_no_server_takes_are_refused() {
        let key = || ("id", SecretString::from("secret".to_owned()));
        for bad in ["", "../up", "a/b", "a@evil.example", "a?b"] {
            assert!(S3Config::new(bad, "firm", key()).is_err(), "{bad}");
            assert!(S3Config::new("eu-central-1", bad, key()).is_err(), "{bad}");
        }
        let config = S3Config::new("eu-central-1", "firm", key()).unwrap();
        assert!(config.clone().part_size(5 * MIB - 1).is_err());
        assert!(config.part_size(5 * MIB).is_ok());
    }
}
