//! The rules of access in plain Rust: what the shipped policy must agree with.
//!
//! A request is held against every rule in the order of this table; the first that says no gives
//! the code, all that say no give the reasons. Only what passes all of them is admitted.
//!
//! | rule | says no when | code |
//! |---|---|---|
//! | `acl.listed` | the actor is revoked, not on the access list, or has no such role | `ACL-DENY` |
//! | `acl.wall` | the actor is walled off from the matter; nothing beats this | `ACL-DENY` |
//! | `acl.glass` | break-glass by anybody but an attorney, over, or longer than [`GLASS`] | `ACL-DENY` |
//! | `acl.role` | [`GRANTS`] does not give the role this act at this [reach](Reach) | `ACL-DENY` |
//! | `acl.sealed` | a sealed item (`SPECIAL_SEALED`) would be opened, processed, scanned or searched | `ACL-DENY` |
//! | `acl.party` | the person is not a party of the matter, unless data is only coming in | `ACL-DENY` |
//! | `acl.team` | attorney or paralegal, not on the matter's team in that role, or a person's data outside any matter; break-glass lifts it for an attorney in a matter | `ACL-DENY` |
//! | `acl.own` | a client asks for anybody else's data | `ACL-DENY` |
//! | `acl.petition` | a petitioner outside its own petition, or for data of another side | `ACL-DENY` |
//! | `sep.disposition` | `Approve` or `Certify` by the one who took part before | `DSP-SELF` |
//! | `sep.review` | `Review` or `Release` by the one who took part before | `REV-SELF` |
//! | `trn.special` | staff without valid training, special category | `TRN-EXPIRED` |
//! | `trn.grace` | staff whose training ended more than [`GRACE`] days ago, opening any person's data | `TRN-EXPIRED` |
//! | `prc.purpose` | no lawful basis in the matter for the purpose; outside a matter, neither a legal purpose nor an act of taking in | `PRC-PURPOSE` |
//! | `prc.ground` | special category used without a recorded ground | `PRC-NO-GROUND` |
//! | `prc.restricted` | processing of the person is restricted and the purpose is not a legal one | `PRC-RESTRICTED` |
//! | `dst.hold` | `Approve` or `Destroy` of what a legal hold covers | `DST-HOLD` |
//!
//! Rules from `acl.party` on look at persons' data only: the firm's own affairs
//! ([`Reach::Firm`]) pass them, except for `acl.team` where a matter is named and the `sep`
//! rules. An admission owes [`Obligation::DurableOpening`] for special categories, exports and
//! break-glass, and [`Obligation::Review`] for break-glass.

use chrono::{NaiveDate, TimeDelta};

use crate::audit::Label;
use crate::id::Digest;
use crate::pii::{Category, Party};
use crate::policy::{
    AccessRequest, Act, Decision, Obligation, Policy, Purpose, Reason, Role, Verdict,
};
use crate::refusal::Code;

use Act::{
    Amend, Approve, Archive, Certify, Close, Destroy, Enlist, Enter, Export, Hold, Improve, Manage,
    Open, Probe, Process, Propose, Receive, Rekey, Release, Report, Retain, Review, Revoke, Scan,
    Search, Share, Store, Train, Transfer, Transmit, Unhold, Verify,
};

