//! The register: what each agency takes, for which form, by which channel, on which day.
//!
//! It is data that a lawyer reads and signs off, not code: see `register/*.toml`. A key that is
//! not known here is refused, so that a misspelt rule cannot silently be no rule.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use kta_core::audit::Label;
use kta_core::pii::identifier::{Ds160Confirmation, LabourCaseNumber, ReceiptNumber};
use kta_core::pii::{Category, DocumentKind, MediaType, Party};
use kta_core::{Fault, FaultKind, Port, Result};
use serde::Deserialize;

use crate::facts::Signature;

/// The forms that the firm files, by agency and form.
#[derive(Clone, Debug, Default)]
pub struct Register {
    forms: BTreeMap<(Label, Label), Form>,
}

impl Register {
    /// The register that ships with this crate.
    ///
    /// Look at [`Form::verified`]: a form that nobody has compared with the agency's own page
    /// says so, and so does its [`Form::source`].
    ///
    /// # Errors
    /// A `Misconfigured` fault when the files contradict themselves; a test keeps that from
    /// happening.
    pub fn shipped() -> Result<Self> {
        Self::read(SHIPPED)
    }

    /// Reads a register, one form in each text.
    ///
    /// # Errors
    /// A `Misconfigured` fault for text that is not TOML, an unknown key, a value out of range,
    /// a rule that contradicts itself, or two texts for one form.
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut forms = BTreeMap::new();
        for text in texts {
            let form: Form =
                toml::from_str(text).map_err(|_| unreadable("a form is not readable"))?;
            form.is_sound().map_err(unreadable)?;
            if forms
                .insert((form.agency.clone(), form.form.clone()), form)
                .is_some()
            {
                return Err(unreadable("a form stands there twice").into());
            }
        }
        Ok(Self { forms })
    }

    /// The rules of one form.
    #[must_use]
    pub fn form(&self, agency: &Label, form: &Label) -> Option<&Form> {
        self.forms.get(&(agency.clone(), form.clone()))
    }

    /// Every form.
    pub fn forms(&self) -> impl Iterator<Item = &Form> {
        self.forms.values()
    }
}

/// What an agency wants of one form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// The agency, for example `us.uscis`.
    pub agency: Label,
    /// The form, for example `i-129`.
    pub form: Label,
    /// What the form is called.
    pub title: String,
    /// Where the rules come from.
    pub source: String,
    /// Whether somebody of the firm compared them with that source.
    pub verified: bool,
    /// The language in which the agency reads; any other needs a certified translation.
    pub language: Label,
    /// The receipt that the agency gives.
    pub receipt: ReceiptKind,
    /// Whether a signed authority to act must stand behind the package.
    pub authority: bool,
    /// The editions, each with the days on which it is taken.
    #[serde(rename = "edition")]
    pub editions: Vec<Edition>,
    /// The ways in.
    #[serde(rename = "channel")]
    pub channels: Vec<ChannelRule>,
    /// What belongs into a package. Anything else is too much.
    #[serde(rename = "document")]
    pub documents: Vec<DocumentRule>,
}

/// One edition of a form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// The date that is printed on it.
    pub date: NaiveDate,
    /// The first day on which it is taken.
    pub from: NaiveDate,
    /// The last day on which it is taken, where one is announced.
    pub until: Option<NaiveDate>,
}

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelRule {
    /// What kind of way.
    pub kind: ChannelKind,
    /// Where, for the person who files: a host name or an office.
    pub place: Label,
    /// The categories of data that may go this way.
    pub categories: BTreeSet<Category>,
    /// The file types that are taken.
    pub media: BTreeSet<MediaType>,
    /// The most bytes of one file.
    pub file_bytes: u64,
    /// The most bytes of the whole package.
    pub package_bytes: u64,
}

/// A kind of way to an agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A programming interface.
    Api,
    /// A courier carries paper.
    Courier,
    /// Somebody goes there.
    InPerson,
    /// Encrypted mail.
    Mail,
    /// Somebody files at the agency's web site.
    Portal,
}

impl ChannelKind {
    /// The name as the register writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Courier => "courier",
            Self::InPerson => "in_person",
            Self::Mail => "mail",
            Self::Portal => "portal",
        }
    }
}

/// A document that belongs into a package.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRule {
    /// What it is.
    pub kind: DocumentKind,
    /// Of which parties.
    pub of: BTreeSet<Party>,
    /// By which channels the rule holds; all, when none is named.
    #[serde(default)]
    pub by: BTreeSet<ChannelKind>,
    /// How many at least, of each person of these parties in the matter.
    pub least: u32,
    /// How many at most, of each person.
    pub most: u32,
    /// The signature that it must bear.
    #[serde(default)]
    pub signature: Signature,
    /// Where the rule comes from, when that is not the form's own source.
    #[serde(default)]
    pub source: Option<String>,
}

impl DocumentRule {
    pub(crate) fn holds(&self, kind: DocumentKind, party: Party, by: ChannelKind) -> bool {
        self.kind == kind && self.concerns(party, by)
    }

    pub(crate) fn concerns(&self, party: Party, by: ChannelKind) -> bool {
        self.of.contains(&party) && (self.by.is_empty() || self.by.contains(&by))
    }
}

/// The number an agency gives when it has taken a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// Confirmation number of the DS-160.
    Ds160,
    /// Case number of the Department of Labor.
    LabourCase,
    /// USCIS receipt number.
    Uscis,
}

