//! Mail: messages taken apart, and what their headers prove about the way they came.

pub mod message;
pub mod trace;

pub(crate) use message::is_address;
pub use message::{Attachment, Letter, read, way};
pub use trace::{Gateway, facts};
