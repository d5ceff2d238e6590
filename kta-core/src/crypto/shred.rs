//! Evidence that a person's key was destroyed.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, SubjectId, TenantId};
use crate::ports::key_table::{FormerDropped, NodeId, Tombstone};
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId};
use crate::refusal::Code;
use crate::time::Timestamp;

/// What is known of one person's destroyed key: an entry of the certificate of destruction.
///
/// The chain of it: the person's wrapped key was dropped from the key table; the branch that had
/// wrapped it, every branch above and the epoch got fresh keys; the key-encryption key of the
/// epoch before was destroyed at its custodian. What older copies of table and records hold is
/// therefore wrapped under a key that nobody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyErased {
    /// The firm.
    pub tenant: TenantId,
    /// The person.
    pub subject: SubjectId,
    /// Fingerprint of the destroyed key, as [`SubjectKey::fingerprint`](super::SubjectKey) gave
    /// it.
    pub key: Digest,
    /// Fingerprint of the former key that went with it, when the person's key was being rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Digest>,
    /// Which branch had wrapped it.
    pub branch: NodeId,
    /// The epoch up to which the key existed.
    pub epoch_before: u64,
    /// The epoch from which it did not.
    pub epoch_after: u64,
    /// When the wrapped key was dropped.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// The custodian's answer.
    pub kek: KekDestroyed,
    /// The key-encryption key of an earlier epoch that goes later than `kek`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierKek>,
    /// Copies of the person's key, or of the key of an epoch that reaches the person, that were
    /// declared or told of by the custodian and still stand.
    pub copies: u32,
}

/// A key-encryption key of an earlier epoch that its custodian deletes later than the one of the
/// epoch in which a person's key was dropped.
///
/// Turning the epoch re-wraps a person's key and does not change it: until then this one opens it
/// in a backup of the key table of that earlier epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierKek {
    /// Which one.
    pub kek: KekId,
    /// When the custodian deletes it.
    #[serde(with = "crate::text::instant")]
    pub until: Timestamp,
}

/// What an erasure may claim (NIST SP 800-88r2 on cryptographic erase).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EraseClaim {
    /// No copy of the key is left anywhere that is known of.
    Effective,
    /// Effective when the custodian's waiting periods are over, for every key-encryption key that
    /// reached the person.
    EffectiveFrom(#[serde(with = "crate::text::instant")] Timestamp),
    /// Nothing: copies of a key stand outside, and whoever holds one can open old backups.
    Invalid,
}

impl KeyErased {
    /// What may be claimed on this evidence.
    #[must_use]
    pub fn claim(&self) -> EraseClaim {
        claim(&self.kek, self.earlier.as_ref(), self.copies)
    }

    /// Refuses evidence that proves nothing.
    ///
    /// # Errors
    /// [`Code::DstCeInvalid`] when copies of a key stand.
    pub fn proven(&self) -> Result<(), Code> {
        proven(self.claim())
    }

    /// The evidence in a tombstone whose KEK has been destroyed.
    pub(super) fn of(
        tenant: TenantId,
        tombstone: &Tombstone,
        earlier: Option<EarlierKek>,
        copies: u32,
    ) -> Option<Self> {
        Some(Self {
            tenant,
            subject: tombstone.subject,
            key: tombstone.key,
            former: tombstone.former,
            branch: tombstone.branch,
            epoch_before: tombstone.epoch_before,
            epoch_after: tombstone.epoch_after,
            at: tombstone.at,
            kek: tombstone.kek_destroyed.clone()?,
            earlier,
            copies,
        })
    }
}

