//! A folder of arrivals as the port `Intake` serves it: oldest first, each until it is
//! acknowledged.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kta_core::id::DeliveryId;
use kta_core::{Fault, FaultKind, Port, Result};

use crate::folder::{Folder, Name, Waiting};

#[derive(Debug)]
pub(crate) struct Queue {
    folder: Folder,
    /// What was given last, so that acknowledging it needs no second reading.
    given: Mutex<Option<(DeliveryId, Name)>>,
}

impl Queue {
    pub(crate) fn new(folder: Folder) -> Self {
        Self {
            folder,
            given: Mutex::default(),
        }
    }

    pub(crate) const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The names waiting, oldest first.
    pub(crate) fn waiting(&self, operation: &'static str) -> Result<Vec<Name>> {
        Ok(self.folder.waiting().map_err(|_| broken(operation))?)
    }

    /// What waits under this name; `None` when another worker took it off meanwhile.
    pub(crate) fn read(&self, name: &Name, limit: usize) -> Result<Option<Waiting>> {
        match self.folder.read(name, limit) {
            Ok(waiting) => Ok(Some(waiting)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(broken("oldest").into()),
        }
    }

    /// The first bytes of what waits under this name; `None` as for [`read`](Self::read).
    pub(crate) fn beginning(&self, name: &Name, count: usize) -> Result<Option<Vec<u8>>> {
        match self.folder.beginning(name, count) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(broken("oldest").into()),
        }
    }

    /// Notes what is given now.
    pub(crate) fn give(&self, delivery: DeliveryId, name: Name) {
        *self.given() = Some((delivery, name));
    }

    /// Acknowledges what was given last, if it is this delivery; if it waits no more, somebody
    /// did already, and a second copy that waits is nobody's yet. Otherwise another process gave
    /// it, or this one before it was restarted: it must be looked for.
    pub(crate) fn acknowledge_given(&self, delivery: DeliveryId) -> Result<bool> {
        let given = self.given().clone();
        let Some((_, name)) = given.filter(|(id, _)| *id == delivery) else {
            return Ok(false);
        };
        let waits = self.folder.is_waiting(&name);
        let waits = waits.map_err(|_| broken("acknowledge"))?;
        if waits {
            self.acknowledge(&name)?;
        }
        Ok(true)
    }

    pub(crate) fn acknowledge(&self, name: &Name) -> Result<()> {
        let done = self.folder.acknowledge(name);
        Ok(done.map_err(|_| broken("acknowledge"))?)
    }

    fn given(&self) -> MutexGuard<'_, Option<(DeliveryId, Name)>> {
        // One assignment is all that happens under the lock.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channel's folder cannot be used.
pub(crate) fn broken(operation: &'static str) -> Fault {
    Fault::new(FaultKind::Unavailable, Port::Intake, operation)
        .because("the channel's folder cannot be used")
}
