//! A library for each matter, behind one door.
//!
//! ```text
//!   matter ──► who may? (Roster) ──► its library, by its name ──► as the template left it? ──► the library
//!                 nobody: ACL-DENY        none: NotFound              no: SHP-…, DOC-NOVER
//! ```
//!
//! Nothing falls back to another library: a matter without one has none, and one that lets in somebody else
//! is not used until that is put right. Only the end of a document goes on even then.

use crate::access::{Allowed, judge};
use crate::config::Config;
use crate::groups::Directory;
use crate::{SYSTEM, SharePoint, names};
use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::id::{DocumentId, IdempotencyKey, MatterId, SubjectId};
use kta_core::pii::{Content, Document, Locator, Placement, System};
use kta_core::policy::Permit;
use kta_core::ports::{
    Collaboration, Documents, Erase, Erased, Grant, GrantRequest, Labels, Probe, Recipient,
    StoredDocument, Version,
};
use kta_core::time::{Clock, Entropy, Timestamp};
use kta_core::{FaultKind, Port, Refusal, Result};
use kta_http::Call;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who works on which matter, and who is behind its wall.
pub trait Roster: fmt::Debug + Send + Sync {
    /// Who may reach this matter's files; `None` for a matter that the firm does not know.
    fn allowed(&self, matter: MatterId) -> Option<Allowed>;
}

/// The matters' libraries of one site, each made by [`SharePoint::found`]. A locator given here says the
/// matter too: `mat_…/item`.
///
/// Who gets in is looked at when a library is first used, and again a quarter of an hour later.
#[derive(Clone)]
pub struct Libraries {
    config: Config,
    site: SharePoint,
    roster: Arc<dyn Roster>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    open: Arc<Mutex<BTreeMap<MatterId, Open>>>,
}

#[derive(Clone)]
struct Open {
    library: SharePoint,
    seen: Timestamp,
}

impl Libraries {
    /// Connects to the site; its libraries are connected to when they are asked for.
    ///
    /// # Errors
    /// As [`SharePoint::connect`].
    pub async fn connect(
        config: Config,
        roster: Arc<dyn Roster>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let site = SharePoint::connect(config.clone(), clock.clone(), entropy.clone()).await?;
        Ok(Self {
            config,
            site,
            roster,
            clock,
            entropy,
            open: Arc::default(),
        })
    }

    /// The library of a matter, with nobody in it but those of the roster.
    ///
    /// # Errors
    /// `ACL-DENY` for a matter that the roster does not know; `NotFound` when it has no library; `SHP-…` or
    /// `ACC-…` when somebody else gets in; `DOC-NOVER` when it keeps no versions; faults.
    pub async fn library(&self, matter: MatterId) -> Result<SharePoint> {
        let now = self.clock.now();
        let known = self.opened().get(&matter).cloned();
        if let Some(open) = &known
            && now - open.seen < TimeDelta::minutes(MINUTES)
        {
            return Ok(open.library.clone());
        }
        let library = match known {
            Some(open) => open.library,
            None => self.found(matter).await?,
        };
        self.judged(matter, &library, now).await?;
        let mut opened = self.opened();
        if opened.len() >= MOST {
            opened.pop_first();
        }
        let open = Open {
            library: library.clone(),
            seen: now,
        };
        opened.insert(matter, open);
        Ok(library)
    }

    /// Connects to the library of this matter's name.
    async fn found(&self, matter: MatterId) -> Result<SharePoint> {
        let missing = || {
            let fault = LIBRARY.fault(FaultKind::NotFound);
            fault.because("the matter has no library")
        };
        let drive = self.site.drive_of(LIBRARY, &names::folder(matter)).await?;
        let config = self.config.clone().library(drive.ok_or_else(missing)?);
        SharePoint::connect(config, self.clock.clone(), self.entropy.clone()).await
    }

    /// Whether the library lets in whom it should, and nobody else.
    async fn judged(&self, matter: MatterId, library: &SharePoint, now: Timestamp) -> Result<()> {
        let unknown = || Refusal::new(kta_core::Code::AclDeny).about("matter", matter);
        let allowed = self.roster.allowed(matter).ok_or_else(unknown)?;
        let all = library.permissions(LIBRARY, ROOT).await?;
        let all = all.ok_or_else(|| LIBRARY.fault(FaultKind::NotFound))?;
        let ways = Directory::new(library).ways(&all, now).await?;
        let root = Locator::new(ROOT).map_err(|_| LIBRARY.fault(FaultKind::Protocol))?;
        match judge(&root, &ways, &allowed).first() {
            None => Ok(()),
            Some(finding) => Err(Refusal::new(finding.code).about("matter", matter).into()),
        }
    }

    /// The library and the id in it that a locator of this door stands for.
    async fn at(&self, locator: &Locator) -> Result<(SharePoint, Locator)> {
        let (matter, inside) = split(locator)?;
        Ok((self.library(matter).await?, inside))
    }

