//! Roles, profiles, sharing, and the vendor's log chained into ours.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use chrono::TimeDelta;
use common::{Office, number};
use kta_core::audit::{LocalSigner, NoteKey};
use kta_core::policy::Act;
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal};
use kta_zoho::emulator::EmulatedUser;
use kta_zoho::{Access, AuditChain};

#[tokio::test]
async fn every_widening_of_access_is_one_finding_and_a_narrowing_is_none() {
    let office = Office::open().await;
    let permit = office.firm_permit(Act::Review).await;
    let approved: Access = office.crm.access(&permit).await.unwrap();
    assert_eq!(
        (
            approved.users.len(),
            approved.roles.len(),
            approved.profiles.len()
        ),
        (3, 2, 2)
    );
    assert_eq!(approved.drift(&approved), []);
    let inspect = office.emulator.inspect();
    inspect.add_user(EmulatedUser {
        id: 5_843_104_000_000_499_001,
        first_name: "Canary".to_owned(),
        last_name: "Canary".to_owned(),
        email: "canary@firm.example.com".to_owned(),
        active: true,
        confirmed: true,
        profile: 1,
        role: 1,
    });
    inspect.permit_standard("Export_Contacts");
    assert!(inspect.share_module("Contacts", "public_read_only"));
    let leaver = inspect.users()[1].id;
    assert!(inspect.deactivate_user(leaver));
    let now = office.crm.access(&permit).await.unwrap();
    let found = now.drift(&approved);
    let codes: Vec<Code> = found.iter().map(Refusal::code).collect();
    assert_eq!(
        codes,
        [Code::AccUnlisted, Code::AccOverpriv, Code::AccOverpriv]
    );
    assert!(
        !format!("{found:?} {now:?}")
            .to_lowercase()
            .contains("canary")
    );
    // Less than was approved is no finding.
    assert_eq!(
        approved.drift(&now).len(),
        1,
        "the leaver is not on the new list"
    );
    let comes_back: Access = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
    assert_eq!(comes_back.digest(), now.digest());
    assert_ne!(now.digest(), approved.digest());
}

#[tokio::test]
async fn a_recertification_is_a_signed_note_about_this_very_picture() {
    let office = Office::open().await;
    let permit = office.firm_permit(Act::Review).await;
    let access = office.crm.access(&permit).await.unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let signer = LocalSigner::new("firm.example.com/access", key).unwrap();
    let note = access.recertify(office.desk.now(), &signer).unwrap();
    note.verify(&NoteKey::of(&signer).unwrap()).unwrap();
    assert!(note.text().contains(&access.digest().to_string()));
}

#[tokio::test]
async fn a_day_cut_out_of_the_vendors_log_is_a_gap_with_its_bounds() {
    let office = Office::open().await;
    let permit = office.firm_permit(Act::Review).await;
    let begin = Timestamp::from_timestamp(office.emulator.clock().now(), 0).unwrap();
    office.emulator.clock().freeze_at(begin.timestamp());
    let hour = std::time::Duration::from_secs(3_600);
    let locator = office.enter("log").await.unwrap();
    for n in 0..72 {
        office.emulator.clock().advance(hour);
        office.by_hand(&locator, "Occupation", &format!("number {n}"));
    }
    let end = begin + TimeDelta::hours(80);
    let mut chain = AuditChain::begin(begin - TimeDelta::hours(1));
    let day = TimeDelta::days(10);
    let first = office
        .crm
        .continue_audit(&mut chain, end, day, &permit)
        .await
        .unwrap();
    assert_eq!((first.new.len(), first.findings.len()), (73, 0));
    let head = chain.head();
    let again = office
        .crm
        .continue_audit(&mut chain, end, day, &permit)
        .await
        .unwrap();
    assert!(again.new.is_empty() && again.findings.is_empty());
    assert_eq!(chain.head(), head);
    // What goes into our own log says the head and counts, and no name.
    let event = chain.event(&again, &permit);
    assert!(!format!("{event:?}").contains("Sample"));
    let (from, until) = (begin + TimeDelta::hours(24), begin + TimeDelta::hours(48));
    let cut = office
        .emulator
        .inspect()
        .cut_audit_log(from.timestamp(), until.timestamp());
    assert_eq!(cut, 24);
    let found = office
        .crm
        .continue_audit(&mut chain, end, day, &permit)
        .await
        .unwrap();
    let codes: Vec<Code> = found.findings.iter().map(Refusal::code).collect();
    assert_eq!(codes, [Code::AudGap]);
    let facts = found.findings[0].facts();
    assert_eq!(facts[0].1, from.into());
    assert_eq!(facts[1].1, (until - TimeDelta::hours(1)).into());
    assert!(office.emulator.inspect().holdings(number(&locator)).audit > 0);
}
