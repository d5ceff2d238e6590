use core::task::{Context, Poll, Waker};

use super::*;
use crate::conformance::Desk;
use crate::error::Result;
use crate::policy::{Emergency, Scope, Session};

/// The stores here answer at once.
fn now<F: Future>(future: F) -> F::Output {
    match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

fn ask(session: &Session<'_>, act: Act, scope: Scope) -> Option<Code> {
    let outcome: Result<_> = now(session.permit(act, scope));
    outcome
        .err()
        .map(|error| error.refusal().expect("no fault in memory").code())
}

fn obligations(session: &Session<'_>, act: Act, scope: &Scope) -> Vec<Obligation> {
    now(session.explain(act, scope))
        .unwrap()
        .remove(0)
        .obligations
}

#[test]
fn the_table_has_one_row_a_role_and_a_service_has_one_scope() {
    for role in Role::ALL {
        assert_eq!(
            GRANTS.iter().filter(|row| row.role == role).count(),
            1,
            "{role:?}"
        );
    }
    for row in GRANTS.iter().filter(|row| row.role.is_service()) {
        assert_eq!(row.personal, row.special);
        assert!(!row.personal.contains(&Open) && row.personal.len() <= 3);
    }
}

#[test]
fn sysadmin_security_officer_and_auditor_see_no_content() {
    let desk = Desk::new("no content");
    for role in [Role::Sysadmin, Role::Ciso, Role::Auditor] {
        for category in Category::ALL {
            for act in USING {
                let scope = desk.scope(desk.beneficiary(), category);
                assert_eq!(ask(&desk.session(role), *act, scope), Some(Code::AclDeny));
            }
        }
    }
}

#[test]
fn what_the_table_does_not_grant_is_denied() {
    let desk = Desk::new("table");
    for role in Role::ALL {
        for act in Act::ALL {
            let row = GRANTS.iter().find(|row| row.role == role).unwrap();
            let scope = desk.scope(desk.beneficiary(), Category::Case);
            let refused = ask(&desk.session(role), *act, scope);
            // The petitioner's own rule stands behind the table.
            let granted = row.personal.contains(act) && role != Role::Petitioner;
            assert_eq!(refused.is_none(), granted, "{role:?} {act} {refused:?}");
        }
    }
}

#[test]
fn an_unlisted_or_revoked_actor_or_a_role_not_held_is_denied() {
    let desk = Desk::new("listed");
    let scope = || desk.scope(desk.beneficiary(), Category::Case);
    let borrowed = desk.gate().session(
        desk.actor(Role::Sysadmin),
        Role::Attorney,
        Purpose::Representation,
    );
    assert_eq!(ask(&borrowed, Open, scope()), Some(Code::AclDeny));
    let unknown = crate::id::ActorId::derived(&[b"nobody"]);
    let unknown = desk
        .gate()
        .session(unknown, Role::Attorney, Purpose::Representation);
    assert_eq!(ask(&unknown, Open, scope()), Some(Code::AclDeny));
    let attorney = desk.actor(Role::Attorney);
    desk.gate().amend_directory(|directory| {
        directory.actors.get_mut(&attorney).unwrap().revoked = true;
    });
    assert_eq!(
        ask(&desk.session(Role::Attorney), Open, scope()),
        Some(Code::AclDeny)
    );
}

#[test]
fn a_wall_beats_every_grant_and_the_emergency_too() {
    let desk = Desk::new("wall");
    let (attorney, matter) = (desk.actor(Role::Attorney), desk.matter());
    desk.gate().amend_directory(|directory| {
        directory
            .matters
            .get_mut(&matter)
            .unwrap()
            .walled
            .insert(attorney);
    });
    let scope = || desk.scope(desk.beneficiary(), Category::Case);
    assert_eq!(
        ask(&desk.session(Role::Attorney), Open, scope()),
        Some(Code::AclDeny)
    );
    let until = desk.now() + TimeDelta::hours(1);
    let glass = desk
        .session(Role::Attorney)
        .break_glass(until, Emergency::Deadline);
    assert_eq!(ask(&glass, Open, scope()), Some(Code::AclDeny));
    assert_eq!(ask(&desk.session(Role::Paralegal), Open, scope()), None);
}

#[test]
fn only_the_team_works_on_a_matter_unless_the_glass_is_broken() {
    let desk = Desk::new("team");
    let matter = desk.matter();
    desk.gate()
        .amend_directory(|directory| directory.matters.get_mut(&matter).unwrap().team.clear());
    let scope = || desk.scope(desk.beneficiary(), Category::Case);
    for role in [Role::Attorney, Role::Paralegal] {
        assert_eq!(ask(&desk.session(role), Open, scope()), Some(Code::AclDeny));
    }
    let hour = desk.now() + TimeDelta::hours(1);
    let glass = desk
        .session(Role::Attorney)
        .break_glass(hour, Emergency::Danger);
    assert_eq!(ask(&glass, Open, scope()), None);
    let owed = obligations(&glass, Open, &scope());
    assert_eq!(owed, [Obligation::DurableOpening, Obligation::Review]);
    let paralegal = desk
        .session(Role::Paralegal)
        .break_glass(hour, Emergency::Danger);
    assert_eq!(ask(&paralegal, Open, scope()), Some(Code::AclDeny));
    for until in [desk.now(), desk.now() + TimeDelta::hours(5)] {
        let glass = desk
            .session(Role::Attorney)
            .break_glass(until, Emergency::Deadline);
        assert_eq!(ask(&glass, Open, scope()), Some(Code::AclDeny));
    }
}

#[test]
fn somebody_who_is_no_party_is_out_of_reach_within_a_matter() {
    let desk = Desk::new("party");
    let scope = Scope::of(desk.stranger(), Category::Case).in_matter(desk.matter());
    assert_eq!(
        ask(&desk.session(Role::Paralegal), Open, scope),
        Some(Code::AclDeny)
    );
    let outside = Scope::of(desk.beneficiary(), Category::Case);
    assert_eq!(
        ask(&desk.session(Role::Paralegal), Open, outside),
        Some(Code::AclDeny)
    );
}

#[test]
fn clients_see_their_own_data_only() {
    let desk = Desk::new("own");
    let client = desk.session(Role::Subject);
    for (subject, refused) in [
        (desk.beneficiary(), None),
        (desk.spouse(), Some(Code::AclDeny)),
        (desk.petitioner(), Some(Code::AclDeny)),
        (desk.stranger(), Some(Code::AclDeny)),
    ] {
        assert_eq!(
            ask(&client, Open, desk.scope(subject, Category::Special)),
            refused
        );
    }
}

#[test]
fn a_petitioner_sees_the_petition_side_and_nothing_special() {
    let desk = Desk::new("petition");
    let session = desk.session(Role::Petitioner);
    let of = |subject, category| desk.scope(subject, category);
    assert_eq!(
        ask(&session, Open, of(desk.petitioner(), Category::Case)),
        None
    );
    assert_eq!(
        ask(&session, Open, of(desk.petitioner(), Category::Special)),
        Some(Code::AclDeny)
    );
    assert_eq!(
        ask(&session, Open, of(desk.beneficiary(), Category::Case)),
        Some(Code::AclDeny)
    );
    // Another employer's contact does not see this petition.
    let actor = desk.actor(Role::Petitioner);
    desk.gate().amend_directory(|directory| {
        directory.actors.get_mut(&actor).unwrap().subject = Some(desk.stranger());
    });
    assert_eq!(
        ask(&session, Open, of(desk.petitioner(), Category::Case)),
        Some(Code::AclDeny)
    );
}

#[test]
fn training_ends_at_the_end_of_its_last_day_and_grace_thirty_days_later() {
    let desk = Desk::new("training");
    let case = || desk.scope(desk.beneficiary(), Category::Case);
    let special = || desk.scope(desk.beneficiary(), Category::Special);
    let session = desk.session(Role::Paralegal);
    let end = "2027-01-14T23:59:59Z".parse().unwrap();
    desk.clock().set(end);
    assert_eq!(ask(&session, Open, special()), None);
    desk.clock().advance(TimeDelta::seconds(1));
    assert_eq!(ask(&session, Open, special()), Some(Code::TrnExpired));
    assert_eq!(ask(&session, Open, case()), None);
    desk.clock().set(end + TimeDelta::days(30));
    assert_eq!(ask(&session, Open, case()), None);
    desk.clock().advance(TimeDelta::seconds(1));
    assert_eq!(ask(&session, Open, case()), Some(Code::TrnExpired));
    assert_eq!(ask(&session, Report, case()), None);
    // Clients and services are not staff.
    assert_eq!(ask(&desk.session(Role::Subject), Open, special()), None);
    assert_eq!(
        ask(&desk.session(Role::ServiceDestroy), Destroy, special()),
        None
    );
}

#[test]
fn a_purpose_needs_its_basis_in_the_matter() {
    let desk = Desk::new("purpose");
    let scope = || desk.scope(desk.beneficiary(), Category::Case);
    let marketing = desk.session_for(Role::Paralegal, Purpose::Marketing);
    assert_eq!(ask(&marketing, Open, scope()), Some(Code::PrcPurpose));
    let matter = desk.matter();
    desk.gate().amend_directory(|directory| {
        directory
            .matters
            .get_mut(&matter)
            .unwrap()
            .purposes
            .remove(&Purpose::Filing);
    });
    let filing = desk.session_for(Role::Attorney, Purpose::Filing);
    assert_eq!(ask(&filing, Transmit, scope()), Some(Code::PrcPurpose));
    // Before there is a matter: taking in, and what the law wants, but no use.
    let delivery = || Scope::of(desk.stranger(), Category::Case);
    assert_eq!(ask(&desk.session(Role::Intake), Receive, delivery()), None);
    assert_eq!(
        ask(&desk.session(Role::ServiceDestroy), Destroy, delivery()),
        None
    );
    assert_eq!(
        ask(&desk.session(Role::ServiceSync), Transfer, delivery()),
        Some(Code::PrcPurpose)
    );
    let marketing = desk.session_for(Role::Intake, Purpose::Marketing);
    assert_eq!(ask(&marketing, Receive, delivery()), Some(Code::PrcPurpose));
}

#[test]
fn special_categories_need_a_recorded_ground_to_be_used_but_not_to_be_destroyed() {
    let desk = Desk::new("ground");
    let matter = desk.matter();
    desk.gate()
        .amend_directory(|directory| directory.matters.get_mut(&matter).unwrap().ground = None);
    let scope = || desk.scope(desk.beneficiary(), Category::Special);
    assert_eq!(
        ask(&desk.session(Role::Paralegal), Open, scope()),
        Some(Code::PrcNoGround)
    );
    assert_eq!(
        ask(&desk.session(Role::ServiceDestroy), Destroy, scope()),
        None
    );
}

#[test]
fn a_sealed_item_is_carried_and_never_opened() {
    let desk = Desk::new("sealed");
    let scope = || desk.scope(desk.beneficiary(), Category::SpecialSealed);
    let session = desk.session(Role::Attorney);
    for act in LOOKING {
        assert_eq!(ask(&session, *act, scope()), Some(Code::AclDeny));
    }
    assert_eq!(ask(&session, Store, scope()), None);
    assert_eq!(
        obligations(&session, Store, &scope()),
        [Obligation::DurableOpening]
    );
}

#[test]
fn a_restricted_person_is_processed_for_legal_purposes_only() {
    let desk = Desk::new("restricted");
    let subject = desk.beneficiary();
    desk.gate()
        .amend_directory(|directory| directory.restricted.insert(subject));
    let scope = || desk.scope(subject, Category::Case);
    assert_eq!(
        ask(&desk.session(Role::Paralegal), Open, scope()),
        Some(Code::PrcRestricted)
    );
    for (role, act) in [
        (Role::Dpo, Open),
        (Role::Records, Retain),
        (Role::ServiceDestroy, Destroy),
    ] {
        assert_eq!(ask(&desk.session(role), act, scope()), None);
    }
}

#[test]
fn whoever_took_part_before_does_not_approve_certify_review_or_release() {
    let desk = Desk::new("separation");
    for (role, act, code) in [
        (Role::Records, Approve, Code::DspSelf),
        (Role::Records, Certify, Code::DspSelf),
        (Role::Attorney, Review, Code::RevSelf),
        (Role::Intake, Release, Code::RevSelf),
    ] {
        let scope = || desk.scope(desk.beneficiary(), Category::Case);
        let session = desk.session(role);
        assert_eq!(
            ask(&session, act, scope().other_than(desk.actor(role))),
            Some(code)
        );
        assert_eq!(
            ask(&session, act, scope().other_than(desk.actor(Role::Dpo))),
            None
        );
    }
}

#[test]
fn a_hold_stops_approval_and_destruction_and_nothing_else() {
    let desk = Desk::new("hold");
    let hold = crate::retention::Hold {
        tenant: desk.tenant(),
        id: crate::id::HoldId::derived(&[b"invented"]),
        subjects: [desk.beneficiary()].into(),
        matters: std::collections::BTreeSet::new(),
        reason: Label::fixed("litigation.2026-01"),
        placed_by: desk.actor(Role::LegalHold),
        placed_at: desk.now(),
        released: None,
    };
    let change = crate::ports::ChangeSet::new(desk.tenant(), desk.now());
    let change = change.with(crate::ports::Change::PlaceHold(hold));
    now(crate::ports::Store::commit(desk.store(), change)).unwrap();
    let scope = || desk.scope(desk.beneficiary(), Category::Case);
    assert_eq!(
        ask(&desk.session(Role::ServiceDestroy), Destroy, scope()),
        Some(Code::DstHold)
    );
    assert_eq!(
        ask(&desk.session(Role::Records), Approve, scope()),
        Some(Code::DstHold)
    );
    assert_eq!(ask(&desk.session(Role::Records), Propose, scope()), None);
    assert_eq!(ask(&desk.session(Role::Paralegal), Open, scope()), None);
    let spouse = desk.scope(desk.spouse(), Category::Case);
    assert_eq!(
        ask(&desk.session(Role::ServiceDestroy), Destroy, spouse),
        None
    );
}

#[test]
fn every_no_is_a_rule_with_its_reason_and_every_yes_has_one() {
    let desk = Desk::new("reasons");
    let session = desk.session(Role::Sysadmin);
    let scope = desk.scope(desk.beneficiary(), Category::Special);
    let decision = now(session.explain(Open, &scope)).unwrap().remove(0);
    assert_eq!(decision.verdict, Verdict::Deny(Code::AclDeny));
    assert_eq!(decision.reasons[0].rule.as_str(), "acl.role");
    let session = desk.session(Role::Paralegal);
    let decision = now(session.explain(Open, &scope)).unwrap().remove(0);
    assert_eq!(decision.verdict, Verdict::Permit);
    assert!(!decision.reasons.is_empty());
    assert_eq!(decision.policy, RulesPolicy::new().digest);
    for rule in RULES {
        assert!(rule.text.is_ascii() && !rule.text.ends_with('.'));
    }
}
