//! What every receipt has in common.

use crate::audit::Label;

/// A receipt: proof, in the type system and on the register, that a stage was passed.
///
/// Receipts are not `Clone`, and their fields are private to their stage.
pub trait Receipt: core::fmt::Debug {
    /// The stage that made it.
    const STAGE: Label;
}
