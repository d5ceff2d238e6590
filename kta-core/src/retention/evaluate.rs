//! The one algorithm that resolves what the rules say about a record, with its proof.
//!
//! Order (domain, conflict resolution): collect matching rules → holds → unknown triggers →
//! floors that bind the firm → ceilings → compare. "Unknown" never means "no rule".

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Months, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::HoldId;
use crate::refusal::{Code, Refusal};
use crate::retention::schedule::{Combine, Holder, PackRef, Rule, Schedule, Term};

/// What is known about a record when its retention is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The day of the evaluation. The house takes one that has begun everywhere, so that no pack's
    /// time zone makes it too early.
    pub today: NaiveDate,
    /// Known trigger dates.
    pub triggers: BTreeMap<Label, NaiveDate>,
    /// What is still open, for example `employment`.
    pub open: BTreeSet<Label>,
    /// To which regimes the record has a nexus, for example `IL`, `GDPR`.
    pub nexus: BTreeSet<Label>,
    /// Active holds that cover it.
    pub holds: Vec<HoldId>,
    /// Whether the engagement makes the firm custodian of the employer's files.
    pub custodian: bool,
}

/// The explained decision on one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The class that was evaluated.
    pub class: Label,
    /// The result.
    pub outcome: Outcome,
    /// Latest floor that binds the firm.
    pub floor: Option<NaiveDate>,
    /// Earliest ceiling.
    pub ceiling: Option<NaiveDate>,
    /// The proof: what each rule gave, in the order of the algorithm.
    pub steps: Vec<Step>,
    /// The packs that took part.
    pub packs: BTreeSet<PackRef>,
    /// Whether it may be acted on destructively: every rule that took part is verified and was
    /// reviewed within 18 months.
    pub executable: bool,
    /// Rules last reviewed more than 12 months ago.
    pub overdue: Vec<Label>,
}

/// What is to become of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Its time is over.
    Eligible {
        /// Since when.
        since: NaiveDate,
        /// By when it must be done, if a ceiling says so.
        act_by: Option<NaiveDate>,
    },
    /// A legal hold stands.
    Held(Vec<HoldId>),
    /// Keep.
    Keep {
        /// Through the day before this one.
        until: NaiveDate,
    },
    /// Keep beyond the ceiling because a floor demands it, sealed from ordinary use (GDPR
    /// article 18); rules contradict each other and the privacy officer signs off.
    KeepRestricted {
        /// Through the day before this one.
        until: NaiveDate,
        /// The ceiling that had to yield.
        ceiling: NaiveDate,
    },
    /// Something is still open, so nothing can be computed.
    NotComputable {
        /// What.
        open: Label,
    },
    /// Somebody else's duty: offer the files to them before anything else.
    OfferTransfer,
    /// A trigger is unknown: keep, and find it out.
    Undetermined {
        /// Which.
        trigger: Label,
    },
}

/// One step of the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The rule.
    pub rule: Label,
    /// What it gave: `floor`, `ceiling`, `transfer`, `transferred`, `unknown` or `open`.
    pub gave: Label,
    /// The date, if it gave one.
    pub date: Option<NaiveDate>,
}

/// Evaluates a schedule over what is known.
///
/// Where no rule gives a minimum the maximum alone says when: the record is kept up to it, never
/// destroyed before. A duty of somebody else does not bind the firm (the employer's does where the
/// firm is custodian); its files are offered first, and are free from the day on which the trigger
/// [`transferred`](Rule::TRANSFERRED) says that they went over.
///
/// # Errors
/// [`Code::RetUnclassed`] when no rule of the schedule applies: no rule is no permission.
pub fn evaluate(schedule: &Schedule, facts: &Facts) -> Result<Evaluation, Refusal> {
    let mut steps = Vec::with_capacity(schedule.rules.len());
    let judged = walk(schedule, facts, |rule, gave, date| {
        steps.push(Step {
            rule: rule.id.clone(),
            gave: Label::fixed(gave),
            date,
        });
    })?;
    let applying = || schedule.rules.iter().filter(|rule| applies(rule, facts));
    let mut packs = BTreeSet::new();
    for rule in applying() {
        if !packs.contains(&rule.pack) {
            packs.insert(rule.pack.clone());
        }
    }
    let overdue = applying().filter(|rule| !reviewed_within(rule, 12, facts.today));
    Ok(Evaluation {
        class: schedule.class.clone(),
        outcome: judged.outcome,
        floor: judged.floor,
        ceiling: judged.ceiling,
        steps,
        packs,
        executable: judged.executable,
        overdue: overdue.map(|rule| rule.id.clone()).collect(),
    })
}

