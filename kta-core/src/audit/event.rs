//! What an audit entry says: ids, codes, counts and fixed words, in one canonical form.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use chrono::{NaiveDate, SubsecRound as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{ActorId, Digest, MatterId, PermitId, SubjectId, TenantId};
use crate::policy::{Act, LawfulBasis, Purpose, Role};
use crate::refusal::Code;
use crate::time::{self, Timestamp};

/// A short word of configuration or code: `A–Z a–z 0–9 . _ : / + -`, 1 to 96 characters.
///
/// Labels name policies, systems, schemas and events. They are written by engineers and
/// lawyers, never taken from clients' input, and so may stand in logs.
#[derive(Clone)]
pub struct Label(Text);

/// Copied often, with every record and event: neither form is copied byte by byte.
#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    Shared(Arc<str>),
}

/// Text that cannot be a [`Label`]. Holds no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a label")]
pub struct BadLabel;

impl Label {
    /// The longest label, in characters.
    pub const LONGEST: usize = 96;

    /// A label written in the source.
    ///
    /// # Panics
    /// When `text` is not a label; used in constants the compiler itself refuses it.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        assert!(is_label(text.as_bytes()), "not a label");
        Self(Text::Fixed(text))
    }

    /// A label from configuration.
    ///
    /// # Errors
    /// [`BadLabel`] for an empty or long text or a character outside the set.
    pub fn new(text: impl Into<String>) -> Result<Self, BadLabel> {
        let text = text.into();
        if is_label(text.as_bytes()) {
            Ok(Self(Text::Shared(text.into())))
        } else {
            Err(BadLabel)
        }
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

const fn is_label(text: &[u8]) -> bool {
    if text.is_empty() || text.len() > Label::LONGEST {
        return false;
    }
    let mut at = 0;
    while at < text.len() {
        if !matches!(text[at], b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'/' | b'+' | b'-')
        {
            return false;
        }
        at += 1;
    }
    true
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::str::FromStr for Label {
    type Err = BadLabel;
    fn from_str(text: &str) -> Result<Self, BadLabel> {
        Self::new(text)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A value that may stand in an audit entry, a refusal or a log line.
///
/// There is deliberately no conversion from `String`: what came from outside is not safe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Safe {
    /// A count, a size in bytes or another number.
    Count(u64),
    /// An id, a digest, a code, an instant or a fixed word.
    Word(Label),
}

impl Safe {
    fn displayed(value: impl fmt::Display) -> Self {
        // Ids, digests, codes, days and instants consist of label characters only and are
        // shorter than 96; the alternative keeps this total rather than trusting that.
        Self::Word(Label::new(value.to_string()).unwrap_or(const { Label::fixed("-") }))
    }
}

impl fmt::Display for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => fmt::Display::fmt(count, f),
            Self::Word(word) => fmt::Display::fmt(word, f),
        }
    }
}

macro_rules! safe_from {
    ($($kind:ty),* $(,)?) => {$(
        impl From<$kind> for Safe {
            fn from(value: $kind) -> Self {
                Self::displayed(value)
            }
        }
    )*};
}

safe_from!(
    crate::id::ActorId,
    crate::id::CertificateId,
    crate::id::DeliveryId,
    crate::id::Digest,
    crate::id::DocumentId,
    crate::id::GrantId,
    crate::id::HoldId,
    crate::id::IdempotencyKey,
    crate::id::IncidentId,
    crate::id::JobId,
    crate::id::MatterId,
    crate::id::PermitId,
    crate::id::PlacementId,
    crate::id::RecordId,
    crate::id::SubjectId,
    crate::id::TenantId,
    crate::id::WallId,
    Code,
    NaiveDate,
);

impl From<u64> for Safe {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Safe {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<Label> for Safe {
    fn from(label: Label) -> Self {
        Self::Word(label)
    }
}

impl From<&'static str> for Safe {
    fn from(word: &'static str) -> Self {
        if is_label(word.as_bytes()) {
            Self::Word(Label(Text::Fixed(word)))
        } else {
            Self::displayed(word)
        }
    }
}

impl From<Timestamp> for Safe {
    fn from(at: Timestamp) -> Self {
        Self::displayed(time::text(at))
    }
}

impl Serialize for Safe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Word(word) => word.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Safe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Count(u64),
            Word(Label),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Count(count) => Self::Count(count),
            Either::Word(word) => Self::Word(word),
        })
    }
}

/// How what the entry tells of ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The gate admitted it.
    Admitted,
    /// It was done.
    Done,
    /// It was begun, and the outside system has not confirmed it yet.
    Intended,
    /// A lawful no; the entry's code says which.
    Refused,
}

