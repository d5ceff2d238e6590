//! Fields of one classification sealed as one value, beside fields that are sealed each alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of rekeying use the rest")]
#[path = "rekey/firm.rs"]
mod firm;
#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use kta_core::crypto::{Envelope, RecordHeader, SealContext};
use kta_core::id::RecordId;
use kta_core::memory::{MemoryPorts, SeededEntropy};
use kta_core::pii::{
    Category, Classification, FieldGroup, FieldKind, FieldName, FieldSpec, Fields, Pii, Record,
    Schema, Sealed, SealedField,
};
use kta_core::pipeline::{House, manage};
use kta_core::policy::{Act, Grain, Permit, Purpose, Role, Scope};
use kta_core::ports::store::{RecordBy, RecordQuery};
use kta_core::{Code, Result};

use firm::{email, everything_opens, filled, form, record_key, sealed, to_the_end, whole};
use road::{Cast, session};

const VALUES: [(&str, &str); 5] = [
    ("birth_date", "1990-02-03"),
    ("email", "noa@qzx-canary.example"),
    ("family_name", "Qzxcanary"),
    ("passport_number", "XQ9900001"),
    ("phone", "+1 202 555 0199"),
];

#[tokio::test]
async fn a_value_for_each_classification_opens_as_the_fields_that_went_in() {
    let (ports, cast) = filled(31).await;
    let house = open(&ports, Grain::Classification).await;
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let scope = whole(cast.people[0], &cast);
    let permit = paralegal.permit(Act::Store, scope).await.unwrap();
    let together = seal(&house, &cast, &VALUES, &permit).await;
    let groups: Vec<_> = together.fields.keys().map(FieldGroup::as_str).collect();
    assert_eq!(
        groups,
        ["birth_date+family_name+passport_number", "email+phone"]
    );
    is_whole(
        &house.sealer.open(&together, &permit).await.unwrap(),
        &permit,
    );
    let last = firm::log(&house).await;
    for said in ["\"category\":\"IDENTITY\"", "\"fields\":3", "\"fields\":2"] {
        assert!(last.contains(said), "{said}");
    }
    let set = [together.clone(), together.clone()];
    for fields in house.sealer.open_all(&set, &permit).await.unwrap() {
        is_whole(&fields, &permit);
    }

    // Written down and read, it is the same, and shows nothing.
    let text = serde_json::to_string(&together).unwrap() + &format!("{together:?}");
    for canary in road::CANARIES {
        assert!(!text.contains(canary));
    }
    let json = serde_json::to_string(&together).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), together);

    // Either sealer opens what the other one sealed.
    let alone = open(&ports, Grain::Field).await;
    is_whole(
        &alone.sealer.open(&together, &permit).await.unwrap(),
        &permit,
    );
    let apart = seal(&alone, &cast, &VALUES, &permit).await;
    assert_eq!(apart.fields.len(), VALUES.len());
    is_whole(&house.sealer.open(&apart, &permit).await.unwrap(), &permit);
}

#[tokio::test]
async fn a_permit_over_one_category_opens_no_other() {
    let (ports, cast) = filled(32).await;
    let house = open(&ports, Grain::Classification).await;
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let scope = whole(cast.people[0], &cast);
    let storing = paralegal.permit(Act::Store, scope).await.unwrap();
    let record = seal(&house, &cast, &VALUES, &storing).await;
    let identity = Scope::of(cast.people[0], Category::Identity).in_matter(cast.matter);
    let permit = paralegal.permit(Act::Open, identity).await.unwrap();
    assert_eq!(
        refused(house.sealer.open(&record, &permit).await),
        Code::AclDeny
    );
    let covered = house.sealer.open_covered(&record, &permit).await.unwrap();
    let names: Vec<_> = covered.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["birth_date", "family_name", "passport_number"]);
}

