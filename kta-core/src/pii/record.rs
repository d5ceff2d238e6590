//! The record: typed and classified fields about one data subject, and the same sealed.

use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::audit::Label;
use crate::id::{Digest, MatterId, RecordId, SubjectId, TenantId};
use crate::pii::category::{Category, Classification};
use crate::pii::group::FieldGroup;
use crate::pii::identifier;
use crate::pii::value::{Pii, Sealed};

/// The name of a field: a lower-case word such as `passport_number`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FieldName(Label);

/// Text that cannot be a [`FieldName`]. Holds no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a field name")]
pub struct BadFieldName;

impl FieldName {
    /// A field name: `a–z`, `0–9` and `_`, beginning with a letter, 1 to 48 characters.
    ///
    /// # Errors
    /// [`BadFieldName`] for anything else.
    pub fn new(text: &str) -> Result<Self, BadFieldName> {
        if is_field_name(text.as_bytes()) {
            Label::new(text).map(Self).map_err(|_| BadFieldName)
        } else {
            Err(BadFieldName)
        }
    }

    /// A field name written in the source.
    ///
    /// # Panics
    /// When `text` is not such a name; in a constant the compiler refuses it.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        assert!(is_field_name(text.as_bytes()), "not a field name");
        Self(Label::fixed(text))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as a label for logs and refusals.
    #[must_use]
    pub const fn label(&self) -> &Label {
        &self.0
    }
}

const fn is_field_name(text: &[u8]) -> bool {
    if text.is_empty() || text.len() > 48 || !text[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 0;
    while at < text.len() {
        if !matches!(text[at], b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        at += 1;
    }
    true
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What kind of value a field holds; each kind accepts exactly what can be that value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FieldKind {
    /// A calendar date, `YYYY-MM-DD`.
    Date,
    /// An e-mail address.
    Email,
    /// An Israeli identity number with its check digit.
    IsraeliId,
    /// A person's name: no control or direction-changing characters.
    Name,
    /// A passport number as printed: 5 to 20 capital letters and digits.
    Passport,
    /// A telephone number with country code.
    Phone,
    /// Free text without control characters other than line breaks.
    Text,
    /// A USCIS receipt number.
    UscisReceipt,
    /// A USCIS alien number.
    ANumber,
}

impl FieldKind {
    /// Whether `value` can be such a value.
    #[must_use]
    pub fn accepts(self, value: &str) -> bool {
        let short = !value.is_empty() && value.len() <= 16 * 1024;
        short
            && match self {
                Self::Date => value.len() == 10 && value.parse::<chrono::NaiveDate>().is_ok(),
                Self::Email => is_email(value),
                Self::IsraeliId => identifier::IsraeliId::parse(value).is_ok(),
                Self::Name => value.len() <= 256 && identifier::PersonName::parse(value).is_ok(),
                Self::Passport => {
                    (5..=20).contains(&value.len())
                        && value
                            .bytes()
                            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
                }
                Self::Phone => is_phone(value),
                Self::Text => !value
                    .chars()
                    .any(|c| c.is_control() && c != '\n' && c != '\t'),
                Self::UscisReceipt => identifier::ReceiptNumber::parse(value).is_ok(),
                Self::ANumber => identifier::ANumber::parse(value).is_ok(),
            }
    }
}

/// One `local@domain` with a dot in the domain (RFC 5321 section 4.1.2, without quoted forms).
fn is_email(value: &str) -> bool {
    let part = |part: &str, extra: &[u8]| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.contains("..")
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    value.len() <= 254
        && value.split_once('@').is_some_and(|(local, domain)| {
            local.len() <= 64
                && part(local, b"!#$%&'*+/=?^_`{|}~.-")
                && part(domain, b".-")
                && domain.contains('.')
        })
}

/// `+`, then 7 to 15 digits (ITU-T E.164), with blanks and hyphens between.
fn is_phone(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    value.starts_with('+')
        && (7..=15).contains(&digits)
        && value[1..]
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b' ' || b == b'-')
}

/// One field of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// The field.
    pub name: FieldName,
    /// What it holds.
    pub kind: FieldKind,
    /// How it must be handled.
    pub classification: Classification,
    /// Whether exact-match search by a keyed blind index is kept for it.
    #[serde(default)]
    pub indexed: bool,
}

/// The fields that records of one kind have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Name and version, for example `person.v1`.
    pub name: Label,
    /// Its fields.
    pub fields: Vec<FieldSpec>,
}

