//! Sealed: the cryptography of the house. (Interim declarations; the full module is being written.)

mod interim;
mod secret;
pub use secret::SecretKey;
pub use interim::{IndexTag, KeyErased};
