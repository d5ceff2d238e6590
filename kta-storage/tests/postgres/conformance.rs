//! The contracts of the ports, straight to the server and through a transaction pooler.

use crate::common::cluster::Cluster;
use kta_storage::PgStore;

mod store {
    use super::{Cluster, PgStore};

    async fn fresh() -> PgStore {
        let options = Cluster::shared().by_socket("kta_app", "kta");
        PgStore::open(&options.named_statements()).await.unwrap()
    }

    kta_core::store_conformance!(
        #[tokio::test]
        fresh
    );
}

mod store_through_a_transaction_pooler {
    use super::{Cluster, PgStore};

    async fn fresh() -> PgStore {
        let options = Cluster::shared().pooled("kta_app", "kta");
        PgStore::open(&options).await.unwrap()
    }

    kta_core::store_conformance!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        fresh
    );
}

mod store_with_a_journal {
    use super::{Cluster, PgStore};

    async fn fresh() -> PgStore {
        let options = Cluster::shared().options("kta_app", "kta");
        let folder = crate::common::folder("journal");
        PgStore::open(&options.journal(folder)).await.unwrap()
    }

    kta_core::store_conformance!(
        #[tokio::test]
        fresh
    );
}

mod key_table {
    use std::sync::atomic::{AtomicU8, Ordering};

    use kta_storage::PgKeyTable;

    use super::Cluster;

    /// The kit always has the same firm, so each case has a database.
    async fn fresh() -> PgKeyTable {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = format!("keys_{}_{number}", std::process::id());
        let cluster = Cluster::shared();
        cluster.database(&base);
        let options = cluster.pooled("kta_app", &base);
        PgKeyTable::open(&options).await.unwrap()
    }

    kta_core::key_table_conformance!(
        #[tokio::test]
        fresh
    );
}

mod erase {
    use std::sync::Arc;

    use async_trait::async_trait;
    use kta_core::conformance::Desk;
    use kta_core::conformance::erase::{EraseBench, placement};
    use kta_core::conformance::store::Samples;
    use kta_core::id::{RecordId, SubjectId};
    use kta_core::pii::placement::CopyOf;
    use kta_core::pii::{Category, Locator, Placement, PlacementKind, Sealed};
    use kta_core::ports::store::{Change, Expected};
    use kta_core::ports::{Erase, Store as _};

    use super::{Cluster, PgStore};

    struct Bench;

    async fn fresh() -> Bench {
        Bench
    }

    async fn open() -> PgStore {
        let options = Cluster::shared().options("kta_app", "kta");
        PgStore::open(&options).await.unwrap()
    }

    #[async_trait]
    impl EraseBench for Bench {
        async fn eraser(&self) -> Arc<dyn Erase> {
            Arc::new(open().await)
        }

        async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
            use std::sync::atomic::{AtomicU8, Ordering};
            static NUMBER: AtomicU8 = AtomicU8::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let rows = Samples {
                tenant: desk.tenant(),
            };
            let mut record = rows.record(1, 1, 1);
            record.key.subject = subject;
            record.key.record = RecordId::derived(&[subject.as_bytes(), &[number]]);
            record.matter = Some(desk.matter());
            for field in record.fields.values_mut() {
                field.sealed = Sealed::from_bytes(marked.as_bytes().to_vec());
            }
            let key = record.key;
            let put = Change::PutRecord {
                record,
                index: vec![rows.tag(1), rows.tag(2)],
                expected: Expected::Absent,
            };
            let copy = placement(
                desk,
                subject,
                (Placement::STORE, PlacementKind::StoreRecord),
                (CopyOf::Record(key.record), Category::Case),
                Locator::new(key.record.to_string()).unwrap(),
            );
            let set = rows
                .set(0)
                .with(put)
                .with(Change::PutPlacement(copy.clone()));
            open().await.commit(set).await.unwrap();
            copy
        }
    }

    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}