impl ReceiptKind {
    /// The number without separators, when it is one.
    pub(crate) fn parse(self, text: &str) -> Option<String> {
        match self {
            Self::Ds160 => Ds160Confirmation::parse(text)
                .ok()
                .map(|number| number.reveal().to_owned()),
            Self::LabourCase => LabourCaseNumber::parse(text)
                .ok()
                .map(|number| number.reveal().to_owned()),
            Self::Uscis => ReceiptNumber::parse(text)
                .ok()
                .map(|number| number.reveal().to_owned()),
        }
    }
}

impl Form {
    /// The way in of this kind.
    #[must_use]
    pub fn channel(&self, kind: ChannelKind) -> Option<&ChannelRule> {
        self.channels.iter().find(|channel| channel.kind == kind)
    }

    /// Whether this edition is taken on `day`.
    #[must_use]
    pub fn takes(&self, edition: NaiveDate, day: NaiveDate) -> bool {
        let taken = |known: &&Edition| {
            known.date == edition
                && known.from <= day
                && known.until.is_none_or(|until| day <= until)
        };
        self.editions.iter().any(|known| taken(&known))
    }

    fn is_sound(&self) -> Result<(), &'static str> {
        let distinct = |kinds: BTreeSet<ChannelKind>| kinds.len() == self.channels.len();
        if self.editions.is_empty() || self.channels.is_empty() || self.source.trim().is_empty() {
            return Err("a form lacks an edition, a channel or its source");
        }
        if self
            .editions
            .iter()
            .any(|edition| edition.until.is_some_and(|until| until < edition.from))
        {
            return Err("an edition ends before it begins");
        }
        if !distinct(self.channels.iter().map(|channel| channel.kind).collect()) {
            return Err("a channel stands there twice");
        }
        let unusable = |channel: &ChannelRule| {
            channel.media.is_empty()
                || channel.media.contains(&MediaType::octets())
                || channel.categories.is_empty()
                || channel.file_bytes == 0
                || channel.package_bytes < channel.file_bytes
        };
        if self.channels.iter().any(unusable) {
            return Err("a channel takes nothing, or bytes of no known type");
        }
        let backwards =
            |rule: &DocumentRule| rule.least > rule.most || rule.most == 0 || rule.of.is_empty();
        if self.documents.iter().any(backwards) {
            return Err("a document rule contradicts itself");
        }
        for (at, rule) in self.documents.iter().enumerate() {
            let overlaps = |other: &DocumentRule| {
                let ways = self.channels.iter().map(|channel| channel.kind);
                rule.of.iter().any(|party| {
                    ways.clone()
                        .any(|by| rule.concerns(*party, by) && other.holds(rule.kind, *party, by))
                })
            };
            if self.documents[at + 1..].iter().any(overlaps) {
                return Err("two document rules speak of the same thing");
            }
        }
        Ok(())
    }
}

fn unreadable(why: &'static str) -> Fault {
    Fault::new(FaultKind::Misconfigured, Port::Channel, "read register").because(why)
}

const SHIPPED: [&str; 4] = [
    include_str!("../register/us.dol.eta-9035.toml"),
    include_str!("../register/us.dos.ds-160.toml"),
    include_str!("../register/us.uscis.i-129.toml"),
    include_str!("../register/us.uscis.i-539.toml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_register_is_sound_and_says_where_each_rule_comes_from() {
        let register = Register::shipped().unwrap();
        assert_eq!(register.forms().count(), SHIPPED.len());
        for form in register.forms() {
            assert!(form.source.len() > 20, "{}", form.form);
        }
    }

    #[test]
    fn an_unknown_key_or_a_contradiction_is_refused() {
        let good = SHIPPED[2];
        assert!(Register::read([good]).is_ok());
        assert!(Register::read([good, good]).is_err(), "twice");
        for (old, new) in [
            ("verified = false", "verified = false\nverifed = true"),
            ("agency = \"us.uscis\"", "agency = \"us uscis\""),
            (
                "from = \"2025-01-17\"",
                "from = \"2031-01-17\"\nuntil = \"2030-01-01\"",
            ),
            ("least = 1", "least = 9"),
            ("least = 1", "least = -1"),
            ("least = 1", "least = 1\nmax = 4"),
            ("\"application/pdf\"", "\"application/octet-stream\""),
            ("\"application/pdf\"", "\"anything\""),
            ("kind = \"portal\"", "kind = \"fax\""),
            ("by = [\"courier\"]", "by = []"),
            ("authority = true", ""),
        ] {
            assert!(good.contains(old), "{old}");
            let bad = good.replacen(old, new, 1);
            let fault = Register::read([bad.as_str()]).unwrap_err();
            assert_eq!(
                fault.fault().unwrap().kind(),
                FaultKind::Misconfigured,
                "{new}"
            );
        }
        for garbage in ["", "=", "[[[[[[", "\u{0}", "agency = 1"] {
            assert!(Register::read([garbage]).is_err());
        }
    }

    #[test]
    fn an_edition_is_taken_from_its_first_to_its_last_day_and_on_no_other() {
        let register = Register::shipped().unwrap();
        let form = register
            .form(&Label::fixed("us.uscis"), &Label::fixed("i-129"))
            .unwrap();
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let old = day("2024-04-01");
        assert!(form.takes(old, day("2024-04-01")) && form.takes(old, day("2025-01-16")));
        assert!(!form.takes(old, day("2024-03-31")) && !form.takes(old, day("2025-01-17")));
        assert!(
            !form.takes(day("1999-01-01"), day("2025-01-16")),
            "no such edition"
        );
    }
}
