//! A firm's own policies and roles: data, validated, analysed, signed by two, cited.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use kta_core::audit::{Label, LocalSigner, NoteKey, SignedNote};
use kta_core::guidance::Language;
use kta_core::id::{ActorId, MatterId, SubjectId, TenantId};
use kta_core::pii::{Category, Matter, MatterState, Party};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, Device, Directory, LawfulBasis, Object, Policy,
    Purpose, Role, SpecialGround, Station, Verdict,
};
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal};
use kta_policy::{Analysis, CedarPolicy, PolicyChange};
#[cfg(feature = "proof")]
use {
    kta_core::memory::{ManualClock, MemoryStore, SeededEntropy},
    kta_core::policy::{Decision, Gate, Scope, Session},
    kta_core::ports::Ledger as _,
    kta_policy::InForce,
    std::sync::Arc,
};

const CHANGE: &str = r#"
[change]
id = "invented-firm"
version = "2026-11"
review_by = 2027-11-30
approved_by = ["attorney", "ciso"]
text = "case clerks look and change nothing; exports need a managed device"

[[role]]
title = "case-clerk"
acts_as = "paralegal"
acts = ["open", "search"]
reach = ["personal"]
text = "case clerks look, and change nothing"
text_he = "פקידי תיקים צופים ואינם משנים"

[cedar]
grants = '''
@id("firm.partner.transmit") @role("paralegal")
permit(principal, action == Action::"transmit", resource)
when { context.role == "paralegal" && principal.titles.contains("senior-paralegal") && resource.reach == "personal" };
'''
bars = '''
@id("firm.export.device") @order("51") @code("ACL-DENY")
@text("exports need a managed device that was seen within an hour")
forbid(principal, action == Action::"export", resource)
unless { context has device && context.device == "managed" && context has seen_ago && context.seen_ago <= 3600000 };
@id("firm.hours") @order("52") @code("ACL-DENY")
@text("exports are made on working days, from six to eighteen")
forbid(principal, action == Action::"export", resource)
unless { context.weekday <= 5 && context.minute >= 360 && context.minute < 1080 };
'''
"#;

#[test]
fn a_role_of_the_firm_narrows_and_its_grant_widens() {
    let (change, firm) = (changed(CHANGE), Firm::new());
    let policy = change.policy();
    for (title, admitted) in [
        (None, [true, true, false]),
        (Some("case-clerk"), [true, false, false]),
        (Some("senior-paralegal"), [true, true, true]),
    ] {
        let mut actor = firm.paralegal();
        actor
            .titles
            .extend(title.map(|title| Label::new(title).unwrap()));
        for (act, admitted) in [Act::Open, Act::Amend, Act::Transmit]
            .into_iter()
            .zip(admitted)
        {
            let decision = policy.decide(&firm.ask(&actor, Role::Paralegal, act));
            assert_eq!(
                decision.verdict == Verdict::Permit,
                admitted,
                "{title:?} {act}"
            );
        }
    }
    let mut clerk = firm.paralegal();
    clerk.titles.insert(Label::fixed("case-clerk"));
    let decision = policy.decide(&firm.ask(&clerk, Role::Paralegal, Act::Amend));
    assert_eq!(decision.reasons[0].rule.as_str(), "firm.title:case-clerk");
    let words = policy.explain(&decision, Language::Hebrew);
    assert_eq!(words.because[0].1, "פקידי תיקים צופים ואינם משנים");
}

#[test]
fn an_export_needs_a_managed_device_in_working_hours() {
    let (change, firm) = (changed(CHANGE), Firm::new());
    let policy = change.policy();
    let attorney = firm.attorney();
    let sunday: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    let (monday, night) = (
        sunday + chrono::TimeDelta::days(1),
        sunday + chrono::TimeDelta::hours(30),
    );
    let seen = |device, ago, now| Station {
        device,
        country: Some(*b"IL"),
        seen: now - chrono::TimeDelta::minutes(ago),
    };
    for (now, station, admitted) in [
        (monday, Some(seen(Device::Managed, 5, monday)), true),
        (monday, Some(seen(Device::Managed, 61, monday)), false),
        (monday, Some(seen(Device::Private, 5, monday)), false),
        (monday, None, false),
        (sunday, Some(seen(Device::Managed, 5, sunday)), false),
        (night, Some(seen(Device::Managed, 5, night)), true),
        (
            night + chrono::TimeDelta::hours(12),
            Some(seen(
                Device::Managed,
                5,
                night + chrono::TimeDelta::hours(12),
            )),
            false,
        ),
    ] {
        let mut request = firm.ask(&attorney, Role::Attorney, Act::Export);
        request.context = AccessContext {
            station,
            ..AccessContext::at(now)
        };
        let decision = policy.decide(&request);
        assert_eq!(
            decision.verdict == Verdict::Permit,
            admitted,
            "{now} {station:?}"
        );
        assert_eq!(decision, policy.decide_by_cedar(&request));
    }
}

