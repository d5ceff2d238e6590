//! Retention packs: law as signed, versioned data. The code knows no law.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Months, NaiveDate};
use kta_core::audit::{Label, NoteKey, SignedNote};
use kta_core::id::Digest;
use kta_core::retention::{Holder, PackRef, Rule, Schedule, Term};
use kta_core::{Code, Refusal};
use serde::Deserialize;

/// The longest pack that is read, in bytes.
pub const LONGEST_PACK: usize = 1 << 20;

/// A pack whose form is right. Only a [`SignedPack`] may be used to destroy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    head: Head,
    rows: Vec<Row>,
    reference: PackRef,
}

/// A pack that the required two people signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPack(Pack);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    pack: Head,
    #[serde(default)]
    retention: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    id: Label,
    version: Label,
    #[serde(deserialize_with = "day")]
    in_force_from: NaiveDate,
    jurisdiction: Label,
    language: Vec<Label>,
    /// The roles that must have signed.
    approved_by: BTreeSet<Label>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: Label,
    class: Label,
    #[serde(default)]
    nexus: Option<Label>,
    duty_holder: Holder,
    #[serde(default)]
    floor: Option<Term>,
    #[serde(default)]
    ceiling: Option<Term>,
    #[serde(default)]
    while_open: Option<Label>,
    citation: String,
    source: String,
    #[serde(deserialize_with = "day")]
    reviewed_on: NaiveDate,
    verified: bool,
}

impl Pack {
    /// Reads a pack.
    ///
    /// # Errors
    /// [`Code::RetPack`] for anything but a well-formed pack: unknown keys, two rows of one id,
    /// a row that gives neither floor nor ceiling, an empty term, no citation, too long.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |what: &'static str| Refusal::new(Code::RetPack).about("flaw", what);
        if text.len() > LONGEST_PACK {
            return Err(refuse("too-long"));
        }
        let file: File = toml::from_str(text).map_err(|_| refuse("not-a-pack"))?;
        let mut ids = BTreeSet::new();
        for row in &file.retention {
            let about = |what: &'static str| refuse(what).about("row", row.id.clone());
            if !ids.insert(&row.id) {
                return Err(about("id-used-twice"));
            }
            if row.floor.is_none() && row.ceiling.is_none() {
                return Err(about("gives-nothing"));
            }
            if [&row.floor, &row.ceiling]
                .into_iter()
                .flatten()
                .any(|term| term.of.is_empty())
            {
                return Err(about("empty-term"));
            }
            if row.citation.trim().is_empty() || row.source.trim().is_empty() {
                return Err(about("no-citation"));
            }
        }
        let reference = PackRef {
            id: file.pack.id.clone(),
            version: file.pack.version.clone(),
            digest: Digest::of(text.as_bytes()),
        };
        Ok(Self {
            head: file.pack,
            rows: file.retention,
            reference,
        })
    }

    /// Which pack this is.
    #[must_use]
    pub const fn reference(&self) -> &PackRef {
        &self.reference
    }

    /// The text that each approver signs: the pack's name, version and digest.
    #[must_use]
    pub fn statement(&self) -> String {
        let PackRef {
            id,
            version,
            digest,
        } = &self.reference;
        format!("kta retention pack\n{id}\n{version}\n{digest}\n")
    }

    /// Accepts the pack when every role it names has signed it, with keys of different people.
    ///
    /// # Errors
    /// [`Code::PolSign`] when a signature is missing, wrong, or of one key for two roles, and
    /// when the pack asks for fewer than two.
    pub fn accept(
        self,
        signatures: &BTreeMap<Label, SignedNote>,
        keys: &BTreeMap<Label, NoteKey>,
    ) -> Result<SignedPack, Refusal> {
        let refuse = || Refusal::new(Code::PolSign).about("pack", self.reference.id.clone());
        let mut used = BTreeSet::new();
        for role in &self.head.approved_by {
            let (Some(note), Some(key)) = (signatures.get(role), keys.get(role)) else {
                return Err(refuse().about("role", role.clone()));
            };
            let right = note.text() == self.statement() && note.verify(key).is_ok();
            // The key's own bytes: the same key under two names is one signer.
            if !right || !used.insert(key.public_key()) {
                return Err(refuse().about("role", role.clone()));
            }
        }
        if used.len() < 2 {
            return Err(refuse().about("signatures", used.len()));
        }
        Ok(SignedPack(self))
    }
}

