//! Every kind of call, every fault: it ends in time, in success or in a typed answer; and after a second try
//! nothing is lost and nothing is there twice.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/letters.rs"]
mod letters;
#[path = "support/listener.rs"]
mod listener;

use chrono::TimeDelta;
use futures_util::{StreamExt as _, TryStreamExt as _};
use house::{House, bytes, config, connect, key, permit};
use kta_core::audit::Label;
use kta_core::id::{DeliveryId, GrantId};
use kta_core::memory::SeededEntropy;
use kta_core::pii::{Document, Locator};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::{
    AuditFeed as _, Collaboration as _, Documents as _, Erase as _, GrantRequest, Intake as _,
    Inventory as _, Labels as _, Recipient, SharedRole,
};
use kta_core::{Code, Error, FaultKind, Result};
use kta_http::Limits;
use kta_sharepoint::emulator::Fault;
use kta_sharepoint::{Config, Earlier, Known, Mailbox, SharePoint, WatchRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is done, which of its requests is struck, and what there is afterwards of the file: versions and
/// shares.
struct Case(What, &'static str, &'static str, (usize, usize));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Acknowledge,
    Audit,
    CheckOut,
    Connect,
    Content,
    Describe,
    Erase,
    Grants,
    Inventory,
    Label,
    MailChanges,
    Part,
    Probe,
    Put,
    Remove,
    RemoveVersions,
    Restore,
    Revoke,
    Share,
    Survey,
    Versions,
    Watch,
}

const CASES: &[Case] = &[
    Case(
        What::Acknowledge,
        "GET",
        "*/mailFolders/inbox/messages",
        (2, 1),
    ),
    Case(What::Acknowledge, "GET", "*/$value", (2, 1)),
    Case(What::Acknowledge, "POST", "*/move", (2, 1)),
    Case(What::Audit, "POST", "/v1.0/security/", (2, 1)),
    Case(What::Audit, "GET", "/v1.0/security/", (2, 1)),
    Case(What::CheckOut, "POST", "*/checkout", (3, 1)),
    Case(What::CheckOut, "POST", "*/checkin", (3, 1)),
    Case(What::Connect, "POST", "/*/oauth2/", (2, 1)),
    Case(What::Connect, "GET", "/v1.0/sites/", (2, 1)),
    Case(What::Connect, "GET", "/v1.0/sites/*/drive", (2, 1)),
    Case(What::Connect, "GET", "/sites/*_api/web/lists", (2, 1)),
    Case(What::Content, "GET", "*/content", (2, 1)),
    Case(What::Content, "GET", "/download/", (2, 1)),
    Case(What::Describe, "PATCH", "*/fields", (2, 1)),
    Case(What::Erase, "DELETE", "*/permissions/", (0, 0)),
    Case(What::Erase, "POST", "*/permanentDelete", (0, 0)),
    Case(What::Erase, "GET", "*/RecycleBin", (0, 0)),
    Case(What::Grants, "GET", "*/permissions", (2, 1)),
    Case(What::Inventory, "GET", "*/delta", (2, 1)),
    Case(What::Label, "GET", "*/retentionLabel", (2, 1)),
    Case(What::Label, "PATCH", "*/retentionLabel", (2, 1)),
    Case(What::MailChanges, "GET", "*/delta", (2, 1)),
    Case(What::Part, "GET", "*/content", (2, 1)),
    Case(What::Part, "GET", "/download/", (2, 1)),
    Case(What::Probe, "GET", "/v1.0/", (2, 1)),
    Case(What::Probe, "GET", "*/RecycleBin", (2, 1)),
    Case(What::Put, "GET", "*/root:", (3, 1)),
    Case(What::Put, "PUT", "*/content", (3, 1)),
    Case(What::Remove, "DELETE", "*/items/", (0, 0)),
    Case(What::RemoveVersions, "POST", "*/versions/", (1, 1)),
    Case(What::Restore, "POST", "*/restoreVersion", (3, 1)),
    Case(What::Revoke, "DELETE", "*/permissions/", (2, 0)),
    Case(What::Share, "POST", "*/invite", (2, 2)),
    Case(What::Share, "GET", "*/permissions", (2, 2)),
    Case(What::Survey, "POST", "/v1.0/$batch", (2, 1)),
    Case(What::Survey, "GET", "*/delta", (2, 1)),
    Case(What::Versions, "GET", "*/versions", (2, 1)),
    Case(What::Watch, "POST", "/v1.0/subscriptions", (2, 1)),
    Case(What::Watch, "PATCH", "/v1.0/subscriptions", (2, 1)),
    Case(What::Watch, "DELETE", "/v1.0/subscriptions", (2, 1)),
];

