//! Opening a declared set at once.

use super::fields::Stored;
use super::{Sealer, covers, require_purpose};
use crate::audit::Outcome;
use crate::error::Result;
use crate::id::Digest;
use crate::pii::{Fields, Record};
use crate::policy::{Act, Permit};

impl Sealer {
    /// Opens every field of every record of a set, in the order given. One entry commits to the
    /// whole set, by the digest of its records' ids and revisions: whoever has these can prove
    /// later which records were opened. The set is opened whole or, when one of its records may
    /// not be, not at all.
    ///
    /// Where all records are of one person, the entry names the person and is as durable as an
    /// [opening](Self::open). Where they are of several it is a bulk act: its entry is on disk
    /// before the first value is seen, and names none of them, so that it is found by the matter
    /// and the digest and not on each person's trail.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_all(&self, records: &[Record], permit: &Permit<'_>) -> Result<Vec<Fields>> {
        let mut set = Vec::with_capacity(records.len() * 24);
        for record in records {
            for field in record.fields.values() {
                covers(permit, record.key.subject, field.classification.category)?;
            }
            require_purpose(record, permit).await?;
            set.extend_from_slice(record.key.record.as_bytes());
            set.extend_from_slice(&record.revision.to_be_bytes());
        }
        let event = permit
            .event(Act::Open, Outcome::Done)
            .with("records", records.len())
            .with("set", Digest::of(&set));
        match records {
            [] => permit.log_opening(vec![event]).await?,
            [first, rest @ ..] => {
                let subject = first.key.subject;
                if rest.iter().all(|record| record.key.subject == subject) {
                    let event = event.of_subject(subject);
                    permit.log_opening(vec![event]).await?;
                } else {
                    permit.log_opening_of_set(event).await?;
                }
            }
        }
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            let person = self.keys.kept_key(record.key.subject).await?;
            let key = person.record_key(record.key.record);
            let stored = Stored::read(record)?;
            stored.check(&key)?;
            all.push(stored.fields(&key, |_| true)?);
        }
        Ok(all)
    }
}
