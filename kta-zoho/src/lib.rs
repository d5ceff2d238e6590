#![doc = include_str!("../README.md")]
// The emulator writes the vendor's very wide metadata objects as one `json!` each.
#![recursion_limit = "512"]

mod access;
mod amend_many;
mod attachments;
mod audit;
mod audit_chain;
mod basis;
mod client;
mod columns;
mod compare;
mod config;
mod coql;
mod credits;
mod csv;
#[cfg(feature = "emulator")]
pub mod emulator;
mod erase;
mod error;
mod feed;
mod fields;
mod hints;
mod load;
mod many;
mod map;
mod marker;
mod marks;
mod notes;
mod oauth;
mod reconcile;
mod records;
mod recycle_bin;
mod shares;
mod stopped;
mod surface;
mod unzip;
mod users;
mod value;
mod watch;

use core::fmt;
use std::sync::Arc;

use chrono::TimeDelta;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::policy::{Act, Permit};
use kta_core::time::{Entropy, Timestamp};
use kta_http::Call;
use tokio::sync::Mutex;

pub use access::{Access, RoleAccess, UserAccess};
pub use amend_many::Amendment;
pub use attachments::Attached;
pub use audit_chain::{AuditChain, Imported};
pub use compare::Discrepancies;
pub use config::{Credentials, DataCentre, ZohoConfig};
pub use credits::Credits;
pub use fields::Shape;
pub use hints::{Doorbell, Heard, Subscription};
pub use load::{Contents, Load, LoadPage, Loaded};
pub use many::{Page, PageToken};
pub use map::{FieldMap, MappedField};
pub use marks::Lock;
pub use notes::Note;
pub use reconcile::{Known, Reconciliation, Window};
pub use shares::RecordShares;
pub use value::{ValueForm, rows_text};
pub use watch::Sign;

use client::Client;
use fields::FieldMetadata;
use records::MODULE;

/// The firm's Zoho CRM organisation. Cheap to clone; clones share connections and tokens.
///
/// It implements [`Crm`](kta_core::ports::Crm), [`ChangeFeed`](kta_core::ports::ChangeFeed),
/// [`AccessReview`](kta_core::ports::AccessReview), [`AuditFeed`](kta_core::ports::AuditFeed)
/// and [`Erase`](kta_core::ports::Erase).
#[derive(Clone)]
pub struct ZohoCrm {
    client: Arc<Client>,
    config: Arc<ZohoConfig>,
    metadata: Arc<Mutex<Option<(Timestamp, FieldMetadata)>>>,
}

impl ZohoCrm {
    /// The name under which placements know this system.
    pub const SYSTEM: Label = Label::fixed("zoho-crm");

    /// The organisation of `config`. Nothing is sent yet. `entropy` spreads the waits between
    /// attempts.
    ///
    /// # Errors
    /// A `Misconfigured` fault when the transport cannot be set up.
    pub fn new(config: ZohoConfig, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let client = Arc::new(Client::new(&config, entropy)?);
        Ok(Self {
            client,
            config: Arc::new(config),
            metadata: Arc::default(),
        })
    }

    /// The sign that stopped this adapter, if there is one: see [`Sign`].
    #[must_use]
    pub fn alarm(&self) -> Option<Sign> {
        self.client.watch().alarm()
    }

    /// Lets an adapter that a [`Sign`] stopped go on, and every process that shares its tokens,
    /// after somebody looked into it.
    ///
    /// # Errors
    /// `ACL-DENY` unless the permit is for [`Act::Manage`]; faults of the shared file.
    pub async fn resume(&self, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Manage])?;
        self.client.watch().clear().await
    }

    /// Makes the refresh token worthless, with every access token from it: the way out when it
    /// is stolen. It works while an alarm stands.
    ///
    /// # Errors
    /// `ACL-DENY` unless the permit is for [`Act::Manage`]; `Unsupported` without a refresh
    /// token; faults of the transport.
    pub async fn revoke(&self, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Manage])?;
        self.client.accounts().revoke().await
    }

    /// What was spent of the organisation's API credits.
    #[must_use]
    pub fn credits(&self) -> Credits {
        self.client.credits()
    }

    /// The field metadata, not older than [`METADATA_LIFE`].
    async fn metadata(&self, call: Call, now: Timestamp) -> Result<FieldMetadata> {
        let mut held = self.metadata.lock().await;
        match &*held {
            Some((at, metadata)) if (now - *at).abs() < METADATA_LIFE => Ok(metadata.clone()),
            _ => {
                let metadata = FieldMetadata::load(&self.client, call, MODULE).await?;
                *held = Some((now, metadata.clone()));
                Ok(metadata)
            }
        }
    }

    /// The field metadata as it is now.
    async fn fresh_metadata(&self, call: Call, now: Timestamp) -> Result<FieldMetadata> {
        *self.metadata.lock().await = None;
        self.metadata(call, now).await
    }
}

impl fmt::Debug for ZohoCrm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZohoCrm")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// For how long field metadata is believed where a stale answer can do no harm.
const METADATA_LIFE: TimeDelta = TimeDelta::minutes(5);
