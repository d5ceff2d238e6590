//! Asking again, after an erasure.

use super::turn::standing;
use super::{Hierarchy, Wanted, corrupt};
use crate::crypto::shred::KeyErased;
use crate::error::Result;
use crate::id::SubjectId;
use crate::ports::kms::KekState;
use crate::refusal::{Code, Refusal};

impl Hierarchy {
    /// Whether the person had a key that was destroyed.
    ///
    /// # Errors
    /// Faults of the key table.
    pub async fn is_erased(&self, subject: SubjectId) -> Result<bool> {
        let (_, rows) = self.rows(&[Wanted::Subject(subject)]).await?;
        Ok(rows.erased.contains_key(&subject))
    }

    /// The evidence of these people's destroyed keys, in their order, with the custodian's answer
    /// of now in place of the one that it gave when it destroyed the key-encryption key: whether
    /// what it had scheduled is done.
    ///
    /// # Errors
    /// [`Code::DstCeInvalid`] when the custodian has the key-encryption key in use again (its
    /// deletion was cancelled), [`Code::CryKey`] when it does not know it; `Corrupt` for a person
    /// whose key was not destroyed; faults of the ports.
    pub async fn evidence_now(&self, subjects: &[SubjectId]) -> Result<Vec<KeyErased>> {
        let wanted: Vec<_> = subjects.iter().copied().map(Wanted::Subject).collect();
        let (_, rows) = self.rows(&wanted).await?;
        let copies = self.table.copies(self.tenant).await?;
        let mut evidence = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let tombstone = rows.erased.get(subject).ok_or_else(|| corrupt("erase"))?;
            let told = KeyErased::of(self.tenant, tombstone, standing(&copies, *subject));
            let mut now = told.ok_or_else(|| corrupt("erase"))?;
            now.kek = match self.kms.state(&now.kek.kek).await? {
                KekState::Destroyed(destroyed) => destroyed,
                KekState::Active => {
                    return Err(Refusal::new(Code::DstCeInvalid)
                        .about("subject", *subject)
                        .about("kek", now.kek.kek)
                        .into());
                }
            };
            evidence.push(now);
        }
        Ok(evidence)
    }
}
