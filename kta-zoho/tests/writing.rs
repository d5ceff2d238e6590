//! Writing under a condition, notes, and people whose processing is stopped.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CANARY, Office, number};
use kta_core::id::IdempotencyKey;
use kta_core::pii::{Category, FieldName, Fields, Locator, Pii};
use kta_core::policy::Act;
use kta_core::{Code, Error, FaultKind};
use kta_zoho::emulator::Failure;
use kta_zoho::{Amendment, Contents, Known};

#[tokio::test]
async fn many_are_amended_in_one_call_and_whoever_was_faster_with_one_keeps_what_he_wrote() {
    let (office, people) = family().await;
    let permit = office.firm_permit_over(&people, Act::Amend).await;
    let mut amendments = Vec::new();
    for (subject, locator) in &people {
        amendments.push(amendment(&office, *subject, locator, "Weigher").await);
    }
    // Somebody else writes into the second one, after it was read.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    office.by_hand(&people[1].1, "Occupation", "Taster");
    let before = office.emulator.journal().len();
    let outcomes = office.crm.amend_many(&amendments, &permit).await.unwrap();
    let writes = |from: usize| {
        let journal = office.emulator.journal();
        let puts = journal.into_iter().skip(from);
        puts.filter(|one| one.method == "PUT").collect::<Vec<_>>()
    };
    let sent = writes(before);
    assert_eq!(sent.len(), 1, "one write for all that are as expected");
    let headers = &sent[0].headers;
    assert!(
        headers
            .iter()
            .any(|(name, _)| name == "if-unmodified-since")
    );
    assert_eq!(kind(&outcomes[1]), Some(FaultKind::Conflict));
    for (position, (subject, locator)) in people.iter().enumerate() {
        let wanted = if position == 1 { "Taster" } else { "Weigher" };
        assert_eq!(occupation(&office, *subject, locator).await, wanted);
        assert_eq!(outcomes[position].is_ok(), position != 1);
    }
    // A lost answer to the whole write is found to be ours.
    let mut again = Vec::new();
    for (subject, locator) in &people {
        again.push(amendment(&office, *subject, locator, "Sorter").await);
    }
    let lost = Failure::DropAfterEffect;
    office.emulator.faults().next(1, "PUT", "/crm/v8", lost);
    let outcomes = office.crm.amend_many(&again, &permit).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(office.emulator.faults().pending(), 0);
    // One record twice in one call is nobody's intention.
    let (subject, locator) = &people[0];
    let twice = [
        amendment(&office, *subject, locator, "One").await,
        amendment(&office, *subject, locator, "Two").await,
    ];
    assert!(office.crm.amend_many(&twice, &permit).await.is_err());
    // A permit over one of them is none over the others.
    let narrow = office.permit(Act::Amend).await;
    let refused = office.crm.amend_many(&again, &narrow).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
}

#[tokio::test]
async fn an_entry_never_overwrites_what_another_worker_entered_meanwhile() {
    let office = Office::open().await;
    let subject = office.desk.beneficiary();
    let locator = office.enter("race").await.unwrap();
    office.by_hand(&locator, "Occupation", "Taster");
    // The upsert of a worker that looked before the other one entered.
    let sent = office.emulator.journal();
    let upsert = sent
        .iter()
        .find(|one| one.path.ends_with("/upsert"))
        .unwrap();
    let condition = upsert
        .headers
        .iter()
        .find(|(name, _)| name == "if-unmodified-since");
    assert_eq!(condition.unwrap().1, "2000-01-01T00:00:00+00:00");
    // Its answer is lost: the second attempt is refused, and finds what the first one made.
    let child = office.desk.children()[0];
    let lost = Failure::DropAfterEffect;
    let faults = office.emulator.faults();
    faults.next(1, "POST", "/crm/v8/Contacts/upsert", lost);
    office.enter_person(child, "race").await.unwrap();
    assert_eq!(faults.pending(), 0);
    assert_eq!(office.emulator.inspect().ids("Contacts").len(), 2);
    assert_eq!(occupation(&office, subject, &locator).await, "Taster");
}

#[tokio::test]
async fn a_note_is_written_once_listed_amended_and_removed_for_good() {
    let office = Office::open().await;
    let subject = office.desk.beneficiary();
    let locator = office.enter("note").await.unwrap();
    let permit = office.permit(Act::Amend).await;
    let key = IdempotencyKey::derived("note", &[]);
    let text = |text: &str| Pii::new(text.to_owned());
    let said = format!("{CANARY} ξ דוגמה 🙂\nsecond line");
    let crm = &office.crm;
    let write = async |category| {
        crm.write_note(subject, &locator, &text(&said), category, key, &permit)
            .await
    };
    let note = write(Category::Case).await.unwrap();
    assert_eq!(
        write(Category::Case).await.unwrap(),
        note,
        "the same key twice"
    );
    let by_hand = office.emulator.inspect();
    let other = by_hand.note_by_hand(number(&locator), "call", "x").unwrap();
    let notes = crm.notes(subject, &locator, &permit).await.unwrap();
    assert_eq!(notes.len(), 2);
    let ours = notes.iter().find(|one| one.locator == note).unwrap();
    assert_eq!(*ours.content.expose(&permit), said);
    assert!(!format!("{notes:?}").contains(CANARY));
    let amend = async |note: &Locator, said: &str| {
        crm.amend_note(
            subject,
            &locator,
            note,
            &text(said),
            Category::Case,
            &permit,
        )
        .await
    };
    amend(&note, "shorter").await.unwrap();
    let stranger = Locator::new("5843104000000499999").unwrap();
    assert_eq!(
        kind(&amend(&stranger, "x").await),
        Some(FaultKind::NotFound)
    );
    assert!(amend(&note, "").await.is_err());
    assert!(amend(&note, &"x".repeat(40_000)).await.is_err());
    // Content of a special category belongs elsewhere, and another person's permit opens nothing.
    let child = office.desk.children()[0];
    let theirs = office.permit_for(child, Act::Amend).await;
    assert!(crm.notes(child, &locator, &theirs).await.is_err());
    assert!(
        crm.remove_note(child, &locator, &note, &theirs)
            .await
            .is_err()
    );
    crm.remove_note(subject, &locator, &note, &permit)
        .await
        .unwrap();
    crm.remove_note(subject, &locator, &note, &permit)
        .await
        .unwrap();
    let left = office.emulator.inspect().holdings(number(&locator));
    assert_eq!((left.notes, left.related_in_bin), (vec![other], vec![]));
    // The vendor's own history of the note is nobody's to erase: the README says so.
    let places = office.emulator.inspect().places_of("shorter");
    assert!(
        places.iter().all(|place| place.starts_with("timeline:")),
        "{places:?}"
    );
    let addresses = office.emulator.journal();
    assert!(addresses.iter().all(|one| !one.query.contains(CANARY)));
}

