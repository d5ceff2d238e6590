//! One joint matter, everybody in it and around it: who may see whose data of which kind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use kta_core::audit::Label;
use kta_core::guidance::Language;
use kta_core::id::{ActorId, MatterId, SubjectId, TenantId};
use kta_core::pii::{Category, Matter, MatterState, Party};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, LawfulBasis, Object, Policy as _, Purpose, Role,
    SpecialGround, Verdict,
};
use kta_policy::CedarPolicy;

const PARTIES: [(&str, Party); 5] = [
    ("employer", Party::Petitioner),
    ("worker", Party::Beneficiary),
    ("spouse", Party::Spouse),
    ("child", Party::Child),
    ("sponsor", Party::ThirdPerson),
];

#[test]
fn in_one_joint_matter_everybody_sees_their_own_side_only() {
    let policy = CedarPolicy::shipped().unwrap();
    let matter = matter();
    // Who asks, in which role, as whom, for which side; and whose ordinary and special data.
    let clients = ["worker", "spouse", "child", "sponsor"];
    for who in clients {
        let actor = client(who, Role::Subject, Some(who), None);
        for (whose, _) in PARTIES {
            let own = who == whose;
            for category in [
                Category::Case,
                Category::Special,
                Category::SpecialProtected,
            ] {
                let seen = sees(&policy, &actor, Role::Subject, &matter, whose, category);
                assert_eq!(seen, own, "{who} of {whose}: {category:?}");
            }
        }
    }
    // A guardian is who the child is; the employer's contact speaks for the petition side.
    let guardian = client("guardian", Role::Subject, Some("child"), None);
    let contact = client(
        "contact",
        Role::Petitioner,
        Some("employer"),
        Some(Party::Petitioner),
    );
    // An impostor says the side and is nobody of the matter; an ex-spouse was a party once.
    let impostor = client("impostor", Role::Petitioner, None, Some(Party::Petitioner));
    let former = client(
        "former",
        Role::Subject,
        Some("former spouse"),
        Some(Party::Spouse),
    );
    for (whose, _) in PARTIES {
        for category in [Category::Case, Category::Identity, Category::Special] {
            let sees = |actor: &Actor, role| sees(&policy, actor, role, &matter, whose, category);
            assert_eq!(sees(&guardian, Role::Subject), whose == "child");
            let petition = whose == "employer" && category != Category::Special;
            assert_eq!(
                sees(&contact, Role::Petitioner),
                petition,
                "{whose} {category:?}"
            );
            assert!(!sees(&impostor, Role::Petitioner) && !sees(&former, Role::Subject));
        }
    }
    // A sealed item is opened by nobody, whoever it is of.
    let own = client("worker", Role::Subject, Some("worker"), None);
    assert!(!sees(
        &policy,
        &own,
        Role::Subject,
        &matter,
        "worker",
        Category::SpecialSealed
    ));
}

#[test]
fn every_rule_of_the_house_has_words_in_both_languages() {
    let policy = CedarPolicy::shipped().unwrap();
    let matter = matter();
    let nobody = Actor::new(ActorId::derived(&[b"nobody"]), Role::Paralegal);
    let mut request = request(
        &nobody,
        Role::Paralegal,
        &matter,
        "worker",
        Category::Special,
    );
    request.basis = None;
    request.object.held = true;
    let mut rules = BTreeSet::new();
    for role in Role::ALL {
        for act in Act::ALL {
            (request.role, request.act) = (role, *act);
            request.context.other_than = Some(nobody.id);
            let decision = policy.decide(&request);
            let [english, hebrew] =
                Language::ALL.map(|language| policy.explain(&decision, language));
            assert!(!english.admitted && english.advice.is_some());
            for ((rule, english), (same, hebrew)) in english.because.iter().zip(&hebrew.because) {
                assert_eq!(rule, same);
                assert!(english.is_ascii() && !hebrew.is_ascii(), "{rule}: {hebrew}");
                rules.insert(rule.clone());
            }
        }
    }
    assert!(rules.len() >= 9, "{rules:?}");
    let texts = include_str!("../policies/bars.cedar");
    let count = |word: &str| texts.matches(word).count();
    assert_eq!(count("@text_he(\""), count("@text(\""));
}

fn sees(
    policy: &CedarPolicy,
    actor: &Actor,
    role: Role,
    matter: &Matter,
    whose: &str,
    category: Category,
) -> bool {
    let decision = policy.decide(&request(actor, role, matter, whose, category));
    decision.verdict == Verdict::Permit
}

fn request<'a>(
    actor: &'a Actor,
    role: Role,
    matter: &'a Matter,
    whose: &str,
    category: Category,
) -> AccessRequest<'a> {
    AccessRequest {
        actor,
        role,
        act: Act::Open,
        object: Object {
            matter: Some(matter),
            subject: Some(person(whose)),
            category,
            restricted: false,
            held: false,
        },
        purpose: Purpose::Representation,
        basis: Some(LawfulBasis::Contract),
        context: AccessContext::at("2026-11-23T09:00:00Z".parse().unwrap()),
    }
}

fn matter() -> Matter {
    Matter {
        tenant: TenantId::derived(&[b"an invented firm"]),
        id: MatterId::derived(&[b"a joint matter"]),
        kind: Label::fixed("us.h1b"),
        state: MatterState::Drafting,
        team: BTreeMap::new(),
        parties: PARTIES.map(|(name, party)| (person(name), party)).into(),
        walled: BTreeSet::new(),
        purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
        ground: Some(SpecialGround::LegalClaims),
        triggers: BTreeMap::new(),
        open_points: BTreeSet::new(),
        originals_held: 0,
    }
}

fn client(name: &str, role: Role, subject: Option<&str>, party: Option<Party>) -> Actor {
    let mut actor = Actor::new(ActorId::derived(&[name.as_bytes()]), role);
    actor.subject = subject.map(person);
    actor.party = party;
    actor
}

fn person(name: &str) -> SubjectId {
    SubjectId::derived(&[b"invented", name.as_bytes()])
}
