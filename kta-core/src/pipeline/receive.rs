//! Step 1, receipt: what clients send is sealed into quarantine and gets a receipt before any
//! person sees it.
//!
//! Until it is known whose data it is, content is sealed under the key of a stand-in person
//! made for the delivery alone. Releasing it seals it anew under the real persons' keys and
//! destroys the stand-in's, so that nothing of the quarantine stays readable.

mod again;
mod ending;

pub use ending::discard;
pub(crate) use ending::end;

use std::collections::{BTreeMap, BTreeSet};

use again::Standing;
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome, SignedNote, Signer};
use crate::error::Result;
use crate::id::{DeliveryId, Digest, DocumentId, IncidentId, RecordId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::record::{FieldKind, FieldSpec};
use crate::pii::{
    Category, Classification, Content, FieldName, Fields, Locator, MediaType, Pii, Placement,
    PlacementKind, RecordKey, Schema, Subject,
};
use crate::pipeline::effect::{self, Copy};
use crate::pipeline::house::{House, file, label};
use crate::pipeline::receipt::Receipt;
use crate::policy::{
    Act, ContentPlace, Form, LawfulBasis, Origin, Permit, PolicyClass, Purpose, Scope, Session,
};
use crate::ports::blobs::BlobId;
use crate::ports::intake::{ChannelFacts, Delivery, Intake};
use crate::ports::store::{Change, ChangeSet, Expected, Register};
use crate::refusal::{Code, Refusal};
use crate::steward::incident::{Incident, IncidentKind};
use crate::time::Timestamp;

/// The category under which unreleased content is handled.
pub const QUARANTINE: Category = Category::Case;

/// Receipt of the first stage: a delivery is in quarantine and on the log.
#[derive(Debug)]
pub struct Received(Data);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    delivery: DeliveryId,
    channel: Label,
    arrived: Timestamp,
    verdict: ChannelVerdict,
    quarantine: SubjectId,
    locator: Locator,
    parts: Vec<ReceivedPart>,
    held: Option<Code>,
    /// Set before the first copy is erased: what arrives from then on has a receipt of its own.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    ended: bool,
}

impl Receipt for Received {
    const STAGE: Label = Label::fixed("received");
}

/// One attachment as the receipt lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceivedPart {
    /// Its id in quarantine.
    pub document: DocumentId,
    /// SHA-256 of the bytes as they arrived.
    pub digest: Digest,
    /// Length in bytes.
    pub length: u64,
    /// What the bytes are.
    pub media: MediaType,
    /// Why it was not let in, if it was not.
    pub refused: Option<Code>,
}

/// How well the channel protected the delivery; a pure function of the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelVerdict {
    /// Good, but for these remarks.
    Degraded(Vec<Label>),
    /// Readable or forgeable on the way.
    Insecure(Vec<Label>),
    /// Encrypted on every hop, and the sender's domain vouches for it.
    Secure,
}

impl ChannelVerdict {
    /// Judges a channel by its facts. Encrypted content makes up for a plain hop, not for a
    /// sender nobody vouches for.
    #[must_use]
    pub fn of(facts: &ChannelFacts) -> Self {
        let private = facts.encrypted_in_transit || facts.encrypted_content;
        match (private, facts.sender_vouched) {
            (false, _) | (_, Some(false)) => Self::Insecure(facts.remarks.clone()),
            (true, Some(true)) if facts.remarks.is_empty() => Self::Secure,
            (true, _) => Self::Degraded(facts.remarks.clone()),
        }
    }

    /// The verdict in one word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Degraded(_) => "degraded",
            Self::Insecure(_) => "insecure",
            Self::Secure => "secure",
        }
    }
}

/// What became of the oldest delivery.
#[derive(Debug)]
pub enum Reception {
    /// The channel has nothing.
    Nothing,
    /// It is in quarantine.
    Received(Received),
    /// A lawful no. Whatever could be kept as evidence is sealed in quarantine.
    Refused {
        /// The delivery.
        delivery: DeliveryId,
        /// Why.
        refusal: Refusal,
    },
}

impl Received {
    /// The delivery.
    #[must_use]
    pub const fn delivery(&self) -> DeliveryId {
        self.0.delivery
    }

    /// The channel verdict.
    #[must_use]
    pub const fn verdict(&self) -> &ChannelVerdict {
        &self.0.verdict
    }

    /// When it arrived.
    #[must_use]
    pub const fn arrived(&self) -> Timestamp {
        self.0.arrived
    }

    /// The attachments.
    #[must_use]
    pub fn parts(&self) -> &[ReceivedPart] {
        &self.0.parts
    }