    /// The same for the end of a document, which does not wait until access is put right.
    async fn end_of(&self, placement: &Placement) -> Result<(SharePoint, Placement)> {
        let mut inside = placement.clone();
        let mut matter = placement.matter;
        if let Some(locator) = &placement.locator {
            let (named, id) = split(locator)?;
            if matter.is_some_and(|matter| matter != named) {
                let fault = LIBRARY.fault(FaultKind::Protocol);
                return Err(fault.because("the locator is of another matter").into());
            }
            (matter, inside.locator) = (Some(named), Some(id));
        }
        let matter = matter.ok_or_else(foreign)?;
        let known = self.opened().get(&matter).map(|open| open.library.clone());
        let library = match known {
            Some(library) => library,
            None => self.found(matter).await?,
        };
        Ok((library, inside))
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<MatterId, Open>> {
        // Nothing that can fail happens under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Documents for Libraries {
    fn system(&self) -> System {
        SYSTEM
    }

    async fn put(
        &self,
        document: &Document,
        label: Option<&Label>,
        content: Content,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<StoredDocument> {
        let library = self.library(document.matter).await?;
        let stored = library.put(document, label, content, key, permit).await?;
        named(document.matter, stored)
    }

    async fn locate(
        &self,
        matter: MatterId,
        document: DocumentId,
        permit: &Permit<'_>,
    ) -> Result<Option<StoredDocument>> {
        let library = self.library(matter).await?;
        let stored = library.locate(matter, document, permit).await?;
        stored.map(|stored| named(matter, stored)).transpose()
    }

    async fn content(
        &self,
        document: &Document,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        let (library, inside) = self.at(locator).await?;
        library.content(document, &inside, permit).await
    }

    async fn versions(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Version>> {
        let (library, inside) = self.at(locator).await?;
        library.versions(subject, &inside, permit).await
    }

    async fn remove(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let (library, inside) = self.at(locator).await?;
        library.remove(subject, &inside, permit).await
    }
}

#[async_trait]
impl Labels for Libraries {
    async fn label(
        &self,
        subject: SubjectId,
        locator: &Locator,
        label: Option<&Label>,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let (library, inside) = self.at(locator).await?;
        library.label(subject, &inside, label, permit).await
    }

    async fn labelled(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Option<Label>> {
        let (library, inside) = self.at(locator).await?;
        library.labelled(subject, &inside, permit).await
    }
}

#[async_trait]
impl Collaboration for Libraries {
    async fn grant(
        &self,
        request: &GrantRequest,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Grant> {
        let (library, document) = self.at(&request.document).await?;
        let inside = GrantRequest {
            id: request.id,
            subject: request.subject,
            document,
            recipient: Recipient::new(request.recipient.address(permit).to_owned())?,
            role: request.role,
            expires: request.expires,
        };
        library.grant(&inside, key, permit).await
    }

    async fn grants(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Grant>> {
        let (library, inside) = self.at(locator).await?;
        library.grants(subject, &inside, permit).await
    }

    async fn revoke(
        &self,
        subject: SubjectId,
        locator: &Locator,
        grant: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let (library, inside) = self.at(locator).await?;
        library.revoke(subject, &inside, grant, permit).await
    }
}

#[async_trait]
impl Erase for Libraries {
    fn system(&self) -> System {
        SYSTEM
    }

    async fn erase(
        &self,
        placement: &Placement,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&SYSTEM, kta_core::policy::Act::Destroy, permit)?;
        let (library, inside) = self.end_of(placement).await?;
        library.erase(&inside, key, permit).await
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&SYSTEM, kta_core::policy::Act::Probe, permit)?;
        let (library, inside) = self.end_of(placement).await?;
        library.probe(&inside, permit).await
    }
}

impl fmt::Debug for Libraries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Libraries")
            .field("open", &self.opened().len())
            .finish_non_exhaustive()
    }
}

/// `mat_…/item`, taken apart.
fn split(locator: &Locator) -> Result<(MatterId, Locator)> {
    let parts = locator.as_str().split_once('/');
    let read = parts.and_then(|(matter, item)| {
        let inside = Locator::new(item).ok().filter(|_| !item.contains('/'))?;
        Some((names::matter(matter)?, inside))
    });
    Ok(read.ok_or_else(foreign)?)
}

fn named(matter: MatterId, stored: StoredDocument) -> Result<StoredDocument> {
    let locator = format!("{}/{}", names::folder(matter), stored.locator.as_str());
    let locator = Locator::new(locator).map_err(|_| foreign())?;
    Ok(StoredDocument { locator, ..stored })
}

fn foreign() -> kta_core::Fault {
    LIBRARY
        .fault(FaultKind::Protocol)
        .because("not a locator that says its matter")
}

const LIBRARY: Call = Call::new(Port::Documents, "library");
const ROOT: &str = "root";
/// For how long an answer about who gets in is good.
const MINUTES: i64 = 15;
/// Libraries kept connected; another is connected anew.
const MOST: usize = 256;