#[tokio::test]
async fn a_group_that_was_changed_moved_renamed_or_taken_away_is_found() {
    let (ports, cast) = filled(33).await;
    let house = open(&ports, Grain::Classification).await;
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let scope = whole(cast.people[0], &cast);
    let permit = paralegal.permit(Act::Store, scope).await.unwrap();
    let record = seal(&house, &cast, &VALUES, &permit).await;
    let other = seal(&house, &cast, &VALUES[..4], &permit).await;
    let (identity, contact) = ("birth_date+family_name+passport_number", "email+phone");
    let renamed = |into: &str| {
        let mut record = record.clone();
        let field = record.fields.remove(contact).unwrap();
        record
            .fields
            .insert(FieldGroup::parse(into).unwrap(), field);
        record
    };
    let mut missing = record.clone();
    missing.fields.remove(contact);
    let mut exchanged = record.clone();
    let sealed = record.fields[identity].sealed.clone();
    exchanged.fields.get_mut(contact).unwrap().sealed = sealed;
    let mut lowered = record.clone();
    lowered.fields.get_mut(contact).unwrap().classification =
        Classification::of(Category::PublicFile);
    let mut older = other.clone();
    older.fields.clone_from(&record.fields);
    let mut flipped = record.clone();
    let mut bytes = record.fields[contact].sealed.as_bytes().to_vec();
    bytes[60] ^= 1;
    flipped.fields.get_mut(contact).unwrap().sealed = Sealed::from_bytes(bytes);
    let mut moved = record.clone();
    moved.key.record = RecordId::derived(&[b"another record"]);
    let mut renumbered = record.clone();
    renumbered.fields.get_mut(contact).unwrap().revision = 1;
    let before = firm::log(&house).await;
    for (what, flawed) in [
        ("missing", missing),
        ("exchanged", exchanged),
        ("classified otherwise", lowered),
        ("under another header", older),
        ("of another record", moved),
        ("of another revision", renumbered),
        ("there twice", twice(&house, &record).await),
        ("of other fields", renamed("address+email")),
        ("of a field more", renamed("email+phone+salary")),
        ("of a field less", renamed("email")),
    ] {
        let outcome = house.sealer.open_covered(&flawed, &permit).await;
        assert_eq!(refused(outcome), Code::CrySwap, "{what}");
    }
    assert_eq!(
        firm::log(&house).await,
        before,
        "nothing is said to be done"
    );
    // What the header cannot see, the value itself shows.
    let outcome = house.sealer.open_covered(&flipped, &permit).await;
    assert_eq!(refused(outcome), Code::CrySwap);
}

/// The record with a field that stands alone and in a group, under a header that says so: nobody
/// without its key makes one.
async fn twice(house: &House, record: &Record) -> Record {
    let person = house.sealer.keys().subject_key(record.key.subject).await;
    let key = person.unwrap().record_key(record.key.record);
    let place = SealContext {
        tenant: record.key.tenant,
        subject: record.key.subject,
        matter: record.matter,
        record: record.key.record,
        field: "email",
        revision: record.revision,
    };
    let sealed = key.seal(&place, b"other@qzx-canary.example", &SeededEntropy::new(1));
    let alone = SealedField {
        classification: Classification::of(Category::Case),
        revision: record.revision,
        sealed: Sealed::from_bytes(sealed.unwrap().into_bytes()),
    };
    let mut record = record.clone();
    record
        .fields
        .insert(FieldGroup::parse("email").unwrap(), alone);
    let fields = record.fields.iter().map(|(group, field)| {
        let sealed = Envelope::parse(field.sealed.as_bytes()).unwrap();
        (
            group.as_str(),
            field.revision,
            field.classification.code(),
            sealed,
        )
    });
    let fields: Vec<_> = fields.collect();
    let listed = fields.iter();
    let listed = listed.map(|(name, revision, class, sealed)| (*name, *revision, *class, sealed));
    let header = RecordHeader::seal(&key, record.revision, listed).unwrap();
    record.header = header.as_bytes().to_vec();
    record
}

#[tokio::test]
async fn fields_that_are_classified_apart_are_sealed_apart() {
    let (ports, cast) = filled(36).await;
    let house = open(&ports, Grain::Classification).await;
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let permit = paralegal.permit(Act::Store, whole(cast.people[0], &cast));
    let permit = permit.await.unwrap();
    let mut schema = Schema::person();
    let of = |name: &str| FieldName::new(name).unwrap();
    for spec in &mut schema.fields {
        spec.classification.art10 = spec.name == of("passport_number");
    }
    // More fields of one classification than a group goes.
    let many = (0..60).map(|number| of(&format!("a_field_of_forty_characters_in_all_{number:05}")));
    let many: Vec<_> = many.collect();
    schema.fields.extend(many.iter().map(|name| FieldSpec {
        name: name.clone(),
        kind: FieldKind::Text,
        classification: Classification::of(Category::Case),
        indexed: false,
    }));
    let mut all = fields(&VALUES);
    for name in &many {
        all.insert(name.clone(), Pii::new(name.to_string()));
    }
    let mut form = form(record_key(&house, cast.people[0]), 2, &schema, &cast);
    form.minor = true;
    let record = house.sealer.seal(form, &all, &permit).await.unwrap();
    let groups: Vec<_> = record.fields.iter().collect();
    let longest = groups.iter().map(|(group, _)| group.as_str().len()).max();
    assert!((900..=FieldGroup::LONGEST).contains(&longest.unwrap()));
    assert_eq!(groups.len(), 2 + 3, "{:?}", record.fields.keys());
    for (group, field) in &groups {
        for name in group.names() {
            let spec = schema.field(name).unwrap().classification;
            assert_eq!(
                field.classification,
                Classification {
                    minor: true,
                    ..spec
                }
            );
        }
    }
    let opened = house.sealer.open(&record, &permit).await.unwrap();
    assert_eq!(opened.len(), VALUES.len() + many.len());
    for (name, value) in opened.iter().filter(|(name, _)| many.contains(name)) {
        assert_eq!(value.expose(&permit), name.as_str());
    }
}

