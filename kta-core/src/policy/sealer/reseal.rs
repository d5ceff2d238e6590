//! Sealing anew under a person's fresh key, without anybody's seeing a value.

use futures_util::StreamExt as _;

use super::{ContentPlace, Sealer, normals, plan};
use crate::crypto::{self, Envelope, IndexKey, IndexTag, RecordHeader, SealContext, SubjectKey};
use crate::error::Result;
use crate::pii::{ContentStream, FieldName, Record, Schema, Sealed, SealedField};
use crate::policy::{Act, Permit};
use crate::refusal::{Code, Refusal};

/// A record sealed anew, with its entries in the blind index.
pub(crate) type Resealed = (Record, Vec<(FieldName, IndexTag)>);

impl Sealer {
    /// Seals a record anew, one revision on: under the present key of the person, with the
    /// entries of its indexed fields under `index`. A record that was put back whole, of an older
    /// revision, is authentic and is sealed like any other: log both revisions.
    ///
    /// # Errors
    /// [`Code::AclDeny`] without a permit to [rekey](Act::Rekey); [`Code::SynUnmapped`] for a
    /// record of another schema; [`Code::CrySwap`] when the record is not what was sealed.
    pub(crate) fn reseal(
        &self,
        record: &Record,
        person: &SubjectKey,
        index: &IndexKey,
        schema: &Schema,
        permit: &Permit<'_>,
    ) -> Result<Resealed> {
        permit.require_act(&[Act::Rekey])?;
        if record.schema != schema.name {
            return Err(Refusal::new(Code::SynUnmapped)
                .about("schema", record.schema.clone())
                .into());
        }
        let key = person.record_key(record.key.record);
        let place = |field, revision| SealContext {
            tenant: record.key.tenant,
            subject: record.key.subject,
            matter: record.matter,
            record: record.key.record,
            field,
            revision,
        };
        let mut stored = Vec::with_capacity(record.fields.len());
        for (name, field) in &record.fields {
            stored.push((name, field, Envelope::parse(field.sealed.as_bytes())?));
        }
        let listed = stored.iter().map(|(name, field, envelope)| {
            let class = field.classification.code();
            (name.as_str(), field.revision, class, envelope)
        });
        RecordHeader::from_bytes(record.header.clone()).check(&key, record.revision, listed)?;

        let revision = record.revision.saturating_add(1);
        let mut tags = Vec::new();
        let mut fresh = Vec::with_capacity(stored.len());
        for (name, field, envelope) in stored {
            let value = key.open(&place(name.as_str(), field.revision), &envelope)?;
            let indexed = schema.field(name).filter(|spec| spec.indexed);
            if let (Some(spec), Ok(text)) = (indexed, core::str::from_utf8(&value)) {
                let plan = plan(spec.kind, name, index.rows())?;
                let entries = normals(spec.kind, text).into_iter();
                tags.extend(entries.map(|normal| (name.clone(), index.tag(&plan, &normal))));
            }
            let envelope = key.seal(&place(name.as_str(), revision), &value, &*self.entropy)?;
            fresh.push((name, field.classification, envelope));
        }
        let listed = fresh
            .iter()
            .map(|(name, class, envelope)| (name.as_str(), revision, class.code(), envelope));
        let header = RecordHeader::seal(&key, revision, listed)?;
        let fields = fresh.into_iter().map(|(name, classification, envelope)| {
            let field = SealedField {
                classification,
                revision,
                sealed: Sealed::from_bytes(envelope.into_bytes()),
            };
            (name.clone(), field)
        });
        let record = Record {
            revision,
            fields: fields.collect(),
            header: header.as_bytes().to_vec(),
            ..record.clone()
        };
        Ok((record, tags))
    }

    /// Seals content anew under the person's present key, in constant memory: the stored bytes
    /// in, the bytes to store out.
    ///
    /// # Errors
    /// [`Code::AclDeny`] without a permit to [rekey](Act::Rekey); the stream ends with
    /// [`Code::CrySwap`] where a segment is not what was sealed.
    pub(crate) fn reseal_content(
        &self,
        place: &ContentPlace,
        person: &SubjectKey,
        stored: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<ContentStream> {
        permit.require_act(&[Act::Rekey])?;
        let key = person.record_key(place.record());
        let context = place.context(permit);
        let opened = crypto::segments::open(person.record_key(place.record()), context, stored)?;
        let sealed = crypto::segments::seal(&key, &context, opened, &*self.entropy)?;
        Ok(sealed.boxed())
    }
}