fn faults() -> Vec<(u32, Fault)> {
    let elsewhere = Fault::Redirect("https://elsewhere.example/x".to_owned());
    vec![
        (1, Fault::Drip(Duration::from_millis(300))),
        (1, Fault::DropAfterEffect),
        (1, Fault::DropBeforeEffect),
        (1, Fault::Stall(Duration::from_secs(30))),
        (1, Fault::TruncatedBody),
        (1, Fault::WrongType),
        (1, Fault::status(401)),
        (1, Fault::status(500)),
        (1, Fault::throttled(0)),
        (1, elsewhere.clone()),
        // Until it is mended.
        (ALWAYS, Fault::DropAfterEffect),
        (ALWAYS, Fault::status(401)),
        (ALWAYS, Fault::status(503)),
        (ALWAYS, Fault::throttled(3600)),
        (ALWAYS, elsewhere),
    ]
}

/// A file with two versions and a share, one letter, and a process that deals with them.
struct Scene {
    house: House,
    worker: Process,
    listener: listener::Listener,
    document: Document,
    at: Locator,
    share: Locator,
    given: std::sync::Mutex<Option<DeliveryId>>,
}

struct Process {
    config: Config,
    library: SharePoint,
    mailbox: Option<Mailbox>,
}

impl Process {
    async fn start(house: &House, config: Config, what: What) -> Self {
        let mail = [What::Acknowledge, What::MailChanges, What::Watch];
        let mailbox = match mail.contains(&what) {
            true => Some(open(house, &config).await),
            false => None,
        };
        let library = connect(&house.emulator, &house.desk, config.clone());
        Self {
            library: library.await.unwrap(),
            mailbox,
            config,
        }
    }

    fn mailbox(&self) -> &Mailbox {
        self.mailbox.as_ref().expect("opened for what mail does")
    }
}

async fn open(house: &House, config: &Config) -> Mailbox {
    let mailbox = Mailbox::open(
        config,
        house.emulator.mailbox(),
        Label::fixed("mail"),
        Arc::new(letters::reader()),
        Arc::new(house.desk.clock().clone()),
        Arc::new(SeededEntropy::new(3)),
    );
    mailbox.await.unwrap()
}

impl Scene {
    async fn set(what: What, fault: &Fault) -> Self {
        let house = House::open().await;
        let worker = Process::start(&house, in_time_for(&house, fault), what).await;
        let letter = letters::mime("a@client.example", "enclosed", ("p.txt", b"x\n"));
        house.emulator.deliver(letter);
        let (document, at, share) = {
            let session = house.worker();
            let store = permit!(house, session, Store);
            let first = house.document("d", b"one");
            house.put(&first, b"one", "1", &store).await.unwrap();
            let second = house.document("d", b"two");
            let stored = house.put(&second, b"two", "2", &store).await.unwrap();
            let share = permit!(house, session, Share);
            let wish = wish(&house, &stored.locator, "counsel@partner.example");
            let grant = house.library.grant(&wish, key("g"), &share).await.unwrap();
            (second, stored.locator, grant.locator)
        };
        Self {
            house,
            worker,
            listener: listener::Listener::start().await,
            document,
            at,
            share,
            given: std::sync::Mutex::default(),
        }
    }

