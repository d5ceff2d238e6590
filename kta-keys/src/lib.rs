#![doc = include_str!("../README.md")]

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(all(
    feature = "emulator",
    any(feature = "aws", feature = "azure", feature = "vault")
))]
#[cfg_attr(
    not(all(feature = "aws", feature = "azure", feature = "vault")),
    allow(dead_code, reason = "each vendor uses its own part")
)]
pub mod emulator;
mod entropy;
mod keyring;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod recovery;
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
#[cfg_attr(
    not(all(feature = "aws", feature = "azure", feature = "vault")),
    allow(dead_code, reason = "each vendor uses its own part")
)]
mod remote;
mod replace;
mod ring;
mod unlock;
#[cfg(feature = "vault")]
mod vault;

#[cfg(feature = "aws")]
pub use aws::{AwsConfig, AwsCredentials, AwsIdentity, AwsKms};
#[cfg(feature = "azure")]
pub use azure::{AzureConfig, AzureKeyVault};
pub use entropy::OsEntropy;
pub use keyring::LocalKeyring;
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Kms, TokenName};
pub use recovery::{Share, ShareSet};
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
pub use remote::Connection;
pub use unlock::{Cost, Unlock};
#[cfg(feature = "vault")]
pub use vault::{VaultAuth, VaultConfig, VaultTransit};
