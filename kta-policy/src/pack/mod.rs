//! Retention packs: law as signed, versioned data. The code knows no law.

mod compile;
mod forecast;
mod picture;
mod revision;
mod row;
mod shipped;
mod table;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use kta_core::audit::{Label, NoteKey, SignedNote};
use kta_core::id::Digest;
use kta_core::retention::PackRef;
use kta_core::{Code, Refusal};
use serde::Deserialize;

pub use compile::{compile, overdue, simulate};
pub use forecast::{Case, Forecast, Month, Schedules, Standing, Tally, forecast};
pub use picture::picture;
pub use revision::{Limits, Revision};
pub use row::{Authority, Clock, Due, Duty, DutyKind, Flow, Limit, ReadIn, Retention, Rights};
pub use shipped::SHIPPED;
pub use table::table;
pub use words::Words;

use row::day;

/// The longest pack that is read, in bytes.
pub const LONGEST_PACK: usize = 1 << 20;

/// The longest citation or source, in bytes.
const LONGEST_TEXT: usize = 1024;
/// How many rows of one pack may speak of classes that they do not name.
const MOST_WIDE: usize = 8;

/// A pack whose form is right. Only a [`SignedPack`] may be used to destroy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    file: File,
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
    words: BTreeMap<Label, String>,
    #[serde(default)]
    retention: Vec<Retention>,
    #[serde(default)]
    clock: Vec<Clock>,
    #[serde(default)]
    duty: Vec<Duty>,
    #[serde(default)]
    rights: Vec<Rights>,
    #[serde(default)]
    flow: Vec<Flow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    id: Label,
    version: Label,
    #[serde(deserialize_with = "day")]
    in_force_from: NaiveDate,
    jurisdiction: Label,
    /// Name of the zone whose calendar the pack's law follows.
    time_zone: Option<Label>,
    language: Vec<Label>,
    /// The roles that must have signed.
    approved_by: BTreeSet<Label>,
}

impl Pack {
    /// Reads a pack.
    ///
    /// # Errors
    /// [`Code::RetPack`] for anything but a well-formed pack: unknown keys, two rows of one id, a
    /// row that gives nothing, an empty term, no citation, a row that claims to be verified and
    /// was not read in its source; too long, or more than eight rows on classes they do not name.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |what: &'static str| Refusal::new(Code::RetPack).about("flaw", what);
        if text.len() > LONGEST_PACK {
            return Err(refuse("too-long"));
        }
        let file: File = toml::from_str(text).map_err(|_| refuse("not-a-pack"))?;
        let mut ids = BTreeSet::new();
        for authority in file.rows() {
            let about = |what: &'static str| refuse(what).about("row", authority.id.clone());
            if !ids.insert(authority.id) {
                return Err(about("id-used-twice"));
            }
            if authority.citation.trim().is_empty() || authority.source.trim().is_empty() {
                return Err(about("no-citation"));
            }
            if authority.citation.len().max(authority.source.len()) > LONGEST_TEXT {
                return Err(about("long-citation"));
            }
            if authority.verified && authority.read_in != ReadIn::Source {
                return Err(about("verified-unread"));
            }
        }
        for row in &file.retention {
            row.check()
                .map_err(|flaw| refuse(flaw).about("row", row.id.clone()))?;
        }
        if file.retention.iter().filter(|row| row.is_wide()).count() > MOST_WIDE {
            return Err(refuse("too-many-on-every-class"));
        }
        let reference = PackRef {
            id: file.pack.id.clone(),
            version: file.pack.version.clone(),
            digest: Digest::of(text.as_bytes()),
        };
        Ok(Self { file, reference })
    }

    /// Which pack this is.
    #[must_use]
    pub const fn reference(&self) -> &PackRef {
        &self.reference
    }

    /// Whose law it is.
    #[must_use]
    pub const fn jurisdiction(&self) -> &Label {
        &self.file.pack.jurisdiction
    }

    /// The languages of its prose.
    #[must_use]
    pub fn languages(&self) -> &[Label] {
        &self.file.pack.language
    }

    /// The name of the zone whose calendar its law follows, if it says so: for whoever reads the
    /// table. Evaluation takes days that have begun in every zone.
    #[must_use]
    pub const fn time_zone(&self) -> Option<&Label> {
        self.file.pack.time_zone.as_ref()
    }

    /// From when on it is in force.
    #[must_use]
    pub const fn in_force_from(&self) -> NaiveDate {
        self.file.pack.in_force_from
    }

    /// What its labels mean in plain words.
    #[must_use]
    pub const fn words(&self) -> &BTreeMap<Label, String> {
        &self.file.words
    }

    /// Its rows on how long something is kept.
    #[must_use]
    pub fn retention(&self) -> &[Retention] {
        &self.file.retention
    }

    /// Its rows on how fast something must be done.
    #[must_use]
    pub fn clocks(&self) -> &[Clock] {
        &self.file.clock
    }

    /// Its rows on duties that have no end.
    #[must_use]
    pub fn duties(&self) -> &[Duty] {
        &self.file.duty
    }

    /// Its rows on the requests of data subjects.
    #[must_use]
    pub fn rights(&self) -> &[Rights] {
        &self.file.rights
    }

    /// Its rows on sending data elsewhere.
    #[must_use]
    pub fn flows(&self) -> &[Flow] {
        &self.file.flow
    }

    /// Who says so, for every row of every kind.
    pub fn rows(&self) -> impl Iterator<Item = Authority<'_>> {
        self.file.rows()
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
        for role in &self.file.pack.approved_by {
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

impl File {
    fn rows(&self) -> impl Iterator<Item = Authority<'_>> {
        let retention = self.retention.iter().map(Retention::authority);
        retention
            .chain(self.clock.iter().map(Clock::authority))
            .chain(self.duty.iter().map(Duty::authority))
            .chain(self.rights.iter().map(Rights::authority))
            .chain(self.flow.iter().map(Flow::authority))
    }
}