    async fn act(&self, process: &Process, what: What) -> Result<()> {
        let (house, at) = (&self.house, &self.at);
        let library = &process.library;
        let subject = self.document.subject;
        let worker = house.worker();
        let ciso = house.desk.session(Role::Ciso);
        let destroyer = house.destroyer();
        let intake = house.desk.session(Role::Intake);
        let placement = house.placement(&self.document, Some(at));
        match what {
            What::Acknowledge => {
                let receive = intake.permit(Act::Receive, Scope::firm()).await?;
                if let Some(delivery) = process.mailbox().oldest(&receive).await? {
                    *self.given.lock().unwrap() = Some(delivery.id);
                    process.mailbox().acknowledge(delivery.id, &receive).await?;
                }
                assert!(self.given.lock().unwrap().is_some(), "lost");
                Ok(())
            }
            What::Audit => {
                let review = ciso.permit(Act::Review, Scope::firm()).await?;
                let (from, to) = (house.desk.now() - TimeDelta::hours(1), house.emulator.now());
                let rows = library.rows(from, to, &review).await?;
                let ids: std::collections::BTreeSet<_> =
                    rows.iter().map(|row| format!("{row:?}")).collect();
                assert!(!rows.is_empty() && ids.len() == rows.len());
                Ok(())
            }
            What::CheckOut => {
                let store = permit!(house, worker, Store);
                if self.versions() == 3 {
                    return Ok(()); // it had happened
                }
                library.check_out(subject, at, &store).await?;
                let third = house.document("d", b"three");
                let content = house::content(b"three");
                library.put(&third, None, content, key("3"), &store).await?;
                let why = Label::fixed("translated");
                library.check_in(subject, at, &why, &store).await
            }
            What::Connect => {
                let again = process.config.clone();
                connect(&house.emulator, &house.desk, again).await.map(drop)
            }
            What::Content => {
                let store = permit!(house, worker, Store);
                let content = library.content(&self.document, at, &store).await?;
                let chunks: Vec<bytes::Bytes> = content.into_stream(&store).try_collect().await?;
                assert_eq!(chunks.concat(), b"two");
                Ok(())
            }
            What::Describe => {
                let store = permit!(house, worker, Store);
                let columns = BTreeMap::from([(Label::fixed("Title"), Label::fixed("passport"))]);
                library.describe(subject, at, &columns, &store).await?;
                let now = library.described(subject, at, &store).await?;
                assert_eq!(
                    now.get(&Label::fixed("Title")),
                    Some(&Label::fixed("passport"))
                );
                Ok(())
            }
            What::Erase => {
                let destroy = permit!(house, destroyer, Destroy);
                library
                    .erase(&placement, key("e"), &destroy)
                    .await
                    .map(drop)
            }
            What::Grants => {
                let share = permit!(house, worker, Share);
                let grants = library.grants(subject, at, &share).await?;
                assert_eq!(grants.len(), 1);
                Ok(())
            }
            What::Inventory => {
                let store = permit!(house, worker, Store);
                let page = library.inventory(None, &store).await?;
                assert_eq!(
                    page.items
                        .iter()
                        .filter(|item| item.document.is_some())
                        .count(),
                    1
                );
                Ok(())
            }
            What::Label => {
                let store = permit!(house, worker, Store);
                let label = Label::fixed("7_years");
                library.label(subject, at, Some(&label), &store).await?;
                let now = library.labelled(subject, at, &store).await?;
                assert_eq!(now, Some(label));
                Ok(())
            }
            What::MailChanges => {
                let receive = intake.permit(Act::Receive, Scope::firm()).await?;
                let changes = process.mailbox().changes(None, &receive).await?;
                assert_eq!(changes.arrived.len(), 1);
                Ok(())
            }
            What::Part => {
                let store = permit!(house, worker, Store);
                let part = library.range(&self.document, at, 1..3, &store).await?;
                let part: Vec<bytes::Bytes> = part.try_collect().await?;
                assert_eq!(part.concat(), b"wo");
                Ok(())
            }
            What::Probe => {
                let probe = permit!(house, destroyer, Probe);
                let probe = library.probe(&placement, &probe).await?;
                assert_eq!(probe.residues.len(), 1, "the file is there");
                Ok(())
            }
            What::Put => {
                let store = permit!(house, worker, Store);
                let third = house.document("d", b"three");
                let content = house::content(b"three");
                let put = library.put(&third, None, content, key("3"), &store).await;
                put.map(drop)
            }
            What::Remove => {
                let store = permit!(house, worker, Store);
                library.remove(subject, at, &store).await
            }
            What::RemoveVersions => {
                let store = permit!(house, worker, Store);
                library
                    .remove_versions(subject, at, &Earlier::All, &store)
                    .await
            }
            What::Restore => {
                let store = permit!(house, worker, Store);
                if self.versions() == 3 {
                    return Ok(()); // after an unknown outcome the versions are looked at first
                }
                let first = Label::new("1.0").unwrap();
                library
                    .restore_version(subject, at, &first, &store)
                    .await
                    .map(drop)
            }
            What::Revoke => {
                let share = permit!(house, worker, Share);
                library.revoke(subject, at, &self.share, &share).await
            }
            What::Share => {
                let share = permit!(house, worker, Share);
                let wish = wish(house, at, "second@partner.example");
                library.grant(&wish, key("g2"), &share).await.map(drop)
            }
            What::Survey => {
                let review = ciso.permit(Act::Review, Scope::firm()).await?;
                let known = [Known {
                    document: self.document.id,
                    matter: self.document.matter,
                    versions: ["1.0", "2.0"].map(|id| Label::new(id).unwrap()).into(),
                }];
                let survey = library.survey(&known, &BTreeMap::new(), &review).await?;
                assert_eq!(survey.files, 2, "the ready-made one and ours");
                Ok(())
            }
            What::Versions => {
                let store = permit!(house, worker, Store);
                let versions = library.versions(subject, at, &store).await?;
                assert_eq!(versions.len(), 2);
                Ok(())
            }
            What::Watch => {
                let receive = intake.permit(Act::Receive, Scope::firm()).await?;
                let request = |minutes| WatchRequest {
                    notify: self.listener.address.clone(),
                    lifecycle: self.listener.address.clone(),
                    client_state: "invented secret".to_owned().into(),
                    lasts: TimeDelta::minutes(minutes),
                    content_for: None,
                };
                let watch = process.mailbox().watch(&request(1_000), &receive).await?;
                process
                    .mailbox()
                    .keep(&watch, &request(9_000), &receive)
                    .await?;
                process.mailbox().unwatch(&watch, &receive).await
            }
        }
    }