#[tokio::test]
async fn the_whole_road_is_gone_by_either_grain() {
    for grain in [Grain::Field, Grain::Classification] {
        let (ports, cast) = road::ports(37).await;
        let house = open(&ports, grain).await;
        road::until_approved(&ports, &house, &cast).await.unwrap();
        let records = RecordQuery::all(house.tenant(), RecordBy::Subject(cast.people[0]));
        let records = house.doors.store.records(&records).await.unwrap();
        let together = |record: &Record| record.fields.keys().any(|group| group.names().len() > 1);
        let expected = grain == Grain::Classification;
        assert!(!records.is_empty() && records.iter().all(|record| together(record) == expected));
        let disposed = road::drive(&ports, &house, &cast).await.unwrap();
        assert_eq!(disposed.interim_until(), None);
    }
}

#[tokio::test]
async fn how_long_each_field_is_cannot_be_seen_and_together_they_take_less_room() {
    let (ports, cast) = filled(34).await;
    let house = open(&ports, Grain::Classification).await;
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let scope = whole(cast.people[0], &cast);
    let permit = paralegal.permit(Act::Store, scope).await.unwrap();
    let length = |record: &Record| -> usize {
        let sealed = record.fields.values();
        sealed.map(|field| field.sealed.as_bytes().len()).sum()
    };
    let mut lengths = Vec::new();
    for given_names in ["Li", "Wolfeschlegelstein"] {
        let values = [("family_name", "Li"), ("given_names", given_names)];
        let record = seal(&house, &cast, &values, &permit).await;
        assert_eq!(record.fields.len(), 1);
        lengths.push(length(&record));
    }
    assert_eq!(lengths[0], lengths[1]);
    let together = length(&seal(&house, &cast, &VALUES, &permit).await);
    let alone = open(&ports, Grain::Field).await;
    let apart = length(&seal(&alone, &cast, &VALUES, &permit).await);
    assert!(together * 2 < apart, "{together} against {apart}");
}

#[tokio::test]
async fn a_rotation_gives_every_record_the_grain_of_the_house() {
    let (ports, cast) = filled(35).await;
    let house = open(&ports, Grain::Classification).await;
    let groups = async |house: &House| {
        let records = sealed(house, &cast).await.into_iter();
        let groups = records.flat_map(|record| record.fields.into_keys());
        groups.collect::<std::collections::BTreeSet<_>>()
    };
    let expected = |texts: &[&str]| {
        let groups = texts.iter().map(|text| FieldGroup::parse(text).unwrap());
        groups.collect::<std::collections::BTreeSet<_>>()
    };
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    for (number, subject) in cast.people.into_iter().enumerate() {
        let scope = whole(subject, &cast);
        let permit = paralegal.permit(Act::Store, scope).await.unwrap();
        let mail = email(number);
        let values = [
            ("email", mail.as_str()),
            ("family_name", "Qzxcanary"),
            ("phone", "+1 202 555 0199"),
        ];
        let alone = open(&ports, Grain::Field).await;
        let schema = Schema::person();
        let form = form(record_key(&house, subject), 2, &schema, &cast);
        let fields = fields(&values);
        let record = alone.sealer.seal(form, &fields, &permit).await.unwrap();
        let index = alone.sealer.tags(&schema, &fields).await.unwrap();
        let change = kta_core::ports::store::Change::PutRecord {
            record,
            index,
            expected: kta_core::ports::store::Expected::Revision(1),
        };
        let set = kta_core::ports::store::ChangeSet::new(house.tenant(), house.gate.now());
        house.doors.store.commit(set.with(change)).await.unwrap();
    }
    let apart = expected(&["email", "family_name", "phone"]);
    assert_eq!(groups(&house).await, apart);
    to_the_end(&ports, &house).await;
    assert_eq!(
        groups(&house).await,
        expected(&["email+phone", "family_name"])
    );
    everything_opens(&house, &cast).await;
    let alone = open(&ports, Grain::Field).await;
    to_the_end(&ports, &alone).await;
    assert_eq!(groups(&alone).await, apart);
    everything_opens(&alone, &cast).await;
}

async fn open(ports: &MemoryPorts, grain: Grain) -> House {
    let house = ports.open().await.unwrap();
    let sealer = house.sealer.with_grain(grain);
    let house = House { sealer, ..house };
    manage::wake(&house).await.unwrap();
    house
}

fn fields(values: &[(&str, &str)]) -> Fields {
    let (schema, mut fields) = (Schema::person(), Fields::new());
    for (name, value) in values {
        fields.set(&schema, name, (*value).to_owned()).unwrap();
    }
    fields
}

async fn seal(house: &House, cast: &Cast, values: &[(&str, &str)], permit: &Permit<'_>) -> Record {
    let schema = Schema::person();
    let form = form(record_key(house, cast.people[0]), 2, &schema, cast);
    let record = house.sealer.seal(form, &fields(values), permit).await;
    record.unwrap()
}

fn is_whole(fields: &Fields, permit: &Permit<'_>) {
    let opened: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose(permit).as_str()))
        .collect();
    assert_eq!(opened, VALUES);
}

fn refused<T>(outcome: Result<T>) -> Code {
    let Err(error) = outcome else {
        panic!("it opened");
    };
    error.refusal().unwrap().code()
}
