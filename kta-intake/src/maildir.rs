//! A Maildir as a registered channel.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::id::{DeliveryId, IdempotencyKey};
use kta_core::pii::{Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Delivery, Erase, Erased, Intake, Probe};
use kta_core::time::{Clock, Timestamp};
use kta_core::{Code, Fault, FaultKind, Port, Result};

use crate::erase;
use crate::folder::{Folder, IMPORT, Name, Waiting};
use crate::limits::Limits;
use crate::mail::Gateway;
use crate::opener::MailOpener;
use crate::queue::{Queue, broken};

/// The mailbox into which the firm's gateway delivers.
///
/// A message waits in `new/`; acknowledging it moves it to `cur/`, where it stays, as a copy like
/// any other, until disposal erases it. The mailbox must be fed by the gateway alone: what the
/// headers prove rests on the gateway's lines being on top.
///
/// File access blocks the calling task for the time of one local read or rename.
#[derive(Debug)]
pub struct Maildir {
    queue: Queue,
    channel: Label,
    opener: MailOpener,
    clock: Arc<dyn Clock>,
}

impl Maildir {
    /// The mailbox at `root`, made if need be, for mail to `addresses` through `gateway`. What a
    /// killed [`import`](Self::import) left in `tmp/` 36 hours ago or earlier is erased.
    ///
    /// # Errors
    /// A `Misconfigured` fault when the folders cannot be made or swept.
    pub fn open(
        root: impl Into<PathBuf>,
        channel: Label,
        gateway: Gateway,
        addresses: impl IntoIterator<Item = impl Into<String>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let folder = Folder::open(root, clock.now()).map_err(|_| {
            Fault::new(FaultKind::Misconfigured, Port::Intake, "open")
                .because("the mailbox's folders cannot be made")
        })?;
        Ok(Self {
            queue: Queue::new(folder),
            channel,
            opener: MailOpener::new(gateway, addresses),
            clock,
        })
    }

    /// The same mailbox with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.opener = self.opener.with_limits(limits);
        self
    }

    /// Puts a message into the mailbox as a gateway's local delivery does: `tmp/`, `fsync`,
    /// rename to `new/`. For importing stored messages; `unique` must not have been used before.
    ///
    /// # Errors
    /// [`Code::IntPath`] when `unique` cannot be part of a Maildir name; a fault when the file
    /// cannot be written.
    pub fn import(&self, at: Timestamp, unique: &str, message: &[u8]) -> Result<()> {
        let fits = !unique.is_empty() && unique.bytes().all(|b| b.is_ascii_alphanumeric());
        let name = Name::fresh(at, 0, unique, IMPORT).filter(|_| fits && unique.len() <= 64);
        let name = name.ok_or(Code::IntPath)?;
        self.queue
            .folder()
            .deliver(&name, &[message])
            .map_err(|_| broken("import"))?;
        Ok(())
    }

    fn load(&self, name: &Name) -> Result<Option<Delivery>> {
        let Some(locator) = name.locator() else {
            return Ok(None);
        };
        let read = self.queue.read(name, self.opener.limits().message)?;
        Ok(read.map(|read| match read {
            Waiting::Whole(bytes) => self.opener.open(locator, name.at(), &bytes),
            Waiting::TooLarge(digest) => self.opener.too_large(locator, name.at(), digest),
        }))
    }
}

#[async_trait]
impl Intake for Maildir {
    fn channel(&self) -> Label {
        self.channel.clone()
    }

    async fn oldest(&self, permit: &Permit<'_>) -> Result<Option<Delivery>> {
        permit.require_act(&[Act::Receive])?;
        for name in self.queue.waiting("oldest")? {
            if let Some(delivery) = self.load(&name)? {
                self.queue.give(delivery.id, name);
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    async fn acknowledge(&self, delivery: DeliveryId, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Receive])?;
        if self.queue.acknowledge_given(delivery)? {
            return Ok(());
        }
        for name in self.queue.waiting("acknowledge")? {
            let found = self.load(&name)?;
            if found.is_some_and(|found| found.id == delivery) {
                return self.queue.acknowledge(&name);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Erase for Maildir {
    fn system(&self) -> System {
        self.channel.clone()
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        erase::erase((&self.channel, self.queue.folder()), placement, permit)
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        erase::probe(
            (&self.channel, self.queue.folder()),
            placement,
            self.clock.now(),
            permit,
        )
    }
}