#[tokio::test]
async fn a_person_whose_processing_is_stopped_is_seen_by_load_list_and_reconcile() {
    let (office, people) = family().await;
    let (stopped, at) = &people[1];
    assert!(office.emulator.inspect().stop_processing(number(at)));
    let permit = office.firm_permit_over(&people, Act::Transfer).await;
    let mut load = office
        .crm
        .load(None, Contents::Mapped, &permit)
        .await
        .unwrap();
    let loaded = load.page(10, &permit).await.unwrap().records;
    let listed = office.crm.list(None, 200, &permit).await.unwrap().records;
    for records in [loaded, listed] {
        assert_eq!(records.len(), people.len());
        for one in records {
            let is_stopped = one.subject == Some(*stopped);
            assert_eq!(one.stopped, Some(is_stopped));
            assert_eq!(
                one.fields.is_empty(),
                is_stopped,
                "what is stopped does not flow"
            );
        }
    }
    // An index holds nobody's data, and asks nothing.
    let mut load = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    let index = load.page(10, &permit).await.unwrap().records;
    assert!(index.iter().all(|one| one.stopped.is_none()));
    let mut known = Vec::new();
    for (subject, locator) in &people {
        known.push(Known {
            record: office.record_id(*subject),
            locator: locator.clone(),
            subject: *subject,
            matter: office.desk.matter(),
            owner: None,
            modified: office.fetch_of(*subject, locator).await.unwrap().modified,
        });
    }
    let firm = office.firm_permit(Act::Review).await;
    let found = office.crm.reconcile(known, None, &firm).await.unwrap();
    let codes: Vec<Code> = found.findings.iter().map(|one| one.code()).collect();
    assert_eq!(codes, [Code::SynLocked]);
    assert!(!found.holds());
}

#[tokio::test]
async fn a_record_that_somebody_shared_by_hand_is_a_finding_of_the_access_review() {
    let (office, people) = family().await;
    let firm = office.firm_permit(Act::Review).await;
    let ids: Vec<Locator> = people.iter().map(|(_, at)| at.clone()).collect();
    let shares = async || office.crm.shares(&ids, &firm).await.unwrap();
    let mut approved = office.crm.access(&firm).await.unwrap();
    let digest = approved.digest();
    approved.shares = shares().await;
    assert_eq!(approved.digest(), digest, "no share changes no picture");
    let inspect = office.emulator.inspect();
    assert!(inspect.share_record(number(&ids[0]), 1, "read_only"));
    let mut now = approved.clone();
    now.shares = shares().await;
    let found = now.drift(&approved);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code(), Code::AccOverpriv);
    // Approved, it is a finding again once it reaches further.
    let approved = now.clone();
    assert_eq!(now.drift(&approved), []);
    assert!(inspect.share_record(number(&ids[0]), 1, "full_access"));
    now.shares = shares().await;
    assert_eq!(now.drift(&approved).len(), 1);
    let denied = office.permit(Act::Transfer).await;
    assert!(office.crm.shares(&ids, &denied).await.is_err());
}

type Person = (kta_core::id::SubjectId, Locator);

/// A client and two children, entered.
async fn family() -> (Office, Vec<Person>) {
    let office = Office::open().await;
    let mut people = vec![office.desk.beneficiary()];
    people.extend(&office.desk.children()[..2]);
    let mut entered = Vec::new();
    for subject in people {
        let locator = office.enter_person(subject, "family").await.unwrap();
        entered.push((subject, locator));
    }
    (office, entered)
}

async fn amendment(
    office: &Office,
    subject: kta_core::id::SubjectId,
    locator: &Locator,
    text: &str,
) -> Amendment {
    let mut fields = Fields::new();
    let text = Pii::new(text.to_owned());
    fields.insert(FieldName::fixed("occupation"), text);
    Amendment {
        subject,
        locator: locator.clone(),
        expected: office.fetch_of(subject, locator).await.unwrap().modified,
        fields,
    }
}

async fn occupation(
    office: &Office,
    subject: kta_core::id::SubjectId,
    locator: &Locator,
) -> String {
    let permit = office.permit_for(subject, Act::Transfer).await;
    let fetched = office.fetch_of(subject, locator).await.unwrap();
    let value = fetched.fields.field("occupation").unwrap();
    value.expose(&permit).clone()
}

fn kind<T>(outcome: &Result<T, Error>) -> Option<FaultKind> {
    Some(outcome.as_ref().err()?.fault()?.kind())
}