    /// The acknowledgement that goes back to the client: digests only, signed, so that the
    /// client can show years later what was handed in.
    ///
    /// # Errors
    /// [`Code::AudChain`] when the signer's name or key cannot stand in a signed note.
    pub fn acknowledgement(&self, signer: &dyn Signer) -> Result<SignedNote> {
        let mut text = format!(
            "kta acknowledgement\n{}\n{}\n",
            self.0.delivery,
            crate::time::text(self.0.arrived)
        );
        for part in &self.0.parts {
            let fate = part.refused.map_or("accepted", Code::as_str);
            text.push_str(&format!(
                "{} {} {} {fate}\n",
                part.digest,
                part.length,
                part.media.as_str()
            ));
        }
        Ok(SignedNote::sign(text, signer)?)
    }

    pub(crate) fn quarantine(&self) -> SubjectId {
        self.0.quarantine
    }

    /// The declared sender, opened from quarantine.
    ///
    /// # Errors
    /// As opening any record.
    pub async fn sender(&self, house: &House, permit: &Permit<'_>) -> Result<Pii<String>> {
        let fields = self.open(house, permit).await?;
        let sender = fields
            .field("sender")
            .map(|value| value.expose(permit).clone());
        Ok(Pii::new(sender.unwrap_or_default()))
    }

    /// The fields of the message or form, opened from quarantine: `sender`, `subject`, `body`,
    /// or the form's own.
    ///
    /// # Errors
    /// As opening any record.
    pub async fn open(&self, house: &House, permit: &Permit<'_>) -> Result<Fields> {
        let key = envelope_key(house, &self.0);
        match house.doors.store.record(&key).await? {
            Some(record) => house.sealer.open(&record, permit).await,
            None => Err(Code::CryErased.into()),
        }
    }

    /// One attachment, opened from quarantine under the class of its message.
    ///
    /// # Errors
    /// The refusal under which it was not let in; as opening any content.
    pub async fn content(
        &self,
        house: &House,
        part: usize,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        let part = self.0.parts.get(part).ok_or(Code::RevIncomplete)?;
        if let Some(code) = part.refused {
            return Err(Refusal::new(code).about("document", part.document).into());
        }
        let envelope = house
            .doors
            .store
            .record(&envelope_key(house, &self.0))
            .await?;
        let class = envelope.map(|record| record.class);
        let id = blob(house, &self.0, part.document);
        let sealed = house.doors.blobs.stream(&id, permit).await?;
        let place = quarantine_place(&self.0, part.document);
        let expected = (part.length, part.digest, part.media.clone());
        house
            .sealer
            .open_content(&place, class, expected, sealed, permit)
            .await
    }
}

/// Takes in the oldest delivery of a channel.
///
/// Every copy that the channel keeps is a placement before it is acknowledged, also of what is
/// refused. What arrives again while its quarantine stands is one more copy under the same
/// receipt; once the quarantine has ended it is a delivery of its own, under an id of its own.
///
/// # Errors
/// Refusals of the gate, faults of the ports. A delivery that is itself refused is no error but
/// [`Reception::Refused`].
pub async fn receive(
    house: &House,
    session: &Session<'_>,
    intake: &dyn Intake,
) -> Result<Reception> {
    let at_door = session
        .permit(
            Act::Receive,
            Scope::firm().about("channel", intake.channel()),
        )
        .await?;
    let Some(delivery) = intake.oldest(&at_door).await? else {
        return Ok(Reception::Nothing);
    };
    let arrived = delivery.id;
    let at = (intake.channel(), delivery.locator.clone());
    let id = match again::standing(house, arrived, &at).await? {
        Standing::New(id) => id,
        Standing::Copy(data) => {
            intake.acknowledge(arrived, &at_door).await?;
            return Ok(conclude(data));
        }
        Standing::Another(sheet, data) => {
            again::register(house, session, (&sheet, &data), &at).await?;
            intake.acknowledge(arrived, &at_door).await?;
            return Ok(conclude(data));
        }
    };
    let quarantine = SubjectId::derived(&[b"quarantine", id.as_bytes()]);
    let scope = Scope::of(quarantine, QUARANTINE).about("delivery", id);
    let permit = session.permit(Act::Receive, scope).await?;
    house.sealer.keys().enroll(quarantine).await?;
    let mut data = Data {
        delivery: id,
        channel: intake.channel(),
        arrived: delivery.at,
        verdict: ChannelVerdict::of(&delivery.facts),
        quarantine,
        locator: delivery.locator.clone(),
        parts: Vec::new(),
        held: (delivery.facts.sender_vouched == Some(false)).then_some(Code::IntSpoof),
        ended: false,
    };
    let refusal = delivery.refused.clone();
    if let Some(refusal) = &refusal {
        data.held = Some(refusal.code());
    }
    data.parts = seal_parts(house, &data, &delivery, &permit).await?;
    record_receipt(house, &data, delivery, &permit).await?;
    intake.acknowledge(arrived, &at_door).await?;
    Ok(match refusal {
        Some(refusal) => Reception::Refused {
            delivery: id,
            refusal,
        },
        None => conclude(data),
    })
}

