//! The in-memory ports keep the contracts of their ports: the first customers of the kits.

use std::sync::Arc;

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::conformance::crm::CrmBench;
use kta_core::conformance::documents::LibraryBench;
use kta_core::memory::{MemoryCrm, MemoryLibrary};
use kta_core::pii::FieldName;
use kta_core::ports::{Crm, Documents};

mod crm {
    use super::*;

    struct Bench(MemoryCrm);

    #[async_trait]
    impl CrmBench for Bench {
        async fn crm(&self) -> Arc<dyn Crm> {
            Arc::new(self.0.clone())
        }

        async fn count(&self) -> usize {
            self.0.len()
        }

        async fn withhold(&self, field: &FieldName) {
            self.0.withhold(field);
        }
    }

    async fn fresh() -> Bench {
        Bench(MemoryCrm::new())
    }

    kta_core::crm_conformance!(#[tokio::test] fresh);
}

/// The library's bench of every kit that needs one.
struct Library(MemoryLibrary);

#[async_trait]
impl LibraryBench for Library {
    async fn documents(&self) -> Arc<dyn Documents> {
        Arc::new(self.0.clone())
    }

    fn label(&self) -> Label {
        Label::fixed("KTA-Special")
    }

    async fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

async fn library() -> Library {
    Library(MemoryLibrary::new())
}

mod documents {
    kta_core::documents_conformance!(#[tokio::test] super::library);
}
