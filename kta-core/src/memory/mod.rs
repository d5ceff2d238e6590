//! Every port in memory, strict: the first customers of the conformance kits.

mod blobs;
mod channel;
mod clock;
mod crm;
mod documents;
mod entropy;
mod erase;
mod flaky;
mod key_table;
mod kms;
mod policy;
mod sharing;
mod store;

pub use blobs::MemoryBlobs;
pub use channel::MemoryChannel;
pub use clock::ManualClock;
pub use crm::MemoryCrm;
pub use documents::MemoryLibrary;
pub use entropy::SeededEntropy;
pub use flaky::{FaultPlan, Flaky, Strike};
pub use key_table::MemoryKeyTable;
pub use kms::MemoryKms;
pub use policy::RulesPolicy;
pub use store::MemoryStore;
