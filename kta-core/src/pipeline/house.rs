//! The house: one firm's gate, memory, keys and doors, as the stages use them.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::{Label, Signer};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{ActorId, MatterId, SubjectId, TenantId};
use crate::pii::System;
use crate::pipeline::profile::Profile;
use crate::policy::{Gate, Policy, Purpose, Role, Sealer, Session};
use crate::ports::store::{Change, Expected, Register, Sheet, SheetQuery};
use crate::ports::{
    Blobs, Channel, Collaboration, Crm, Documents, Erase, Jobs, Ledger, Reader, Scanner, Store,
};
use crate::refusal::Code;
use crate::retention::{Schedule, Watch};
use crate::time::{Clock, Entropy};

/// The doors of a house: every port, chosen by whoever builds it.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is the port trait of the same name")]
pub struct Doors {
    pub store: Arc<dyn Store>,
    pub jobs: Arc<dyn Jobs>,
    pub ledger: Arc<dyn Ledger>,
    pub blobs: Arc<dyn Blobs>,
    pub crm: Arc<dyn Crm>,
    pub documents: Arc<dyn Documents>,
    pub collaboration: Arc<dyn Collaboration>,
    pub channel: Arc<dyn Channel>,
    pub scanner: Arc<dyn Scanner>,
    pub reader: Arc<dyn Reader>,
    pub policy: Arc<dyn Policy>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub signer: Arc<dyn Signer>,
    /// One for every system in which placements are made; a placement in a system that is not
    /// here can never be destroyed, so the stages refuse to make it.
    pub erasers: Vec<Arc<dyn Erase>>,
}

/// One firm's house.
pub struct House {
    /// The gate, through which everybody comes in.
    pub gate: Gate,
    /// The ports.
    pub doors: Doors,
    /// The sealer over the firm's keys.
    pub sealer: Sealer,
    /// Completeness profiles by kind of matter.
    pub profiles: BTreeMap<Label, Profile>,
    /// Compiled retention schedules by class, chosen by whoever builds the house. Nothing is judged
    /// by others than those that two people put in force: see [`enact`](super::govern::enact).
    pub schedules: BTreeMap<Label, Schedule>,
    /// What the clock is held against before anything is destroyed. A new house has one that
    /// knows no other clock; without any the clock is believed, which only tests may want.
    pub watch: Option<Watch>,
    /// E-mail domains with which the firm may share.
    pub verified_domains: Vec<String>,
}

impl House {
    /// A house for `tenant` with these doors. It knows nobody yet: [`wake`](super::manage::wake) reads
    /// the directory back, and [`found`](super::manage::found) lists the first people of a new firm.
    #[must_use]
    pub fn new(tenant: TenantId, doors: Doors, sealer: Sealer) -> Self {
        let gate = Gate::new(
            tenant,
            Arc::clone(&doors.policy),
            Arc::clone(&doors.store),
            Arc::clone(&doors.clock),
            Arc::clone(&doors.entropy),
        );
        Self {
            gate,
            doors,
            sealer,
            profiles: BTreeMap::new(),
            schedules: BTreeMap::new(),
            watch: Some(Watch::default()),
            verified_domains: Vec::new(),
        }
    }

    /// The firm.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.gate.tenant()
    }

    /// Opens a session; see [`Gate::session`].
    #[must_use]
    pub fn session(&self, actor: ActorId, role: Role, purpose: Purpose) -> Session<'_> {
        self.gate.session(actor, role, purpose)
    }

    /// The eraser of a system.
    ///
    /// # Errors
    /// [`Code::DstUnmapped`] when no door erases there.
    pub fn eraser(&self, system: &System) -> Result<&Arc<dyn Erase>> {
        let found = self
            .doors
            .erasers
            .iter()
            .find(|eraser| eraser.system() == *system);
        found.ok_or_else(|| {
            crate::refusal::Refusal::new(Code::DstUnmapped)
                .about("system", system.clone())
                .into()
        })
    }

    /// What a register holds under this name.
    ///
    /// # Errors
    /// A fault of the store, or [`FaultKind::Corrupt`] when the sheet cannot be read.
    pub async fn filed<T: DeserializeOwned>(
        &self,
        register: Register,
        id: &Label,
    ) -> Result<Option<T>> {
        let sheet = self.sheet(register, id.clone()).await?;
        sheet.as_ref().map(read).transpose()
    }

    /// What a register has under this name, as a sheet to file something over.
    pub(crate) async fn sheet(&self, register: Register, id: Label) -> Result<Option<Sheet>> {
        let query = SheetQuery::named(self.tenant(), register, id);
        Ok(self.doors.store.sheets(&query).await?.pop())
    }

    /// What a register holds about a matter.
    ///
    /// # Errors
    /// As [`filed`](Self::filed).
    pub async fn filed_in<T: DeserializeOwned>(
        &self,
        register: Register,
        matter: MatterId,
    ) -> Result<Vec<T>> {
        let query = SheetQuery {
            matter: Some(matter),
            ..SheetQuery::all(self.tenant(), register)
        };
        self.doors
            .store
            .sheets(&query)
            .await?
            .iter()
            .map(read)
            .collect()
    }
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House")
            .field("tenant", &self.tenant())
            .finish_non_exhaustive()
    }
}

/// A change that writes `what` into a register.
pub(crate) fn file<T: Serialize>(
    register: Register,
    id: Label,
    subject: Option<SubjectId>,
    matter: Option<MatterId>,
    what: &T,
) -> Result<Change> {
    filing(register, id, subject, matter, what, Expected::Any)
}

/// As [`file`], where there is no such sheet yet.
pub(crate) fn file_new<T: Serialize>(
    register: Register,
    id: Label,
    subject: Option<SubjectId>,
    matter: Option<MatterId>,
    what: &T,
) -> Result<Change> {
    filing(register, id, subject, matter, what, Expected::Absent)
}

fn filing<T: Serialize>(
    register: Register,
    id: Label,
    subject: Option<SubjectId>,
    matter: Option<MatterId>,
    what: &T,
    expected: Expected,
) -> Result<Change> {
    let body = serde_json::to_vec(what).map_err(|_| corrupt())?;
    let sheet = Sheet {
        register,
        id,
        subject,
        matter,
        revision: 1,
        body,
    };
    Ok(Change::File { sheet, expected })
}

/// As [`file`], over a sheet as it was read.
pub(crate) fn file_over<T: Serialize>(over: &Sheet, what: &T) -> Result<Change> {
    let body = serde_json::to_vec(what).map_err(|_| corrupt())?;
    Ok(Change::File {
        sheet: Sheet {
            body,
            revision: over.revision + 1,
            ..over.clone()
        },
        expected: Expected::Revision(over.revision),
    })
}

/// The label that names an id.
pub(crate) fn label(id: impl fmt::Display) -> Label {
    // Every id's text form is a label.
    Label::new(id.to_string()).unwrap_or(const { Label::fixed("-") })
}

pub(crate) fn read<T: DeserializeOwned>(sheet: &Sheet) -> Result<T> {
    serde_json::from_slice(&sheet.body).map_err(|_| corrupt())
}

fn corrupt() -> Error {
    Fault::new(FaultKind::Corrupt, Port::Store, "read a register").into()
}
