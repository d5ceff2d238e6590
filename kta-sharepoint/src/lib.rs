#![doc = include_str!("../README.md")]

mod access;
mod audit;
mod baseline;
mod batch;
mod client;
mod config;
mod delta;
#[cfg(feature = "emulator")]
pub mod emulator;
mod erase;
mod error;
mod groups;
mod items;
mod labels;
mod libraries;
mod mailbox;
mod matters;
mod names;
mod notify;
mod papers;
mod permissions;
mod quick_xor;
mod reconcile;
mod recycle_bin;
mod site;
mod token;
mod upload;
mod versions;

pub use access::{AccessFinding, Allowed, Reach, Way, judge};
pub use audit::{AuditPlan, Interval, still};
pub use baseline::{Baseline, Drift, Settings};
pub use config::{AppCredential, Cloud, Config};
pub use libraries::{Libraries, Roster};
#[cfg(feature = "smime")]
pub use mailbox::RecipientCertificate;
pub use mailbox::{MailChanges, Mailbox, Notice, Opener, Protection, RawMessage};
pub use names::Folder;
pub use notify::{Answer, Hint, Kept, Receiver, Watch, WatchRequest};
#[cfg(feature = "rich-notifications")]
pub use notify::{Content, RichKeys, SigningKeys};
pub use papers::Earlier;
pub use quick_xor::QuickXor;
pub use reconcile::{Finding, Known, Survey};
pub use site::SharePoint;

use kta_core::audit::Label;
use kta_core::id::SubjectId;
use kta_core::pii::Category;
use kta_core::policy::{Act, Permit};
use kta_core::{Code, Refusal, Result};

/// The name under which placements know SharePoint.
pub const SYSTEM: Label = Label::fixed("sharepoint");

/// Acts under which a document is looked at.
const READ: &[Act] = &[
    Act::Archive,
    Act::Destroy,
    Act::Export,
    Act::Open,
    Act::Probe,
    Act::Process,
    Act::Retain,
    Act::Review,
    Act::Revoke,
    Act::Scan,
    Act::Search,
    Act::Share,
    Act::Store,
    Act::Transfer,
    Act::Transmit,
];

/// Acts under which a document is stored or labelled.
const WRITE: &[Act] = &[Act::Process, Act::Store, Act::Transfer];

/// Acts under which a document is taken out of the library.
const REMOVE: &[Act] = &[Act::Amend, Act::Destroy, Act::Process, Act::Store];

/// Whether a permit covers this person's data of some category: the calls that name a document by the
/// library's id do not say which.
///
/// # Errors
/// [`Code::AclDeny`] when it covers none.
fn admitted(permit: &Permit<'_>, acts: &[Act], subject: SubjectId) -> Result<()> {
    let covers = |category: &Category| permit.require(acts, subject, *category).is_ok();
    if Category::ALL.iter().any(covers) {
        Ok(())
    } else {
        Err(Refusal::new(Code::AclDeny)
            .about("permit", permit.id())
            .into())
    }
}
