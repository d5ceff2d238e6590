//! The question: who wants to do what with whose data of which category, why and when.

use serde::{Deserialize, Serialize};

use crate::id::{ActorId, SubjectId};
use crate::pii::{Category, Matter};
use crate::policy::actor::{Actor, Role};
use crate::policy::purpose::{LawfulBasis, Purpose};
use crate::time::Timestamp;

/// One question to the policy, with every fact it may look at. A policy looks at nothing else.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// Who asks.
    pub actor: &'a Actor,
    /// In which of the actor's roles.
    pub role: Role,
    /// What for.
    pub act: Act,
    /// On what.
    pub object: Object<'a>,
    /// Why.
    pub purpose: Purpose,
    /// The lawful basis that the matter records for the purpose, if any.
    pub basis: Option<LawfulBasis>,
    /// Under which circumstances.
    pub context: AccessContext,
}

/// What an act is on.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// The matter, where there is one.
    pub matter: Option<&'a Matter>,
    /// The person, where there is one.
    pub subject: Option<SubjectId>,
    /// The category.
    pub category: Category,
    /// Whether processing of this person is restricted (GDPR article 18).
    pub restricted: bool,
    /// Whether an active legal hold covers it.
    pub held: bool,
}

/// The circumstances of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessContext {
    /// When.
    pub now: Timestamp,
    /// An emergency access, if this is one.
    pub break_glass: Option<BreakGlass>,
    /// Somebody who took part earlier and from whom this actor must differ: the preparer for
    /// an approval, the first approver for the second, the submitter for a review.
    pub other_than: Option<ActorId>,
    /// From where the request comes, where whoever signed the actor in said so. Absent is the
    /// least that can be known, never "anywhere will do".
    pub station: Option<Station>,
}

impl AccessContext {
    /// Ordinary circumstances at this instant: no emergency, nobody to differ from, a place that
    /// nobody vouches for.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self {
            now,
            break_glass: None,
            other_than: None,
            station: None,
        }
    }
}

/// From where somebody acts, as the sign-in service reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Station {
    /// On what.
    pub device: Device,
    /// In which country, by its two letters of ISO 3166-1; absent where it is not known.
    pub country: Option<[u8; 2]>,
    /// When this was last seen to be so. A policy may refuse what is too old.
    pub seen: Timestamp,
}

/// What somebody works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The firm manages it, and it is in order.
    Managed,
    /// The firm manages it, and something about it is not in order.
    Noncompliant,
    /// Somebody's own.
    Private,
}

impl Device {
    /// The name as policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::Noncompliant => "noncompliant",
            Self::Private => "private",
        }
    }
}

/// An emergency access: for a reason, limited in time, never through a wall, always reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// When it ends.
    pub until: Timestamp,
    /// Why.
    pub reason: Emergency,
}

/// Why the glass is broken: a closed list, so that the log can be counted and holds no prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emergency {
    /// A client or a member of the family is in danger.
    Danger,
    /// A deadline of an agency or a court would pass.
    Deadline,
    /// A client is detained or stopped at a border.
    Detention,
    /// Nobody of the matter's team can be reached.
    TeamAbsent,
}

impl Emergency {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::Danger,
        Self::Deadline,
        Self::Detention,
        Self::TeamAbsent,
    ];

    /// The name as policies and the audit log write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Danger => "danger",
            Self::Deadline => "deadline",
            Self::Detention => "detention",
            Self::TeamAbsent => "team_absent",
        }
    }
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// What somebody does or asks to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Act {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Act {
            /// Every act.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name as policies and the audit log write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

acts! {
    /// Change a value.
    Amend = "amend";
    /// Approve a disposition.
    Approve = "approve";
    /// Seal into an archive.
    Archive = "archive";
    /// Make a signed checkpoint or certificate.
    Certify = "certify";
    /// Close a matter or a finding.
    Close = "close";
    /// Erase copies and keys.
    Destroy = "destroy";
    /// Put somebody on the access list, or change what it says of somebody.
    Enlist = "enlist";
    /// Enter into the CRM.
    Enter = "enter";
    /// Carry data out of the house in bulk, such as a disclosure list.
    Export = "export";
    /// Place a legal hold.
    Hold = "hold";
    /// Improve: open or close a change.
    Improve = "improve";
    /// Open a matter, put somebody on it, build a wall.
    Manage = "manage";
    /// See a value.
    Open = "open";
    /// Probe for residue.
    Probe = "probe";
    /// Work on data for the client.
    Process = "process";
    /// Propose a disposition.
    Propose = "propose";
    /// Take in a delivery.
    Receive = "receive";
    /// Give people fresh keys and seal anew under them; nobody sees a value.
    Rekey = "rekey";
    /// Release from quarantine.
    Release = "release";
    /// Report an incident.
    Report = "report";
    /// Evaluate retention.
    Retain = "retain";
    /// Check completeness and accuracy, or sign off a review.
    Review = "review";
    /// Take a share back.
    Revoke = "revoke";
    /// Scan content.
    Scan = "scan";
    /// Look for records.
    Search = "search";
    /// Share a document.
    Share = "share";
    /// Put into the document library or the store.
    Store = "store";
    /// Record training.
    Train = "train";
    /// Carry from the CRM to the firm's own systems.
    Transfer = "transfer";
    /// Hand to an agency.
    Transmit = "transmit";
    /// Lift a legal hold.
    Unhold = "unhold";
    /// Judge a channel, verify a delivery.
    Verify = "verify";
}

impl Act {
    /// The acts in whose course content is handled: stored, read, looked at. Holding, destroying,
    /// probing, certifying and approving need none.
    pub const ON_CONTENT: &'static [Self] = &[
        Self::Amend,
        Self::Archive,
        Self::Enter,
        Self::Export,
        Self::Open,
        Self::Process,
        Self::Receive,
        Self::Release,
        Self::Review,
        Self::Scan,
        Self::Share,
        Self::Store,
        Self::Transfer,
        Self::Transmit,
        Self::Verify,
    ];
}

impl core::fmt::Display for Act {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}