    fn versions(&self) -> usize {
        let held = self.house.emulator.holdings(self.at.as_str());
        held.versions.len() + usize::from(held.current.is_some())
    }

    fn shares(&self) -> usize {
        self.house.emulator.holdings(self.at.as_str()).shares.len()
    }
}

/// For whoever waits a second and a half for an answer, where the fault is that none comes. Everybody else
/// has the time that a busy machine takes.
fn in_time_for(house: &House, fault: &Fault) -> Config {
    let config = config(&house.emulator);
    match fault {
        Fault::Drip(_) | Fault::Stall(_) => config.within(Limits {
            idle: Duration::from_millis(700),
            total: Duration::from_millis(1500),
            ..Limits::default()
        }),
        _ => config,
    }
}

fn wish(house: &House, at: &Locator, to: &str) -> GrantRequest {
    GrantRequest {
        id: GrantId::derived(&[to.as_bytes()]),
        subject: house.desk.beneficiary(),
        document: at.clone(),
        recipient: Recipient::new(to.to_owned()).unwrap(),
        role: SharedRole::View,
        expires: house.desk.now() + TimeDelta::days(3),
    }
}

/// What may be left of a call that failed: nothing but these words.
fn is_typed(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => matches!(refusal.code(), Code::NetRedirect | Code::NetHost),
        Error::Broken(fault) => matches!(
            fault.kind(),
            FaultKind::Conflict
                | FaultKind::Corrupt
                | FaultKind::Misconfigured
                | FaultKind::OutcomeUnknown
                | FaultKind::Protocol
                | FaultKind::Throttled { .. }
                | FaultKind::Timeout
                | FaultKind::Unavailable
        ),
        _ => false,
    }
}

async fn strike(case: &Case, times: u32, fault: Fault) {
    let Case(what, method, path, (versions, shares)) = case;
    let context = format!("{what:?}: {fault:?} ×{times} at {method} {path}");
    let scene = Scene::set(*what, &fault).await;
    let before = scene.house.emulator.journal().len();
    scene
        .house
        .emulator
        .fail(times, method, path, fault.clone());
    let start = Instant::now();
    let first = scene.act(&scene.worker, *what).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{context}");
    if let Err(error) = &first {
        assert!(is_typed(error), "{context}: {error:?}");
        let told = format!("{error} {error:?}");
        assert!(
            !told.contains("partner.example") && !told.contains("invented"),
            "{told}"
        );
    }
    scene.house.emulator.heal();
    let journal = scene.house.emulator.journal();
    let stray = journal[before..].iter().filter(|each| {
        let carries = each.target.starts_with("/upload/") || each.target.starts_with("/download/");
        carries && each.authorized
    });
    assert_eq!(stray.count(), 0, "{context}: a token went along");
    if first.is_err() {
        // Another process, which has the time.
        let patient = Process::start(&scene.house, config(&scene.house.emulator), *what).await;
        let second = scene.act(&patient, *what).await;
        assert!(second.is_ok(), "{context}: then {second:?}");
    }
    let held = scene.house.emulator.holdings(scene.at.as_str());
    if *what == What::Remove {
        assert!(held.current.is_none(), "{context}");
    } else {
        assert_eq!(
            (scene.versions(), scene.shares()),
            (*versions, *shares),
            "{context}"
        );
    }
    let files = usize::from(!matches!(what, What::Erase | What::Remove));
    assert_eq!(scene.house.files().len(), files, "{context}");
}