#[test]
fn a_grant_of_the_firm_does_not_override_a_bar_of_the_house() {
    let everything = format!(
        "{}bars = ''",
        CHANGE.split("grants =").next().unwrap().to_owned()
            + r#"grants = '''
@id("firm.all") @role("attorney")
permit(principal, action, resource) when { context.role == "attorney" };
'''
"#
    );
    // It would let an attorney approve a destruction and execute it: refused, whoever signs.
    let firm = Firm::new();
    let change = PolicyChange::parse(&everything).unwrap();
    let house = CedarPolicy::shipped().unwrap();
    let analysis = change.analyse(&house, &firm.directory, firm.now).unwrap();
    assert_eq!(analysis.flaw(), Some("one-role-approves-and-destroys"));
    let (signatures, keys) = signed(&analysis, ["attorney", "ciso"]);
    let refusal = analysis
        .accept(&signatures, &keys, firm.now.date_naive())
        .unwrap_err();
    assert_eq!(refusal.code(), Code::PolSign);
    // Without these two acts it is a lawful widening, and a wall stands all the same.
    let some = everything.replace(
        "permit(principal, action, resource) when",
        r#"permit(principal, action in [Action::"rekey", Action::"open"], resource) when"#,
    );
    let change = changed(&some);
    let policy = change.policy();
    let mut matter = firm.matter().clone();
    matter.walled.insert(firm.attorney().id);
    let attorney = firm.attorney();
    let mut request = firm.ask(&attorney, Role::Attorney, Act::Rekey);
    assert_eq!(policy.decide(&request).verdict, Verdict::Permit);
    request.object.matter = Some(&matter);
    for act in Act::ALL {
        request.act = *act;
        let decision = policy.decide(&request);
        assert_eq!(decision.verdict, Verdict::Deny(Code::AclDeny), "{act}");
    }
}

#[test]
fn the_analysis_says_who_gains_and_who_loses() {
    let firm = Firm::new();
    let house = CedarPolicy::shipped().unwrap();
    let change = PolicyChange::parse(CHANGE).unwrap();
    let analysis = change.analyse(&house, &firm.directory, firm.now).unwrap();
    assert_eq!(analysis.flaw(), None);
    let said: BTreeSet<_> = analysis
        .effects()
        .iter()
        .map(|effect| (effect.actor, effect.act, effect.gains))
        .collect();
    // The directory has a clerk, who loses all but two acts, and a senior, who gains one.
    assert!(said.contains(&(actor("clerk"), Act::Amend, false)));
    assert!(said.contains(&(actor("senior"), Act::Transmit, true)));
    assert!(said.contains(&(actor("attorney"), Act::Export, false)));
    assert!(!said.iter().any(|(who, _, _)| *who == actor("paralegal")));
    assert!(!said.contains(&(actor("clerk"), Act::Open, true)));
    let report = analysis.report();
    assert!(report.contains("gains transmit as paralegal"), "{report}");
    assert!(report.contains("people looked at: 4 of 4"), "{report}");
}

#[test]
fn a_change_is_active_only_with_two_different_signatures_over_its_analysis() {
    let firm = Firm::new();
    let today = firm.now.date_naive();
    let house = CedarPolicy::shipped().unwrap();
    let analysed = || {
        let change = PolicyChange::parse(CHANGE).unwrap();
        change.analyse(&house, &firm.directory, firm.now).unwrap()
    };
    let refused = |analysis: Analysis, (signatures, keys): (Notes, Keys), today| {
        analysis
            .accept(&signatures, &keys, today)
            .unwrap_err()
            .code()
    };
    let analysis = analysed();
    let mut one = signed(&analysis, ["attorney", "ciso"]);
    one.0.pop_last();
    assert_eq!(refused(analysis, one, today), Code::PolSign);
    let analysis = analysed();
    let twice = signed(&analysis, ["attorney", "attorney"]);
    assert_eq!(refused(analysis, twice, today), Code::PolSign);
    // Signed over another analysis: over a firm without these people.
    let change = PolicyChange::parse(CHANGE).unwrap();
    let other = change
        .analyse(&house, &Directory::default(), firm.now)
        .unwrap();
    let stale = signed(&other, ["attorney", "ciso"]);
    assert_eq!(refused(analysed(), stale, today), Code::PolSign);
    let analysis = analysed();
    let late = signed(&analysis, ["attorney", "ciso"]);
    let after = today.checked_add_days(chrono::Days::new(400)).unwrap();
    assert_eq!(refused(analysis, late, after), Code::PolExpired);

    // And signed rightly by both it is not active still, because nobody proved it.
    let analysis = analysed();
    let (signatures, keys) = signed(&analysis, ["attorney", "ciso"]);
    let unproved = analysis.accept(&signatures, &keys, today).unwrap_err();
    assert_eq!(flaw(&unproved), Some("not-proved".into()));
}

fn flaw(refusal: &Refusal) -> Option<String> {
    let mut facts = refusal.facts().iter();
    let flaw = facts.find(|(what, _)| *what == "flaw");
    flaw.map(|(_, flaw)| flaw.to_string())
}

#[test]
fn what_is_not_a_change_is_not_read() {
    for (from, to) in [
        ("version =", "verison ="),
        ("text_he =", "texthe ="),
        ("acts_as = \"paralegal\"", "acts_as = \"partner\""),
        ("acts = [\"open\", \"search\"]", "acts = [\"read\"]"),
        ("reach = [\"personal\"]", "reach = [\"all\"]"),
        ("[\"attorney\", \"ciso\"]", "[\"attorney\"]"),
        ("[cedar]", "[ceder]"),
        // A rule under a name of the house's, or of a title.
        ("@id(\"firm.hours\")", "@id(\"acl.hours\")"),
        ("@id(\"firm.hours\")", "@id(\"firm.title:hours\")"),
        ("@id(\"firm.hours\")", "@id(\"firm.export.device\")"),
        // Before the house's bars, it would lend a walled matter another code.
        ("@order(\"52\")", "@order(\"01\")"),
        (
            "@code(\"ACL-DENY\")\n@text(\"exports are",
            "@code(\"ACL-NEVER\")\n@text(\"exports are",
        ),
        // What the schema does not have, or may be absent.
        ("context.weekday <= 5", "context.day <= 5"),
        ("context has seen_ago && ", ""),
        // A grant that is bound to no role, or to another than it says.
        (
            "context.role == \"paralegal\" && principal.titles",
            "principal.titles",
        ),
        ("@role(\"paralegal\")", "@role(\"attorney\")"),
        // A bar among the grants, and a grant among the bars.
        (
            "permit(principal, action == Action::\"transmit\"",
            "forbid(principal, action == Action::\"transmit\"",
        ),
        (
            "forbid(principal, action == Action::\"export\"",
            "permit(principal, action == Action::\"export\"",
        ),
        // An end of a text that would swallow what follows.
        ("bars = '''", "bars = '''forbid("),
    ] {
        assert!(CHANGE.contains(from), "{from}");
        let fault = PolicyChange::parse(&CHANGE.replacen(from, to, 1));
        assert!(fault.unwrap_err().fault().is_some(), "{to}");
    }
}

#[cfg(feature = "proof")]
#[test]
fn a_change_is_proved_and_its_difference_shown_with_a_sample() {
    use kta_policy::Prover;
    let text = CHANGE.replace(
        "bars = '''",
        r#"bars = '''
@id("firm.never") @order("60") @code("ACL-DENY") @text("impossible")
forbid(principal, action == Action::"open", resource)
when { resource.reach == "firm" && resource.reach == "special" };
@id("firm.again") @order("61") @code("ACL-DENY") @text("shadowed")
forbid(principal, action == Action::"open", resource)
when { resource has matter && resource.matter.walled.contains(principal) && resource.held };
"#,
    );
    let firm = Firm::new();
    let house = CedarPolicy::shipped().unwrap();
    let change = PolicyChange::parse(&text).unwrap();
    let mut analysis = change.analyse(&house, &firm.directory, firm.now).unwrap();
    let unproved = analysis.statement();
    analysis.prove(&Prover::new().unwrap(), &house).unwrap();
    assert_ne!(
        analysis.statement(),
        unproved,
        "the proof is part of what is signed"
    );
    assert_eq!(analysis.flaw(), None);
    let difference = analysis.difference().unwrap();
    let wider: Vec<_> = difference
        .wider
        .iter()
        .map(|shift| (shift.role, shift.act))
        .collect();
    assert_eq!(wider, [(Role::Paralegal, Act::Transmit)]);
    assert!(difference.wider[0].sample.contains("senior-paralegal"));
    let narrower = |role, act| {
        let mut shifts = difference.narrower.iter();
        shifts.any(|shift| (shift.role, shift.act) == (role, act))
    };
    assert!(narrower(Role::Paralegal, Act::Amend));
    assert!(narrower(Role::Dpo, Act::Export));
    // On the firm's own affairs the clerk may not open what a paralegal may.
    assert!(narrower(Role::Paralegal, Act::Open) && !narrower(Role::Attorney, Act::Open));
    let idle = analysis.idle().unwrap();
    assert_eq!(idle.impossible, ["firm.never"]);
    assert_eq!(idle.shadowed, ["firm.again"]);
    let report = analysis.report();
    for line in [
        "every property of the house is proved",
        "wider: paralegal may transmit",
        "impossible: firm.never",
        "shadowed: firm.again",
    ] {
        assert!(report.contains(line), "{report}");
    }

    // Two sign what was proved, and it is put in force: on the log first.
    let today = firm.now.date_naive();
    let (signatures, keys) = signed(&analysis, ["attorney", "ciso"]);
    let change = analysis.accept(&signatures, &keys, today).unwrap();
    let (before, after) = (house.digest(), change.policy().digest());
    let desk = Office::new(&firm, house);
    let clerk = firm.actor("clerk");
    let request = firm.ask(&clerk, Role::Paralegal, Act::Amend);
    let old: Decision = desk.in_force.decide(&request);
    assert_eq!((old.verdict, old.policy), (Verdict::Permit, before));
    // Somebody who may not manage may not do this either.
    let paralegal = desk.session("paralegal", Role::Paralegal);
    let attorney = desk.session("attorney", Role::Attorney);
    assert!(at_once(paralegal.permit(Act::Manage, Scope::firm())).is_err());
    assert_eq!(desk.logged(), 0);
    assert_eq!(
        at_once(desk.in_force.activate(&attorney, change)).unwrap(),
        (before, after)
    );
    let new = desk.in_force.decide(&request);
    assert_eq!(
        (new.verdict, new.policy),
        (Verdict::Deny(Code::AclDeny), after)
    );
    assert_eq!(desk.logged(), 2, "admitted and done");
}

