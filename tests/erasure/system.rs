//! A small system on real files: five people, a record and a document each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kta_core::Code;
use kta_core::Result;
use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::crypto::wrap;
use kta_core::crypto::{Hierarchy, KeyErased, SecretKey};
use kta_core::id::{
    Digest, DocumentId, IdempotencyKey, PlacementId, RecordId, SubjectId, TenantId,
};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Content, Fields, MediaType, Placement, PlacementKind, PlacementState, Record,
    RecordKey, Schema,
};
use kta_core::policy::{Act, ContentPlace, Form, Role, Scope, Sealer};
use kta_core::ports::blobs::BlobId;
use kta_core::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState, Kms, WrappedKey};
use kta_core::ports::store::{Change, ChangeSet, Expected};
use kta_core::ports::{Blobs as _, Erase, Store as _};
use kta_core::time::{Entropy, Timestamp};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};
use kta_storage::{DiskBlobs, SqliteKeyTable, SqliteStore};

/// A value of every person's record.
pub(crate) const CANARY: &str = "Qzx Canary the Erased";

pub(crate) struct System {
    pub(crate) desk: Desk,
    pub(crate) folder: PathBuf,
    pub(crate) kms: Arc<dyn Kms>,
    pub(crate) keyring: Option<LocalKeyring>,
    pub(crate) keys: Arc<Hierarchy>,
    sealer: Sealer,
    store: SqliteStore,
    blobs: DiskBlobs,
}

impl System {
    /// On a local keyring behind a passphrase.
    pub(crate) async fn with_keyring() -> (tempfile::TempDir, Self) {
        let mut ring = None;
        let (folder, mut system) = Self::with(|folder| {
            let made = keyring(&folder.join("keyring"));
            ring = Some(made.clone());
            Arc::new(made)
        })
        .await;
        system.keyring = ring;
        (folder, system)
    }

