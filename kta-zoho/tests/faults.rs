//! Everything that can go wrong on the way, at every port: nothing lost, nothing doubled; and
//! what this crate cannot ask for at all.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{CANARY, Office, configuration, number};
use futures_util::StreamExt as _;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::id::IdempotencyKey;
use kta_core::memory::SeededEntropy;
use kta_core::pii::{Category, Content, FieldName, Fields, Locator, MediaType, Pii};
use kta_core::policy::Act;
use kta_core::ports::{AccessReview as _, AuditFeed as _, ChangeFeed as _, Crm as _, Erase as _};
use kta_http::Limits;
use kta_zoho::emulator::{EmulatorOptions, Failure};
use kta_zoho::{Amendment, Contents, Known, Subscription, ZohoCrm};

/// One step of a client's life in the CRM: every kind of operation, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Access,
    Amend,
    AmendMany,
    Audit,
    Authorize,
    Changes,
    Channel,
    Download,
    Enter,
    Erase,
    Fetch,
    List,
    Load,
    Mark,
    Note,
    Probe,
    Query,
    Reconcile,
    Upload,
    Upsert,
}

impl Step {
    /// Where its failures strike.
    fn door(self) -> &'static str {
        match self {
            Self::Authorize => "/oauth",
            Self::Load => "/crm/bulk",
            _ => "/crm/v8",
        }
    }
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
    // Short where something breaks, ordinary where all is well again.
    let limits = Limits {
        idle: Duration::from_millis(400),
        total: Duration::from_millis(600),
        ..Limits::default()
    };
    let options = EmulatorOptions {
        tokens_in_ten_minutes: 10_000,
        ..EmulatorOptions::default()
    };
    let mut office = Office::with(options).await;
    let steps = [
        Step::Authorize,
        Step::Enter,
        Step::Fetch,
        Step::Amend,
        Step::AmendMany,
        Step::Query,
        Step::List,
        Step::Load,
        Step::Reconcile,
        Step::Changes,
        Step::Mark,
        Step::Note,
        Step::Upload,
        Step::Download,
        Step::Channel,
        Step::Access,
        Step::Audit,
        Step::Upsert,
        Step::Erase,
        Step::Probe,
    ];
    let slow = matches!(failure, Failure::Drip | Failure::Silence);
    let (mut people, mut struck) = (0, 0);
    for step in steps {
        match step {
            Step::Enter => people = 1,
            Step::Upsert => people = 3,
            Step::Erase => people = 2,
            _ => {}
        }
        for spared in if slow { 0..1 } else { 0..2 } {
            // Ten tokens in ten minutes are all a process asks for: each time it is another one.
            let anew = |limits| {
                let config = configuration(&office.emulator, office.emulator.refresh_token());
                let entropy = Arc::new(SeededEntropy::new(3));
                ZohoCrm::new(config.within(limits), entropy).unwrap()
            };
            let (brittle, sound) = (anew(limits), anew(Limits::default()));
            office.crm = brittle;
            let faults = office.emulator.faults();
            faults.after(spared, 1, "*", step.door(), failure.clone());
            let broken = take(&office, step).await;
            struck += u32::from(faults.pending() == 0);
            faults.clear();
            if let Err(error) = &broken {
                let said = format!("{error} {error:?}");
                assert!(!said.contains("Sample") && !said.contains(CANARY), "{said}");
                assert!(!said.contains("elsewhere.example"), "{said}");
            }
            office.crm = sound;
            take(&office, step)
                .await
                .unwrap_or_else(|error| panic!("{failure:?} {step:?} {spared}: {error}"));
            let count = office.emulator.inspect().ids("Contacts").len();
            assert_eq!(count, people, "{failure:?} {step:?} {spared}");
        }
    }
    assert!(
        struck >= if slow { 20 } else { 35 },
        "{failure:?}: {struck}"
    );
    assert_eq!(office.emulator.inspect().automations_run(), 0);
}

