//! Every port in memory, strict: the first customers of the conformance kits.

mod blobs;
mod clock;
mod entropy;
mod erase;
mod flaky;
mod policy;
mod store;

pub use blobs::MemoryBlobs;
pub use clock::ManualClock;
pub use entropy::SeededEntropy;
pub use flaky::{FaultPlan, Flaky, Strike};
pub use policy::RulesPolicy;
pub use store::MemoryStore;
