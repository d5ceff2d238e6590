//! A house with something sealed in it, and what the tests ask of it.

use kta_core::crypto::{Envelope, Hierarchy};
use kta_core::id::{Digest, DocumentId, PlacementId, RecordId, SubjectId};
use kta_core::memory::MemoryPorts;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Content, FieldName, Fields, MediaType, Pii, Placement, PlacementKind, PlacementState,
    Record, RecordKey, Schema,
};
use kta_core::pipeline::House;
use kta_core::pipeline::rekey::{Rekeying, Stage, rekey};
use kta_core::policy::{Act, ContentPlace, Form, PolicyClass, Purpose, Role, Scope};
use kta_core::ports::BlobId;
use kta_core::ports::store::{Change, ChangeSet, Expected, RecordBy, RecordQuery, Store as _};

use crate::road::{self, Cast, ports, session};

/// A house with a record and a document of each of five people.
pub(crate) async fn filled(seed: u64) -> (MemoryPorts, Cast) {
    filled_over(seed, 2).await
}

/// The same, with so many children of each branch of the key tree.
pub(crate) async fn filled_over(seed: u64, fan_out: u16) -> (MemoryPorts, Cast) {
    let (mut ports, cast) = ports(seed).await;
    ports.fan_out = fan_out;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let session = session(&house, Role::Paralegal, Purpose::Representation);
    let schema = Schema::person();
    for (number, subject) in cast.people.into_iter().enumerate() {
        let permit = session
            .permit(Act::Store, whole(subject, &cast))
            .await
            .unwrap();
        let mut fields = Fields::new();
        for (name, value) in [("family_name", "Qzxcanary"), ("email", &email(number))] {
            fields.set(&schema, name, value.to_owned()).unwrap();
        }
        let form = Form {
            key: record_key(&house, subject),
            matter: Some(cast.matter),
            schema: &schema,
            class: class().id(),
            revision: 1,
            minor: false,
        };
        let put = Change::PutRecord {
            record: house.sealer.seal(form, &fields, &permit).await.unwrap(),
            index: house.sealer.tags(&schema, &fields).await.unwrap(),
            expected: Expected::Absent,
        };
        let place = place(subject, &cast);
        let page = Content::of(PAGE.to_vec(), MediaType::text());
        let sealed = house
            .sealer
            .seal_content(&place, page, &permit)
            .await
            .unwrap();
        let id = blob(&house, subject);
        house.doors.blobs.put(&id, sealed, &permit).await.unwrap();
        let placed = placed(&house, subject, &cast);
        let change = ChangeSet::new(house.tenant(), house.gate.now());
        let change = change.with(Change::Intern(class()));
        let change = change.with(put).with(Change::PutPlacement(placed));
        ports.store.commit(change).await.unwrap();
    }
    (ports, cast)
}

pub(crate) async fn to_the_end(ports: &MemoryPorts, house: &House) -> Rekeying {
    let ciso = session(house, Role::Ciso, Purpose::Compliance);
    for _ in 0..10 {
        let rekeying = rekey(house, &ciso, &mut |_| ()).await.unwrap();
        if rekeying.stage == Stage::Done {
            return rekeying;
        }
        ports.clock.set(house.gate.now() + Hierarchy::HELD);
    }
    panic!("it never ends");
}

/// Goes on until this stage, which is waited at.
pub(crate) async fn until(ports: &MemoryPorts, house: &House, stage: &str) {
    let ciso = session(house, Role::Ciso, Purpose::Compliance);
    loop {
        let rekeying = rekey(house, &ciso, &mut |_| ()).await.unwrap();
        if rekeying.stage.word() == stage {
            return;
        }
        assert_ne!(rekeying.stage, Stage::Done);
        ports.clock.set(house.gate.now() + Hierarchy::HELD);
    }
}

pub(crate) async fn log(house: &House) -> String {
    let ledger = &house.doors.ledger;
    let entries = ledger.entries(house.tenant(), 0, usize::MAX).await;
    let lines = entries.unwrap().into_iter();
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

pub(crate) async fn put(house: &House, record: Record, expected: Expected) {
    let index = Vec::new();
    let change = Change::PutRecord {
        record,
        index,
        expected,
    };
    let set = ChangeSet::new(house.tenant(), house.gate.now()).with(change);
    house.doors.store.commit(set).await.unwrap();
}

pub(crate) fn form<'s>(key: RecordKey, revision: u64, schema: &'s Schema, cast: &Cast) -> Form<'s> {
    Form {
        key,
        matter: Some(cast.matter),
        schema,
        class: class().id(),
        revision,
        minor: false,
    }
}

pub(crate) fn class() -> PolicyClass {
    let text =
        r#"{"purposes":{"representation":"contract"},"origin":"direct","retention":"CASE.FILE"}"#;
    serde_json::from_str(text).unwrap()
}

