//! The rows of a pack: one kind a question that law answers.

use std::collections::BTreeSet;

use chrono::{Datelike as _, NaiveDate, TimeDelta, Weekday};
use kta_core::audit::Label;
use kta_core::retention::{Holder, Period, Term};
use kta_core::time::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The row's id, unique among all packs.
            pub id: Label,
            $($(#[$of])* pub $field: $kind,)*
            /// Where it stands in the law.
            pub citation: String,
            /// Which text was read.
            pub source: String,
            /// What kind of text that is.
            pub read_in: ReadIn,
            /// When it was last read.
            #[serde(deserialize_with = "day")]
            pub reviewed_on: NaiveDate,
            /// Whether somebody verified the row in its source.
            pub verified: bool,
            /// What a reader should know besides.
            #[serde(default)]
            pub note: String,
        }

        impl $name {
            /// Who says so.
            #[must_use]
            pub fn authority(&self) -> Authority<'_> {
                Authority {
                    id: &self.id,
                    citation: &self.citation,
                    source: &self.source,
                    read_in: self.read_in,
                    reviewed_on: self.reviewed_on,
                    verified: self.verified,
                    note: &self.note,
                }
            }
        }
    };
}

/// On what a row rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in the row")]
pub struct Authority<'p> {
    pub id: &'p Label,
    pub citation: &'p str,
    pub source: &'p str,
    pub read_in: ReadIn,
    pub reviewed_on: NaiveDate,
    pub verified: bool,
    pub note: &'p str,
}

/// Where the author of a row read what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadIn {
    /// Nowhere: the row is a policy of the firm.
    Design,
    /// Nowhere: it was remembered.
    Memory,
    /// In somebody's account of the source.
    Secondary,
    /// In the source that the row names.
    Source,
}

impl ReadIn {
    /// In plain words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Design => "policy of the firm",
            Self::Memory => "from memory",
            Self::Secondary => "secondary source",
            Self::Source => "read in the source",
        }
    }
}

row! {
    /// How long something is kept.
    Retention {
        /// The classes it is about; `*` is every class that some row names, `X.*` every class
        /// whose name begins so.
        #[serde(deserialize_with = "one_or_many")]
        class: Vec<String>,
        /// One of these nexuses must be there, where any are named.
        #[serde(default)]
        nexus: BTreeSet<Label>,
        /// All of this must be said of the record.
        #[serde(default)]
        when: BTreeSet<Label>,
        /// None of this may be said of the record.
        #[serde(default)]
        unless: BTreeSet<Label>,
        /// Applies in evaluations of this day and later.
        #[serde(default, deserialize_with = "some_day")]
        applies_from: Option<NaiveDate>,
        /// Whose duty it is.
        duty_holder: Holder,
        /// The least time.
        #[serde(default)]
        floor: Option<Term>,
        /// The most time.
        #[serde(default)]
        ceiling: Option<Term>,
        /// While this is open nothing can be computed.
        #[serde(default)]
        while_open: Option<Label>,
    }
}

impl Retention {
    /// What is wrong with the row, besides its form.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let terms = || [&self.floor, &self.ceiling].into_iter().flatten();
        // The client's own things need no period: they are never the firm's to destroy.
        if terms().next().is_none() && self.duty_holder != Holder::Client {
            return Err("gives-nothing");
        }
        if terms().any(|term| term.of.is_empty()) {
            return Err("empty-term");
        }
        let labels = self.nexus.len() + self.when.len() + self.unless.len();
        if labels > MOST_LABELS || terms().any(|term| term.of.len() > MOST_BOUNDS) {
            return Err("too-many-conditions");
        }
        if self.class.is_empty() || !self.class.iter().all(|class| is_class(class)) {
            return Err("class");
        }
        Ok(())
    }

    /// Whether it speaks of classes that it does not name.
    pub(super) fn is_wide(&self) -> bool {
        self.class.iter().any(|class| class.ends_with('*'))
    }

    /// Whether the row speaks of a class.
    #[must_use]
    pub fn covers(&self, class: &Label) -> bool {
        self.class.iter().any(|pattern| {
            pattern.strip_suffix('*').map_or_else(
                || pattern == class.as_str(),
                |prefix| class.as_str().starts_with(prefix),
            )
        })
    }
}

