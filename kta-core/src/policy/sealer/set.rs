//! Opening a declared set at once.

use super::{Sealer, covers, listed, require_purpose};
use crate::audit::Outcome;
use crate::crypto::{Envelope, RecordHeader, RecordKey, SealContext};
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::pii::{Fields, Pii, Record};
use crate::policy::{Act, Permit};
use crate::refusal::Code;

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
            all.push(opened_whole(record, &person.record_key(record.key.record))?);
        }
        Ok(all)
    }
}

/// Every field of a record, after checking that none is missing or put back.
fn opened_whole(record: &Record, key: &RecordKey) -> Result<Fields> {
    let mut stored = Vec::with_capacity(record.fields.len());
    for (name, field) in &record.fields {
        stored.push((name, field, Envelope::parse(field.sealed.as_bytes())?));
    }
    let fields = stored
        .iter()
        .map(|(name, field, envelope)| listed(name, field, envelope));
    RecordHeader::from_bytes(record.header.clone()).check(key, record.revision, fields)?;
    let mut open = Fields::new();
    for (name, field, envelope) in &stored {
        let context = SealContext {
            tenant: record.key.tenant,
            subject: record.key.subject,
            matter: record.matter,
            record: record.key.record,
            field: name.as_str(),
            revision: field.revision,
        };
        let value = key.open(&context, envelope)?;
        let value = core::str::from_utf8(&value).map_err(|_| Error::from(Code::CrySwap))?;
        open.insert((*name).clone(), Pii::new(value.to_owned()));
    }
    Ok(open)
}
