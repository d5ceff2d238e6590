#![doc = include_str!("../README.md")]

mod entropy;
mod keyring;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod recovery;
mod replace;
mod ring;
mod unlock;

pub use entropy::OsEntropy;
pub use keyring::LocalKeyring;
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Kms, TokenName};
pub use recovery::{Share, ShareSet};
pub use unlock::{Cost, Unlock};