/// What each role may do: on the firm's own affairs, on ordinary and on special personal data
/// (domain table of roles). What is not here is denied.
///
/// A service has one scope. Sysadmin, security officer and auditor see no content.
pub const GRANTS: &[Grants] = &[
    Grants {
        role: Role::Attorney,
        firm: &[
            Close, Hold, Improve, Manage, Open, Receive, Report, Review, Search, Train,
        ],
        personal: MATTER_LEAD,
        special: MATTER_LEAD,
    },
    Grants {
        role: Role::Auditor,
        firm: &[Improve, Open, Probe, Report, Review, Search],
        personal: &[],
        special: &[],
    },
    Grants {
        role: Role::Ciso,
        firm: &[
            Certify, Enlist, Improve, Manage, Open, Probe, Rekey, Report, Review, Search, Train,
        ],
        personal: &[Report],
        special: &[Report],
    },
    Grants {
        role: Role::Dpo,
        firm: &[
            Approve, Close, Export, Improve, Manage, Open, Report, Retain, Review, Search, Train,
        ],
        personal: &[
            Approve, Certify, Export, Open, Probe, Report, Retain, Review, Search,
        ],
        special: &[
            Approve, Certify, Export, Open, Probe, Report, Retain, Review, Search,
        ],
    },
    Grants {
        role: Role::Intake,
        firm: &[Open, Receive, Report, Search, Verify],
        personal: &[Receive, Release, Report, Review, Scan, Search, Verify],
        special: &[Receive, Release, Report, Review, Scan, Verify],
    },
    Grants {
        role: Role::LegalHold,
        firm: &[Hold, Open, Report, Search, Unhold],
        personal: &[Hold, Report, Unhold],
        special: &[Hold, Report, Unhold],
    },
    Grants {
        role: Role::Paralegal,
        firm: &[Open, Report, Review, Search],
        personal: CASE_WORK,
        special: CASE_WORK,
    },
    Grants {
        role: Role::Petitioner,
        firm: &[Report],
        personal: &[Open, Receive, Report, Review],
        special: &[],
    },
    Grants {
        role: Role::Records,
        firm: &[
            Approve, Archive, Improve, Open, Probe, Propose, Report, Retain, Review, Search, Train,
        ],
        personal: &[Approve, Archive, Certify, Probe, Propose, Report, Retain],
        special: &[Approve, Archive, Certify, Probe, Propose, Report, Retain],
    },
    Grants {
        role: Role::ServiceChannel,
        firm: &[Receive, Verify],
        personal: &[Receive, Verify],
        special: &[Receive, Verify],
    },
    Grants {
        role: Role::ServiceDestroy,
        firm: &[Destroy, Probe],
        personal: &[Destroy, Probe],
        special: &[Destroy, Probe],
    },
    Grants {
        role: Role::ServiceDlp,
        firm: &[Scan],
        personal: &[Scan],
        special: &[Scan],
    },
    Grants {
        role: Role::ServiceRetention,
        firm: &[Retain],
        personal: &[Retain],
        special: &[Retain],
    },
    Grants {
        role: Role::ServiceSync,
        firm: &[Enter, Store, Transfer],
        personal: &[Enter, Store, Transfer],
        special: &[Enter, Store, Transfer],
    },
    Grants {
        role: Role::Subject,
        firm: &[Report],
        personal: &[Export, Open, Receive, Report, Review],
        special: &[Export, Open, Receive, Report, Review],
    },
    Grants {
        role: Role::Sysadmin,
        firm: &[Improve, Report],
        personal: &[],
        special: &[],
    },
];

/// What whoever leads a matter may do in it.
const MATTER_LEAD: &[Act] = &[
    Amend, Approve, Archive, Close, Enter, Export, Hold, Manage, Open, Process, Receive, Release,
    Report, Review, Revoke, Scan, Search, Share, Store, Transfer, Transmit, Verify,
];

/// What a case worker may do: no filing, no bulk export, no disposition.
const CASE_WORK: &[Act] = &[
    Amend, Enter, Open, Process, Receive, Report, Review, Revoke, Scan, Search, Share, Store,
    Transfer, Verify,
];

/// Acts that look at content; a sealed item is carried, never looked at.
pub const LOOKING: &[Act] = &[Amend, Open, Process, Review, Scan, Search];

/// Acts by which data comes in, before anybody knows which matter or party it belongs to.
pub const TAKING_IN: &[Act] = &[Manage, Receive, Release, Report, Scan, Search, Verify];

/// Acts that use data and so need a ground where it is special; the others guard it, count it
/// or end it.
pub const USING: &[Act] = &[
    Amend, Archive, Enter, Export, Open, Process, Review, Scan, Search, Share, Store, Transfer,
    Transmit,
];

/// Purposes that the law itself gives the firm.
pub const LEGAL: &[Purpose] = Purpose::LEGAL;

/// How many days after the end of a training ordinary personal data may still be opened.
pub const GRACE: i64 = 30;

/// How many hours an emergency access may last.
pub const GLASS: i64 = 4;

/// One row of [`GRANTS`].
#[derive(Clone, Copy, Debug)]
pub struct Grants {
    /// The role.
    pub role: Role,
    /// On the firm's own affairs.
    pub firm: &'static [Act],
    /// On ordinary personal data.
    pub personal: &'static [Act],
    /// On special categories.
    pub special: &'static [Act],
}

/// How far into persons' lives a request reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The firm's own affairs: no person, and a category that holds none.
    Firm,
    /// Ordinary personal data.
    Personal,
    /// Special categories.
    Special,
}

