//! wip

mod check;
mod detect;
mod entity;
mod fold;
mod lexicon;
mod page;
mod scan;
mod token;

pub use entity::{Entity, Finding};
pub use scan::Scan;
