//! What people do with a file, and a library for one matter.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use futures_util::TryStreamExt as _;
use house::{House, bytes, code, config, connect, fault, key, permit, secret};
use kta_core::audit::Label;
use kta_core::pii::{Content, Locator};
use kta_core::policy::{Act, Permit, Role, Scope};
use kta_core::ports::{Documents, Erase, Recipient, SharedRole};
use kta_core::{Code, FaultKind};
use kta_http::Roots;
use kta_sharepoint::emulator::Fault;
use kta_sharepoint::{Config, Earlier, Reach};
use std::collections::{BTreeMap, BTreeSet};

async fn read(content: Content, permit: &Permit<'_>) -> kta_core::Result<Vec<u8>> {
    let chunks: Vec<bytes::Bytes> = content.into_stream(permit).try_collect().await?;
    Ok(chunks.concat())
}

/// A file with two versions, `one` and `two`, and what they are named.
async fn two_versions(house: &House) -> (Locator, Label, Label) {
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let first = house.document("d", b"one");
    let first = house.put(&first, b"one", "k1", &permit).await.unwrap();
    let second = house.document("d", b"two");
    let second = house.put(&second, b"two", "k2", &permit).await.unwrap();
    (first.locator, first.version, second.version)
}

#[tokio::test]
async fn every_version_is_read_one_is_brought_back_and_earlier_ones_are_taken_away() {
    let house = House::open().await;
    let (file, one, two) = two_versions(&house).await;
    let (library, subject) = (&house.library, house.desk.beneficiary());
    let session = house.worker();
    let store = permit!(house, session, Store);
    let (first, second) = (house.document("d", b"one"), house.document("d", b"two"));
    let old = library
        .version_content(&first, &file, &one, &store)
        .await
        .unwrap();
    assert_eq!(read(old, &store).await.unwrap(), b"one");
    let new = library
        .version_content(&second, &file, &two, &store)
        .await
        .unwrap();
    assert_eq!(read(new, &store).await.unwrap(), b"two");
    let wrong = library
        .version_content(&second, &file, &one, &store)
        .await
        .unwrap();
    assert_eq!(fault(read(wrong, &store).await), FaultKind::Corrupt);
    let none = Label::new("9.0").unwrap();
    let missing = library.version_content(&first, &file, &none, &store).await;
    assert_eq!(fault(missing), FaultKind::NotFound);

    let third = library
        .restore_version(subject, &file, &one, &store)
        .await
        .unwrap();
    let now = library.content(&first, &file, &store).await.unwrap();
    assert_eq!(read(now, &store).await.unwrap(), b"one");
    let versions = library.versions(subject, &file, &store).await.unwrap();
    assert_eq!(versions.len(), 3);

    let gone = Earlier::One(two.clone());
    for _ in 0..2 {
        library
            .remove_versions(subject, &file, &gone, &store)
            .await
            .unwrap();
    }
    let current = Earlier::One(third.id.clone());
    let refused = library
        .remove_versions(subject, &file, &current, &store)
        .await;
    assert_eq!(fault(refused), FaultKind::Unsupported);
    library
        .remove_versions(subject, &file, &Earlier::All, &store)
        .await
        .unwrap();
    let left: Vec<Label> = library
        .versions(subject, &file, &store)
        .await
        .unwrap()
        .into_iter()
        .map(|version| version.id)
        .collect();
    assert_eq!(left, [third.id]);
    assert_eq!(house.emulator.places_of(b"two"), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_is_checked_out_changed_checked_in_and_a_change_can_be_discarded() {
    let house = House::open().await;
    let (file, ..) = two_versions(&house).await;
    let (library, subject) = (&house.library, house.desk.beneficiary());
    let session = house.worker();
    let store = permit!(house, session, Store);
    library.check_out(subject, &file, &store).await.unwrap();
    let third = house.document("d", b"three");
    house.put(&third, b"three", "k3", &store).await.unwrap();
    library
        .discard_check_out(subject, &file, &store)
        .await
        .unwrap();
    let second = house.document("d", b"two");
    let now = library.content(&second, &file, &store).await.unwrap();
    assert_eq!(read(now, &store).await.unwrap(), b"two");

    house
        .emulator
        .fail(1, "POST", "*/checkin", Fault::DropAfterEffect);
    library.check_out(subject, &file, &store).await.unwrap();
    house.put(&third, b"three", "k4", &store).await.unwrap();
    let why = Label::new("translated").unwrap();
    library
        .check_in(subject, &file, &why, &store)
        .await
        .unwrap();
    let now = library.content(&third, &file, &store).await.unwrap();
    assert_eq!(read(now, &store).await.unwrap(), b"three");

    house.emulator.set_locked(file.as_str(), true);
    let taken = library.check_out(subject, &file, &store).await;
    assert_eq!(fault(taken), FaultKind::Conflict);
}

#[tokio::test]
async fn a_part_is_that_part_and_a_range_outside_is_refused_here() {
    let house = House::open().await;
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let whole = bytes(300_000);
    let document = house.document("r", &whole);
    let file = house
        .put(&document, &whole, "k", &permit)
        .await
        .unwrap()
        .locator;
    for range in [0..1, 17..70_001, 299_999..300_000, 0..300_000] {
        let part = house
            .library
            .range(&document, &file, range.clone(), &permit)
            .await
            .unwrap();
        let part: Vec<bytes::Bytes> = part.try_collect().await.unwrap();
        let wanted = range.start as usize..range.end as usize;
        assert!(part.concat() == whole[wanted], "{range:?}");
    }
    let asked = house.emulator.journal().len();
    #[allow(
        clippy::reversed_empty_ranges,
        reason = "one of the ranges to be refused"
    )]
    for range in [5..5, 9..3, 0..300_001, u64::MAX - 1..u64::MAX] {
        let refused = house.library.range(&document, &file, range, &permit).await;
        assert!(refused.is_err());
    }
    assert_eq!(house.emulator.journal().len(), asked);
}