/// The result of an [`Evaluation`] without its proof: what a simulation over everything counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The result.
    pub outcome: Outcome,
    /// Latest floor that binds the firm.
    pub floor: Option<NaiveDate>,
    /// Earliest ceiling.
    pub ceiling: Option<NaiveDate>,
    /// Whether it may be acted on destructively.
    pub executable: bool,
}

/// As [`evaluate`], by the same steps, without writing them down.
///
/// # Errors
/// As [`evaluate`].
pub fn judge(schedule: &Schedule, facts: &Facts) -> Result<Judgement, Refusal> {
    walk(schedule, facts, |_, _, _| {})
}

fn applies(rule: &Rule, facts: &Facts) -> bool {
    rule.applies.to(&facts.nexus, facts.today)
}

/// The algorithm; `note` hears of every step.
fn walk(
    schedule: &Schedule,
    facts: &Facts,
    mut note: impl FnMut(&Rule, &'static str, Option<NaiveDate>),
) -> Result<Judgement, Refusal> {
    let mut judged = Judgement {
        outcome: Outcome::OfferTransfer,
        floor: None,
        ceiling: None,
        executable: true,
    };
    let mut any = false;
    let (mut open, mut unknown, mut transfer) = (None, None, false);
    // The trigger that would give the record a ceiling, if it were known.
    let mut ceilingless = None;
    for rule in schedule.rules.iter().filter(|rule| applies(rule, facts)) {
        any = true;
        judged.executable &= rule.verified && reviewed_within(rule, 18, facts.today);
        let binds = match rule.holder {
            Holder::Firm => true,
            Holder::Employer => facts.custodian,
            // An original stays the client's, whatever the engagement says of the employer's files.
            Holder::Client => false,
        };
        if !binds && let Some(date) = facts.triggers.get(&Rule::TRANSFERRED) {
            note(rule, "transferred", Some(*date));
            judged.keep_until(*date);
            continue;
        }
        if let Some(what) = rule
            .while_open
            .as_ref()
            .filter(|what| facts.open.contains(*what))
        {
            note(rule, "open", None);
            open.get_or_insert_with(|| what.clone());
            continue;
        }
        if let Some(floor) = &rule.floor {
            match resolve(floor, facts, true) {
                Ok(Some(date)) if binds => {
                    note(rule, "floor", Some(date));
                    judged.keep_until(date);
                }
                Ok(date) => {
                    note(rule, "transfer", date);
                    transfer |= !binds;
                }
                Err(trigger) => {
                    note(rule, "unknown", None);
                    unknown.get_or_insert(trigger);
                }
            }
        } else if !binds {
            note(rule, "transfer", None);
            transfer = true;
        }
        if let Some(ceiling) = &rule.ceiling {
            // An unknown ceiling does not shorten anything, so it is no reason to stop.
            match resolve(ceiling, facts, false) {
                Ok(Some(date)) => {
                    note(rule, "ceiling", Some(date));
                    judged.ceiling = Some(judged.ceiling.map_or(date, |other| other.min(date)));
                }
                Ok(None) => {}
                Err(trigger) => drop(ceilingless.get_or_insert(trigger)),
            }
        }
    }
    if !any {
        return Err(Refusal::new(Code::RetUnclassed).about("class", schedule.class.clone()));
    }
    judged.outcome = if !facts.holds.is_empty() {
        Outcome::Held(facts.holds.clone())
    } else if let Some(open) = open {
        Outcome::NotComputable { open }
    } else if let Some(trigger) = unknown {
        Outcome::Undetermined { trigger }
    } else {
        judged.compare(facts.today, transfer, ceilingless)
    };
    Ok(judged)
}

impl Evaluation {
    /// Refuses unless the record may be destroyed on this evaluation.
    ///
    /// # Errors
    /// [`Code::DstHold`], [`Code::RetNoTrigger`], [`Code::RetConflict`] or
    /// [`Code::RetPack`] by what stands against it.
    pub fn require_eligible(&self) -> Result<(), Refusal> {
        let refuse = |code| Err(Refusal::new(code).about("class", self.class.clone()));
        match &self.outcome {
            Outcome::Eligible { .. } if self.executable => Ok(()),
            Outcome::Eligible { .. } => refuse(Code::RetPack),
            Outcome::Held(holds) => {
                let refusal = Refusal::new(Code::DstHold).about("holds", holds.len());
                Err(holds
                    .iter()
                    .fold(refusal, |refusal, hold| refusal.about("hold", *hold)))
            }
            Outcome::KeepRestricted { .. } => refuse(Code::RetConflict),
            Outcome::Keep { until } => Err(Refusal::new(Code::DspOpen)
                .about("class", self.class.clone())
                .about("keep_until", *until)),
            Outcome::Undetermined { trigger } => {
                Err(Refusal::new(Code::RetNoTrigger).about("trigger", trigger.clone()))
            }
            Outcome::NotComputable { open } => {
                Err(Refusal::new(Code::DspOpen).about("open", open.clone()))
            }
            Outcome::OfferTransfer => refuse(Code::DspOriginal),
        }
    }
}

impl Judgement {
    fn keep_until(&mut self, date: NaiveDate) {
        self.floor = Some(self.floor.map_or(date, |other| other.max(date)));
    }

    fn compare(&self, today: NaiveDate, transfer: bool, ceilingless: Option<Label>) -> Outcome {
        match (self.floor, self.ceiling) {
            (Some(floor), Some(ceiling)) if floor > ceiling && today < floor => {
                Outcome::KeepRestricted {
                    until: floor,
                    ceiling,
                }
            }
            (Some(floor), _) if today < floor => Outcome::Keep { until: floor },
            _ if transfer => Outcome::OfferTransfer,
            (Some(floor), ceiling) => Outcome::Eligible {
                since: floor,
                act_by: ceiling,
            },
            // No minimum is known, so the maximum alone says when: not before it.
            (None, Some(ceiling)) if today < ceiling => Outcome::Keep { until: ceiling },
            (None, Some(ceiling)) => Outcome::Eligible {
                since: ceiling,
                act_by: Some(ceiling),
            },
            // Rules that give neither floor nor ceiling give no permission either.
            (None, None) => Outcome::Undetermined {
                trigger: ceilingless.unwrap_or(const { Label::fixed("none") }),
            },
        }
    }
}

/// The date a term gives; `Err` names the trigger that would have to be known.
fn resolve(term: &Term, facts: &Facts, floor: bool) -> Result<Option<NaiveDate>, Label> {
    let mut combined: Option<NaiveDate> = None;
    for bound in &term.of {
        let needed = bound.needed_when.as_ref();
        let needed = needed.is_some_and(|said| facts.nexus.contains(said));
        match facts.triggers.get(&bound.trigger).copied() {
            Some(from) => {
                let date = if floor {
                    bound.add.floor_from(from)
                } else {
                    bound.add.ceiling_from(from)
                };
                let date = date.ok_or_else(|| bound.trigger.clone())?;
                combined = Some(match (term.op, combined) {
                    (Combine::First, _) => return Ok(Some(date)),
                    (_, None) => date,
                    (Combine::Max, Some(other)) => other.max(date),
                    (Combine::Min, Some(other)) => other.min(date),
                });
            }
            None if needed => return Err(bound.trigger.clone()),
            None if bound.when_known || term.op == Combine::First => {}
            None => return Err(bound.trigger.clone()),
        }
    }
    match (combined, term.of.first()) {
        (None, Some(bound)) => Err(bound.trigger.clone()),
        (date, _) => Ok(date),
    }
}

fn reviewed_within(rule: &Rule, months: u32, today: NaiveDate) -> bool {
    // No month is shorter than 28 days: for what was reviewed lately no calendar is needed.
    if (today - rule.reviewed_on).num_days() <= i64::from(months) * 28 {
        return true;
    }
    rule.reviewed_on
        .checked_add_months(Months::new(months))
        .is_some_and(|until| today <= until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::retention::{Applies, Bound};

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    fn rule(id: &str, floor: Option<Term>, ceiling: Option<Term>) -> Rule {
        Rule {
            id: label(id),
            applies: Applies::default(),
            holder: Holder::Firm,
            floor,
            ceiling,
            while_open: None,
            citation: "test".into(),
            source: "test".into(),
            reviewed_on: day("2026-11-22"),
            verified: true,
            pack: PackRef {
                id: label("test"),
                version: label("1"),
                digest: Digest::of(b"test"),
            },
        }
    }

    fn term(op: Combine, of: &[(&str, &str, bool)]) -> Term {
        let bound = |(trigger, add, when_known): &(&str, &str, bool)| Bound {
            trigger: label(trigger),
            add: add.parse().unwrap(),
            when_known: *when_known,
            needed_when: None,
        };
        Term {
            op,
            of: of.iter().map(bound).collect(),
        }
    }

    fn facts(today: &str, triggers: &[(&str, &str)]) -> Facts {
        Facts {
            today: day(today),
            triggers: triggers
                .iter()
                .map(|(name, date)| (label(name), day(date)))
                .collect(),
            open: BTreeSet::new(),
            nexus: BTreeSet::new(),
            holds: Vec::new(),
            custodian: true,
        }
    }

    fn i9() -> Schedule {
        let floor = term(
            Combine::Max,
            &[
                ("hire_date", "P3Y", false),
                ("employment_end", "P1Y", false),
            ],
        );
        let mut rule = rule("us.i9", Some(floor), None);
        rule.while_open = Some(label("employment"));
        Schedule {
            class: label("EMPLOYER_RECORD.I9"),
            rules: vec![rule],
        }
    }

    #[test]
    fn i9_vectors_of_the_domain_table() {
        for (hire, end, expected) in [
            ("2020-01-01", "2021-12-31", "2023-01-01"),
            ("2015-01-01", "2021-12-31", "2022-12-31"),
            ("2020-02-29", "2021-02-28", "2023-03-01"),
            ("2024-02-29", "2028-02-29", "2029-03-01"),
            ("2022-06-15", "2024-06-15", "2025-06-15"),
        ] {
            let facts = facts(
                "2019-01-01",
                &[("hire_date", hire), ("employment_end", end)],
            );
            assert_eq!(
                evaluate(&i9(), &facts).unwrap().floor,
                Some(day(expected)),
                "{hire} {end}"
            );
        }
    }

    #[test]
    fn still_employed_is_not_computable() {
        let mut facts = facts("2026-01-01", &[("hire_date", "2020-01-01")]);
        facts.open.insert(label("employment"));
        let outcome = evaluate(&i9(), &facts).unwrap().outcome;
        assert_eq!(
            outcome,
            Outcome::NotComputable {
                open: label("employment")
            }
        );
    }

    #[test]
    fn a_hold_beats_everything() {
        let mut facts = facts(
            "2040-01-01",
            &[
                ("hire_date", "2020-01-01"),
                ("employment_end", "2021-01-01"),
            ],
        );
        let hold = HoldId::derived(&[b"hold"]);
        facts.holds.push(hold);
        let evaluation = evaluate(&i9(), &facts).unwrap();
        assert_eq!(evaluation.outcome, Outcome::Held(vec![hold]));
        assert_eq!(
            evaluation.require_eligible().unwrap_err().code(),
            Code::DstHold
        );
    }

    #[test]
    fn an_unknown_trigger_keeps() {
        let facts = facts("2040-01-01", &[("hire_date", "2020-01-01")]);
        let evaluation = evaluate(&i9(), &facts).unwrap();
        assert_eq!(
            evaluation.outcome,
            Outcome::Undetermined {
                trigger: label("employment_end")
            }
        );
        assert_eq!(
            evaluation.require_eligible().unwrap_err().code(),
            Code::RetNoTrigger
        );
    }

    #[test]
    fn a_minors_file_is_kept_seven_years_from_majority() {
        let floor = term(
            Combine::Max,
            &[("matter_closed", "P7Y", false), ("majority", "P7Y", true)],
        );
        let schedule = Schedule {
            class: label("CASE.FILE"),
            rules: vec![rule("il.claims", Some(floor), None)],
        };
        let minor = facts(
            "2026-01-02",
            &[("matter_closed", "2026-01-01"), ("majority", "2033-05-10")],
        );
        assert_eq!(
            evaluate(&schedule, &minor).unwrap().outcome,
            Outcome::Keep {
                until: day("2040-05-10")
            }
        );
        let adult = facts("2026-01-02", &[("matter_closed", "2026-01-01")]);
        assert_eq!(
            evaluate(&schedule, &adult).unwrap().outcome,
            Outcome::Keep {
                until: day("2033-01-01")
            }
        );
    }

    #[test]
    fn the_first_known_trigger_counts_where_the_law_says_so() {
        let floor = term(
            Combine::First,
            &[
                ("last_h1b_employment", "P1Y", false),
                ("lca_end", "P1Y", false),
            ],
        );
        let schedule = Schedule {
            class: label("PAF"),
            rules: vec![rule("us.paf", Some(floor), None)],
        };
        let never = facts("2020-01-01", &[("lca_end", "2025-06-30")]);
        assert_eq!(
            evaluate(&schedule, &never).unwrap().floor,
            Some(day("2026-06-30"))
        );
        let worked = facts(
            "2020-01-01",
            &[
                ("lca_end", "2025-06-30"),
                ("last_h1b_employment", "2025-09-15"),
            ],
        );
        assert_eq!(
            evaluate(&schedule, &worked).unwrap().floor,
            Some(day("2026-09-15"))
        );
    }

    #[test]
    fn a_floor_past_the_ceiling_restricts_instead_of_destroying() {
        let floor = rule(
            "il.claims",
            Some(term(Combine::Max, &[("matter_closed", "P7Y", false)])),
            None,
        );
        let ceiling = rule(
            "eu.storage",
            None,
            Some(term(Combine::Min, &[("matter_closed", "P0D", false)])),
        );
        let schedule = Schedule {
            class: label("CASE.FILE"),
            rules: vec![ceiling, floor],
        };
        let evaluation = evaluate(
            &schedule,
            &facts("2027-01-01", &[("matter_closed", "2026-01-01")]),
        )
        .unwrap();
        let expected = Outcome::KeepRestricted {
            until: day("2033-01-01"),
            ceiling: day("2026-01-01"),
        };
        assert_eq!(evaluation.outcome, expected);
        assert_eq!(
            evaluation.require_eligible().unwrap_err().code(),
            Code::RetConflict
        );
    }

    #[test]
    fn an_unverified_or_stale_rule_never_destroys() {
        let term = || Some(term(Combine::Max, &[("matter_closed", "P7Y", false)]));
        let late = facts("2034-01-01", &[("matter_closed", "2026-01-01")]);
        let mut unverified = rule("x", term(), None);
        unverified.verified = false;
        unverified.reviewed_on = day("2033-12-01");
        let schedule = Schedule {
            class: label("CASE.FILE"),
            rules: vec![unverified],
        };
        assert_eq!(
            evaluate(&schedule, &late)
                .unwrap()
                .require_eligible()
                .unwrap_err()
                .code(),
            Code::RetPack
        );
        let stale = Schedule {
            class: label("CASE.FILE"),
            rules: vec![rule("x", term(), None)],
        };
        assert_eq!(
            evaluate(&stale, &late)
                .unwrap()
                .require_eligible()
                .unwrap_err()
                .code(),
            Code::RetPack
        );
    }

    #[test]
    fn no_rule_is_no_permission() {
        let schedule = Schedule {
            class: label("X"),
            rules: Vec::new(),
        };
        assert_eq!(
            evaluate(&schedule, &facts("2034-01-01", &[]))
                .unwrap_err()
                .code(),
            Code::RetUnclassed
        );
    }
}
