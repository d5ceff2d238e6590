//! Who acts, and in which role.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::{ActorId, SubjectId};
use crate::pii::Party;

/// Somebody who acts. Names of staff are personal data too and stand elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The actor.
    pub id: ActorId,
    /// The roles the access list gives this actor.
    pub roles: BTreeSet<Role>,
    /// The last day on which the required training is valid; absent means never trained.
    #[serde(default)]
    pub trained_until: Option<NaiveDate>,
    /// The data subject that this actor is, for clients.
    #[serde(default)]
    pub subject: Option<SubjectId>,
    /// The side this actor speaks for, for clients and employers' contacts.
    #[serde(default)]
    pub party: Option<Party>,
    /// Whether the access list has revoked this actor.
    #[serde(default)]
    pub revoked: bool,
    /// Roles that the firm itself defined, as data of its policy: each says more about what
    /// somebody may do in one of [`roles`](Self::roles). Empty in most firms.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub titles: BTreeSet<Label>,
}

impl Actor {
    /// An actor with one role and no training yet.
    #[must_use]
    pub fn new(id: ActorId, role: Role) -> Self {
        Self {
            id,
            roles: BTreeSet::from([role]),
            trained_until: None,
            subject: None,
            party: None,
            revoked: false,
            titles: BTreeSet::new(),
        }
    }

    /// The same actor with training valid through `day`.
    #[must_use]
    pub fn trained_until(mut self, day: NaiveDate) -> Self {
        self.trained_until = Some(day);
        self
    }
}

/// A role of the access list (domain table of roles).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Leads matters, approves filings.
    #[serde(rename = "attorney")]
    Attorney,
    /// Reads evidence, verifies offline, never reads PII.
    #[serde(rename = "auditor")]
    Auditor,
    /// Information security officer: incidents and key ceremonies, no case content.
    #[serde(rename = "ciso")]
    Ciso,
    /// Privacy protection officer: rights requests, breaches, packs.
    #[serde(rename = "dpo")]
    Dpo,
    /// Receives and releases from quarantine.
    #[serde(rename = "intake")]
    Intake,
    /// Places and releases legal holds.
    #[serde(rename = "legal_hold")]
    LegalHold,
    /// Works assigned matters.
    #[serde(rename = "paralegal")]
    Paralegal,
    /// The employer's contact: petition side only.
    #[serde(rename = "petitioner")]
    Petitioner,
    /// Records officer: schedules, dispositions, certificates.
    #[serde(rename = "records")]
    Records,
    /// The service that judges channels.
    #[serde(rename = "service:channel")]
    ServiceChannel,
    /// The service that erases what was approved.
    #[serde(rename = "service:destroy")]
    ServiceDestroy,
    /// The service that scans content.
    #[serde(rename = "service:dlp")]
    ServiceDlp,
    /// The service that evaluates retention.
    #[serde(rename = "service:retention")]
    ServiceRetention,
    /// The service that carries data between systems.
    #[serde(rename = "service:sync")]
    ServiceSync,
    /// A client, or the guardian of one.
    #[serde(rename = "subject")]
    Subject,
    /// Runs the infrastructure; decrypts nothing.
    #[serde(rename = "sysadmin")]
    Sysadmin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 16] = [
        Self::Attorney,
        Self::Auditor,
        Self::Ciso,
        Self::Dpo,
        Self::Intake,
        Self::LegalHold,
        Self::Paralegal,
        Self::Petitioner,
        Self::Records,
        Self::ServiceChannel,
        Self::ServiceDestroy,
        Self::ServiceDlp,
        Self::ServiceRetention,
        Self::ServiceSync,
        Self::Subject,
        Self::Sysadmin,
    ];

    /// The name as the access list writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attorney => "attorney",
            Self::Auditor => "auditor",
            Self::Ciso => "ciso",
            Self::Dpo => "dpo",
            Self::Intake => "intake",
            Self::LegalHold => "legal_hold",
            Self::Paralegal => "paralegal",
            Self::Petitioner => "petitioner",
            Self::Records => "records",
            Self::ServiceChannel => "service:channel",
            Self::ServiceDestroy => "service:destroy",
            Self::ServiceDlp => "service:dlp",
            Self::ServiceRetention => "service:retention",
            Self::ServiceSync => "service:sync",
            Self::Subject => "subject",
            Self::Sysadmin => "sysadmin",
        }
    }

    /// Whether this is a service identity, which no person may use.
    #[must_use]
    pub const fn is_service(self) -> bool {
        matches!(
            self,
            Self::ServiceChannel
                | Self::ServiceDestroy
                | Self::ServiceDlp
                | Self::ServiceRetention
                | Self::ServiceSync
        )
    }
}
