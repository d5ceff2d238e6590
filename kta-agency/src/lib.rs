#![doc = include_str!("../README.md")]

mod check;
mod desk;
mod facts;
mod manifest;
mod register;

pub use check::check;
pub use desk::PortalDesk;
pub use facts::{Authority, FactSheets, FactSource, KnownDocument, MatterFacts, Signature};
pub use manifest::{PackageManifest, verify_folder};
pub use register::{ChannelKind, ChannelRule, DocumentRule, Edition, Form, ReceiptKind, Register};