async fn take(office: &Office, step: Step) -> Result<()> {
    let subject = office.desk.beneficiary();
    let firm = office.firm_permit(Act::Review).await;
    let record = office.record_id(subject);
    match step {
        Step::Authorize => office.crm.users(&firm).await.map(drop),
        Step::Enter => office.enter("life").await.map(drop),
        Step::Fetch => {
            let locator = locate(office).await?;
            let fetched = office.fetch(&locator).await?;
            assert_eq!(fetched.fields.len(), office.texts().len());
            Ok(())
        }
        Step::Amend => {
            let locator = locate(office).await?;
            let fetched = office.fetch(&locator).await?;
            let at = fetched.modified;
            office.amend(&locator, at, "occupation", "Taster").await?;
            holds(office, &locator, "Taster").await
        }
        Step::AmendMany => {
            let locator = locate(office).await?;
            let permit = office.permit(Act::Amend).await;
            let mut fields = Fields::new();
            let text = Pii::new("Weigher".to_owned());
            fields.insert(FieldName::fixed("occupation"), text);
            let amendment = Amendment {
                subject,
                expected: office.fetch(&locator).await?.modified,
                locator: locator.clone(),
                fields,
            };
            for outcome in office.crm.amend_many(&[amendment], &permit).await? {
                outcome?;
            }
            holds(office, &locator, "Weigher").await
        }
        Step::Query => {
            let permit = office.permit(Act::Search).await;
            let (field, name) = (FieldName::fixed("email"), "family@example.org".to_owned());
            let found = office.crm.find_by(&field, &Pii::new(name), &permit).await?;
            assert_eq!(found.len(), 1);
            Ok(())
        }
        Step::List => {
            let page = office.crm.list(None, 200, &firm).await?;
            assert_eq!((page.records.len(), page.next), (1, None));
            Ok(())
        }
        Step::Load => {
            let mut load = office.crm.load(None, Contents::Mapped, &firm).await?;
            let mut all = Vec::new();
            loop {
                let page = load.page(10, &firm).await?;
                all.extend(page.records.into_iter().map(|one| one.record));
                if !page.more {
                    break;
                }
            }
            assert_eq!(all, [Some(record)]);
            Ok(())
        }
        Step::Reconcile => {
            let locator = locate(office).await?;
            let known = Known {
                record,
                modified: office.fetch(&locator).await?.modified,
                locator,
                subject,
                matter: office.desk.matter(),
                owner: None,
            };
            assert!(office.crm.reconcile([known], None, &firm).await?.holds());
            Ok(())
        }
        Step::Changes => {
            let page = office.crm.changes(None, 10, &firm).await?;
            let ours = page.changes.iter().filter(|one| one.record == Some(record));
            assert_eq!(ours.count(), 1);
            Ok(())
        }
        Step::Mark => {
            let locator = locate(office).await?;
            let permit = office.permit(Act::Amend).await;
            let (crm, tag) = (&office.crm, Label::fixed("life"));
            crm.tag(subject, &locator, core::slice::from_ref(&tag), &permit)
                .await?;
            assert_eq!(
                crm.tags(subject, &locator, &permit).await?.first(),
                Some(&tag)
            );
            let lock = crm.lock(subject, &locator, &tag, &permit).await?;
            assert_eq!(crm.lock(subject, &locator, &tag, &permit).await?, lock);
            crm.unlock(subject, &locator, &permit).await
        }
        Step::Note => {
            let locator = locate(office).await?;
            let permit = office.permit(Act::Amend).await;
            let (key, case) = (IdempotencyKey::derived("life", &[]), Category::Case);
            let (crm, text) = (&office.crm, |text: &str| Pii::new(text.to_owned()));
            let note = crm
                .write_note(subject, &locator, &text("one"), case, key, &permit)
                .await?;
            crm.amend_note(subject, &locator, &note, &text("two"), case, &permit)
                .await?;
            let notes = crm.notes(subject, &locator, &permit).await?;
            assert_eq!((notes.len(), &notes[0].locator), (1, &note));
            assert_eq!(notes[0].content.expose(&permit), "two");
            Ok(())
        }
        Step::Upload => {
            let locator = locate(office).await?;
            let permit = office.permit(Act::Amend).await;
            let (key, case) = (IdempotencyKey::derived("life", &[]), Category::Case);
            let content = Content::of("content", MediaType::text());
            let crm = &office.crm;
            crm.attach(subject, &locator, content, case, key, &permit)
                .await?;
            assert_eq!(crm.attachments(subject, &locator, &permit).await?.len(), 1);
            Ok(())
        }
        Step::Download => {
            let locator = locate(office).await?;
            let permit = office.permit(Act::Transfer).await;
            let listed = office.crm.attachments(subject, &locator, &permit).await?;
            let crm = &office.crm;
            let mut stream = crm
                .attachment(subject, &locator, &listed[0].locator, &permit)
                .await?;
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
            }
            assert_eq!(bytes, b"content");
            Ok(())
        }
        Step::Channel => {
            let managing = office.firm_permit(Act::Manage).await;
            let token = "life-token-0123456789";
            let bell = Subscription::new(7_002, "https://firm.example.com/bell", token.into())?;
            let until = office.crm.subscribe(&bell, &managing).await?;
            // Asked again it is the same channel, to the same end.
            assert_eq!(office.crm.subscribe(&bell, &managing).await?, until);
            office.crm.unsubscribe(&bell, &managing).await?;
            let told = office.crm.subscribed_until(&bell, &managing).await?;
            assert_eq!(told, None);
            Ok(())
        }
        Step::Access => {
            assert_eq!(office.crm.users(&firm).await?.len(), 3);
            assert_eq!(office.crm.access(&firm).await?.users.len(), 3);
            let locator = locate(office).await?;
            assert!(office.crm.shares(&[locator], &firm).await?.is_empty());
            Ok(())
        }
        Step::Audit => {
            let (from, to) = office.around_now();
            assert!(!office.crm.rows(from, to, &firm).await?.is_empty());
            Ok(())
        }
        Step::Upsert => {
            for child in &office.desk.children()[..2] {
                let permit = office.permit_for(*child, Act::Enter).await;
                let key = IdempotencyKey::derived("life", &[child.as_bytes()]);
                let records = [office.record(*child)];
                for outcome in office.crm.enter_many(&records, key, &permit).await? {
                    outcome?;
                }
            }
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

async fn holds(office: &Office, locator: &Locator, occupation: &str) -> Result<()> {
    let permit = office.permit(Act::Transfer).await;
    let fetched = office.fetch(locator).await?;
    let now = fetched.fields.field("occupation").unwrap();
    assert_eq!(now.expose(&permit), occupation);
    Ok(())
}

async fn locate(office: &Office) -> Result<Locator> {
    let permit = office.permit(Act::Transfer).await;
    let record = office.record_id(office.desk.beneficiary());
    let locator = office.crm.locate(record, &permit).await?;
    assert!(number(locator.as_ref().unwrap()) > 0);
    Ok(locator.unwrap())
}

/// Every request goes through the one list of `surface.rs` (its own tests say what is not on it),
/// because nothing else in this crate makes a request or knows an address.
#[test]
fn there_is_one_door_to_the_vendor_and_a_list_at_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            // The emulator is the other side; it has doors that this side never knocks at.
            assert_eq!(name, "emulator", "a folder that this test does not know");
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        // Only these two send; the accounts server has no records.
        let sends = ["client.rs", "oauth.rs"].contains(&name.as_str());
        for word in [
            "HttpClient",
            "Request::new(",
            "Request::get(",
            "Request::post(",
            ".url(",
            "vendor_url(",
            "reqwest",
            "hyper",
        ] {
            assert!(sends || !code.contains(word), "{word} in {name}");
        }
    }
    assert!(seen > 25);
    let client = include_str!("../src/client.rs");
    let makes = client.matches("Request::new(").count() + client.matches("Request::get(").count();
    assert_eq!(
        makes, 2,
        "below the list, and reading what the vendor points to"
    );
    let below = &client[client.find("fn below(").unwrap()..];
    assert!(below.find("surface::admits(").unwrap() < below.find("Request::new(").unwrap());
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