#[tokio::test]
async fn columns_say_what_a_file_is_in_words_and_ids() {
    let house = House::open().await;
    let (file, ..) = two_versions(&house).await;
    let (library, subject) = (&house.library, house.desk.beneficiary());
    let session = house.worker();
    let store = permit!(house, session, Store);
    let label = |text: &str| Label::new(text).unwrap();
    let columns = BTreeMap::from([(label("Title"), label("passport"))]);
    library
        .describe(subject, &file, &columns, &store)
        .await
        .unwrap();
    let read = library.described(subject, &file, &store).await.unwrap();
    assert_eq!(read[&label("Title")], label("passport"));
    let unknown = BTreeMap::from([(label("Nowhere"), label("x"))]);
    let refused = library.describe(subject, &file, &unknown, &store).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);
}

#[tokio::test]
async fn columns_of_many_files_are_set_in_few_requests_and_each_tells_what_became_of_it() {
    let house = House::open().await;
    let session = house.worker();
    let store = permit!(house, session, Store);
    let label = |text: &str| Label::new(text).unwrap();
    let mut files = Vec::new();
    for n in 0..23 {
        let document = house.document(&format!("d{n}"), b"one");
        let key = format!("k{n}");
        let put = house.put(&document, b"one", &key, &store);
        let column = if n == 7 { "Nowhere" } else { "Title" };
        let columns = BTreeMap::from([(label(column), label(&format!("paper-{n}")))]);
        files.push((put.await.unwrap().locator, columns));
    }
    let subject = house.desk.beneficiary();
    for outer in [
        Fault::DropAfterEffect,
        Fault::TruncatedBody,
        Fault::throttled(0),
    ] {
        // Two parts are throttled, one meets trouble, and the whole is disturbed as well.
        for inner in [Fault::throttled(0), Fault::throttled(0), Fault::status(503)] {
            house.emulator.fail(1, "PATCH", "*/fields", inner);
        }
        house.emulator.fail(1, "POST", "/v1.0/$batch", outer);
        let before = house.emulator.journal().len();
        let told = house.library.describe_all(subject, &files, &store).await;
        let told = told.unwrap();
        assert_eq!(told.len(), 23);
        for (n, each) in told.into_iter().enumerate() {
            match n {
                7 => assert_eq!(fault(each), FaultKind::Misconfigured),
                _ => each.unwrap(),
            }
        }
        let journal = house.emulator.journal();
        assert!(journal[before..].len() <= 5, "{:?}", &journal[before..]);
    }
    for (n, (file, _)) in files.iter().enumerate().filter(|(n, _)| *n != 7) {
        let now = house
            .library
            .described(subject, file, &store)
            .await
            .unwrap();
        assert_eq!(now[&label("Title")], label(&format!("paper-{n}")));
    }
    // A part that never stops being throttled is told as such, and nothing is taken for done.
    house
        .emulator
        .fail(1_000, "PATCH", "*/fields", Fault::throttled(3_600));
    let refused = house.library.describe_all(subject, &files, &store).await;
    assert!(matches!(fault(refused), FaultKind::Throttled { .. }));
}

#[tokio::test]
async fn under_a_hold_no_version_is_taken_away_and_nothing_is_sent() {
    let house = House::open().await;
    let (file, ..) = two_versions(&house).await;
    let subject = house.desk.beneficiary();
    let session = house.worker();
    let store = permit!(house, session, Store);
    // The hold comes after the permit was given out.
    let hold = house.desk.hold(subject).await.unwrap();
    let asked = house.emulator.journal().len();
    let remove = || {
        house
            .library
            .remove_versions(subject, &file, &Earlier::All, &store)
    };
    assert_eq!(code(remove().await), Code::DstHold);
    assert_eq!(house.emulator.journal().len(), asked);
    house.desk.release(hold).await.unwrap();
    remove().await.unwrap();
    assert_eq!(house.emulator.holdings(file.as_str()).versions.len(), 0);
}

