//! The fields of a record, sealed alone or together, and what is there of them at rest.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::Sealer;
use crate::crypto::{Envelope, RecordHeader, RecordKey, SealContext, together};
use crate::error::{Error, Result};
use crate::id::MatterId;
use crate::pii::{
    self, Classification, FieldGroup, FieldName, Fields, Pii, Record, Sealed, SealedField,
};
use crate::refusal::Code;

/// What of a record is sealed as one value. A [`Sealer`] seals by its grain and opens what was
/// sealed by either; records that it [seals anew](crate::pipeline::rekey) come to have its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grain {
    /// Each field. Whoever opens one holds the bytes of no other; every field costs a nonce, a
    /// tag, padding of its own, and a call of the cipher.
    #[default]
    Field,
    /// The fields of one [`Classification`] as one value, or as several where their names are
    /// longer than [`FieldGroup::LONGEST`]. A permit covers a category whole or not at all, so
    /// nobody sees more by it; but who opens one field has had the others of its classification in
    /// memory. They take less room, short ones less than half, and one call of the cipher opens
    /// them. How long each is cannot be seen; of short ones, how long all are together, to within
    /// a step of the [padding](crate::crypto::envelope).
    Classification,
}

/// One field to seal.
pub(super) type Given<'v> = (FieldName, Classification, &'v [u8]);

impl Sealer {
    /// Seals these fields, given in the order of their names, in the record and at the revision
    /// of `place`; with them the header over them.
    pub(super) fn sealed(
        &self,
        key: &RecordKey,
        place: &SealContext<'_>,
        given: Vec<Given<'_>>,
    ) -> Result<(BTreeMap<FieldGroup, SealedField>, Vec<u8>)> {
        let revision = place.revision;
        let mut groups: Vec<(FieldGroup, Classification, Value<'_>)> = match self.grain {
            Grain::Field => {
                let each = given.into_iter();
                each.map(|(name, class, value)| (name.into(), class, Value::One(value)))
                    .collect()
            }
            Grain::Classification => grouped(given),
        };
        groups.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let values = groups.iter().map(|(group, _, value)| {
            let field = group.as_str();
            (SealContext { field, ..*place }, value.bytes())
        });
        let envelopes = key.seal_all(&values.collect::<Vec<_>>(), &*self.entropy)?;
        let listed = groups.iter().zip(&envelopes);
        let listed = listed
            .map(|((group, class, _), sealed)| (group.as_str(), revision, class.code(), sealed));
        let header = RecordHeader::seal(key, revision, listed)?;
        let fields = groups.into_iter().zip(envelopes);
        let fields = fields.map(|((group, classification, _), envelope)| {
            let field = SealedField {
                classification,
                revision,
                sealed: Sealed::from_bytes(envelope.into_bytes()),
            };
            (group, field)
        });
        Ok((fields.collect(), header.as_bytes().to_vec()))
    }
}

/// What is sealed as one.
enum Value<'v> {
    One(&'v [u8]),
    Several(Zeroizing<Vec<u8>>),
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Several(bytes) => bytes,
        }
    }
}

/// Fields of one classification together, as far as a group goes.
fn grouped(given: Vec<Given<'_>>) -> Vec<(FieldGroup, Classification, Value<'_>)> {
    let mut alike = BTreeMap::<u16, Vec<Given<'_>>>::new();
    for given in given {
        alike.entry(given.1.code()).or_default().push(given);
    }
    let mut groups = Vec::new();
    for given in alike.into_values() {
        let (mut written, mut names, mut values) = (0, Vec::new(), Vec::new());
        let class = given[0].1;
        for (name, _, value) in given {
            let length = name.as_str().len() + 1;
            if written + length > FieldGroup::LONGEST {
                groups.push(joined(core::mem::take(&mut names), class, &values));
                values.clear();
                written = 0;
            }
            written += length;
            names.push(name);
            values.push(value);
        }
        groups.push(joined(names, class, &values));
    }
    groups
}

