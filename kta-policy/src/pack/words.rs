//! Rules and decisions in plain words.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::audit::Label;
use kta_core::retention::{
    Applies, Bound, Combine, Evaluation, Holder, Outcome, Period, Rule, Schedule, Step, Term,
};

use super::{Due, Limit, Pack};

/// What labels mean, as the packs say; others are read as they stand.
#[derive(Clone, Debug, Default)]
pub struct Words<'p>(BTreeMap<&'p Label, &'p str>);

impl<'p> Words<'p> {
    /// The words of these packs. Where two differ, those of the pack whose id comes first count.
    #[must_use]
    pub fn of(packs: &[&'p Pack]) -> Self {
        let mut sorted = packs.to_vec();
        sorted.sort_by_key(|pack| pack.reference());
        let mut words = BTreeMap::new();
        for (label, text) in sorted.iter().flat_map(|pack| pack.words()) {
            words.entry(label).or_insert(text.as_str());
        }
        Self(words)
    }

    /// What a label means.
    #[must_use]
    pub fn say(&self, label: &Label) -> String {
        match self.0.get(label) {
            Some(text) => (*text).to_owned(),
            None => label.as_str().replace(['_', '.'], " "),
        }
    }

    /// A term: `the later of 3 years after the hire and 1 year after the employment ended`.
    #[must_use]
    pub fn term(&self, term: &Term) -> String {
        let bounds: Vec<_> = term.of.iter().map(|bound| self.bound(bound)).collect();
        let several = match (term.op, bounds.len()) {
            (_, 0 | 1) => "",
            (Combine::First, _) => "the first of these that is known: ",
            (Combine::Max, 2) => "the later of ",
            (Combine::Max, _) => "the latest of ",
            (Combine::Min, 2) => "the earlier of ",
            (Combine::Min, _) => "the earliest of ",
        };
        format!("{several}{}", listed(&bounds, "and"))
    }

    /// To which records a rule applies: `Israel; received from the EEA; unless given by …`.
    #[must_use]
    pub fn applies(&self, applies: &Applies) -> String {
        let said = |labels: &BTreeSet<Label>| labels.iter().map(|label| self.say(label)).collect();
        let (any, all, none): (Vec<_>, Vec<_>, Vec<_>) =
            (said(&applies.any), said(&applies.all), said(&applies.none));
        let mut parts = Vec::new();
        if !any.is_empty() {
            parts.push(listed(&any, "or"));
        }
        if !all.is_empty() {
            parts.push(format!("where {}", listed(&all, "and")));
        }
        if !none.is_empty() {
            parts.push(format!("unless {}", listed(&none, "or")));
        }
        if let Some(from) = applies.from {
            parts.push(format!("since {from}"));
        }
        if parts.is_empty() {
            parts.push("everywhere".to_owned());
        }
        parts.join("; ")
    }

    /// A decision, step by step and in full sentences; the last one says what is to be done.
    #[must_use]
    pub fn explain(&self, schedule: &Schedule, evaluation: &Evaluation) -> Vec<String> {
        let rules: BTreeMap<_, _> = schedule.rules.iter().map(|rule| (&rule.id, rule)).collect();
        let mut said: Vec<_> = evaluation
            .steps
            .iter()
            .map(|step| self.step(step, rules.get(&step.rule).copied()))
            .collect();
        if let (Some(floor), Some(ceiling)) = (evaluation.floor, evaluation.ceiling)
            && floor > ceiling
        {
            said.push(format!(
                "What must be kept until {floor} should have gone by {ceiling}: the longer duty wins, and until then nothing else is done with it."
            ));
        }
        if !evaluation.overdue.is_empty() {
            let rules: Vec<_> = evaluation.overdue.iter().map(Label::to_string).collect();
            said.push(format!(
                "{} was last read more than a year ago: read it again.",
                listed(&rules, "and")
            ));
        }
        said.push(self.outcome(&evaluation.outcome, evaluation.executable));
        said
    }

    fn step(&self, step: &Step, rule: Option<&Rule>) -> String {
        let citation = rule.map_or("", |rule| rule.citation.as_str());
        let id = &step.rule;
        let date = step.date.map(|date| date.to_string()).unwrap_or_default();
        match step.gave.as_str() {
            "floor" => format!("{id} keeps it until {date} ({citation})."),
            "ceiling" => format!("{id} wants it gone by {date} ({citation})."),
            "open" => {
                let open = rule.and_then(|rule| rule.while_open.as_ref());
                let open = open.map_or_else(|| "something".to_owned(), |open| self.say(open));
                format!("{id} cannot be computed while {open} goes on ({citation}).")
            }
            "transfer" => {
                let whose = rule.map_or("somebody else", |rule| holder(rule.holder));
                format!("{id} is a duty of {whose}, not of the firm ({citation}).")
            }
            "transferred" => format!("{id} is met: the files went over on {date} ({citation})."),
            _ => format!("{id} runs from a day that nobody recorded ({citation})."),
        }
    }

    fn outcome(&self, outcome: &Outcome, executable: bool) -> String {
        match outcome {
            Outcome::Eligible { since, act_by } => {
                let by = act_by.map_or_else(String::new, |by| format!(", to be gone by {by}"));
                let may = if executable {
                    "It may be destroyed"
                } else {
                    "It could be destroyed, but a rule is unverified or was not read for 18 months, so it is kept:"
                };
                format!("{may} since {since}{by}.")
            }
            Outcome::Held(holds) => format!(
                "Kept: {} legal hold{} it, whatever the rules say.",
                holds.len(),
                if holds.len() == 1 {
                    " covers"
                } else {
                    "s cover"
                }
            ),
            Outcome::Keep { until } => format!("Kept until {until}."),
            Outcome::KeepRestricted { until, ceiling } => format!(
                "Kept until {until}, sealed from ordinary use since {ceiling}; the privacy officer signs off."
            ),
            Outcome::NotComputable { open } => {
                format!("Kept: {} still goes on.", self.say(open))
            }
            Outcome::OfferTransfer => {
                "Kept: its owner is offered the files before anything else.".to_owned()
            }
            Outcome::Undetermined { trigger } => format!(
                "Kept: find out when {}; what is unknown is never taken for no rule.",
                self.say(trigger)
            ),
            // The algorithm grew and this crate did not.
            _ => "Kept.".to_owned(),
        }
    }

    fn bound(&self, bound: &Bound) -> String {
        let trigger = self.say(&bound.trigger);
        let base = if bound.add == Period::ZERO {
            format!("the day {trigger}")
        } else {
            format!("{} after {trigger}", period(bound.add))
        };
        match (&bound.needed_when, bound.when_known) {
            (Some(needed), _) => {
                format!(
                    "{base} (where known; it must be known of {})",
                    self.say(needed)
                )
            }
            (None, true) => format!("{base} (where known)"),
            (None, false) => base,
        }
    }
}

/// A period in words: `1 year 6 months`.
#[must_use]
pub(super) fn period(period: Period) -> String {
    let text = period.to_string();
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches('P');
    while let Some(end) = rest.find(|letter: char| letter.is_ascii_alphabetic()) {
        let (count, unit) = (&rest[..end], &rest[end..=end]);
        let unit = match unit {
            "Y" => "year",
            "M" => "month",
            _ => "day",
        };
        words.push(format!(
            "{count} {unit}{}",
            if count == "1" { "" } else { "s" }
        ));
        rest = &rest[end + 1..];
    }
    words.join(" ")
}

/// A limit in words: `72 hours`, `3 working days`.
#[must_use]
pub(super) fn limit(limit: Limit) -> String {
    match limit {
        Limit::AsAgreed => "as agreed or ordered".to_owned(),
        Limit::AtOnce => "at once".to_owned(),
        Limit::Calendar(calendar) => period(calendar),
        Limit::Elapsed(hours) => format!("{hours} hours, elapsed"),
        Limit::WorkingDays(1) => "1 working day".to_owned(),
        Limit::WorkingDays(days) => format!("{days} working days"),
    }
}

/// Whose duty, in words.
#[must_use]
pub(super) const fn holder(holder: Holder) -> &'static str {
    match holder {
        Holder::Client => "the client",
        Holder::Employer => "the employer",
        Holder::Firm => "the firm",
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

impl core::fmt::Display for Due {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::At(at) => f.write_str(&kta_core::time::text(*at)),
            Self::By(day) => write!(f, "{day}"),
            Self::Unmeasured => f.write_str("at once, or as agreed"),
        }
    }
}