/// What takes away more than one named thing is in no file of the adapter (T30).
#[test]
fn no_call_empties_a_bin_or_deletes_by_a_filter() {
    fn sources(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("emulator") {
                continue;
            }
            if path.is_dir() {
                sources(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
                found.push((path.display().to_string(), text));
            }
        }
    }
    let mut all = Vec::new();
    sources(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut all,
    );
    assert!(all.len() > 20, "{}", all.len());
    for (path, text) in &all {
        for forbidden in [
            "recyclebin/deleteall",
            "deleteallsecondstage",
            "moveallto",
            "emptyrecyclebin",
            "deletebyquery",
            "purgebysearch",
        ] {
            assert!(!text.contains(forbidden), "{forbidden} in {path}");
        }
    }
    // `DeleteAll()` there is, of the versions of one file, and once.
    let versions: usize = all
        .iter()
        .map(|(_, text)| text.matches("deleteall()").count())
        .sum();
    assert_eq!(versions, 1);
}

fn recipient(address: &str) -> Recipient {
    Recipient::new(address.to_owned()).unwrap()
}

#[tokio::test]
async fn a_matters_library_lets_in_its_team_alone_however_often_it_is_made() {
    let house = House::open().await;
    let ann = house.emulator.add_person("ann@firm.example", false);
    let bob = house.emulator.add_person("bob@firm.example", false);
    let firm = house.emulator.add_group("firm", &[&ann, &bob]);
    house
        .emulator
        .join_site_group("Matters Members", &format!("c:0t.c|tenant|{firm}"));
    let session = house.desk.session(Role::Ciso);
    let permit = session.permit(Act::Manage, Scope::firm()).await.unwrap();
    let team = [(recipient("ann@firm.example"), SharedRole::Edit)];
    let matter = house.desk.matter();
    house
        .emulator
        .fail(1, "POST", "*/lists", Fault::DropAfterEffect);
    let drive = house.library.found(matter, &team, &permit).await.unwrap();
    assert_eq!(
        house.library.found(matter, &team, &permit).await.unwrap(),
        drive
    );
    let config = config(&house.emulator).library(drive.as_str());
    let library = connect(&house.emulator, &house.desk, config).await.unwrap();
    let worker = house.worker();
    let store = permit!(house, worker, Store);
    let document = house.document("d", b"one");
    let content = house::content(b"one");
    let stored = library
        .put(&document, None, content, key("k"), &store)
        .await
        .unwrap();
    let ways = library.ways(&stored.locator, &permit).await;
    let inside: BTreeSet<Reach> = ways.unwrap().into_iter().map(|way| way.who).collect();
    let ann = Reach::Person(Locator::new(ann).unwrap());
    assert_eq!(
        inside,
        BTreeSet::from([ann]),
        "the firm's members are not let in"
    );

    let stranger = [(recipient("nobody@firm.example"), SharedRole::View)];
    let refused = house.library.found(matter, &stranger, &permit).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);
}

#[tokio::test]
async fn destruction_is_off_unless_said_and_done_as_another() {
    let house = House::open().await;
    let (file, ..) = two_versions(&house).await;
    let document = house.document("d", b"two");
    let placement = house.placement(&document, Some(&file));
    let session = house.destroyer();
    let permit = permit!(house, session, Destroy);
    let emulator = &house.emulator;
    let plain = || {
        Config::new(
            emulator.graph_url(),
            emulator.login_url(),
            emulator.tenant(),
            emulator.client_id(),
            secret(emulator),
            emulator.site(),
        )
        .unwrap()
        .trusting(Roots::Only(Vec::new()))
    };
    let off = connect(emulator, &house.desk, plain()).await.unwrap();
    let asked = emulator.journal().len();
    let refused = off.erase(&placement, key("e"), &permit).await;
    assert_eq!(fault(refused), FaultKind::Unsupported);
    let earlier = off
        .remove_versions(document.subject, &file, &Earlier::All, &permit)
        .await;
    assert_eq!(fault(earlier), FaultKind::Unsupported);
    assert_eq!(emulator.journal().len(), asked, "nothing was sent");
    assert!(emulator.holdings(file.as_str()).current.is_some());

    let itself = plain().destroying_as(emulator.client_id(), secret(emulator));
    let itself = connect(emulator, &house.desk, itself).await;
    assert_eq!(fault(itself), FaultKind::Misconfigured);

    let wrong = config(emulator).destroying_as("another", secret(emulator));
    let wrong = connect(&house.emulator, &house.desk, wrong).await.unwrap();
    let refused = wrong.erase(&placement, key("e"), &permit).await;
    assert_eq!(
        fault(refused),
        FaultKind::Misconfigured,
        "the other one has no right yet"
    );
    assert!(house.emulator.holdings(file.as_str()).current.is_some());

    house.emulator.add_application("another");
    wrong.erase(&placement, key("e"), &permit).await.unwrap();
    assert!(house.emulator.holdings(file.as_str()).is_empty());
    let wrong = house.desk.session(Role::Paralegal);
    assert_eq!(
        code(
            wrong
                .permit(Act::Destroy, house.desk.whole(house.desk.beneficiary()))
                .await
        ),
        Code::AclDeny
    );
}