fn joined<'v>(
    names: Vec<FieldName>,
    class: Classification,
    values: &[&'v [u8]],
) -> (FieldGroup, Classification, Value<'v>) {
    let value = match values {
        [value] => Value::One(value),
        _ => Value::Several(together::joined(values)),
    };
    // Proof: whoever gives fields gives each once and in the order of the names, from `Fields` or
    // from what `Stored` read; `grouped` counts how long they are.
    let group = FieldGroup::of(names).expect("names that ascend, and not too many");
    (group, class, value)
}

/// The place of a field in a record.
pub(super) fn place<'f>(
    key: &pii::RecordKey,
    matter: Option<MatterId>,
    field: &'f str,
    revision: u64,
) -> SealContext<'f> {
    SealContext {
        tenant: key.tenant,
        subject: key.subject,
        matter,
        record: key.record,
        field,
        revision,
    }
}

/// Whether a field stands in two groups of a record.
fn names_one_twice(record: &Record) -> bool {
    let groups = || record.fields.keys();
    // Neither a group nor a list of single fields names one twice.
    if groups().len() < 2 || groups().all(|group| group.names().len() == 1) {
        return false;
    }
    let mut names: Vec<_> = groups().flat_map(FieldGroup::names).collect();
    names.sort_unstable();
    names.windows(2).any(|two| two[0] == two[1])
}

/// What is there of a record's fields.
pub(super) struct Stored<'r> {
    record: &'r Record,
    fields: Vec<(&'r FieldGroup, &'r SealedField, Envelope)>,
}

impl<'r> Stored<'r> {
    /// # Errors
    /// [`Code::CryKey`], [`Code::CrySwap`] for bytes that are no sealed value, and for a field that
    /// is there twice.
    pub(super) fn read(record: &'r Record) -> Result<Self> {
        if names_one_twice(record) {
            return Err(Code::CrySwap.into());
        }
        let mut fields = Vec::with_capacity(record.fields.len());
        for (group, field) in &record.fields {
            fields.push((group, field, Envelope::parse(field.sealed.as_bytes())?));
        }
        Ok(Self { record, fields })
    }

    /// Checks that no field is missing, added, or of another revision or classification.
    pub(super) fn check(&self, key: &RecordKey) -> Result<()> {
        let listed = self.fields.iter().map(|(group, field, sealed)| {
            let class = field.classification.code();
            (group.as_str(), field.revision, class, sealed)
        });
        RecordHeader::from_bytes(self.record.header.clone()).check(
            key,
            self.record.revision,
            listed,
        )
    }

    /// Opens what is wanted, and gives each field to `take`, until that refuses one.
    pub(super) fn open(
        &self,
        key: &RecordKey,
        wanted: impl Fn(&SealedField) -> bool,
        mut take: impl FnMut(&FieldName, Classification, Zeroizing<Vec<u8>>) -> Result<()>,
    ) -> Result<()> {
        let Record {
            key: at, matter, ..
        } = self.record;
        for (group, field, envelope) in &self.fields {
            if !wanted(field) {
                continue;
            }
            let context = place(at, *matter, group.as_str(), field.revision);
            let value = key.open(&context, envelope)?;
            match group.names() {
                [name] => take(name, field.classification, value)?,
                names => {
                    let values = together::parted(&value, names.len())?;
                    for (name, value) in names.iter().zip(values) {
                        take(name, field.classification, Zeroizing::new(value.to_vec()))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens what is wanted as text.
    pub(super) fn fields(
        &self,
        key: &RecordKey,
        wanted: impl Fn(&SealedField) -> bool,
    ) -> Result<Fields> {
        let mut open = Vec::new();
        self.open(key, wanted, |name, _, mut value| {
            // The bytes go on as they are: what is not text is wiped with the error.
            let text = String::from_utf8(core::mem::take(&mut *value)).map_err(|flaw| {
                drop(Zeroizing::new(flaw.into_bytes()));
                Error::from(Code::CrySwap)
            })?;
            open.push((name.clone(), Pii::new(text)));
            Ok(())
        })?;
        Ok(open.into_iter().collect())
    }
}