/// What is known of the end of one generation of a person's key, after everything that it had
/// sealed was sealed anew. The person goes on: this is no evidence that anybody was erased.
///
/// The chain of it is that of [`KeyErased`]: whatever is left of values sealed under that
/// generation, in whatever backup, opens no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationEnded {
    /// The firm.
    pub tenant: TenantId,
    /// The person.
    pub subject: SubjectId,
    /// The generation that ended.
    pub generation: u32,
    /// Fingerprint of its key.
    pub key: Digest,
    /// How it left the key table.
    #[serde(flatten)]
    pub dropped: FormerDropped,
    /// The custodian's answer.
    pub kek_destroyed: KekDestroyed,
    /// The key-encryption key of an earlier epoch that goes later than that one, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierKek>,
    /// Copies of the person's keys, or of the key of an epoch that reaches them, that were
    /// declared or told of by the custodian and still stand.
    pub copies: u32,
}

impl GenerationEnded {
    /// What may be claimed on this evidence.
    #[must_use]
    pub fn claim(&self) -> EraseClaim {
        claim(&self.kek_destroyed, self.earlier.as_ref(), self.copies)
    }

    /// Refuses evidence that proves nothing.
    ///
    /// # Errors
    /// [`Code::DstCeInvalid`] when copies of a key stand.
    pub fn proven(&self) -> Result<(), Code> {
        proven(self.claim())
    }
}

fn claim(kek: &KekDestroyed, earlier: Option<&EarlierKek>, copies: u32) -> EraseClaim {
    if copies > 0 || kek.copies > 0 {
        return EraseClaim::Invalid;
    }
    let own = match kek.method {
        KekDestruction::Immediate => None,
        KekDestruction::Scheduled { until } => Some(until),
    };
    own.max(earlier.map(|earlier| earlier.until))
        .map_or(EraseClaim::Effective, EraseClaim::EffectiveFrom)
}

fn proven(claim: EraseClaim) -> Result<(), Code> {
    match claim {
        EraseClaim::Invalid => Err(Code::DstCeInvalid),
        EraseClaim::Effective | EraseClaim::EffectiveFrom(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_copy_makes_the_claim_invalid() {
        let at = Timestamp::UNIX_EPOCH;
        let until = at + core::time::Duration::from_secs(7 * 24 * 3600);
        let kek = KekDestroyed {
            kek: KekId::new("kek-1").unwrap(),
            at,
            method: KekDestruction::Immediate,
            copies: 0,
        };
        let erased = KeyErased {
            tenant: TenantId::from_bytes([1; 16]),
            subject: SubjectId::from_bytes([2; 16]),
            key: Digest::of(b"a fingerprint"),
            former: None,
            branch: NodeId { level: 2, index: 0 },
            epoch_before: 1,
            epoch_after: 2,
            at,
            kek,
            earlier: None,
            copies: 0,
        };
        assert_eq!(erased.claim(), EraseClaim::Effective);
        let mut later = erased.clone();
        later.kek.method = KekDestruction::Scheduled { until };
        assert_eq!(later.claim(), EraseClaim::EffectiveFrom(until));
        // The later of the two decides, whichever it is.
        let hour = core::time::Duration::from_secs(3600);
        for (own, earlier) in [(None, until), (Some(until), until + hour)] {
            let mut both = erased.clone();
            if let Some(until) = own {
                both.kek.method = KekDestruction::Scheduled { until };
            }
            both.earlier = Some(EarlierKek {
                kek: KekId::new("kek-0").unwrap(),
                until: earlier,
            });
            assert_eq!(both.claim(), EraseClaim::EffectiveFrom(earlier));
            let text = serde_json::to_string(&both).unwrap();
            assert_eq!(serde_json::from_str::<KeyErased>(&text).unwrap(), both);
        }
        let mut exported = erased.clone();
        exported.copies = 1;
        assert_eq!(exported.proven(), Err(Code::DstCeInvalid));
        let mut escrowed = later.clone();
        escrowed.kek.copies = 1;
        assert_eq!(escrowed.proven(), Err(Code::DstCeInvalid));
        let text = serde_json::to_string(&erased).unwrap();
        assert_eq!(serde_json::from_str::<KeyErased>(&text).unwrap(), erased);
    }
}