impl SignedPack {
    /// The pack.
    #[must_use]
    pub const fn pack(&self) -> &Pack {
        &self.0
    }
}

/// Compiles signed packs into one schedule for each class: a table that a lawyer can read.
///
/// # Errors
/// [`Code::RetPack`] when two packs have a row of the same id, or a pack is not yet in force.
pub fn compile(
    packs: &[SignedPack],
    today: NaiveDate,
) -> Result<BTreeMap<Label, Schedule>, Refusal> {
    compile_rows(packs.iter().map(SignedPack::pack), today, true)
}

/// Compiles packs without signatures, to simulate what they would do. Every rule of the result
/// is unverified, so that nothing can be destroyed on it.
///
/// # Errors
/// As [`compile`].
pub fn simulate(packs: &[Pack], today: NaiveDate) -> Result<BTreeMap<Label, Schedule>, Refusal> {
    compile_rows(packs.iter(), today, false)
}

fn compile_rows<'p>(
    packs: impl Iterator<Item = &'p Pack>,
    today: NaiveDate,
    signed: bool,
) -> Result<BTreeMap<Label, Schedule>, Refusal> {
    let mut schedules: BTreeMap<Label, Schedule> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for pack in packs {
        let about = |what: &'static str| {
            Refusal::new(Code::RetPack)
                .about("pack", pack.reference.id.clone())
                .about("flaw", what)
        };
        if pack.head.in_force_from > today {
            return Err(about("not-in-force"));
        }
        for row in &pack.rows {
            if !ids.insert(row.id.clone()) {
                return Err(about("row-in-two-packs").about("row", row.id.clone()));
            }
            let schedule = schedules
                .entry(row.class.clone())
                .or_insert_with(|| Schedule {
                    class: row.class.clone(),
                    rules: Vec::new(),
                });
            schedule.rules.push(Rule {
                id: row.id.clone(),
                nexus: row.nexus.clone(),
                holder: row.duty_holder,
                floor: row.floor.clone(),
                ceiling: row.ceiling.clone(),
                while_open: row.while_open.clone(),
                citation: row.citation.clone(),
                source: row.source.clone(),
                reviewed_on: row.reviewed_on,
                verified: row.verified && signed,
                pack: pack.reference.clone(),
            });
        }
    }
    for schedule in schedules.values_mut() {
        schedule.rules.sort_by(|one, other| one.id.cmp(&other.id));
    }
    Ok(schedules)
}

/// The rules that were last read more than twelve months before `today`.
#[must_use]
pub fn overdue(schedules: &BTreeMap<Label, Schedule>, today: NaiveDate) -> Vec<Label> {
    let stale = |rule: &&Rule| {
        rule.reviewed_on
            .checked_add_months(Months::new(12))
            .is_none_or(|until| until < today)
    };
    schedules
        .values()
        .flat_map(|schedule| schedule.rules.iter().filter(stale))
        .map(|rule| rule.id.clone())
        .collect()
}

/// A local date of TOML: a day without time or zone.
fn day<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let at = toml::value::Datetime::deserialize(deserializer)?;
    let day = at.date.filter(|_| at.time.is_none() && at.offset.is_none());
    day.and_then(|day| NaiveDate::from_ymd_opt(day.year.into(), day.month.into(), day.day.into()))
        .ok_or_else(|| serde::de::Error::custom("not a day"))
}
