#![doc = include_str!("../README.md")]

mod delivery;
mod erase;
mod folder;
pub mod form;
mod limits;
pub mod mail;
mod maildir;
mod opener;
mod queue;
pub mod safety;
#[cfg(feature = "server")]
pub mod server;
mod text;
pub mod verdict;
mod web_form;

pub use delivery::{mail_facts, web_facts};
pub use form::FormKey;
pub use limits::Limits;
pub use maildir::Maildir;
pub use opener::MailOpener;
pub use text::{TextLayer, machine_readable_zones, text_layer};
pub use verdict::{Reason, Verdict, judge_mail, judge_web};
pub use web_form::{COOKIE, Site, WebForm};
