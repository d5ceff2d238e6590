//! Somebody with all the files and patience.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use kta_core::Result;
use kta_core::crypto::wrap;
use kta_core::crypto::{Envelope, Hierarchy, SealContext, SecretKey, SubjectKey};
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::pii::Record;
use kta_core::ports::kms::{KekDestroyed, KekId, KekState, Kms, WrappedKey};
use kta_core::time::Timestamp;
use kta_core::{Code, Error};
use kta_keys::OsEntropy;
use kta_storage::SqliteKeyTable;

/// Takes every 32 bytes that stand together in any file for a key, and tries them.
///
/// It leaves out windows with fewer than 18 different bytes: of keys drawn at random fewer than
/// one in 10^12 looks so, and most of a database file does.
#[derive(Debug)]
pub(crate) struct Thief {
    files: Vec<Vec<u8>>,
    candidates: Arc<HashSet<[u8; 32]>>,
}

impl Thief {
    pub(crate) fn with_every_file_of(folder: &Path) -> Self {
        let files = crate::files(folder);
        let windows = files.iter().flat_map(|file| file.windows(32));
        let windows = windows.map(|window| <[u8; 32]>::try_from(window).unwrap());
        let candidates = windows.filter(|window| {
            let mut seen = [false; 256];
            window
                .iter()
                .for_each(|byte| seen[usize::from(*byte)] = true);
            seen.iter().filter(|seen| **seen).count() >= 18
        });
        Self {
            candidates: Arc::new(candidates.collect()),
            files,
        }
    }

    pub(crate) fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Whether these bytes stand in any file.
    pub(crate) fn has_seen(&self, bytes: &[u8]) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.windows(bytes.len()).any(|window| window == bytes))
    }

    /// Whether anything found is the person's own key.
    pub(crate) fn opens_as_person(&self, record: &Record) -> bool {
        self.candidates.iter().any(|candidate| {
            let key = SecretKey::from_bytes(*candidate);
            let (tenant, subject) = (record.key.tenant, record.key.subject);
            opens(record, &SubjectKey::new(tenant, subject, 1, &key))
        })
    }

    /// Whether anything found is the key-encryption key of this key table.
    pub(crate) async fn opens_with_a_found_kek(&mut self, table: &Path, record: &Record) -> bool {
        let kms = Arc::new(Guessing(Arc::clone(&self.candidates)));
        self.opens_with_custodian(table, kms, record).await
    }

    /// Whether the custodian helps with this key table. What it says of its keys' state is not
    /// listened to: a thief's own program does not ask.
    pub(crate) async fn opens_with_custodian(
        &mut self,
        table: &Path,
        kms: Arc<dyn Kms>,
        record: &Record,
    ) -> bool {
        let copy = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for extension in ["", "-wal", "-shm"] {
            let name = format!("keys.db{extension}");
            let from = table.with_file_name(&name);
            if from.exists() {
                std::fs::copy(from, copy.path().join(name)).unwrap();
            }
        }
        let table = Arc::new(SqliteKeyTable::open(copy.path().join("keys.db")).unwrap());
        let kms = Arc::new(Unasked(kms));
        let now = Timestamp::UNIX_EPOCH;
        let tenant = record.key.tenant;
        let Ok(keys) = Hierarchy::open(tenant, kms, table, Arc::new(OsEntropy), now).await else {
            return false;
        };
        let key = keys.subject_key(record.key.subject).await;
        key.is_ok_and(|key| opens(record, &key))
    }
}

fn opens(record: &Record, person: &SubjectKey) -> bool {
    let key = person.record_key(record.key.record);
    let (name, field) = record.fields.first_key_value().unwrap();
    let context = SealContext {
        tenant: record.key.tenant,
        subject: record.key.subject,
        matter: record.matter,
        record: record.key.record,
        field: name.as_str(),
        revision: field.revision,
    };
    let sealed = Envelope::parse(field.sealed.as_bytes()).unwrap();
    key.open(&context, &sealed).is_ok()
}

/// A custodian that tries everything it has.
#[derive(Debug)]
struct Guessing(Arc<HashSet<[u8; 32]>>);

#[async_trait::async_trait]
impl Kms for Guessing {
    async fn create(&self, _: TenantId, _: IdempotencyKey) -> Result<KekId> {
        Err(Code::CryKey.into())
    }

    async fn wrap(&self, _: &KekId, _: &SecretKey, _: &[u8]) -> Result<WrappedKey> {
        Err(Code::CryKey.into())
    }

    async fn unwrap(&self, _: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        let mut tried = self
            .0
            .iter()
            .map(|candidate| wrap::unwrap(&SecretKey::from_bytes(*candidate), wrapped, context));
        tried.find_map(Result::ok).ok_or(Error::from(Code::CryKey))
    }

    async fn destroy(&self, _: &KekId, _: Timestamp) -> Result<KekDestroyed> {
        Err(Code::CryKey.into())
    }

    async fn state(&self, _: &KekId) -> Result<KekState> {
        Ok(KekState::Active)
    }
}

/// A custodian whose word on the state of keys is not asked.
#[derive(Debug)]
struct Unasked(Arc<dyn Kms>);

#[async_trait::async_trait]
impl Kms for Unasked {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        self.0.create(tenant, key).await
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.0.wrap(kek, secret, context).await
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.0.unwrap(kek, wrapped, context).await
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        self.0.destroy(kek, at).await
    }

    async fn state(&self, _: &KekId) -> Result<KekState> {
        Ok(KekState::Active)
    }
}