#[cfg(feature = "proof")]
#[test]
fn a_change_that_can_error_is_refuted_and_not_accepted() {
    use kta_policy::Prover;
    let text = CHANGE.replace("context.minute < 1080", "context.minute + 1 < 1080");
    let firm = Firm::new();
    let house = CedarPolicy::shipped().unwrap();
    let change = PolicyChange::parse(&text).unwrap();
    let mut analysis = change.analyse(&house, &firm.directory, firm.now).unwrap();
    analysis.prove(&Prover::new().unwrap(), &house).unwrap();
    assert_eq!(analysis.flaw(), Some("property-refuted"));
    let (signatures, keys) = signed(&analysis, ["attorney", "ciso"]);
    let refused = analysis.accept(&signatures, &keys, firm.now.date_naive());
    assert_eq!(refused.unwrap_err().code(), Code::PolSign);
}

/// The change, analysed, with the policy as it would make it.
fn changed(text: &str) -> Analysis {
    let firm = Firm::new();
    let house = CedarPolicy::shipped().unwrap();
    let change = PolicyChange::parse(text).unwrap();
    change.analyse(&house, &firm.directory, firm.now).unwrap()
}

type Notes = BTreeMap<Label, SignedNote>;
type Keys = BTreeMap<Label, NoteKey>;

