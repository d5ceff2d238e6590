//! A person's key and the record keys derived from it.

use core::fmt;

use super::derive::{FIELD, Prk, Sealing, push};
use super::secret::SecretKey;
use crate::error::Result;
use crate::id::{Digest, RecordId, SubjectId, TenantId};
use crate::refusal::Code;

/// The unwrapped key of one person. Hold it as briefly as the work allows: after an erasure in
/// another process it still opens what its holder already has.
///
/// [`Hierarchy::subject_key`](super::Hierarchy::subject_key) hands it out.
pub struct SubjectKey {
    tenant: TenantId,
    subject: SubjectId,
    generation: u32,
    prk: Prk,
    former: Option<Box<SubjectKey>>,
}

impl SubjectKey {
    /// The key of `subject`, from its unwrapped bytes. `generation` counts the person's keys.
    #[must_use]
    pub fn new(tenant: TenantId, subject: SubjectId, generation: u32, key: &SecretKey) -> Self {
        Self {
            tenant,
            subject,
            generation,
            prk: Prk::extract(key),
            former: None,
        }
    }

    /// The same with the person's key before it, which opens what is not sealed anew yet.
    #[must_use]
    pub fn beside(self, former: Self) -> Self {
        Self {
            former: Some(Box::new(former)),
            ..self
        }
    }

    /// The firm.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The person.
    #[must_use]
    pub const fn subject(&self) -> SubjectId {
        self.subject
    }

    /// Which of the person's keys this is, counted from 1.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The person's key before this one, while values are being sealed anew.
    #[must_use]
    pub fn former(&self) -> Option<&Self> {
        self.former.as_deref()
    }

    /// A fingerprint that names the key in evidence and tells nothing about it.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::from_bytes(*self.prk.expand(&[b"kta1 key fingerprint"]))
    }

    /// The key of one of the person's records: HKDF-SHA256 of the subject key over a label and
    /// the length-prefixed tenant, subject and record.
    #[must_use]
    pub fn record_key(&self, record: RecordId) -> RecordKey {
        let mut info = Vec::with_capacity(96);
        info.extend_from_slice(b"kta1 record");
        push(&mut info, self.tenant.as_bytes());
        push(&mut info, self.subject.as_bytes());
        push(&mut info, record.as_bytes());
        let prk = Prk::derived(&self.prk.expand(&[&info]));
        RecordKey {
            tenant: self.tenant,
            subject: self.subject,
            generation: self.generation,
            record,
            field: Sealing::derive(&prk, &FIELD, &[]),
            prk,
            former: self
                .former
                .as_ref()
                .map(|former| Box::new(former.record_key(record))),
        }
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SubjectKey({}, generation {}, ..)",
            self.subject, self.generation
        )
    }
}

/// The key of one record. It seals and opens the record's fields
/// ([`seal`](RecordKey::seal), [`open`](RecordKey::open)), its
/// [header](super::header::RecordHeader) and its large [content](super::segments).
///
/// While the person's key is being rotated it seals with the present key and opens with the one
/// that the sealed bytes name, so that nobody who reads has to know.
pub struct RecordKey {
    tenant: TenantId,
    subject: SubjectId,
    generation: u32,
    record: RecordId,
    pub(super) prk: Prk,
    /// What seals the record's values.
    pub(super) field: Sealing,
    former: Option<Box<RecordKey>>,
}

impl RecordKey {
    /// The record.
    #[must_use]
    pub const fn record(&self) -> RecordId {
        self.record
    }

    /// The person.
    #[must_use]
    pub const fn subject(&self) -> SubjectId {
        self.subject
    }

    /// The firm.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Which of the person's keys this derives from.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The key of a generation: this one, or the one before it.
    pub(super) fn of_generation(&self, generation: u32) -> Result<&Self> {
        if self.generation == generation {
            return Ok(self);
        }
        let former = self.former.as_deref();
        former
            .filter(|former| former.generation == generation)
            .ok_or_else(|| Code::CryKey.into())
    }

    /// Refuses a context of another record: this key is not for it.
    pub(super) fn admits(&self, context: &super::SealContext<'_>) -> Result<()> {
        let own = (self.tenant, self.subject, self.record);
        if own == (context.tenant, context.subject, context.record) {
            Ok(())
        } else {
            Err(Code::CrySwap.into())
        }
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RecordKey({}, generation {}, ..)",
            self.record, self.generation
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::crypto::context::tests::place;

    /// The subject key of the test place.
    pub(crate) fn subject_key() -> SubjectKey {
        let key = SecretKey::from_bytes([0x42; 32]);
        SubjectKey::new(place().tenant, place().subject, 1, &key)
    }

    #[test]
    fn every_record_and_person_has_a_key_of_its_own() {
        let (tenant, subject, record) = (place().tenant, place().subject, place().record);
        let secret = SecretKey::from_bytes([0x42; 32]);
        let expand = |tenant, subject, record| {
            *SubjectKey::new(tenant, subject, 1, &secret)
                .record_key(record)
                .prk
                .expand(&[b"x"])
        };
        let here = expand(tenant, subject, record);
        assert_ne!(here, expand(tenant, subject, RecordId::from_bytes([5; 16])));
        assert_ne!(here, expand(tenant, SubjectId::from_bytes([5; 16]), record));
        assert_ne!(here, expand(TenantId::from_bytes([5; 16]), subject, record));
        assert_eq!(here, expand(tenant, subject, record));
    }

    #[test]
    fn debug_of_keys_shows_ids_only() {
        let key = subject_key();
        assert!(format!("{key:?}").ends_with("generation 1, ..)"));
        assert!(format!("{:?}", key.record_key(place().record)).starts_with("RecordKey(rec_"));
    }
}
