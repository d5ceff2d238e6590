//! Every port in memory, strict: the first customers of the conformance kits.

mod blobs;
mod channel;
mod clock;
mod crm;
mod entropy;
mod erase;
mod flaky;
mod house;
mod intake;
mod key_table;
mod kms;
mod library;
pub mod policy;
mod provider;
mod reader;
mod scanner;
mod store;

pub use blobs::MemoryBlobs;
pub use channel::MemoryChannel;
pub use clock::ManualClock;
pub use crm::MemoryCrm;
pub use entropy::SeededEntropy;
pub use flaky::{FaultPlan, Flaky, Strike};
pub use house::MemoryPorts;
pub use intake::{Letter, MemoryIntake};
pub use key_table::MemoryKeyTable;
pub use kms::MemoryKms;
pub use library::MemoryLibrary;
pub use policy::RulesPolicy;
pub use reader::MemoryReader;
pub use scanner::MemoryScanner;
pub use store::MemoryStore;