/// Finds the receipt of a delivery again, for example after a crash.
///
/// # Errors
/// Refusals of the gate, faults of the store.
pub async fn received(
    house: &House,
    session: &Session<'_>,
    delivery: DeliveryId,
) -> Result<Option<Received>> {
    let permit = session
        .permit(Act::Receive, Scope::firm().about("delivery", delivery))
        .await?;
    permit.require_act(&[Act::Receive])?;
    let data = house
        .filed::<Data>(Register::Receipts, &label(delivery))
        .await?;
    Ok(data.filter(|data| data.held.is_none()).map(Received))
}

fn conclude(data: Data) -> Reception {
    match data.held {
        Some(code) => Reception::Refused {
            delivery: data.delivery,
            refusal: Refusal::new(code).about("delivery", data.delivery),
        },
        None => Reception::Received(Received(data)),
    }
}

async fn seal_parts(
    house: &House,
    data: &Data,
    delivery: &Delivery,
    permit: &Permit<'_>,
) -> Result<Vec<ReceivedPart>> {
    let mut parts = Vec::with_capacity(delivery.parts.len());
    for (index, part) in delivery.parts.iter().enumerate() {
        let document =
            DocumentId::derived(&[data.delivery.as_bytes(), &(index as u64).to_be_bytes()]);
        let refused = part.content.as_ref().err().map(Refusal::code);
        if let Ok(content) = &part.content {
            let content = Content::of(content.bare().clone(), part.media.clone());
            let copy = file_in_quarantine(data, document);
            let id = blob(house, data, document);
            effect::place(
                house,
                &copy,
                Act::Receive,
                "quarantine.put",
                permit,
                async |_| {
                    let place = quarantine_place(data, document);
                    let sealed = house.sealer.seal_content(&place, content, permit).await?;
                    house.doors.blobs.put(&id, sealed, permit).await?;
                    Ok(document_locator(document))
                },
            )
            .await?;
        }
        parts.push(ReceivedPart {
            document,
            digest: part.digest,
            length: part.length,
            media: part.media.clone(),
            refused,
        });
    }
    Ok(parts)
}

/// The receipt, the sealed message, the stand-in person and the channel's own copy: together.
async fn record_receipt(
    house: &House,
    data: &Data,
    delivery: Delivery,
    permit: &Permit<'_>,
) -> Result<()> {
    let refusal = delivery.refused.clone();
    let (schema, fields) = message(delivery);
    let class = PolicyClass {
        purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
        ground: None,
        origin: Origin::Direct,
        retention: Label::fixed("QUARANTINE"),
        sharing: BTreeSet::new(),
        objections: BTreeSet::new(),
    };
    let form = Form {
        key: envelope_key(house, data),
        matter: None,
        schema: &schema,
        class: class.id(),
        revision: 1,
        minor: false,
    };
    let record = house.sealer.seal(form, &fields, permit).await?;
    let subject = Subject {
        tenant: house.tenant(),
        id: data.quarantine,
        minor: false,
        restricted: false,
        objections: BTreeSet::new(),
        aliases: BTreeSet::new(),
    };
    let mut event = permit
        .event(Act::Receive, Outcome::Done)
        .of_subject(data.quarantine);
    for (what, fact) in refusal.iter().flat_map(Refusal::facts) {
        event = event.with(what, fact.clone());
    }
    event = event
        .with("delivery", data.delivery)
        .with("channel", data.channel.clone())
        .with("verdict", data.verdict.as_str())
        .with("parts", data.parts.len())
        .with(
            "refused",
            data.parts
                .iter()
                .filter(|part| part.refused.is_some())
                .count(),
        );
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    if let Some(code) = data.held {
        event = event.refused(code);
    }
    if data.held == Some(Code::IntSpoof) {
        let id = IncidentId::derived(&[b"held", data.delivery.as_bytes()]);
        event = event.with("incident", id);
        let incident = Incident::open(id, IncidentKind::Spoofing, house.gate.now())
            .about_delivery(data.delivery);
        change = change.with(file(Register::Incidents, label(id), None, None, &incident)?);
    }
    let present = |copy: Copy, locator| {
        Change::PutPlacement(copy.placed(house, crate::pii::PlacementState::Present, locator))
    };
    let change = change
        .with(Change::Intern(class))
        .with(Change::PutRecord {
            record,
            index: Vec::new(),
            expected: Expected::Any,
        })
        .with(present(
            envelope_copy(data),
            Some(record_locator(envelope_key(house, data).record)),
        ))
        .with(present(mailbox(data), Some(data.locator.clone())))
        .with(file(
            Register::Subjects,
            label(data.quarantine),
            Some(data.quarantine),
            None,
            &subject,
        )?)
        .with(file(
            Register::Receipts,
            label(data.delivery),
            Some(data.quarantine),
            None,
            data,
        )?)
        .event(event);
    house.doors.store.commit(change).await.map(drop)
}

