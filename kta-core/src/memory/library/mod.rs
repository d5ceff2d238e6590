//! A document library in memory.

mod erase;
mod sharing;
mod shelves;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::TryStreamExt as _;

use crate::audit::Label;
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, DocumentId, IdempotencyKey, MatterId, SubjectId};
use crate::memory::provider::Backups;
use crate::pii::{Category, Content, Document, Locator, System};
use crate::policy::{Act, Permit};
use crate::ports::documents::{Documents, StoredDocument, Version};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;
use sharing::Shares;

/// [`Documents`] with [`Labels`](crate::ports::Labels), [`Inventory`](crate::ports::Inventory),
/// [`Collaboration`](crate::ports::Collaboration) and [`Erase`](crate::ports::Erase) in memory.
/// Clones are handles to one library.
///
/// It keeps every version, has a recycle bin, and its feed of changes goes in short pages.
#[derive(Clone, Default)]
pub struct MemoryLibrary {
    state: Arc<Mutex<State>>,
}

impl MemoryLibrary {
    /// The name under which placements know this system.
    pub const SYSTEM: System = Label::fixed("memory-library");

    /// How long the recycle bin keeps what was removed the ordinary way.
    pub const BIN: TimeDelta = TimeDelta::days(93);

    /// An empty library.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same library, whose provider keeps what was erased for `window` where nobody can
    /// reach it.
    #[must_use]
    pub fn keeping(self, window: TimeDelta) -> Self {
        self.locked().backups.window = window;
        self
    }