impl Reach {
    /// The reach of a request.
    #[must_use]
    pub const fn of(request: &AccessRequest<'_>) -> Self {
        match (request.object.category, request.object.subject) {
            (category, _) if category.is_special() => Self::Special,
            (Category::FirmRecord | Category::PublicFile, None) => Self::Firm,
            _ => Self::Personal,
        }
    }
}

/// The reference implementation of [`Policy`]: the in-memory house lives under it, and the policy
/// that ships must answer every request as it does.
#[derive(Clone, Copy, Debug)]
pub struct RulesPolicy {
    digest: Digest,
}

impl RulesPolicy {
    /// The policy of this module's tables.
    #[must_use]
    pub fn new() -> Self {
        let table = format!("{GRANTS:?}{LOOKING:?}{TAKING_IN:?}{USING:?}{LEGAL:?}{GRACE}{GLASS}");
        let rules: Vec<_> = RULES.iter().map(|rule| (&rule.id, rule.text)).collect();
        Self {
            digest: Digest::of(format!("{table}{rules:?}").as_bytes()),
        }
    }
}

impl Default for RulesPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for RulesPolicy {
    fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        let reach = Reach::of(request);
        let broken = || RULES.iter().filter(|rule| (rule.breaks)(request, reach));
        let decision = |verdict, reasons, obligations| Decision {
            verdict,
            reasons,
            obligations,
            policy: self.digest,
        };
        if let Some(first) = broken().next() {
            let reasons = broken().map(Rule::reason).collect();
            return decision(Verdict::Deny(first.code), reasons, Vec::new());
        }
        let glass = request.context.break_glass.is_some();
        let mut obligations = Vec::new();
        if glass || reach == Reach::Special || request.act == Export {
            obligations.push(Obligation::DurableOpening);
        }
        if glass {
            obligations.push(Obligation::Review);
        }
        let granted = Reason {
            rule: Label::fixed("acl.role"),
            text: format!("{} may {}", request.role.as_str(), request.act),
        };
        decision(Verdict::Permit, vec![granted], obligations)
    }
}