/// More labels than this in the conditions of one row are a mistake: a rule is copied into every
/// class it speaks of.
const MOST_LABELS: usize = 64;
/// The same of the bounds in one term.
const MOST_BOUNDS: usize = 16;

fn is_class(pattern: &str) -> bool {
    let name = pattern.strip_suffix(".*").unwrap_or(pattern);
    pattern == "*" || Label::new(name).is_ok()
}

row! {
    /// How fast something must be done.
    Clock {
        /// The regimes under which it runs.
        #[serde(default)]
        nexus: BTreeSet<Label>,
        /// What starts it.
        starts: Label,
        /// How long it runs.
        limit: Limit,
        /// By how much it may be prolonged.
        #[serde(default)]
        extension: Option<Period>,
        /// To whom.
        recipient: Vec<Label>,
        /// What makes it unnecessary.
        unless: Vec<Label>,
        /// Whether it may be answered in parts.
        #[serde(default)]
        phased: bool,
        /// What the answer says.
        content: Vec<Label>,
    }
}

impl Clock {
    /// When it ends that began to run at `started`. Working days are Monday to Friday without
    /// `holidays`; days are those of UTC, so that whoever shows them shows the recipient's zone.
    /// `None` past the end of the calendar.
    #[must_use]
    pub fn due(&self, started: Timestamp, holidays: &BTreeSet<NaiveDate>) -> Option<Due> {
        self.limit.due(started, holidays)
    }
}

/// How long a clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// As somebody agrees or orders: no time of its own.
    AsAgreed,
    /// At once, or without undue delay.
    AtOnce,
    /// Calendar days, months or years; the last day counts.
    Calendar(Period),
    /// So many hours, whatever the calendar says (`PT72H`).
    Elapsed(u32),
    /// So many working days (`3BD`).
    WorkingDays(u32),
}

/// When a clock ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At this instant.
    At(Timestamp),
    /// With this day.
    By(NaiveDate),
    /// It says no time: at once, or as agreed.
    Unmeasured,
}

impl Limit {
    /// The longest elapsed limit, in hours, and the longest in working days: a year.
    const LONGEST: u32 = 366 * 24;

