//! The invented people of the bench: ten fields each, a thousand bytes together.

use kta_core::audit::Label;
use kta_core::id::{MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::{
    Category, Classification, FieldKind, FieldName, FieldSpec, Fields, RecordKey, Schema,
};

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
pub(crate) const IN_MATTER: usize = 50;

/// How many purposes the peers' second index tells apart.
pub(crate) const PURPOSES: usize = 50;

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

/// The values of one person: nine short ones and 800 bytes of notes.
pub(crate) fn values(number: usize) -> [String; 10] {
    let word = |salt: usize, length: usize| -> String {
        let mut state = (number as u64) << 8 | salt as u64;
        let letter = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 33) as u8 % 26)
        };
        (0..length).map(letter).collect()
    };
    [
        word(0, 12),
        word(1, 14),
        format!("19{:02}-{:02}-{:02}", number % 90 + 10, number % 12 + 1, number % 28 + 1),
        word(3, 14),
        word(4, 12),
        format!("QX{:09}", number % 1_000_000_000),
        format!("{}.{number:07}@invented.example", word(6, 8)),
        format!("+1 202 {:07}", number % 10_000_000),
        word(8, 70),
        word(9, 800),
    ]
}

/// The same for our side, checked by its kinds.
pub(crate) fn fields(schema: &Schema, number: usize) -> Fields {
    let mut fields = Fields::new();
    for ((name, _), value) in FIELDS.iter().zip(values(number)) {
        fields.set(schema, name, value).expect("an invented value of its kind");
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

/// The peers' key of a person's row: the same sixteen bytes as our record's.
pub(crate) fn row(number: usize) -> [u8; 16] {
    *RecordId::derived(&[b"bench", &number.to_be_bytes()]).as_bytes()
}

/// Numbers below `many`, at random and the same in every run.
pub(crate) fn at_random(many: usize, seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % many as u64) as usize
    }
}