/// One rule: when it says no, and with which code.
struct Rule {
    id: Label,
    code: Code,
    text: &'static str,
    breaks: fn(&AccessRequest<'_>, Reach) -> bool,
}

impl Rule {
    const fn new(
        id: &'static str,
        code: Code,
        text: &'static str,
        breaks: fn(&AccessRequest<'_>, Reach) -> bool,
    ) -> Self {
        Self {
            id: Label::fixed(id),
            code,
            text,
            breaks,
        }
    }

    fn reason(&self) -> Reason {
        Reason {
            rule: self.id.clone(),
            text: self.text.to_owned(),
        }
    }
}

const RULES: &[Rule] = &[
    Rule::new(
        "acl.listed",
        Code::AclDeny,
        "the actor is not on the access list in this role",
        |request, _| request.actor.revoked || !request.actor.roles.contains(&request.role),
    ),
    Rule::new(
        "acl.wall",
        Code::AclDeny,
        "the actor is walled off from the matter",
        |request, _| {
            request
                .object
                .matter
                .is_some_and(|matter| matter.walled.contains(&request.actor.id))
        },
    ),
    Rule::new(
        "acl.glass",
        Code::AclDeny,
        "no emergency access of this kind",
        |request, _| {
            let now = request.context.now;
            request.context.break_glass.is_some_and(|glass| {
                request.role != Role::Attorney
                    || glass.until <= now
                    || glass.until - now > TimeDelta::hours(GLASS)
            })
        },
    ),
    Rule::new(
        "acl.role",
        Code::AclDeny,
        "the role does not include this act",
        |request, reach| {
            let row = GRANTS.iter().find(|row| row.role == request.role);
            !row.is_some_and(|row| {
                let acts = match reach {
                    Reach::Firm => row.firm,
                    Reach::Personal => row.personal,
                    Reach::Special => row.special,
                };
                acts.contains(&request.act)
            })
        },
    ),
    Rule::new(
        "acl.sealed",
        Code::AclDeny,
        "a sealed item is carried, never opened",
        |request, _| {
            request.object.category == Category::SpecialSealed && LOOKING.contains(&request.act)
        },
    ),
    Rule::new(
        "acl.party",
        Code::AclDeny,
        "the person is not a party of the matter",
        |request, _| {
            let (Some(matter), Some(subject)) = (request.object.matter, request.object.subject)
            else {
                return false;
            };
            !matter.parties.contains_key(&subject) && !TAKING_IN.contains(&request.act)
        },
    ),
    Rule::new(
        "acl.team",
        Code::AclDeny,
        "the actor is not on the matter's team",
        |request, reach| {
            let bound = matches!(request.role, Role::Attorney | Role::Paralegal);
            let assigned = match request.object.matter {
                Some(matter) => {
                    matter.team.get(&request.actor.id) == Some(&request.role)
                        || request.context.break_glass.is_some()
                }
                None => reach == Reach::Firm || request.object.subject.is_none(),
            };
            bound && !assigned
        },
    ),
    Rule::new(
        "acl.own",
        Code::AclDeny,
        "clients see their own data only",
        |request, reach| {
            request.role == Role::Subject
                && reach != Reach::Firm
                && (request.object.subject.is_none()
                    || request.object.subject != request.actor.subject)
        },
    ),
    Rule::new(
        "acl.petition",
        Code::AclDeny,
        "petitioners see the petition side of their petition",
        |request, reach| {
            request.role == Role::Petitioner && reach != Reach::Firm && !petition_side(request)
        },
    ),
    Rule::new(
        "sep.disposition",
        Code::DspSelf,
        "whoever took part before does not approve",
        |request, _| {
            matches!(request.act, Approve | Certify)
                && request.context.other_than == Some(request.actor.id)
        },
    ),
    Rule::new(
        "sep.review",
        Code::RevSelf,
        "whoever submitted does not review",
        |request, _| {
            matches!(request.act, Review | Release)
                && request.context.other_than == Some(request.actor.id)
        },
    ),
    Rule::new(
        "trn.special",
        Code::TrnExpired,
        "special categories need valid training",
        |request, reach| {
            reach == Reach::Special && is_staff(request.role) && days_untrained(request) > 0
        },
    ),
    Rule::new(
        "trn.grace",
        Code::TrnExpired,
        "the grace after the training's end is over",
        |request, reach| {
            reach != Reach::Firm
                && is_staff(request.role)
                && request.act == Open
                && days_untrained(request) > GRACE
        },
    ),
    Rule::new(
        "prc.purpose",
        Code::PrcPurpose,
        "the matter has no lawful basis for the purpose",
        |request, reach| {
            let taken_in = request.object.matter.is_none()
                && (LEGAL.contains(&request.purpose) || TAKING_IN.contains(&request.act))
                && request.purpose != Purpose::Marketing;
            reach != Reach::Firm && request.basis.is_none() && !taken_in
        },
    ),
    Rule::new(
        "prc.ground",
        Code::PrcNoGround,
        "no ground for special categories is recorded",
        |request, reach| {
            reach == Reach::Special
                && USING.contains(&request.act)
                && request
                    .object
                    .matter
                    .is_none_or(|matter| matter.ground.is_none())
        },
    ),
    Rule::new(
        "prc.restricted",
        Code::PrcRestricted,
        "processing of the person is restricted",
        |request, _| request.object.restricted && !LEGAL.contains(&request.purpose),
    ),
    Rule::new(
        "dst.hold",
        Code::DstHold,
        "a legal hold stands",
        |request, _| request.object.held && matches!(request.act, Approve | Destroy),
    ),
];

/// Services and outside parties need no training of the firm's.
const fn is_staff(role: Role) -> bool {
    !role.is_service() && !matches!(role, Role::Subject | Role::Petitioner)
}

/// Days since the last day of valid training; forever when there never was one.
fn days_untrained(request: &AccessRequest<'_>) -> i64 {
    let today: NaiveDate = request.context.now.date_naive();
    request
        .actor
        .trained_until
        .map_or(i64::MAX, |until| (today - until).num_days())
}

/// Whether the actor speaks for the petitioner of this matter and the data is of that side.
fn petition_side(request: &AccessRequest<'_>) -> bool {
    let Some(matter) = request.object.matter else {
        return false;
    };
    let is_petitioner = |subject| matter.parties.get(&subject) == Some(&Party::Petitioner);
    let speaks_for_it = request.actor.party == Some(Party::Petitioner)
        && (matter.team.get(&request.actor.id) == Some(&Role::Petitioner)
            || request.actor.subject.is_some_and(is_petitioner));
    speaks_for_it && request.object.subject.is_some_and(is_petitioner)
}

#[cfg(test)]
mod tests;