/// The message's own words as a record: whatever a client writes is text, whatever it is called
/// becomes `field_0`, `field_1`, … with its name beside it.
fn message(delivery: Delivery) -> (Schema, Fields) {
    let spec = |name: FieldName| FieldSpec {
        name,
        kind: FieldKind::Text,
        classification: Classification::of(QUARANTINE),
        indexed: false,
    };
    let mut fields = Fields::new();
    for (index, (name, value)) in delivery.fields.into_iter().enumerate() {
        match FieldName::new(&name) {
            Ok(name) => fields.insert(name, value),
            Err(_) => {
                let numbered = |what: &str| FieldName::new(&format!("{what}_{index}"));
                if let (Ok(key), Ok(content)) = (numbered("field_name"), numbered("field")) {
                    fields.insert(key, Pii::new(name));
                    fields.insert(content, value);
                }
            }
        }
    }
    for (index, part) in delivery.parts.into_iter().enumerate() {
        if let Ok(name) = FieldName::new(&format!("file_name_{index}")) {
            fields.insert(name, part.name);
        }
    }
    fields.insert(FieldName::fixed("sender"), delivery.sender);
    let specs = fields.iter().map(|(name, _)| spec(name.clone())).collect();
    (
        Schema {
            name: SCHEMA,
            fields: specs,
        },
        fields,
    )
}

/// The schema of received messages; none of its fields is indexed.
pub(crate) const SCHEMA: Label = Label::fixed("delivery.v1");

fn envelope_key(house: &House, data: &Data) -> RecordKey {
    let record = RecordId::derived(&[b"delivery", data.delivery.as_bytes()]);
    RecordKey {
        tenant: house.tenant(),
        subject: data.quarantine,
        record,
    }
}

fn blob(house: &House, data: &Data, document: DocumentId) -> BlobId {
    BlobId {
        tenant: house.tenant(),
        subject: data.quarantine,
        document,
    }
}

fn quarantine_place(data: &Data, document: DocumentId) -> ContentPlace {
    ContentPlace {
        subject: data.quarantine,
        matter: None,
        document,
        category: QUARANTINE,
    }
}

fn file_in_quarantine(data: &Data, document: DocumentId) -> Copy {
    Copy {
        subject: data.quarantine,
        matter: None,
        system: Placement::BLOBS,
        kind: PlacementKind::Blob,
        of: CopyOf::Document(document),
        category: QUARANTINE,
    }
}

fn envelope_copy(data: &Data) -> Copy {
    Copy {
        subject: data.quarantine,
        matter: None,
        system: Placement::STORE,
        kind: PlacementKind::StoreRecord,
        of: CopyOf::Record(RecordId::derived(&[b"delivery", data.delivery.as_bytes()])),
        category: QUARANTINE,
    }
}

fn mailbox(data: &Data) -> Copy {
    Copy {
        subject: data.quarantine,
        matter: None,
        system: data.channel.clone(),
        kind: PlacementKind::MailboxItem,
        of: CopyOf::Record(RecordId::derived(&[b"mailbox", data.delivery.as_bytes()])),
        category: QUARANTINE,
    }
}

pub(crate) fn document_locator(document: DocumentId) -> Locator {
    locator(document)
}

pub(crate) fn record_locator(record: RecordId) -> Locator {
    locator(record)
}

fn locator(id: impl core::fmt::Display) -> Locator {
    // Every id's text form is printable ASCII of 36 bytes.
    Locator::new(id.to_string()).unwrap_or_else(|_| unreachable!("ids are locators"))
}
