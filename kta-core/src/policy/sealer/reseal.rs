//! Sealing anew under a person's fresh key, without anybody's seeing a value.

use futures_util::StreamExt as _;

use super::fields::{Stored, place};
use super::{ContentPlace, Sealer, normals, plan};
use crate::crypto::{self, IndexKey, IndexTag, SubjectKey};
use crate::error::Result;
use crate::pii::{ContentStream, FieldName, Record, Schema};
use crate::policy::{Act, Permit};
use crate::refusal::{Code, Refusal};

/// A record sealed anew, with its entries in the blind index.
pub(crate) type Resealed = (Record, Vec<(FieldName, IndexTag)>);

impl Sealer {
    /// Seals a record anew, one revision on: under the present key of the person, with the
    /// entries of its indexed fields under `index`, and by the grain of this sealer. A record that
    /// was put back whole, of an older revision, is authentic and is sealed like any other: log
    /// both revisions.
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
        let stored = Stored::read(record)?;
        stored.check(&key)?;
        let mut values = Vec::new();
        stored.open(
            &key,
            |_| true,
            |name, class, value| {
                values.push((name.clone(), class, value));
                Ok(())
            },
        )?;
        values.sort_by(|(one, ..), (other, ..)| one.cmp(other));

        let mut tags = Vec::new();
        for (name, _, value) in &values {
            let indexed = schema.field(name).filter(|spec| spec.indexed);
            if let (Some(spec), Ok(text)) = (indexed, core::str::from_utf8(value)) {
                let plan = plan(spec.kind, name, index.rows())?;
                let entries = normals(spec.kind, text).into_iter();
                tags.extend(entries.map(|normal| (name.clone(), index.tag(&plan, &normal))));
            }
        }
        let revision = record.revision.saturating_add(1);
        let here = place(&record.key, record.matter, "", revision);
        let given = values
            .iter()
            .map(|(name, class, value)| (name.clone(), *class, value.as_slice()));
        let (fields, header) = self.sealed(&key, &here, given.collect())?;
        let record = Record {
            key: record.key,
            matter: record.matter,
            schema: record.schema.clone(),
            class: record.class,
            revision,
            fields,
            header,
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
