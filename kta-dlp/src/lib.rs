#![doc = include_str!("../README.md")]

mod check;
mod detect;
mod entity;
pub mod extract;
mod fold;
mod lexicon;
pub mod outbound;
mod page;
mod redact;
mod scan;
mod scanner;
mod sheet;
mod token;

pub use entity::{Entity, Finding};
pub use redact::{ROUNDS, mark, redact};
pub use scan::Scan;
pub use scanner::DlpScanner;
pub use sheet::{csv_record, neutralise};