impl Schema {
    /// The firm's record of a person, `person.v1`.
    #[must_use]
    pub fn person() -> Self {
        let field = |name: &'static str, kind, category, indexed| FieldSpec {
            name: FieldName::fixed(name),
            kind,
            classification: Classification::of(category),
            indexed,
        };
        Self {
            name: Label::fixed("person.v1"),
            fields: vec![
                field("family_name", FieldKind::Name, Category::Identity, true),
                field("given_names", FieldKind::Name, Category::Identity, false),
                field("birth_date", FieldKind::Date, Category::Identity, false),
                field("birth_place", FieldKind::Name, Category::Identity, false),
                field("nationality", FieldKind::Name, Category::Identity, false),
                field(
                    "passport_number",
                    FieldKind::Passport,
                    Category::Identity,
                    true,
                ),
                field(
                    "passport_expiry",
                    FieldKind::Date,
                    Category::Identity,
                    false,
                ),
                field(
                    "national_id",
                    FieldKind::IsraeliId,
                    Category::Identity,
                    true,
                ),
                field("a_number", FieldKind::ANumber, Category::Identity, true),
                field("email", FieldKind::Email, Category::Case, true),
                field("phone", FieldKind::Phone, Category::Case, true),
                field("address", FieldKind::Text, Category::Case, false),
                field("occupation", FieldKind::Text, Category::Case, false),
                field("salary", FieldKind::Text, Category::Case, false),
                field("medical_note", FieldKind::Text, Category::Special, false),
            ],
        }
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &FieldName) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.name == *name)
    }
}

/// Open fields of one record, in memory.
#[derive(Debug, Default)]
pub struct Fields(BTreeMap<FieldName, Pii<String>>);

/// A value that its field cannot hold, or a field that the schema does not have. Names the
/// field, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldFlaw {
    /// The schema has no such field.
    #[error("the schema has no such field")]
    Unknown,
    /// The value is not of the field's kind.
    #[error("field {0} cannot hold this value")]
    Value(FieldName),
}

impl Fields {
    /// No fields yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value after checking that the schema knows the field and its kind accepts the
    /// value.
    ///
    /// # Errors
    /// [`FieldFlaw`] otherwise; the fields stay as they were.
    pub fn set(&mut self, schema: &Schema, name: &str, value: String) -> Result<(), FieldFlaw> {
        let value = Pii::new(value);
        let name = FieldName::new(name).map_err(|_| FieldFlaw::Unknown)?;
        let spec = schema.field(&name).ok_or(FieldFlaw::Unknown)?;
        if !spec.kind.accepts(value.bare()) {
            return Err(FieldFlaw::Value(name));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// Adds a value that was checked before, such as one just opened.
    pub fn insert(&mut self, name: FieldName, value: Pii<String>) {
        self.0.insert(name, value);
    }

    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Pii<String>> {
        self.0
            .iter()
            .find(|(field, _)| field.as_str() == name)
            .map(|(_, value)| value)
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldName, &Pii<String>)> {
        self.0.iter()
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(FieldName, Pii<String>)> for Fields {
    fn from_iter<I: IntoIterator<Item = (FieldName, Pii<String>)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// Where a record lives: tenant first, then data subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// The firm.
    pub tenant: TenantId,
    /// Whose data it is.
    pub subject: SubjectId,
    /// The record.
    pub record: RecordId,
}

/// A record at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where it lives.
    pub key: RecordKey,
    /// The matter it belongs to.
    pub matter: Option<MatterId>,
    /// Which fields it may have.
    pub schema: Label,
    /// What governs it: purposes, basis, origin, retention class (see
    /// [`PolicyClass`](crate::policy::PolicyClass)).
    pub class: Digest,
    /// Grows by one at each change; sealed into every field.
    pub revision: u64,
    /// The sealed fields: each alone, or those that are handled alike together (see
    /// [`Grain`](crate::policy::Grain)), under the name of the group and not under their own. Which
    /// fields there are, [`FieldGroup::names`] of all keys say.
    pub fields: BTreeMap<FieldGroup, SealedField>,
    /// Authenticates the list of fields and revisions, so that a missing one is noticed (see
    /// [`RecordHeader`](crate::crypto::RecordHeader)).
    #[serde(with = "crate::text::base64")]
    pub header: Vec<u8>,
}

/// One field at rest, or a [group](FieldGroup) of fields that are handled alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedField {
    /// How it must be handled.
    pub classification: Classification,
    /// The record's revision when this field was sealed.
    pub revision: u64,
    /// The ciphertext.
    pub sealed: Sealed<String>,
}
