//! A firm changes its own policy: a file is read, analysed over the people it has, proved for
//! all requests, signed by two and put in force. It takes the solver cvc5; without it the change is
//! refused.
//!
//! ```text
//! cargo run --example policy_change
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use kta_core::audit::{Label, LocalSigner, NoteKey, SignedNote};
use kta_core::guidance::Language;
use kta_core::id::{ActorId, MatterId, SubjectId, TenantId};
use kta_core::memory::{ManualClock, MemoryStore, SeededEntropy};
use kta_core::pii::{Category, Matter, MatterState, Party};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, Directory, Gate, LawfulBasis, Object, Policy as _,
    Purpose, Role,
};
use kta_core::time::Timestamp;
use kta_policy::{CedarPolicy, InForce, PolicyChange, Prover};

const CHANGE: &str = r#"
[change]
id = "invented-firm"
version = "1"
review_by = 2027-11-30
approved_by = ["attorney", "ciso"]
text = "case clerks look and change nothing; senior paralegals may file"

[[role]]
title = "case-clerk"
acts_as = "paralegal"
acts = ["open", "search"]
reach = ["personal"]
text = "case clerks look, and change nothing"
text_he = "פקידי תיקים צופים ואינם משנים"

[cedar]
grants = '''
@id("firm.senior.file") @role("paralegal")
permit(principal, action == Action::"transmit", resource)
when { context.role == "paralegal" && principal.titles.contains("senior-paralegal") && resource.reach == "personal" };
'''
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now: Timestamp = "2026-11-23T09:00:00Z".parse()?;
    let directory = firm(now)?;
    let in_force = Arc::new(InForce::new(CedarPolicy::shipped()?));
    println!("in force: {}", in_force.policy().digest());

    let change = PolicyChange::parse(CHANGE)?;
    let before = in_force.policy();
    let mut analysis = change.analyse(&before, &directory, now)?;
    let proved = match Prover::new() {
        Ok(prover) => analysis.prove(&prover, &before).map(|()| true)?,
        Err(_) => {
            println!("skipped: the proofs for all requests; cvc5 is not installed");
            false
        }
    };
    println!("\n{}", analysis.report());

    // Each approver reads the report and signs the statement with a key of their own.
    let (mut notes, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for (role, seed) in [("attorney", 1), ("ciso", 2)] {
        let signer = LocalSigner::new(role, SigningKey::from_bytes(&[seed; 32]))?;
        let note = SignedNote::sign(analysis.statement(), &signer)?;
        notes.insert(Label::new(role)?, note);
        keys.insert(Label::new(role)?, NoteKey::of(&signer)?);
    }
    let signed = match analysis.accept(&notes, &keys, now.date_naive()) {
        Ok(signed) => signed,
        Err(refusal) if !proved => {
            println!("refused: {refusal}; what nobody proved is not put in force");
            return Ok(());
        }
        Err(refusal) => return Err(refusal.into()),
    };
    // It is put in force by somebody who may manage, and is on the log before.
    let gate = Gate::new(
        TenantId::derived(&[b"an invented firm"]),
        Arc::clone(&in_force) as _,
        Arc::new(MemoryStore::new()),
        Arc::new(ManualClock::at(now)),
        Arc::new(SeededEntropy::new(1)),
    );
    gate.amend_directory(|current| *current = directory.clone());
    let attorney = ActorId::derived(&[b"attorney"]);
    let session = gate.session(attorney, Role::Attorney, Purpose::Compliance);
    let (_, after) = in_force.activate(&session, signed).await?;
    println!("in force: {after}");

    let matter = directory.matters.values().next().ok_or("a matter")?;
    let request = AccessRequest {
        actor: &directory.actors[&ActorId::derived(&[b"clerk"])],
        role: Role::Paralegal,
        act: Act::Amend,
        object: Object {
            matter: Some(matter),
            subject: matter.parties.keys().next().copied(),
            category: Category::Case,
            restricted: false,
            held: false,
        },
        purpose: Purpose::Representation,
        basis: Some(LawfulBasis::Contract),
        context: AccessContext::at(now),
    };
    let decision = in_force.decide(&request);
    for language in Language::ALL {
        let words = in_force.policy().explain(&decision, language);
        println!("{}: {}", words.because[0].0, words.because[0].1);
    }
    Ok(())
}

/// An attorney, a clerk and a senior paralegal, and one matter of theirs.
fn firm(now: Timestamp) -> Result<Directory, Box<dyn std::error::Error>> {
    let mut directory = Directory::default();
    let trained = now.date_naive() + chrono::Days::new(90);
    let mut team = BTreeMap::new();
    for (name, role, title) in [
        ("attorney", Role::Attorney, None),
        ("clerk", Role::Paralegal, Some("case-clerk")),
        ("senior", Role::Paralegal, Some("senior-paralegal")),
    ] {
        let id = ActorId::derived(&[name.as_bytes()]);
        let mut actor = Actor::new(id, role).trained_until(trained);
        actor.titles.extend(title.map(Label::fixed));
        team.insert(id, role);
        directory.list(actor);
    }
    directory.file(Matter {
        tenant: TenantId::derived(&[b"an invented firm"]),
        id: MatterId::derived(&[b"an invented matter"]),
        kind: Label::fixed("us.h1b"),
        state: MatterState::Drafting,
        team,
        parties: BTreeMap::from([(SubjectId::derived(&[b"a client"]), Party::Beneficiary)]),
        walled: BTreeSet::new(),
        purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
        ground: None,
        triggers: BTreeMap::new(),
        open_points: BTreeSet::new(),
        originals_held: 0,
    });
    Ok(directory)
}
