//! Asking again, after an erasure.

use super::{Hierarchy, Wanted};
use crate::error::Result;
use crate::id::SubjectId;

impl Hierarchy {
    /// Whether the person had a key that was destroyed.
    ///
    /// # Errors
    /// Faults of the key table.
    pub async fn is_erased(&self, subject: SubjectId) -> Result<bool> {
        let (_, rows) = self.rows(&[Wanted::Subject(subject)]).await?;
        Ok(rows.erased.contains_key(&subject))
    }
}
