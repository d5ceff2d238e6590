//! The invented people of the bench: ten fields each, a thousand bytes together.

use kta_core::audit::Label;
use kta_core::id::{MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::{
    Category, Classification, FieldKind, FieldName, FieldSpec, Fields, RecordKey, Schema,
};

use crate::values;

/// The ten fields, in the order of the columns of the peers.
pub(crate) const FIELDS: [(&str, FieldKind); 10] = [
    ("family_name", FieldKind::Name),
    ("given_names", FieldKind::Name),
    ("birth_date", FieldKind::Date),
    ("birth_place", FieldKind::Name),
    ("nationality", FieldKind::Name),
    ("passport_number", FieldKind::Passport),
    ("email", FieldKind::Email),
    ("phone", FieldKind::Phone),
    ("address", FieldKind::Text),
    ("notes", FieldKind::Text),
];

/// How many people one matter has, and so one permit covers.
pub(crate) const IN_MATTER: usize = 5;

/// The schema of the ten fields: all of one category, the e-mail address indexed.
pub(crate) fn schema() -> Schema {
    let fields = FIELDS.map(|(name, kind)| FieldSpec {
        name: FieldName::fixed(name),
        kind,
        classification: Classification::of(Category::Identity),
        indexed: name == "email",
    });
    Schema {
        name: Label::fixed("bench.v1"),
        fields: fields.into(),
    }
}

/// The same for our side, checked by its kinds.
pub(crate) fn fields(schema: &Schema, number: usize) -> Fields {
    let mut fields = Fields::new();
    for ((name, _), value) in FIELDS.iter().zip(values::of(number)) {
        fields
            .set(schema, name, value)
            .expect("an invented value of its kind");
    }
    fields
}

/// Where a person's one record lives.
pub(crate) fn key(tenant: TenantId, number: usize) -> RecordKey {
    let number = number.to_be_bytes();
    RecordKey {
        tenant,
        subject: SubjectId::derived(&[b"bench", &number]),
        record: RecordId::derived(&[b"bench", &number]),
    }
}

/// The matter that a person stands in.
pub(crate) fn matter(number: usize) -> MatterId {
    MatterId::derived(&[b"bench", &(number / IN_MATTER).to_be_bytes()])
}