/// The cases whose place in the list leaves `rest`, some at once: most of the time is waiting.
async fn part(rest: usize) {
    let cases = CASES.iter().enumerate();
    let strikes = cases
        .filter(|(at, _)| at % PARTS == rest)
        .flat_map(|(_, case)| {
            faults()
                .into_iter()
                .map(move |(times, fault)| (case, times, fault))
        })
        .map(|(case, times, fault)| strike(case, times, fault));
    at_once(strikes).await;
}

async fn at_once(strikes: impl Iterator<Item = impl Future<Output = ()>>) {
    futures_util::stream::iter(strikes)
        .for_each_concurrent(SOME, |strike| strike)
        .await;
}

#[tokio::test]
async fn every_fault_at_every_call_ends_typed_and_loses_and_doubles_nothing_1() {
    part(0).await;
}

#[tokio::test]
async fn every_fault_at_every_call_ends_typed_and_loses_and_doubles_nothing_2() {
    part(1).await;
}

#[tokio::test]
async fn every_fault_at_every_fragment_of_an_upload_ends_typed_and_stores_the_file_once() {
    let whole = Arc::new(bytes((5 << 20) + 321));
    let places = [
        ("POST", "*/createUploadSession", 0),
        ("PUT", "/upload/", 0),
        ("PUT", "/upload/", 1),
    ];
    let all = places
        .into_iter()
        .flat_map(|place| faults().into_iter().map(move |each| (place, each)));
    let strikes = all.map(|((method, path, passed), (times, fault))| {
        let whole = Arc::clone(&whole);
        async move {
            let context = format!("{fault:?} ×{times} at {method} {path} after {passed}");
            let house = House::open().await;
            let library = connect(&house.emulator, &house.desk, in_time_for(&house, &fault));
            let library = library.await.unwrap();
            let worker = house.worker();
            let store = permit!(house, worker, Store);
            let document = house.document("d", &whole);
            let pass = Fault::Stall(Duration::ZERO);
            house.emulator.fail(passed, method, path, pass);
            house.emulator.fail(times, method, path, fault);
            let put = async |library: &SharePoint| {
                let content = house::content(&whole);
                library
                    .put(&document, None, content, key("k"), &store)
                    .await
            };
            let first = put(&library).await;
            house.emulator.heal();
            if let Err(error) = &first {
                assert!(is_typed(error), "{context}: {error:?}");
            }
            let stored = match first {
                Ok(stored) => stored,
                Err(_) => put(&house.library)
                    .await
                    .unwrap_or_else(|error| panic!("{context}: {error:?}")),
            };
            assert_eq!(stored.version.as_str(), "1.0", "{context}");
            let held = house.emulator.holdings(stored.locator.as_str());
            assert!(held.current.as_deref() == Some(&whole[..]), "{context}");
            assert_eq!(house.files().len(), 1, "{context}");
        }
    });
    at_once(strikes).await;
}

#[tokio::test]
async fn a_server_that_drips_is_given_up_in_time() {
    let house = House::open().await;
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let document = house.document("d", &bytes(200_000));
    let stored = house
        .put(&document, &bytes(200_000), "k", &permit)
        .await
        .unwrap();
    let hasty = Limits {
        total: Duration::from_millis(700),
        ..Limits::default()
    };
    let hasty = config(&house.emulator).within(hasty);
    let library = connect(&house.emulator, &house.desk, hasty).await.unwrap();
    house.emulator.fail(
        50,
        "GET",
        "/download/",
        Fault::Drip(Duration::from_millis(100)),
    );
    let start = Instant::now();
    let slow = async {
        let content = library.content(&document, &stored.locator, &permit).await?;
        let chunks: Vec<bytes::Bytes> = content.into_stream(&permit).try_collect().await?;
        kta_core::Result::Ok(chunks.concat())
    };
    let error = slow.await.unwrap_err();
    assert!(is_typed(&error), "{error:?}");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    house.emulator.heal();
}

const ALWAYS: u32 = 1_000;
const PARTS: usize = 2;
const SOME: usize = 12;
