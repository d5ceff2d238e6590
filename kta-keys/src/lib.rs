#![doc = include_str!("../README.md")]

mod entropy;
mod keyring;
mod replace;
mod ring;
mod unlock;

pub use entropy::OsEntropy;
pub use keyring::LocalKeyring;
pub use unlock::{Cost, Unlock};
