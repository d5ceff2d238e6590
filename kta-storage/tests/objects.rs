//! Blobs in object stores, on other people's servers: moto 5.2.5 for S3, Microsoft's Azurite
//! 3.35 for Azure.
//!
//! moto ignores the condition of a completed upload, which AWS keeps; its kin with that mended
//! (`moto_server.py`) stands for AWS, and moto itself for the servers that ignore it. moto checks
//! no signatures; Azurite does. Azurite keeps neither versions nor deleted blobs.
#![cfg(feature = "object-store")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "objects/servers.rs"]
#[allow(unreachable_pub, reason = "a module of this test")]
mod servers;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use kta_core::conformance::erase::{EraseBench, placement};
use kta_core::conformance::{Desk, blobs as kit, erase as erase_kit};
use kta_core::id::{Digest, DocumentId, IdempotencyKey, SubjectId};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, ContentStream, Locator, Placement, PlacementKind};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::blobs::{BlobId, Blobs};
use kta_core::ports::erase::{Erase, Erased, Probe};
use kta_core::{Code, Error, Fault, FaultKind, Port};
use kta_storage::{Fixity, ObjectBlobs};
use servers::{Azurite, Kind, Line, Moto, PART, SECRET};

/// Runs these cases of a kit, and finds out whether they are all of them.
macro_rules! whole_kit {
    ($source:literal, $kit:ident, $fresh:expr, $($case:ident),+ $(,)?) => {
        let source = include_str!(concat!("../../kta-core/src/conformance/", $source, ".rs"));
        let listed = [$(stringify!($case)),+];
        let all = source.split("_conformance = ").nth(1).unwrap().split('}').next().unwrap();
        let all: Vec<_> = all.lines().skip(1).map(|line| line.trim().trim_end_matches(','))
            .filter(|line| !line.is_empty()).collect();
        assert_eq!(listed.as_slice(), all, "the kit has other cases now");
        $($kit::$case(&$fresh).await;)+
    };
}