/// One line of the audit log, as it is hashed into the tree.
///
/// The canonical bytes are the JSON of this struct in declared field order, without white
/// space, absent optional fields left out. The field list covers what Israeli Data Security
/// Regulation 10 asks of an access log: who, when, which component, what, over which scope,
/// and whether it was allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Place in the log, from 0 without gaps.
    pub seq: u64,
    /// When it was written, UTC, milliseconds; never before the entry above.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// How many bytes place and time take at the most, before an event's [`body`](Event::body).
    pub const PLACE: usize = 64;

    /// The bytes that are hashed into the tree.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        Self::assembled(self.seq, self.at, &self.event.body())
    }

    /// The canonical bytes of the entry with this place and time over an event's
    /// [`body`](Event::body).
    #[must_use]
    pub fn assembled(seq: u64, at: Timestamp, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::PLACE + body.len());
        // Proof: writing to a vector cannot fail.
        let _ = write!(bytes, "{{\"seq\":{seq},\"at\":\"{}\",", time::text(at));
        bytes.extend_from_slice(body.get(1..).unwrap_or_default());
        bytes
    }

    /// Reads canonical bytes back; anything that does not render to the same bytes is refused.
    ///
    /// # Errors
    /// [`Code::AudChain`] when the bytes are not one canonical entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, Code> {
        let entry: Self = serde_json::from_slice(bytes).map_err(|_| Code::AudChain)?;
        if entry.canonical() == bytes {
            Ok(entry)
        } else {
            Err(Code::AudChain)
        }
    }
}

/// What happened, before the log gives it a place and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The firm.
    pub tenant: TenantId,
    /// Who acted.
    pub actor: ActorId,
    /// In which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Through which component of the house.
    pub component: Label,
    /// What was done or asked for.
    pub act: Act,
    /// How it ended.
    pub outcome: Outcome,
    /// The refusal's code, for a lawful no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The data subject concerned, as a pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// The matter concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matter: Option<MatterId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// On which lawful basis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<LawfulBasis>,
    /// Under which permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<PermitId>,
    /// The policy version that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// The ids of the rules that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Label>,
    /// Keyed commitment to what must be provable about the person without standing here; its
    /// opening is sealed under the person's key, so that erasing the person leaves the log whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Digest>,
    /// Further facts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<Label, Safe>,
}

impl Event {
    /// An event of `act` by `actor` with this outcome and nothing else said yet.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        actor: ActorId,
        component: Label,
        act: Act,
        outcome: Outcome,
    ) -> Self {
        Self {
            tenant,
            actor,
            role: None,
            component,
            act,
            outcome,
            code: None,
            subject: None,
            matter: None,
            purpose: None,
            basis: None,
            permit: None,
            policy: None,
            reasons: Vec::new(),
            commitment: None,
            facts: BTreeMap::new(),
        }
    }

    /// The same event about this data subject.
    #[must_use]
    pub fn of_subject(mut self, subject: impl Into<Option<SubjectId>>) -> Self {
        self.subject = subject.into();
        self
    }

    /// The same event in this matter.
    #[must_use]
    pub fn in_matter(mut self, matter: impl Into<Option<MatterId>>) -> Self {
        self.matter = matter.into();
        self
    }

    /// The same event refused with this code.
    #[must_use]
    pub fn refused(mut self, code: Code) -> Self {
        self.outcome = Outcome::Refused;
        self.code = Some(code);
        self
    }

    /// The same event with one more fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, fact: impl Into<Safe>) -> Self {
        self.facts.insert(Label(Text::Fixed(name)), fact.into());
        self
    }

    /// The event's part of the canonical bytes, which needs neither place nor time.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        // Serialising a struct of strings, numbers and maps with string keys cannot fail.
        let _ = serde_json::to_writer(&mut bytes, self);
        bytes
    }

    /// The log's line of this event.
    #[must_use]
    pub fn into_entry(self, seq: u64, at: Timestamp) -> Entry {
        Entry {
            seq,
            at: at.trunc_subsecs(3),
            event: self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_put_together_from_place_and_body_is_the_json_of_it() {
        let event = Event::new(
            TenantId::from_bytes([1; 16]),
            ActorId::from_bytes([2; 16]),
            Label::fixed("test"),
            Act::Open,
            Outcome::Done,
        );
        let told = event
            .clone()
            .of_subject(SubjectId::from_bytes([3; 16]))
            .with("category", "case")
            .with("fields", 10_usize);
        for event in [event, told] {
            for (seq, at) in [
                (0, "1970-01-01T00:00:00Z"),
                (u64::MAX, "9999-12-31T23:59:59.999999Z"),
                (7, "2026-11-22T09:00:00.0015Z"),
            ] {
                let at: Timestamp = at.parse().unwrap();
                let body = event.body();
                let entry = event.clone().into_entry(seq, at);
                let bytes = entry.canonical();
                assert_eq!(bytes, serde_json::to_vec(&entry).unwrap());
                assert_eq!(bytes, Entry::assembled(seq, at, &body));
                assert!(bytes.len() <= body.len() + Entry::PLACE);
                assert_eq!(Entry::parse(&bytes), Ok(entry));
            }
        }
    }
}
