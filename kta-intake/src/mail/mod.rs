//! Mail: messages taken apart, and what their headers prove about the way they came.

pub mod message;
pub mod trace;

pub use message::{Attachment, Letter, read};
pub use trace::{Gateway, facts};
