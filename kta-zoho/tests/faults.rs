//! Everything that can go wrong on the way, at every port: nothing lost, nothing doubled; and
//! what this crate cannot ask for at all.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{CANARY, Office, configuration, number};
use kta_core::Result;
use kta_core::id::IdempotencyKey;
use kta_core::memory::SeededEntropy;
use kta_core::policy::Act;
use kta_core::ports::{AccessReview as _, AuditFeed as _, ChangeFeed as _, Crm as _, Erase as _};
use kta_http::Limits;
use kta_zoho::ZohoCrm;
use kta_zoho::emulator::{EmulatorOptions, Failure};

/// One step of a client's life in the CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Access,
    Amend,
    Audit,
    Changes,
    Enter,
    Erase,
    Fetch,
    Probe,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_at_whatever_step_nothing_is_lost_or_doubled() {
    let failures = [
        Failure::DropAfterEffect,
        Failure::DropBeforeEffect,
        Failure::Drip,
        Failure::AuthenticationFailure,
        Failure::InvalidToken,
        Failure::Redirect("https://elsewhere.example/steal".to_owned()),
        Failure::ScopeMismatch,
        Failure::ServerError,
        Failure::Silence,
        Failure::TooManyRequests,
        Failure::TruncatedBody,
        Failure::WrongContentType,
    ];
    let mut work = tokio::task::JoinSet::new();
    for failure in failures {
        work.spawn(async move { life(failure).await });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
}

/// Each step with the failure at its first and second call, then without, to the end.
async fn life(failure: Failure) {
    let limits = Limits {
        idle: Duration::from_millis(900),
        total: Duration::from_millis(1_200),
        ..Limits::default()
    };
    let options = EmulatorOptions {
        tokens_in_ten_minutes: 1_000,
        ..EmulatorOptions::default()
    };
    let mut office = Office::with_config(options, |config| config.within(limits)).await;
    let steps = [
        Step::Enter,
        Step::Fetch,
        Step::Amend,
        Step::Changes,
        Step::Access,
        Step::Audit,
        Step::Erase,
        Step::Probe,
    ];
    let slow = matches!(failure, Failure::Drip | Failure::Silence);
    for step in steps {
        for spared in if slow { 0..1 } else { 0..2 } {
            office
                .emulator
                .faults()
                .after(spared, 1, "*", "/crm/v8", failure.clone());
            let broken = take(&office, step).await;
            office.emulator.faults().clear();
            if let Err(error) = &broken {
                let said = format!("{error} {error:?}");
                assert!(!said.contains("Sample") && !said.contains(CANARY), "{said}");
                assert!(!said.contains("elsewhere.example"), "{said}");
            }
            // Ten tokens in ten minutes are all a process asks for: this is another process.
            let config = configuration(&office.emulator, office.emulator.refresh_token());
            let entropy = Arc::new(SeededEntropy::new(3));
            office.crm = ZohoCrm::new(config.within(limits), entropy).unwrap();
            take(&office, step)
                .await
                .unwrap_or_else(|error| panic!("{failure:?} {step:?} {spared}: {error}"));
            let count = office.emulator.inspect().ids("Contacts").len();
            let gone = matches!(step, Step::Erase | Step::Probe);
            assert_eq!(count, usize::from(!gone), "{failure:?} {step:?} {spared}");
        }
    }
    assert_eq!(office.emulator.inspect().automations_run(), 0);
}

async fn take(office: &Office, step: Step) -> Result<()> {
    let subject = office.desk.beneficiary();
    let firm = office.firm_permit(Act::Review).await;
    let record = office.record_id(subject);
    match step {
        Step::Enter => office.enter("life").await.map(drop),
        Step::Fetch => {
            let locator = locate(office).await?;
            let fetched = office.fetch(&locator).await?;
            assert_eq!(fetched.fields.len(), office.texts().len());
            Ok(())
        }
        Step::Amend => {
            let locator = locate(office).await?;
            let permit = office.permit(Act::Transfer).await;
            let fetched = office.fetch(&locator).await?;
            let at = fetched.modified;
            office.amend(&locator, at, "occupation", "Taster").await?;
            let fetched = office.fetch(&locator).await?;
            let now = fetched.fields.field("occupation").unwrap();
            assert_eq!(now.expose(&permit), "Taster");
            Ok(())
        }
        Step::Changes => {
            let page = office.crm.changes(None, 10, &firm).await?;
            let ours = page.changes.iter().filter(|one| one.record == Some(record));
            assert_eq!(ours.count(), 1);
            Ok(())
        }
        Step::Access => {
            assert_eq!(office.crm.users(&firm).await?.len(), 3);
            Ok(())
        }
        Step::Audit => {
            let (from, to) = office.around_now();
            assert!(!office.crm.rows(from, to, &firm).await?.is_empty());
            Ok(())
        }
        Step::Erase => {
            let placement = office.placement(subject, None);
            let permit = office.permit(Act::Destroy).await;
            let key = IdempotencyKey::derived("life", &[]);
            office.crm.erase(&placement, key, &permit).await.map(drop)
        }
        Step::Probe => {
            let placement = office.placement(subject, None);
            let permit = office.permit(Act::Probe).await;
            let probe = office.crm.probe(&placement, &permit).await?;
            assert!(probe.residues.iter().all(|residue| !residue.content));
            Ok(())
        }
    }
}

async fn locate(office: &Office) -> Result<kta_core::pii::Locator> {
    let permit = office.permit(Act::Transfer).await;
    let record = office.record_id(office.desk.beneficiary());
    let locator = office.crm.locate(record, &permit).await?;
    assert!(number(locator.as_ref().unwrap()) > 0);
    Ok(locator.unwrap())
}

/// Calls that would take other people's records along, or change the organisation: none of them
/// can be built from what stands in this crate.
#[test]
fn no_forbidden_endpoint_can_be_asked_for() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        // The emulator is the other side; it has doors that this side never knocks at.
        if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            texts.push((path, code));
        }
    }
    assert!(texts.len() > 20);
    let forbidden = [
        "\"empty\"",
        "mass_delete",
        "mass_update",
        "\"merge\"",
        "change_owner",
        "\"clone\"",
        "__composite_requests",
        "\"filters\"",
        "\"cvid\"",
        "record_locking_configurations",
        "duplicate_check_preference",
        "\"layouts\"",
        "\"share\"",
        "\"approval\"",
        "\"workflow\"",
        "\"backup\"",
        "\"write\"",
    ];
    for (path, code) in &texts {
        for word in forbidden {
            assert!(!code.contains(word), "{word} in {}", path.display());
        }
        // Many by their ids are read, and never deleted.
        let many = code.contains("\"ids\"");
        assert!(
            !many || !code.contains("Method::DELETE"),
            "{}",
            path.display()
        );
        // Only these are deleted, each by its own id.
        for (at, _) in code.match_indices("Method::DELETE") {
            let before = &code[at.saturating_sub(700)..at];
            let by_id = [
                "[MODULE, id]",
                "[\"Notes\", note]",
                "\"Attachments\", id]",
                "\"recycle_bin\", id]",
                "LOCKS, lock",
                "&WATCH",
            ];
            let near = &code[at..(at + 60).min(code.len())];
            let known = by_id
                .iter()
                .any(|path| before.contains(path) || near.contains(path));
            assert!(known, "a deletion in {}: {before}", path.display());
        }
    }
}