macro_rules! whole_contract {
    ($fresh:expr, $bench:expr) => {
        whole_kit!(
            "blobs",
            kit,
            $fresh,
            what_was_put_comes_back_byte_for_byte,
            an_empty_blob_is_a_blob,
            a_second_put_replaces_the_first_whole,
            a_stream_that_breaks_off_leaves_what_was_there,
            a_cancelled_put_leaves_what_was_there,
            of_concurrent_puts_one_stands_whole,
            a_reader_sees_one_blob_while_another_replaces_it,
            what_was_removed_is_not_found,
            removing_one_blob_leaves_the_others,
            replacing_takes_the_place_of_what_is_there,
            replacing_brings_nothing_back,
            what_was_never_put_is_not_found,
            a_permit_that_does_not_cover_the_person_is_refused,
            a_permit_for_another_act_is_refused,
            who_seals_anew_reads_and_replaces_and_puts_nothing,
            a_permit_that_has_ended_is_refused,
            a_permit_of_another_firm_is_refused,
            errors_and_debug_hold_no_stored_byte,
        );
        whole_kit!(
            "erase",
            erase_kit,
            $bench,
            before_an_erase_probe_finds_the_copy,
            erase_takes_away_the_copy_with_everything_beneath_it,
            erase_takes_away_nothing_of_anybody_else,
            erasing_twice_is_no_error_and_gives_the_same_kind_of_answer,
            a_residue_that_the_provider_keeps_is_reported_with_its_time,
            a_probe_says_what_it_asked_and_digests_the_answers,
            what_a_legal_hold_covers_is_not_erased_under_whatever_permit,
            only_a_permit_to_destroy_erases_and_only_one_to_probe_probes,
            a_placement_of_another_system_is_not_touched,
            concurrent_erasures_end_as_one_does,
            a_cancelled_erasure_is_carried_to_its_end_by_the_next,
            answers_and_errors_hold_nothing_of_the_copy,
        );
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contracts_hold_in_buckets_of_s3_with_versions_and_without() {
    let moto = Moto::start(true).await;
    whole_contract!(moto.fresh(Kind::Plain).await, InBucket::of(&moto));
    kit::what_was_removed_is_not_found(&moto.fresh(Kind::Versioned).await).await;
    kit::replacing_brings_nothing_back(&moto.fresh(Kind::Versioned).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contracts_hold_in_containers_of_azure() {
    let azurite = Azurite::start().await;
    whole_contract!(azurite.fresh().await, InContainer::of(&azurite));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_blob_in_s3_is_resumed_checked_replaced_and_gone() {
    let moto = Moto::start(true).await;
    let bucket = moto.bucket(Kind::Versioned);
    let line = Line::to(&moto.url).await;
    let config = moto.config(&bucket).endpoint(&line.url);
    let blobs = ObjectBlobs::s3(&config).await.unwrap();
    let again = ObjectBlobs::s3(&config).await.unwrap();
    long_blobs(&blobs, &again, &line).await;
    fixity(&blobs, |id, bytes| {
        let put = moto.send("PUT", &format!("/{bucket}/{}", path(id)), &[], bytes);
        assert_eq!(put.0, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_blob_in_azure_is_resumed_checked_replaced_and_gone() {
    let azurite = Azurite::start().await;
    let container = azurite.container();
    let line = Line::to(&azurite.url).await;
    let config = azurite.config(&container);
    let config = config.endpoint(&format!("{}/devstoreaccount1", line.url));
    let blobs = ObjectBlobs::azure(&config).await.unwrap();
    let again = ObjectBlobs::azure(&config).await.unwrap();
    long_blobs(&blobs, &again, &line).await;
    fixity(&blobs, |id, bytes| {
        let block = [("x-ms-blob-type", "BlockBlob")];
        let put = azurite.send("PUT", &format!("{container}/{}", path(id)), &block, bytes);
        assert_eq!(put.0, 201, "{}", put.1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_conditions_replaces_no_long_blob() {
    let moto = Moto::start(false).await;
    let blobs = moto.fresh(Kind::Plain).await;
    let (desk, id) = (Desk::new("ignores"), DocumentId::from_bytes([1; 16]));
    let id = blob(&desk, id);
    put(&blobs, &desk, &id, content(1, PART + 1)).await.unwrap();
    let officer = desk.session(Role::Ciso);
    let anew = officer.permit(Act::Rekey, Scope::firm()).await.unwrap();
    let long = blobs.replace(&id, content(2, PART + 1), &anew).await;
    assert_eq!(kind(&long.unwrap_err()), FaultKind::Unsupported);
    blobs.replace(&id, content(2, 1_000), &anew).await.unwrap();
    // What nobody finishes goes when it is old.
    let halves = vec![Ok(Bytes::from(piece(4, 0, PART))), Err(broken())];
    put(&blobs, &desk, &id, Box::pin(stream::iter(halves)))
        .await
        .unwrap_err();
    let left = async || probe(&blobs, &desk, &copy(&desk, &id)).await.residues.len();
    assert_eq!(left().await, 2);
    assert_eq!(
        blobs
            .drop_unfinished(chrono::DateTime::UNIX_EPOCH)
            .await
            .unwrap(),
        0
    );
    assert_eq!(left().await, 2);
    assert_eq!(blobs.drop_unfinished(chrono::Utc::now()).await.unwrap(), 1);
    assert!(probe(&blobs, &desk, &copy(&desk, &id)).await.residues.len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bucket_keeps_is_told_with_its_time_and_a_hold_on_it_is_refused() {
    let moto = Moto::start(true).await;
    let bucket = moto.bucket(Kind::Locking);
    let blobs = ObjectBlobs::s3(&moto.config(&bucket)).await.unwrap();
    let desk = Desk::new("locked");
    let id = blob(&desk, DocumentId::from_bytes([1; 16]));
    put(&blobs, &desk, &id, content(1, 100)).await.unwrap();
    let target = format!("/{bucket}/{}", path(&id));
    let until = chrono::Utc::now() + chrono::TimeDelta::days(3000);
    let until = chrono::SubsecRound::trunc_subsecs(until, 0);
    let retention = format!(
        "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
        until.format("%Y-%m-%dT%H:%M:%SZ")
    );
    let locked = moto.send(
        "PUT",
        &format!("{target}?retention"),
        &[],
        retention.as_bytes(),
    );
    assert_eq!(locked.0, 200, "{}", locked.1);
    let copy = copy(&desk, &id);
    for _ in 0..2 {
        let erased = erase(&blobs, &desk, &copy).await.unwrap();
        assert_eq!(erased.window, Some(until));
        assert!(
            !blobs.contains(&id).await.unwrap(),
            "nobody reads it any more"
        );
    }
    let seen = probe(&blobs, &desk, &copy).await;
    let kept: Vec<_> = seen
        .residues
        .iter()
        .filter(|residue| residue.content)
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].what.as_str(), kept[0].until),
        ("version", Some(until))
    );

    let held = blob(&desk, DocumentId::from_bytes([2; 16]));
    put(&blobs, &desk, &held, content(1, 100)).await.unwrap();
    let target = format!("/{bucket}/{}?legal-hold", path(&held));
    let hold = moto.send(
        "PUT",
        &target,
        &[],
        b"<LegalHold><Status>ON</Status></LegalHold>",
    );
    assert_eq!(hold.0, 200, "{}", hold.1);
    let copy = self::copy(&desk, &held);
    let refused = erase(&blobs, &desk, &copy).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::DstHold);
    assert!(!probe(&blobs, &desk, &copy).await.is_clean());
    let hold = moto.send(
        "PUT",
        &target,
        &[],
        b"<LegalHold><Status>OFF</Status></LegalHold>",
    );
    assert_eq!(hold.0, 200);
    erase(&blobs, &desk, &copy).await.unwrap();
    assert!(probe(&blobs, &desk, &copy).await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_no_empty_one_and_errors_name_no_secret() {
    let (moto, azurite) = (Moto::start(true).await, Azurite::start().await);
    let missing = ObjectBlobs::s3(&moto.config("nowhere")).await.unwrap_err();
    let absent = ObjectBlobs::azure(&azurite.config("nowhere"))
        .await
        .unwrap_err();
    assert_eq!(kind(&absent), FaultKind::Misconfigured);
    // A bucket that goes later does not make a probe clean.
    let bucket = moto.bucket(Kind::Plain);
    let blobs = ObjectBlobs::s3(&moto.config(&bucket)).await.unwrap();
    assert_eq!(moto.send("DELETE", &format!("/{bucket}"), &[], b"").0, 204);
    let desk = Desk::new("gone");
    let copy = copy(&desk, &blob(&desk, DocumentId::from_bytes([1; 16])));
    let gone = erase(&blobs, &desk, &copy).await.unwrap_err();
    assert_eq!(kind(&gone), FaultKind::Misconfigured);
    let wrong = kta_storage::AzureConfig::new(
        "devstoreaccount1",
        &azurite.container(),
        &"Q0FOQVJZU0VDUkVU".to_owned().into(),
    );
    let wrong = wrong
        .unwrap()
        .endpoint(&format!("{}/devstoreaccount1", azurite.url));
    let denied = ObjectBlobs::azure(&wrong).await.unwrap_err();
    assert_eq!(kind(&denied), FaultKind::Misconfigured);
    let told = format!("{missing} {missing:?} {absent} {gone:?} {denied} {denied:?} {blobs:?}");
    for secret in [SECRET, "AKIACANARY", "CANARYSECRET", "http", "nowhere"] {
        assert!(!told.contains(secret), "{told}");
    }
}

/// A cut upload goes on with what is there; memory stays where it was; nothing comes back; and
/// what is unfinished counts when a person is erased.
async fn long_blobs(blobs: &ObjectBlobs, again: &ObjectBlobs, line: &Line) {
    let desk = Desk::new("long");
    let id = blob(&desk, DocumentId::from_bytes([1; 16]));
    let length = 4 * PART + 77;

    line.mend();
    line.cut_after(2 * PART + PART / 2);
    let cut = put(blobs, &desk, &id, content(1, length))
        .await
        .unwrap_err();
    assert!(cut.fault().unwrap().is_transient(), "{cut}");
    line.mend();
    assert!(!blobs.contains(&id).await.unwrap());
    let seen = probe(blobs, &desk, &copy(&desk, &id)).await;
    assert_eq!(
        seen.residues[0].what.as_str(),
        "upload",
        "counts as a residue"
    );
    line.mend();
    // Another process of the house goes on.
    let stored = put(again, &desk, &id, content(1, length)).await.unwrap();
    let sent = line.mend();
    assert_eq!(stored, (length as u64, digest(1, length)));
    assert!(
        sent < 2 * PART as u64 + PART as u64 / 2,
        "sent {sent} bytes again"
    );
    assert_eq!(check(blobs, &desk, &id, stored).await, Fixity::Sound);

    // A short break is bridged.
    let bridged = blob(&desk, DocumentId::from_bytes([2; 16]));
    line.interrupt_after(PART + PART / 2);
    let whole = put(blobs, &desk, &bridged, content(8, 2 * PART))
        .await
        .unwrap();
    assert_eq!(check(blobs, &desk, &bridged, whole).await, Fixity::Sound);

    // The same length of other bytes takes nothing from it.
    line.cut_after(2 * PART + PART / 2);
    put(blobs, &desk, &id, content(2, length))
        .await
        .unwrap_err();
    line.mend();
    let other = put(again, &desk, &id, content(3, length)).await.unwrap();
    assert_eq!(check(blobs, &desk, &id, other).await, Fixity::Sound);

    // Two writers at once: one stands whole, and who lost is told to try again.
    let both = [5, 6].map(|number| put(blobs, &desk, &id, content(number, length)));
    let ended = futures_util::future::join_all(both).await;
    let stored: Vec<_> = ended
        .iter()
        .filter_map(|ended| ended.as_ref().ok())
        .collect();
    for lost in ended.iter().filter_map(|ended| ended.as_ref().err()) {
        assert!(lost.fault().unwrap().is_transient(), "{lost}");
    }
    let mut stands = None;
    for put in stored {
        if check(blobs, &desk, &id, *put).await.is_sound() {
            stands = Some(*put);
        }
    }
    let other = stands.expect("one of those that were told so");

    // A stream that breaks off, and a person who is erased with what it left.
    let halves = vec![Ok(Bytes::from(piece(4, 0, 2 * PART))), Err(broken())];
    let broken = put(blobs, &desk, &id, Box::pin(stream::iter(halves))).await;
    assert_eq!(kind(&broken.unwrap_err()), FaultKind::Corrupt);
    assert_eq!(check(blobs, &desk, &id, other).await, Fixity::Sound);

    // A long replacement takes the place of what it saw, and brings nothing back.
    let officer = desk.session(Role::Ciso);
    let anew = officer.permit(Act::Rekey, Scope::firm()).await.unwrap();
    let new = blobs.replace(&id, content(5, length), &anew).await.unwrap();
    assert_eq!(check(blobs, &desk, &id, new).await, Fixity::Sound);
    let (eraser, record) = (blobs.clone(), copy(&desk, &id));
    let (removed, wait) = tokio::sync::oneshot::channel::<()>();
    let first = stream::once(async { Ok(Bytes::from(piece(6, 0, PART + 1))) });
    let last = stream::once(async move {
        wait.await.unwrap();
        Ok(Bytes::from(piece(6, 0, PART)))
    });
    let slow: ContentStream = Box::pin(futures_util::StreamExt::chain(first, last));
    let erasing = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        erase(&eraser, &desk, &record).await.unwrap();
        removed.send(()).unwrap();
    };
    let (outcome, ()) = futures_util::future::join(blobs.replace(&id, slow, &anew), erasing).await;
    assert_eq!(kind(&outcome.unwrap_err()), FaultKind::NotFound);
    assert!(!blobs.contains(&id).await.unwrap());
    let seen = probe(blobs, &desk, &record).await;
    assert!(seen.is_clean(), "{seen:?}");

    // Memory does not grow with the blob.
    let before = most_memory();
    let big = blob(&desk, DocumentId::from_bytes([9; 16]));
    let length = 9 * PART;
    let pieces = (0..9).map(|number| Ok(Bytes::from(piece(7, number * PART, PART))));
    let stored = put(blobs, &desk, &big, Box::pin(stream::iter(pieces)))
        .await
        .unwrap();
    assert_eq!(stored.0, length as u64);
    assert_eq!(check(blobs, &desk, &big, stored).await, Fixity::Sound);
    let grown = most_memory() - before;
    assert!(grown < 4 * PART, "{grown} bytes for a blob of {length}");
    erase(blobs, &desk, &copy(&desk, &big)).await.unwrap();
    assert!(probe(blobs, &desk, &copy(&desk, &big)).await.is_clean());
}

/// What somebody did to a blob behind our back is found, each by its name.
async fn fixity(blobs: &ObjectBlobs, behind_our_back: impl Fn(&BlobId, &[u8])) {
    let desk = Desk::new("fixity");
    let id = blob(&desk, DocumentId::from_bytes([1; 16]));
    let stored = put(blobs, &desk, &id, content(1, 200_000)).await.unwrap();
    assert!(check(blobs, &desk, &id, stored).await.is_sound());
    let mut bytes = piece(1, 0, 200_000);
    bytes[100_000] ^= 1;
    behind_our_back(&id, &bytes);
    let found = Digest::of(&bytes);
    assert_eq!(
        check(blobs, &desk, &id, stored).await,
        Fixity::Altered { found }
    );
    bytes.push(0);
    behind_our_back(&id, &bytes);
    assert_eq!(check(blobs, &desk, &id, stored).await, Fixity::Longer);
    behind_our_back(&id, &bytes[..199_999]);
    let shorter = Fixity::Shorter { length: 199_999 };
    assert_eq!(check(blobs, &desk, &id, stored).await, shorter);
    erase(blobs, &desk, &copy(&desk, &id)).await.unwrap();
    assert_eq!(check(blobs, &desk, &id, stored).await, Fixity::Missing);
}

/// Copies in a bucket with versions: each with an older version and an unfinished upload.
struct InBucket<'m> {
    moto: &'m Moto,
    bucket: String,
}

impl<'m> InBucket<'m> {
    fn of(moto: &'m Moto) -> Self {
        let bucket = moto.bucket(Kind::Versioned);
        Self { moto, bucket }
    }
}

#[async_trait]
impl EraseBench for InBucket<'_> {
    async fn eraser(&self) -> Arc<dyn Erase> {
        let config = self.moto.config(&self.bucket);
        Arc::new(ObjectBlobs::s3(&config).await.unwrap())
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let (id, placement) = another(desk, subject);
        let target = format!("/{}/{}", self.bucket, path(&id));
        for _ in 0..2 {
            let put = self.moto.send("PUT", &target, &[], marked.as_bytes());
            assert_eq!(put.0, 200);
        }
        let begun = self
            .moto
            .send("POST", &format!("{target}?uploads"), &[], b"");
        assert_eq!(begun.0, 200, "{}", begun.1);
        placement
    }
}

/// Copies in a container: each with a snapshot and a block that is not in it.
struct InContainer<'a> {
    azurite: &'a Azurite,
    container: String,
}

impl<'a> InContainer<'a> {
    fn of(azurite: &'a Azurite) -> Self {
        let container = azurite.container();
        Self { azurite, container }
    }
}

#[async_trait]
impl EraseBench for InContainer<'_> {
    async fn eraser(&self) -> Arc<dyn Erase> {
        let config = self.azurite.config(&self.container);
        Arc::new(ObjectBlobs::azure(&config).await.unwrap())
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let (id, placement) = another(desk, subject);
        let target = format!("{}/{}", self.container, path(&id));
        let block = [("x-ms-blob-type", "BlockBlob")];
        for (query, headers) in [
            ("", &block[..]),
            ("?comp=snapshot", &[]),
            ("?comp=block&blockid=QUJD", &[]),
        ] {
            let body = if query == "?comp=snapshot" {
                ""
            } else {
                marked
            };
            let target = format!("{target}{query}");
            let made = self.azurite.send("PUT", &target, headers, body.as_bytes());
            assert_eq!(made.0, 201, "{}", made.1);
        }
        placement
    }
}

fn another(desk: &Desk, subject: SubjectId) -> (BlobId, Placement) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst).to_be_bytes();
    let id = BlobId {
        tenant: desk.tenant(),
        subject,
        document: DocumentId::derived(&[&number]),
    };
    (id, copy(desk, &id))
}

fn blob(desk: &Desk, document: DocumentId) -> BlobId {
    BlobId {
        tenant: desk.tenant(),
        subject: desk.beneficiary(),
        document,
    }
}

fn copy(desk: &Desk, id: &BlobId) -> Placement {
    placement(
        desk,
        id.subject,
        (Placement::BLOBS, PlacementKind::Blob),
        (CopyOf::Document(id.document), Category::Case),
        Locator::new(path(id)).unwrap(),
    )
}

/// Where the adapter keeps it: this is a contract with whoever looks into the bucket.
fn path(id: &BlobId) -> String {
    let hex = |bytes: &[u8; 16]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let subject = hex(id.subject.as_bytes());
    let (tenant, document) = (hex(id.tenant.as_bytes()), hex(id.document.as_bytes()));
    format!("{tenant}/{}/{subject}/{document}", &subject[..2])
}

async fn put(
    blobs: &ObjectBlobs,
    desk: &Desk,
    id: &BlobId,
    sealed: ContentStream,
) -> kta_core::Result<(u64, Digest)> {
    let session = desk.session(Role::Paralegal);
    let scope = desk.scope(id.subject, Category::Case);
    let permit = session.permit(Act::Store, scope).await.unwrap();
    blobs.put(id, sealed, &permit).await
}

async fn check(blobs: &ObjectBlobs, desk: &Desk, id: &BlobId, put: (u64, Digest)) -> Fixity {
    let session = desk.session(Role::Paralegal);
    let scope = desk.scope(id.subject, Category::Case);
    let permit = session.permit(Act::Open, scope).await.unwrap();
    Fixity::check(blobs, id, put, &permit).await.unwrap()
}

async fn erase(blobs: &ObjectBlobs, desk: &Desk, copy: &Placement) -> kta_core::Result<Erased> {
    let session = desk.session(Role::ServiceDestroy);
    let scope = Scope::of(copy.subject, copy.category).in_matter(copy.matter);
    let permit = session.permit(Act::Destroy, scope).await.unwrap();
    let key = IdempotencyKey::derived("erase", &[copy.id.as_bytes()]);
    blobs.erase(copy, key, &permit).await
}

async fn probe(blobs: &ObjectBlobs, desk: &Desk, copy: &Placement) -> Probe {
    let session = desk.session(Role::ServiceDestroy);
    let scope = Scope::of(copy.subject, copy.category).in_matter(copy.matter);
    let permit = session.permit(Act::Probe, scope).await.unwrap();
    blobs.probe(copy, &permit).await.unwrap()
}

fn kind(error: &Error) -> FaultKind {
    error.fault().unwrap().kind()
}

fn broken() -> Error {
    Fault::new(FaultKind::Corrupt, Port::Intake, "test").into()
}

/// Bytes of which no two stretches are alike, other ones for each number; quickly made.
fn piece(number: usize, from: usize, length: usize) -> Vec<u8> {
    let first = from / STRETCH;
    let mut bytes = Vec::with_capacity(length + 2 * STRETCH);
    while bytes.len() < from % STRETCH + length {
        let at = first + bytes.len() / STRETCH;
        bytes.extend_from_slice(&(at as u64).to_le_bytes());
        bytes.resize(bytes.len() + STRETCH - 8, (number * 97 + at) as u8);
    }
    bytes.drain(..from % STRETCH);
    bytes.truncate(length);
    bytes
}

const STRETCH: usize = 4096;

fn content(number: usize, length: usize) -> ContentStream {
    let chunks = (0..length.div_ceil(1_000_003)).map(move |chunk| {
        let from = chunk * 1_000_003;
        Ok(Bytes::from(piece(
            number,
            from,
            1_000_003.min(length - from),
        )))
    });
    Box::pin(stream::iter(chunks))
}

fn digest(number: usize, length: usize) -> Digest {
    Digest::of(&piece(number, 0, length))
}

/// The most memory this process ever had, in bytes.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