/// The statement signed for both roles, by whoever is named for each.
fn signed(analysis: &Analysis, by: [&str; 2]) -> (Notes, Keys) {
    let (mut notes, mut keys) = (Notes::new(), Keys::new());
    for (role, who) in ["attorney", "ciso"].into_iter().zip(by) {
        let mut seed = [7; 32];
        seed[..who.len()].copy_from_slice(who.as_bytes());
        let signer = LocalSigner::new(role, SigningKey::from_bytes(&seed)).unwrap();
        let note = SignedNote::sign(analysis.statement(), &signer).unwrap();
        notes.insert(Label::new(role).unwrap(), note);
        keys.insert(Label::new(role).unwrap(), NoteKey::of(&signer).unwrap());
    }
    (notes, keys)
}

/// A gate that decides by a policy which may be replaced, over the people of a firm.
#[cfg(feature = "proof")]
struct Office {
    in_force: Arc<InForce>,
    store: MemoryStore,
    gate: Gate,
}

#[cfg(feature = "proof")]
impl Office {
    fn new(firm: &Firm, policy: CedarPolicy) -> Self {
        let (in_force, store) = (Arc::new(InForce::new(policy)), MemoryStore::new());
        let gate = Gate::new(
            TenantId::derived(&[b"firm"]),
            in_force.clone(),
            Arc::new(store.clone()),
            Arc::new(ManualClock::at(firm.now)),
            Arc::new(SeededEntropy::new(1)),
        );
        gate.amend_directory(|directory| *directory = firm.directory.clone());
        Self {
            in_force,
            store,
            gate,
        }
    }