#[tokio::test]
async fn what_is_left_after_an_erasure_is_told_as_what_it_is() {
    let office = Office::open().await;
    let locator = office.enter("residue").await.unwrap();
    let subject = office.desk.beneficiary();
    // Deleted by hand before: the deleted list keeps the name, and no call takes it out.
    let placement = office.placement(subject, Some(&locator));
    assert!(office.emulator.inspect().delete_by_hand(number(&locator)));
    let probing = office.permit(Act::Probe).await;
    let before = office.crm.probe(&placement, &probing).await.unwrap();
    let named = |probe: &kta_core::ports::Probe, what: &str| {
        let found = probe
            .residues
            .iter()
            .find(|residue| residue.what.as_str() == what);
        found.map(|residue| residue.content)
    };
    assert_eq!(
        named(&before, "deleted_list"),
        Some(true),
        "the name stands in it"
    );
    assert_eq!(
        named(&before, "timeline"),
        Some(true),
        "old values stand in it"
    );
    let destroying = office.permit(Act::Destroy).await;
    let key = IdempotencyKey::derived("residue", &[]);
    office
        .crm
        .erase(&placement, key, &destroying)
        .await
        .unwrap();
    let after = office.crm.probe(&placement, &probing).await.unwrap();
    assert_eq!(
        named(&after, "deleted_list"),
        Some(false),
        "only the id is left"
    );
    // Of a record that is gone no timeline is shown: asked, and not claimed to be clean.
    let asked: Vec<&str> = after.asked.iter().map(|label| label.as_str()).collect();
    assert!(asked.contains(&"timeline.get:no-record"));
}