    fn due(self, started: Timestamp, holidays: &BTreeSet<NaiveDate>) -> Option<Due> {
        let began = started.date_naive();
        Some(match self {
            Self::AsAgreed | Self::AtOnce => Due::Unmeasured,
            Self::Calendar(period) => Due::By(period.ceiling_from(began)?),
            Self::Elapsed(hours) => {
                Due::At(started.checked_add_signed(TimeDelta::hours(hours.into()))?)
            }
            Self::WorkingDays(days) => {
                let (mut day, mut left) = (began, days);
                while left > 0 {
                    day = day.succ_opt()?;
                    let free = matches!(day.weekday(), Weekday::Sat | Weekday::Sun);
                    left -= u32::from(!free && !holidays.contains(&day));
                }
                Due::By(day)
            }
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let count = |digits: &str| -> Option<u32> {
            let count = digits.parse().ok()?;
            (digits.bytes().all(|digit| digit.is_ascii_digit())
                && (1..=Self::LONGEST).contains(&count))
            .then_some(count)
        };
        match text {
            "as-agreed" | "as-ordered" => Some(Self::AsAgreed),
            "at-once" | "undue-delay" => Some(Self::AtOnce),
            _ => {
                let hours = text.strip_prefix("PT").and_then(|t| t.strip_suffix('H'));
                if let Some(hours) = hours {
                    count(hours).map(Self::Elapsed)
                } else if let Some(days) = text.strip_suffix("BD") {
                    let days = count(days)?;
                    (days <= 366).then_some(Self::WorkingDays(days))
                } else {
                    text.parse().ok().map(Self::Calendar)
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not a limit"))
    }
}

row! {
    /// What must be done, or not done, without a period after which it ends.
    Duty {
        /// What kind of duty.
        kind: DutyKind,
        /// The regimes under which it stands.
        #[serde(default)]
        nexus: BTreeSet<Label>,
        /// Whose duty it is.
        duty_holder: Holder,
        /// What it asks for.
        requires: String,
        /// How often, where it comes back.
        #[serde(default)]
        every: Option<Period>,
    }
}

/// What kind of duty a row names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DutyKind {
    /// Comes back at intervals.
    Calendar,
    /// Never ends.
    Confidentiality,
    /// What it is about is kept current and available.
    KeptCurrent,
    /// How something is done.
    Method,
    /// The law is not clear: somebody must decide.
    OpenQuestion,
    /// The firm chose so.
    Policy,
}

impl DutyKind {
    /// In plain words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Calendar => "comes back",
            Self::Confidentiality => "confidentiality",
            Self::KeptCurrent => "kept current",
            Self::Method => "method",
            Self::OpenQuestion => "open question",
            Self::Policy => "policy",
        }
    }
}

row! {
    /// What data subjects may ask for under a regime.
    Rights {
        /// The regime.
        regime: Label,
        /// What they may ask for.
        rights: Vec<Label>,
        /// How fast they are answered; none where that is not modelled.
        #[serde(default)]
        limit: Option<Limit>,
        /// By how much that may be prolonged.
        #[serde(default)]
        extension: Option<Period>,
        /// How whoever asks is known.
        identity: String,
        /// What stands against it.
        exceptions: Vec<String>,
    }
}

row! {
    /// On what ground data goes elsewhere.
    Flow {
        /// From where.
        from: Vec<Label>,
        /// To where.
        to: Vec<Label>,
        /// The ground, or the tool.
        ground: String,
    }
}

/// A local date of TOML: a day without time or zone.
pub(super) fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let at = toml::value::Datetime::deserialize(deserializer)?;
    let day = at.date.filter(|_| at.time.is_none() && at.offset.is_none());
    day.and_then(|day| NaiveDate::from_ymd_opt(day.year.into(), day.month.into(), day.day.into()))
        .ok_or_else(|| D::Error::custom("not a day"))
}

fn some_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NaiveDate>, D::Error> {
    day(deserializer).map(Some)
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn seventy_two_hours_are_elapsed_hours_also_over_a_change_of_clocks() {
        // 22:00 in Berlin, one hour before the night in which the clocks go forward.
        let due = Limit::parse("PT72H").unwrap();
        let due = due.due(at("2026-03-27T21:00:00Z"), &BTreeSet::new());
        // 23:00 in Berlin.
        assert_eq!(due, Some(Due::At(at("2026-03-30T21:00:00Z"))));
    }

    #[test]
    fn working_days_leave_out_weekends_and_holidays() {
        let three = Limit::parse("3BD").unwrap();
        let thursday = at("2026-11-19T15:00:00Z");
        let day = |text: &str| Due::By(text.parse().unwrap());
        assert_eq!(
            three.due(thursday, &BTreeSet::new()),
            Some(day("2026-11-24"))
        );
        let holidays = BTreeSet::from(["2026-11-23".parse().unwrap()]);
        assert_eq!(three.due(thursday, &holidays), Some(day("2026-11-25")));
    }

    #[test]
    fn nonsense_is_no_limit() {
        for text in [
            "", "PT", "PTH", "PT0H", "PT-1H", "PT+1H", "PT99999H", "BD", "0BD", "400BD", "3 BD",
            "P1Y1D1M", "soon",
        ] {
            assert_eq!(Limit::parse(text), None, "{text}");
        }
    }
}
