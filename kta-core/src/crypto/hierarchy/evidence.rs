//! Asking again, after an erasure.

use super::turn::declared_gone;
use super::{Hierarchy, Wanted};
use crate::crypto::shred::KeyErased;
use crate::error::Result;
use crate::id::SubjectId;
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState};
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
        let mut evidence = self.evidence(subjects, &wanted).await?;
        let copies = self.copies().await?;
        for told in &mut evidence {
            told.kek = self.destroyed(told.subject, &told.kek.kek).await?;
            if declared_gone(&copies, &told.kek.kek) {
                // A custodian may remember those that there were when it destroyed the KEK.
                told.kek.copies = 0;
            }
            if let Some(earlier) = &mut told.earlier
                && let KekDestruction::Scheduled { until } =
                    self.destroyed(told.subject, &earlier.kek).await?.method
            {
                earlier.until = until;
            }
        }
        Ok(evidence)
    }

    async fn destroyed(&self, subject: SubjectId, kek: &KekId) -> Result<KekDestroyed> {
        match self.kms.state(kek).await? {
            KekState::Destroyed(destroyed) => Ok(destroyed),
            KekState::Active => Err(Refusal::new(Code::DstCeInvalid)
                .about("subject", subject)
                .about("kek", kek.clone())
                .into()),
        }
    }
}
