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
mod tests;
