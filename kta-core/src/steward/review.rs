//! Step 2: who has access to the CRM, held against the approved access list (Israeli Data
//! Security Regulation 8), and the certification of that list.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{Months, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome, Safe, SignedNote};
use crate::error::Result;
use crate::id::{ActorId, Digest};
use crate::pii::Locator;
use crate::pipeline::House;
use crate::policy::{Act, Role, Scope, Session};
use crate::ports::crm::CrmUser;
use crate::ports::store::{ChangeSet, Expected, Register, SheetQuery};
use crate::refusal::{Code, Refusal};
use crate::steward::shelf;

/// What the approved access list says of one user of the CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The actor of the firm behind the user; absent for an integration.
    pub actor: Option<ActorId>,
    /// Whether the user was approved as an administrator.
    pub administrator: bool,
}

/// A certified access list, as the register of findings keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certification {
    /// Who certified.
    pub by: ActorId,
    /// In which role.
    pub role: Role,
    /// On which day, in UTC.
    pub on: NaiveDate,
    /// How many users the list had.
    pub users: u64,
    /// SHA-256 of the list; see [`list_digest`].
    pub list: Digest,
    /// The signed note.
    pub note: String,
}

/// Holds the active users of the CRM against the approved list. Pure: the same facts give the
/// same findings, in the order of `users`.
///
/// - [`Code::AccUnlisted`]: not on the list, or an administrator whom the list has as a plain
///   user. Somebody who is not on the list at all gets this finding only: the access must end,
///   whatever else is wrong with it.
/// - [`Code::AccNoMfa`]: an administrator whose second factor is off or unknown.
/// - [`Code::AccOverpriv`]: an integration that administers.
/// - [`Code::AccStale`]: the list was never certified, more than `period_months` ago, or on a
///   day that is yet to come.
#[must_use]
pub fn review_access(
    users: &[CrmUser],
    approved: &BTreeMap<Locator, Approved>,
    last_certified: Option<NaiveDate>,
    today: NaiveDate,
    period_months: u32,
) -> Vec<Refusal> {
    let mut findings = Vec::new();
    for (row, user) in users.iter().enumerate() {
        let mut find = |code| findings.push(Refusal::new(code).about("user", named(user, row)));
        let Some(approved) = approved.get(&user.locator) else {
            find(Code::AccUnlisted);
            continue;
        };
        if user.administrator && !user.integration && !approved.administrator {
            find(Code::AccUnlisted);
        }
        if user.administrator && user.second_factor != Some(true) {
            find(Code::AccNoMfa);
        }
        if user.administrator && user.integration {
            find(Code::AccOverpriv);
        }
    }
    let is_current = last_certified.is_some_and(|on| {
        let end = on
            .checked_add_months(Months::new(period_months))
            .unwrap_or(on);
        on <= today && today <= end
    });
    if !is_current {
        findings.push(Code::AccStale.into());
    }
    findings
}

