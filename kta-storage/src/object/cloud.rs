//! What the two families of object stores have to be able to do here, beyond what
//! `object_store` asks of them.

use core::fmt;
use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::time::Timestamp;
use object_store::ObjectStore;

/// One bucket or container.
#[async_trait]
pub(super) trait Cloud: fmt::Debug + Send + Sync {
    /// Whole small objects, reading, and what an object's head says.
    fn store(&self) -> &dyn ObjectStore;

    /// Whether [`complete`](Self::complete) keeps its condition on this server.
    fn completes_conditionally(&self) -> bool;

    /// The name that the server gives a part of these bytes at this place, so that a part that is
    /// there already is known again by its content.
    fn name(&self, number: usize, bytes: &[u8]) -> String;

    /// The unfinished uploads of this object, or of all objects.
    async fn unfinished(&self, path: Option<&str>) -> Result<Vec<Upload>>;

    /// The parts of an unfinished upload that are there, by their place.
    async fn parts(&self, upload: &Upload) -> Result<BTreeMap<usize, Part>>;

    /// Begins an upload.
    async fn begin(&self, path: &str) -> Result<Upload>;

    /// Sends one part.
    async fn put_part(&self, upload: &Upload, number: usize, bytes: Bytes) -> Result<Part>;

    /// Makes the parts the object; `over` an object with this tag only.
    async fn complete(&self, upload: &Upload, parts: &[Part], over: Option<&str>) -> Result<()>;

    /// Ends an upload and drops its parts.
    async fn abandon(&self, upload: &Upload) -> Result<()>;

    /// Everything that is kept of this object: itself, versions, snapshots, what was deleted and
    /// can be brought back, and the marks of deletion.
    async fn kept(&self, path: &str) -> Result<Vec<Kept>>;

    /// Removes one of these for good.
    async fn remove(&self, path: &str, kept: &Kept) -> Result<()>;

    /// Hides the object from whoever reads it, where a version of it cannot be removed.
    async fn hide(&self, path: &str) -> Result<()>;

    /// What forbids to remove it, if anything does.
    async fn lock(&self, path: &str, kept: &Kept) -> Result<Option<Lock>>;
}

/// An upload that is not an object yet.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) path: String,
    pub(super) id: String,
    /// When it began, where the server says so.
    pub(super) begun: Option<Timestamp>,
}

/// One part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) length: u64,
}

/// Something that is kept of an object.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// In the words of residues: `blob`, `version`, `snapshot`, `deleted`, `delete_marker`.
    pub(super) what: Label,
    /// The version or snapshot; none for the object itself.
    pub(super) id: Option<String>,
    /// Whether it has content.
    pub(super) content: bool,
    /// Until when the provider keeps it, for what was deleted and can be brought back.
    pub(super) until: Option<Timestamp>,
}

/// Why something cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// A legal hold, until somebody lifts it.
    Held,
    /// Retention until then.
    Until(Timestamp),
}
