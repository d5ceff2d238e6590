//! This crate's adapters against the contracts of their ports.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod store {
    use kta_storage::SqliteStore;

    async fn fresh() -> SqliteStore {
        SqliteStore::open(crate::common::folder("store").join("firm.db")).unwrap()
    }

    kta_core::store_conformance!(
        #[tokio::test]
        fresh
    );
}

mod store_over_threads {
    use kta_storage::SqliteStore;

    async fn fresh() -> SqliteStore {
        SqliteStore::open(crate::common::folder("store").join("firm.db")).unwrap()
    }

    kta_core::store_conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        fresh
    );
}

mod store_behind_a_router {
    use kta_core::audit::Label;
    use kta_storage::{Router, ShardMap, SqliteStore};

    /// Three files; each case's firms are in whichever their ids lead to.
    async fn fresh() -> Router<SqliteStore> {
        let names = ["one", "two", "three"].map(Label::fixed);
        let mut stores = Vec::new();
        for name in names.clone() {
            let folder = crate::common::folder("routed");
            let store = SqliteStore::open(folder.join("firm.db")).unwrap();
            Router::mark(&name, &store).await.unwrap();
            stores.push((name, store));
        }
        let map = ShardMap::over(names).unwrap();
        Router::open(map, stores).await.unwrap()
    }

    kta_core::store_conformance!(
        #[tokio::test]
        fresh
    );
}

mod key_table {
    use kta_storage::SqliteKeyTable;

    async fn fresh() -> SqliteKeyTable {
        SqliteKeyTable::open(crate::common::folder("keys").join("keys.db")).unwrap()
    }

    kta_core::key_table_conformance!(
        #[tokio::test]
        fresh
    );
}

mod blobs {
    use kta_storage::DiskBlobs;

    async fn fresh() -> DiskBlobs {
        DiskBlobs::open(crate::common::folder("blobs")).unwrap()
    }

    kta_core::blobs_conformance!(
        #[tokio::test]
        fresh
    );
}

mod erase_blobs {
    use std::sync::Arc;

    use async_trait::async_trait;
    use kta_core::conformance::Desk;
    use kta_core::conformance::erase::{EraseBench, placement};
    use kta_core::id::{DocumentId, SubjectId};
    use kta_core::pii::placement::CopyOf;
    use kta_core::pii::{Category, Locator, Placement, PlacementKind};
    use kta_core::policy::{Act, Role};
    use kta_core::ports::{BlobId, Blobs as _, Erase};
    use kta_storage::DiskBlobs;

    struct Folder(DiskBlobs);

    async fn fresh() -> Folder {
        Folder(DiskBlobs::open(crate::common::folder("erase-blobs")).unwrap())
    }

    #[async_trait]
    impl EraseBench for Folder {
        async fn eraser(&self) -> Arc<dyn Erase> {
            Arc::new(self.0.clone())
        }

        async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
            use std::sync::atomic::{AtomicU32, Ordering};
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::SeqCst).to_be_bytes();
            let document = DocumentId::derived(&[&number]);
            let id = BlobId {
                tenant: desk.tenant(),
                subject,
                document,
            };
            let session = desk.session(Role::Paralegal);
            let scope = desk.scope(subject, Category::Case);
            let permit = session.permit(Act::Store, scope).await.unwrap();
            let bytes = marked.as_bytes().to_vec().into();
            let content = futures_util::stream::iter([Ok(bytes)]);
            self.0.put(&id, Box::pin(content), &permit).await.unwrap();
            placement(
                desk,
                subject,
                (Placement::BLOBS, PlacementKind::Blob),
                (CopyOf::Document(document), Category::Case),
                Locator::new(document.to_string()).unwrap(),
            )
        }
    }

    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}

mod erase_records {
    use std::sync::Arc;

    use async_trait::async_trait;
    use kta_core::conformance::Desk;
    use kta_core::conformance::erase::{EraseBench, placement};
    use kta_core::conformance::store::Samples;
    use kta_core::id::{RecordId, SubjectId};
    use kta_core::memory::SeededEntropy;
    use kta_core::pii::placement::CopyOf;
    use kta_core::pii::{Category, Locator, Placement, PlacementKind, Sealed};
    use kta_core::ports::store::{Change, Expected};
    use kta_core::ports::{Erase, Store as _};
    use kta_core::time::Entropy as _;
    use kta_storage::SqliteStore;

    struct File(SqliteStore);

    async fn fresh() -> File {
        File(SqliteStore::open(crate::common::folder("erase").join("firm.db")).unwrap())
    }

    /// Each copy is written twice, so that pages hold an earlier revision, and is in the index.
    #[async_trait]
    impl EraseBench for File {
        async fn eraser(&self) -> Arc<dyn Erase> {
            Arc::new(self.0.clone())
        }

        async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
            use std::sync::atomic::{AtomicU32, Ordering};
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::SeqCst);
            let tenant = desk.tenant();
            let rows = Samples { tenant };
            let entropy = SeededEntropy::new(u64::from(number));
            let id = RecordId::derived(&[&number.to_be_bytes()]);
            for revision in 1..=2 {
                let mut record = rows.record(1, 1, revision);
                record.key.subject = subject;
                record.key.record = id;
                record.matter = Some(desk.matter());
                entropy.fill(&mut record.header);
                for field in record.fields.values_mut() {
                    let mut bytes = vec![0; 700];
                    entropy.fill(&mut bytes);
                    bytes[600..][..marked.len()].copy_from_slice(marked.as_bytes());
                    field.sealed = Sealed::from_bytes(bytes);
                }
                let expected = match revision {
                    1 => Expected::Absent,
                    _ => Expected::Revision(1),
                };
                let put = Change::PutRecord {
                    record,
                    index: vec![rows.tag(1)],
                    expected,
                };
                self.0.commit(rows.set(0).with(put)).await.unwrap();
            }
            placement(
                desk,
                subject,
                (Placement::STORE, PlacementKind::StoreRecord),
                (CopyOf::Record(id), Category::Case),
                Locator::new(id.to_string()).unwrap(),
            )
        }
    }

    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}