    /// The path of every file, as a visitor sees it.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let state = self.locked();
        state
            .files
            .values()
            .map(|file| format!("{}/{}.bin", file.matter, file.document))
            .collect()
    }

    /// Forgets every cursor of the inventory that was given out, as libraries do at times.
    pub fn forget_cursors(&self) {
        self.locked().epoch += 1;
    }

    /// Reads the shares of a file.
    fn with_shares<R>(
        &self,
        at: &Locator,
        act: impl FnOnce(&mut Shares, SubjectId, Category) -> R,
    ) -> Option<R> {
        let mut state = self.locked();
        state
            .files
            .get_mut(at)
            .map(|file| act(&mut file.shares, file.subject, file.category))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the first and the last change under a lock, so it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Documents for MemoryLibrary {
    fn system(&self) -> System {
        Self::SYSTEM
    }

    async fn put(
        &self,
        document: &Document,
        label: Option<&Label>,
        content: Content,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<StoredDocument> {
        let category = document.classification.category;
        permit.require(WRITING, document.subject, category)?;
        if document.tenant != permit.tenant() {
            return Err(denied(permit));
        }
        if category.is_special() && label.is_none() {
            return Err(Refusal::new(Code::DocLabel)
                .about("document", document.id)
                .into());
        }
        if (content.digest(), content.length()) != (document.digest, document.length) {
            return Err(fault(
                FaultKind::Corrupt,
                "put",
                "the content is not the document's",
            ));
        }
        let mut bytes = Vec::new();
        let mut stream = content.into_stream(permit);
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        // Only now, with the whole content in hand, does anything change.
        let mut state = self.locked();
        if state
            .keys
            .get(&key)
            .is_some_and(|used| *used != (document.id, document.digest))
        {
            return Err(fault(
                FaultKind::Protocol,
                "put",
                "the key was used for something else",
            ));
        }
        let at = match state.find(document.matter, document.id) {
            Some(at)
                if state
                    .files
                    .get(&at)
                    .is_some_and(|file| file.subject != document.subject) =>
            {
                return Err(denied(permit));
            }
            Some(at) => at,
            None => state.create(document)?,
        };
        state.keys.insert(key, (document.id, document.digest));
        let now = permit.now();
        let file = state.files.get_mut(&at).ok_or_else(missing)?;
        if let Some(label) = label {
            file.label = Some(label.clone());
        }
        if file
            .versions
            .last()
            .is_none_or(|version| version.digest != document.digest)
        {
            file.count += 1;
            let id = Label::new(format!("{}.0", file.count)).map_err(|_| missing())?;
            let length = bytes.len() as u64;
            let version = Version {
                id,
                at: now,
                length,
            };
            file.versions.push(Kept {
                version,
                digest: document.digest,
                bytes: bytes.into(),
            });
            state.log.push(at.clone());
        }
        state.stored(&at).ok_or_else(missing)
    }

    async fn locate(
        &self,
        matter: MatterId,
        document: DocumentId,
        permit: &Permit<'_>,
    ) -> Result<Option<StoredDocument>> {
        permit.require_act(READING)?;
        if permit.matter().is_some_and(|covered| covered != matter) {
            return Err(denied(permit));
        }
        let state = self.locked();
        Ok(state
            .find(matter, document)
            .and_then(|at| state.stored(&at)))
    }

    async fn content(
        &self,
        document: &Document,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        permit.require(READING, document.subject, document.classification.category)?;
        let state = self.locked();
        let file = state.files.get(at).ok_or_else(missing)?;
        if file.subject != document.subject || file.document != document.id {
            return Err(denied(permit));
        }
        let mut rest = file
            .versions
            .last()
            .map(|kept| kept.bytes.clone())
            .unwrap_or_default();
        // In pieces, so that whoever reads must be able to go on after the first.
        let pieces = core::iter::from_fn(move || {
            (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(PIECE))))
        });
        let stream = Box::pin(futures_util::stream::iter(pieces));
        Ok(Content::new(
            document.length,
            document.digest,
            document.media.clone(),
            stream,
        ))
    }

    async fn versions(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Version>> {
        admitted(READING, subject, permit)?;
        let state = self.locked();
        let file = state.file(subject, at, permit)?;
        Ok(file
            .versions
            .iter()
            .rev()
            .map(|kept| kept.version.clone())
            .collect())
    }

    async fn remove(&self, subject: SubjectId, at: &Locator, permit: &Permit<'_>) -> Result<()> {
        admitted(REMOVING, subject, permit)?;
        permit.require_unheld(subject)?;
        let mut state = self.locked();
        match state.file(subject, at, permit) {
            Ok(_) => {}
            Err(error) if error.fault().is_some() => return Ok(()),
            Err(refused) => return Err(refused),
        }
        if let Some(file) = state.files.remove(at) {
            state.log.push(at.clone());
            state
                .bin
                .insert(at.clone(), (file, permit.now() + Self::BIN));
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLibrary({} files)", self.locked().files.len())
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<Locator, File>,
    /// Removed files, each until when the bin keeps it.
    bin: BTreeMap<Locator, (File, Timestamp)>,
    /// What the provider keeps of erased files, until when.
    backups: Backups<DocumentId>,
    keys: BTreeMap<IdempotencyKey, (DocumentId, Digest)>,
    /// Which file changed, in order.
    log: Vec<Locator>,
    count: u64,
    epoch: u64,
}

struct File {
    document: DocumentId,
    subject: SubjectId,
    matter: MatterId,
    category: Category,
    label: Option<Label>,
    /// Oldest first.
    versions: Vec<Kept>,
    count: u64,
    shares: Shares,
}

struct Kept {
    version: Version,
    digest: Digest,
    bytes: Bytes,
}

impl State {
    fn find(&self, matter: MatterId, document: DocumentId) -> Option<Locator> {
        let ours = |file: &File| file.matter == matter && file.document == document;
        self.files
            .iter()
            .find(|(_, file)| ours(file))
            .map(|(at, _)| at.clone())
    }

    fn create(&mut self, document: &Document) -> Result<Locator> {
        self.count += 1;
        let at = Locator::new(format!("01MEMORY{:024}", self.count)).map_err(|_| missing())?;
        let file = File {
            document: document.id,
            subject: document.subject,
            matter: document.matter,
            category: document.classification.category,
            label: None,
            versions: Vec::new(),
            count: 0,
            shares: Shares::default(),
        };
        self.files.insert(at.clone(), file);
        Ok(at)
    }

    fn stored(&self, at: &Locator) -> Option<StoredDocument> {
        let version = &self.files.get(at)?.versions.last()?.version;
        Some(StoredDocument {
            locator: at.clone(),
            version: version.id.clone(),
            length: version.length,
        })
    }

    /// The file at `at`, which must be this person's and in the permit's matter.
    fn file(&self, subject: SubjectId, at: &Locator, permit: &Permit<'_>) -> Result<&File> {
        let file = self.files.get(at).ok_or_else(missing)?;
        let ours =
            file.subject == subject && permit.matter().is_none_or(|matter| matter == file.matter);
        if ours { Ok(file) } else { Err(denied(permit)) }
    }
}

/// Whether a permit covers this person's data of some category: a call that names a file by the
/// library's id does not say which.
fn admitted(acts: &[Act], subject: SubjectId, permit: &Permit<'_>) -> Result<()> {
    let covers = |category: &Category| permit.require(acts, subject, *category).is_ok();
    if Category::ALL.iter().any(covers) {
        Ok(())
    } else {
        Err(denied(permit))
    }
}

fn denied(permit: &Permit<'_>) -> Error {
    Refusal::new(Code::AclDeny)
        .about("permit", permit.id())
        .into()
}

fn missing() -> Error {
    Fault::new(FaultKind::NotFound, Port::Documents, "find").into()
}

fn fault(kind: FaultKind, operation: &'static str, why: &'static str) -> Error {
    Fault::new(kind, Port::Documents, operation)
        .because(why)
        .into()
}

/// Length of a piece in bytes; odd, so that nobody can rely on it.
const PIECE: usize = 40_009;
const WRITING: &[Act] = &[Act::Process, Act::Store, Act::Transfer];
const REMOVING: &[Act] = &[Act::Amend, Act::Destroy, Act::Process, Act::Store];
const READING: &[Act] = &[
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
    Act::Share,
    Act::Store,
    Act::Transfer,
    Act::Transmit,
];