    fn session(&self, who: &str, role: Role) -> Session<'_> {
        self.gate.session(actor(who), role, Purpose::Compliance)
    }

    /// How many entries of the log tell of a policy.
    fn logged(&self) -> usize {
        let log = at_once(self.store.entries(self.gate.tenant(), 0, 100)).unwrap();
        let log = log
            .iter()
            .map(|entry| String::from_utf8_lossy(entry).into_owned());
        log.filter(|entry| entry.contains("\"change\":\"policy\""))
            .count()
    }
}

/// The stores here answer at once.
#[cfg(feature = "proof")]
fn at_once<F: Future>(future: F) -> F::Output {
    use core::task::{Context, Poll, Waker};
    match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

struct Firm {
    directory: Directory,
    now: Timestamp,
}

impl Firm {
    fn new() -> Self {
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let mut directory = Directory::default();
        let mut team = BTreeMap::new();
        for (name, role) in [
            ("attorney", Role::Attorney),
            ("clerk", Role::Paralegal),
            ("paralegal", Role::Paralegal),
            ("senior", Role::Paralegal),
        ] {
            let mut member = Actor::new(actor(name), role).trained_until(
                now.date_naive()
                    .checked_add_days(chrono::Days::new(90))
                    .unwrap(),
            );
            member.titles.extend(match name {
                "clerk" => Some(Label::fixed("case-clerk")),
                "senior" => Some(Label::fixed("senior-paralegal")),
                _ => None,
            });
            team.insert(member.id, role);
            directory.list(member);
        }
        directory.file(Matter {
            tenant: TenantId::derived(&[b"invented firm"]),
            id: MatterId::derived(&[b"invented matter"]),
            kind: Label::fixed("us.h1b"),
            state: MatterState::Drafting,
            team,
            parties: BTreeMap::from([(SubjectId::derived(&[b"client"]), Party::Beneficiary)]),
            walled: BTreeSet::from([ActorId::derived(&[b"somebody else"])]),
            purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
            ground: Some(SpecialGround::LegalClaims),
            triggers: BTreeMap::new(),
            open_points: BTreeSet::new(),
            originals_held: 0,
        });
        Self { directory, now }
    }

    fn matter(&self) -> &Matter {
        self.directory.matters.first_key_value().unwrap().1
    }

    fn actor(&self, name: &str) -> Actor {
        self.directory.actors[&actor(name)].clone()
    }

    fn attorney(&self) -> Actor {
        self.actor("attorney")
    }

    fn paralegal(&self) -> Actor {
        self.actor("paralegal")
    }

    fn ask<'a>(&'a self, actor: &'a Actor, role: Role, act: Act) -> AccessRequest<'a> {
        AccessRequest {
            actor,
            role,
            act,
            object: Object {
                matter: Some(self.matter()),
                subject: Some(SubjectId::derived(&[b"client"])),
                category: Category::Case,
                restricted: false,
                held: false,
            },
            purpose: Purpose::Representation,
            basis: Some(LawfulBasis::Contract),
            context: AccessContext::at(self.now),
        }
    }
}

fn actor(name: &str) -> ActorId {
    ActorId::derived(&[b"actor", name.as_bytes()])
}