/// Certifies the access list as it is: signs its digest and files the signed note. The security
/// officer does, and nobody else: whoever reviews or works under the list does not approve it.
///
/// # Errors
/// Refusals of the gate; [`Code::AudChain`] when the signer's name or key cannot stand in a
/// note; faults of the store.
pub async fn certify(
    house: &House,
    session: &Session<'_>,
    users: &[CrmUser],
) -> Result<SignedNote> {
    let list = list_digest(users);
    let scope = Scope::firm()
        .about("list", list)
        .about("users", users.len());
    let permit = session.permit(Act::Certify, scope).await?;
    let now = house.gate.now();
    let text = format!(
        "kta access review\n{}\n{}\nby {} {}\nusers {}\nlist {list}\n",
        house.tenant(),
        crate::time::text(now),
        session.actor(),
        session.role().as_str(),
        users.len(),
    );
    let note = SignedNote::sign(text, &*house.doors.signer)?;
    let certification = Certification {
        by: session.actor(),
        role: session.role(),
        on: now.date_naive(),
        users: users.len() as u64,
        list,
        note: note.to_string(),
    };
    // In the order of time, and never two under one name.
    let name = shelf::name(format_args!(
        "{SHELF}/{}/{}",
        crate::time::text(now),
        permit.id()
    ));
    let event = permit
        .event(Act::Certify, Outcome::Done)
        .with("list", list)
        .with("users", users.len());
    let change = ChangeSet::new(house.tenant(), now)
        .with(shelf::file(
            Register::Findings,
            name,
            None,
            &certification,
            Expected::Absent,
        )?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(note)
}

/// The newest certification of the access list, if there ever was one.
///
/// # Errors
/// A fault of the store, or [`Corrupt`](crate::FaultKind::Corrupt) when the sheet cannot be read.
pub async fn last_certification(house: &House) -> Result<Option<Certification>> {
    let query = SheetQuery {
        after: Some(const { Label::fixed(SHELF) }),
        ..SheetQuery::all(house.tenant(), Register::Findings)
    };
    let sheets = house.doors.store.sheets(&query).await?;
    let is_ours = |name: &str| {
        name.strip_prefix(SHELF)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let newest = sheets
        .iter()
        .take_while(|sheet| is_ours(sheet.id.as_str()))
        .last();
    newest
        .map(|sheet| serde_json::from_slice(&sheet.body).map_err(|_| shelf::corrupt()))
        .transpose()
}

/// SHA-256 of the list in one form: one line a user, sorted, so that the order in which the CRM
/// told them does not matter.
#[must_use]
pub fn list_digest(users: &[CrmUser]) -> Digest {
    let mut lines: Vec<_> = users.iter().map(line).collect();
    lines.sort_unstable();
    Digest::of(lines.concat().as_bytes())
}

/// Neither a locator nor a label holds a blank or a line's end.
fn line(user: &CrmUser) -> String {
    let mut line = user.locator.as_str().to_owned();
    let profile = user.profile.as_ref().map_or("?", Label::as_str);
    let factor = match user.second_factor {
        Some(true) => "on",
        Some(false) => "off",
        None => "?",
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        line,
        " {profile} {} {factor} {}",
        user.administrator, user.integration
    );
    line
}

/// The CRM's id of a user where it is a label, the user's row in the list otherwise: an id that
/// looks like an address does not go into a finding.
fn named(user: &CrmUser, row: usize) -> Safe {
    Label::new(user.locator.as_str()).map_or_else(|_| Safe::from(row), Safe::from)
}

/// Where certifications stand among the findings.
const SHELF: &str = "access";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::NoteKey;
    use crate::steward::testing::{actor, entries, founded, session};

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn user(id: &str) -> CrmUser {
        CrmUser {
            locator: Locator::new(id).unwrap(),
            profile: Some(Label::fixed("standard")),
            administrator: false,
            second_factor: None,
            integration: false,
        }
    }

    fn fixture() -> (Vec<CrmUser>, BTreeMap<Locator, Approved>) {
        let administrator = CrmUser {
            administrator: true,
            second_factor: Some(true),
            ..user("4000000000002")
        };
        let integration = CrmUser {
            integration: true,
            ..user("4000000000003")
        };
        let users = vec![user("4000000000001"), administrator, integration];
        let approve = |user: &CrmUser| {
            let actor = (!user.integration).then(|| actor(Role::Paralegal));
            (
                user.locator.clone(),
                Approved {
                    actor,
                    administrator: user.administrator,
                },
            )
        };
        let approved = users.iter().map(approve).collect();
        (users, approved)
    }

    fn findings(users: &[CrmUser], approved: &BTreeMap<Locator, Approved>) -> Vec<Code> {
        let certified = Some(day("2026-10-01"));
        let found = review_access(users, approved, certified, day("2026-11-22"), 3);
        found.iter().map(Refusal::code).collect()
    }

    #[test]
    fn one_added_user_gives_exactly_one_finding() {
        let (mut users, approved) = fixture();
        assert_eq!(findings(&users, &approved), []);
        // Even one with whom everything is wrong.
        users.push(CrmUser {
            administrator: true,
            integration: true,
            ..user("4000000000009")
        });
        assert_eq!(findings(&users, &approved), [Code::AccUnlisted]);
        let found = review_access(
            &users,
            &approved,
            Some(day("2026-10-01")),
            day("2026-11-22"),
            3,
        );
        assert_eq!(found[0].facts()[0].1.to_string(), "4000000000009");
    }

    #[test]
    fn every_drift_of_a_listed_user_has_its_code() {
        let (users, approved) = fixture();
        for factor in [None, Some(false)] {
            let mut drifted = users.clone();
            drifted[1].second_factor = factor;
            assert_eq!(findings(&drifted, &approved), [Code::AccNoMfa]);
        }
        let mut drifted = users.clone();
        (drifted[0].administrator, drifted[0].second_factor) = (true, Some(true));
        assert_eq!(findings(&drifted, &approved), [Code::AccUnlisted]);
        let mut drifted = users;
        (drifted[2].administrator, drifted[2].second_factor) = (true, Some(true));
        assert_eq!(findings(&drifted, &approved), [Code::AccOverpriv]);
    }

    #[test]
    fn a_certification_lasts_through_the_last_day_of_its_period() {
        let stale = |on: Option<&str>, today| {
            !review_access(&[], &BTreeMap::new(), on.map(day), day(today), 3).is_empty()
        };
        assert!(!stale(Some("2026-08-22"), "2026-11-22"));
        assert!(stale(Some("2026-08-22"), "2026-11-23"));
        assert!(stale(Some("2026-11-23"), "2026-11-22"));
        assert!(stale(None, "2026-11-22"));
    }

    #[test]
    fn an_id_that_looks_like_an_address_stays_out_of_the_finding() {
        let added = user("noa@qzx-canary.example");
        let found = review_access(&[added], &BTreeMap::new(), None, day("2026-11-22"), 3);
        assert!(!format!("{found:?} {}", found[0]).contains("canary"));
    }

    #[tokio::test]
    async fn a_certified_list_is_signed_filed_logged_and_found_again() {
        let (ports, house) = founded(81).await;
        assert_eq!(last_certification(&house).await.unwrap(), None);
        let (mut users, _) = fixture();
        let officer = session(&house, Role::Ciso);
        certify(&house, &officer, &users).await.unwrap();
        ports.clock.advance(chrono::TimeDelta::days(30));
        users.reverse();
        let note = certify(&house, &officer, &users).await.unwrap();
        let key = NoteKey::of(&*house.doors.signer).unwrap();
        note.verify(&key).unwrap();
        assert!(note.text().contains(&list_digest(&fixture().0).to_string()));
        let last = last_certification(&house).await.unwrap().unwrap();
        assert_eq!(
            (last.on, last.by, last.note),
            (day("2026-12-22"), actor(Role::Ciso), note.to_string())
        );
        let event = entries(&ports, &house).await.pop().unwrap().event;
        assert_eq!((event.act, event.outcome), (Act::Certify, Outcome::Done));
        users.pop();
        assert_ne!(list_digest(&users), last.list);
    }

    #[tokio::test]
    async fn only_the_security_officer_certifies_the_access_list() {
        let (_, house) = founded(82).await;
        let (users, _) = fixture();
        for role in Role::ALL {
            let certified = certify(&house, &session(&house, role), &users).await;
            let refused = certified.err().map(|error| error.refusal().unwrap().code());
            let expected = (role != Role::Ciso).then_some(Code::AclDeny);
            assert_eq!(refused, expected, "{role:?}");
        }
        let last = last_certification(&house).await.unwrap().unwrap();
        assert_eq!(last.role, Role::Ciso);
    }
}
