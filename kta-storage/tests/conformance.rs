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