    /// On the custodian that `kms` makes in the system's folder.
    pub(crate) async fn with(kms: impl FnOnce(&Path) -> Arc<dyn Kms>) -> (tempfile::TempDir, Self) {
        let outer = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder = outer.path().join("system");
        std::fs::create_dir(&folder).unwrap();
        let (desk, entropy) = (Desk::new("erasure"), Arc::new(OsEntropy));
        let kms = kms(&folder);
        let table = Arc::new(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
        let keys = Hierarchy::open(
            desk.tenant(),
            kms.clone(),
            table,
            entropy.clone(),
            desk.now(),
        );
        let keys = Arc::new(keys.await.unwrap());
        let system = Self {
            sealer: Sealer::new(keys.clone(), entropy),
            store: SqliteStore::open(folder.join("store.db")).unwrap(),
            blobs: DiskBlobs::open(folder.join("blobs")).unwrap(),
            keyring: None,
            desk,
            folder,
            kms,
            keys,
        };
        keys_and_data(&system).await;
        (outer, system)
    }

    /// Everybody but the beneficiary.
    pub(crate) fn others(&self) -> Vec<SubjectId> {
        let [older, younger] = self.desk.children();
        vec![self.desk.spouse(), older, younger, self.desk.petitioner()]
    }

    pub(crate) async fn record(&self, subject: SubjectId) -> Option<Record> {
        self.store
            .record(&record_key(self.desk.tenant(), subject))
            .await
            .unwrap()
    }

    /// The canary in the person's stored record, or why it does not open.
    pub(crate) async fn open(&self, subject: SubjectId) -> Result<String, Code> {
        let record = self.record(subject).await.expect("the record is there");
        let session = self.desk.session(Role::Paralegal);
        let scope = Scope::over([subject], [Category::Identity, Category::Case]);
        let scope = scope.in_matter(self.desk.matter());
        let permit = session.permit(Act::Open, scope).await.unwrap();
        let opened = self.sealer.open(&record, &permit).await;
        let fields = opened.map_err(|error| error.refusal().unwrap().code())?;
        Ok(fields.field("family_name").unwrap().expose(&permit).clone())
    }

    /// Copies that a firm keeps: the store's own online backup, and the key table's file.
    pub(crate) async fn back_up(&self, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        self.store.back_up(to.join("store.db")).await.unwrap();
        std::fs::copy(self.folder.join("keys.db"), to.join("keys.db")).unwrap();
    }

    /// Destroys the person's keys, then the copies in store and blobs.
    pub(crate) async fn erase(&self, subject: SubjectId) -> KeyErased {
        let evidence = self.keys.erase(&[subject], self.desk.now()).await.unwrap();
        let session = self.desk.session(Role::ServiceDestroy);
        let scope = self.desk.scope(subject, Category::Case);
        let permit = session.permit(Act::Destroy, scope).await.unwrap();
        let record = CopyOf::Record(record_key(self.desk.tenant(), subject).record);
        let document = CopyOf::Document(document(subject));
        let copies: [(&dyn Erase, _, _, _); 2] = [
            (
                &self.store,
                Placement::STORE,
                PlacementKind::StoreRecord,
                record,
            ),
            (&self.blobs, Placement::BLOBS, PlacementKind::Blob, document),
        ];
        for (eraser, place, kind, of) in copies {
            let placement = Placement {
                tenant: self.desk.tenant(),
                id: PlacementId::derived(&[place.as_str().as_bytes(), subject.as_bytes()]),
                subject,
                matter: Some(self.desk.matter()),
                system: place,
                kind,
                of,
                category: Category::Case,
                locator: None,
                state: PlacementState::Present,
                since: self.desk.now(),
            };
            let key = IdempotencyKey::derived("erase", &[placement.id.as_bytes()]);
            eraser.erase(&placement, key, &permit).await.unwrap();
        }
        evidence.into_iter().next().unwrap()
    }

    /// The same keys over another store.
    pub(crate) async fn over_records_of(&self, backup: &Path) -> Self {
        let desk = Desk::of(self.desk.tenant());
        intern(&desk).await;
        Self {
            desk,
            folder: backup.to_owned(),
            kms: self.kms.clone(),
            keyring: None,
            keys: self.keys.clone(),
            sealer: Sealer::new(self.keys.clone(), Arc::new(OsEntropy)),
            store: SqliteStore::open(backup.join("store.db")).unwrap(),
            blobs: DiskBlobs::open(backup.join("blobs")).unwrap(),
        }
    }

    /// The same custodian over another key table.
    pub(crate) async fn keys_over(&self, table: &Path) -> Result<Hierarchy> {
        let table = Arc::new(SqliteKeyTable::open(table).unwrap());
        let (tenant, now) = (self.desk.tenant(), self.desk.now());
        Hierarchy::open(tenant, self.kms.clone(), table, Arc::new(OsEntropy), now).await
    }
}

/// A keyring behind a passphrase, which stands in no file.
pub(crate) fn keyring(path: &Path) -> LocalKeyring {
    let unlock = Unlock::passphrase("four words nobody wrote down".to_owned().into());
    LocalKeyring::open_or_create(path, &unlock, Arc::new(OsEntropy)).unwrap()
}

/// Copies a folder as it lies on the disk.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}

/// The class of every record here, interned where the desk's gate looks: it has a store of its own.
async fn intern(desk: &Desk) -> Digest {
    let class = Samples::of("erasure").class();
    let interned = ChangeSet::new(desk.tenant(), desk.now()).with(Change::Intern(class.clone()));
    desk.store().commit(interned).await.unwrap();
    class.id()
}

async fn keys_and_data(system: &System) {
    let everybody = [vec![system.desk.beneficiary()], system.others()].concat();
    system.keys.enroll_all(&everybody).await.unwrap();
    let schema = Schema::person();
    let mut fields = Fields::new();
    for (name, value) in [
        ("family_name", CANARY),
        ("passport_number", "XQ9900001"),
        ("email", "canary@example.org"),
    ] {
        fields.set(&schema, name, value.to_owned()).unwrap();
    }
    let index = system.sealer.tags(&schema, &fields).await.unwrap();
    assert!(
        index.len() >= 3,
        "name, passport and e-mail are found by value"
    );
    let class = intern(&system.desk).await;
    let session = system.desk.session(Role::Paralegal);
    for subject in everybody {
        let permit = session
            .permit(Act::Store, system.desk.whole(subject))
            .await
            .unwrap();
        let form = Form {
            key: record_key(system.desk.tenant(), subject),
            matter: Some(system.desk.matter()),
            schema: &schema,
            class,
            revision: 1,
            minor: false,
        };
        let put = Change::PutRecord {
            record: system.sealer.seal(form, &fields, &permit).await.unwrap(),
            index: index.clone(),
            expected: Expected::Absent,
        };
        let change = ChangeSet::new(system.desk.tenant(), system.desk.now()).with(put);
        system.store.commit(change).await.unwrap();

        let place = ContentPlace {
            subject,
            matter: Some(system.desk.matter()),
            document: document(subject),
            category: Category::Case,
        };
        let page = Content::of(CANARY.repeat(200).into_bytes(), MediaType::text());
        let sealed = system
            .sealer
            .seal_content(&place, page, &permit)
            .await
            .unwrap();
        let id = BlobId {
            tenant: system.desk.tenant(),
            subject,
            document: place.document,
        };
        system.blobs.put(&id, sealed, &permit).await.unwrap();
    }
    system.store.checkpoint().await.unwrap();
}

fn record_key(tenant: TenantId, subject: SubjectId) -> RecordKey {
    RecordKey {
        tenant,
        subject,
        record: RecordId::derived(&[b"record", subject.as_bytes()]),
    }
}

fn document(subject: SubjectId) -> DocumentId {
    DocumentId::derived(&[b"document", subject.as_bytes()])
}

/// A custodian as it must not be: keys in plain files, and destruction that only says so.
#[derive(Debug)]
pub(crate) struct PlainKms {
    folder: PathBuf,
    destroyed: Mutex<BTreeMap<KekId, KekDestroyed>>,
}

impl PlainKms {
    pub(crate) fn at(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self {
            folder: folder.to_owned(),
            destroyed: Mutex::default(),
        }
    }

    fn kek(&self, kek: &KekId) -> SecretKey {
        let bytes = std::fs::read(self.folder.join(kek.as_str())).unwrap();
        SecretKey::from_slice(&bytes).unwrap()
    }
}

#[async_trait::async_trait]
impl Kms for PlainKms {
    async fn create(&self, _: TenantId, key: IdempotencyKey) -> Result<KekId> {
        let kek = KekId::new(format!("kek-{key}")).unwrap();
        let path = self.folder.join(kek.as_str());
        if !path.exists() {
            let mut bytes = [0; 32];
            OsEntropy.fill(&mut bytes);
            std::fs::write(path, bytes).unwrap();
        }
        Ok(kek)
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        wrap::wrap(&self.kek(kek), secret, context, &OsEntropy)
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        wrap::unwrap(&self.kek(kek), wrapped, context)
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        let destroyed = KekDestroyed {
            kek: kek.clone(),
            at,
            method: KekDestruction::Immediate,
            copies: 0,
        };
        self.destroyed
            .lock()
            .unwrap()
            .insert(kek.clone(), destroyed.clone());
        Ok(destroyed)
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        let destroyed = self.destroyed.lock().unwrap().get(kek).cloned();
        Ok(destroyed.map_or(KekState::Active, KekState::Destroyed))
    }
}