pub(crate) fn family_name(schema: &Schema) -> Fields {
    let mut fields = Fields::new();
    let value = "Qzxcanary".to_owned();
    fields.set(schema, "family_name", value).unwrap();
    fields
}

pub(crate) async fn everything_opens(house: &House, cast: &Cast) {
    let schema = Schema::person();
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    for (number, subject) in cast.people.into_iter().enumerate() {
        let permit = paralegal
            .permit(Act::Open, whole(subject, cast))
            .await
            .unwrap();
        let name = FieldName::fixed("email");
        let value = Pii::new(email(number));
        let mut found = Vec::new();
        for tag in house
            .sealer
            .search_tags(&schema, &name, &value)
            .await
            .unwrap()
        {
            let query =
                RecordQuery::all(house.tenant(), RecordBy::Tag(name.clone(), tag)).page(None, 10);
            found.extend(house.doors.store.records(&query).await.unwrap());
        }
        assert_eq!(found.len(), 1, "person {number} is found once");
        assert_eq!(found[0].key.subject, subject);
        let fields = house.sealer.open(&found[0], &permit).await.unwrap();
        assert_eq!(
            fields.field("family_name").unwrap().expose(&permit),
            "Qzxcanary"
        );
        let sealed = house
            .doors
            .blobs
            .stream(&blob(house, subject), &permit)
            .await
            .unwrap();
        let expected = (PAGE.len() as u64, Digest::of(PAGE), MediaType::text());
        let place = place(subject, cast);
        let page = house
            .sealer
            .open_content(&place, Some(class().id()), expected, sealed, &permit)
            .await
            .unwrap();
        let page = page.collect(1 << 20, &permit).await.unwrap();
        assert_eq!(page.expose(&permit), PAGE);
    }
}

pub(crate) async fn sealed(house: &House, cast: &Cast) -> Vec<Record> {
    let mut records = Vec::new();
    for subject in cast.people {
        let key = record_key(house, subject);
        records.push(house.doors.store.record(&key).await.unwrap().unwrap());
    }
    records
}

pub(crate) fn generations(record: &Record) -> Vec<u32> {
    let sealed = record.fields.values().map(|field| field.sealed.as_bytes());
    let mut all: Vec<_> = sealed
        .map(|bytes| Envelope::parse(bytes).unwrap().generation())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

pub(crate) fn whole(subject: SubjectId, cast: &Cast) -> Scope {
    Scope::over([subject], [Category::Identity, Category::Case]).in_matter(cast.matter)
}

pub(crate) fn record_key(house: &House, subject: SubjectId) -> RecordKey {
    RecordKey {
        tenant: house.tenant(),
        subject,
        record: RecordId::derived(&[b"record", subject.as_bytes()]),
    }
}

pub(crate) fn place(subject: SubjectId, cast: &Cast) -> ContentPlace {
    ContentPlace {
        subject,
        matter: Some(cast.matter),
        document: DocumentId::derived(&[subject.as_bytes()]),
        category: Category::Case,
    }
}

pub(crate) fn placed(house: &House, subject: SubjectId, cast: &Cast) -> Placement {
    let place = place(subject, cast);
    Placement {
        tenant: house.tenant(),
        id: PlacementId::derived(&[subject.as_bytes()]),
        subject,
        matter: place.matter,
        system: Placement::BLOBS,
        kind: PlacementKind::Blob,
        of: CopyOf::Document(place.document),
        category: place.category,
        locator: None,
        state: PlacementState::Present,
        since: house.gate.now(),
    }
}

pub(crate) fn blob(house: &House, subject: SubjectId) -> BlobId {
    BlobId {
        tenant: house.tenant(),
        subject,
        document: DocumentId::derived(&[subject.as_bytes()]),
    }
}

pub(crate) fn email(number: usize) -> String {
    format!("person{number}@qzx-canary.example")
}

pub(crate) const PAGE: &[u8] = b"a page about somebody, invented, Qzxcanary";

/// Gives one person so many records more.
pub(crate) async fn fill(house: &House, cast: &Cast, many: u64) {
    fill_with(house, cast, many, &family_name(&Schema::person())).await;
}

pub(crate) async fn fill_with(house: &House, cast: &Cast, many: u64, fields: &Fields) {
    let (subject, schema) = (cast.people[1], Schema::person());
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    let permit = paralegal
        .permit(Act::Store, whole(subject, cast))
        .await
        .unwrap();
    for number in 0..many {
        let mut key = record_key(house, subject);
        key.record = RecordId::derived(&[b"many", &number.to_be_bytes()]);
        let form = form(key, 1, &schema, cast);
        let record = house.sealer.seal(form, fields, &permit).await;
        put(house, record.unwrap(), Expected::Absent).await;
    }
}
