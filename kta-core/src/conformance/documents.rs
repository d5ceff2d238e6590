//! The kit of [`Documents`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::marks::{assert_unmarked, effect, wrong_permits_are_refused};
use super::papers::{broken_off, content, document, scope, special, whole, whole_content};
use super::{Desk, cancelled, code, fault};
use crate::Code;
use crate::audit::Label;
use crate::error::{Fault, FaultKind, Result};
use crate::pii::{Category, Content, ContentStream, Document, Locator, MediaType};
use crate::policy::{Act, Role};
use crate::ports::documents::{Documents, StoredDocument, Version};

conformance_cases! {$
    /// The contract of [`Documents`](crate::ports::Documents) as tests; `fresh` gives a
    /// [`LibraryBench`](crate::conformance::documents::LibraryBench). See
    /// [`conformance`](crate::conformance).
    documents_conformance = documents:
    what_was_put_comes_back_byte_for_byte_whatever_its_size,
    the_same_key_twice_is_one_file_with_one_version,
    of_concurrent_puts_of_one_document_one_file_is_left,
    another_content_is_a_new_version_and_the_old_one_stays_listed,
    a_stream_that_breaks_off_leaves_no_half_file,
    a_stream_that_breaks_off_leaves_no_new_version,
    content_that_is_not_as_promised_is_not_stored,
    the_name_in_the_library_tells_nothing_about_the_person,
    special_categories_without_a_label_are_refused,
    what_was_removed_is_not_found,
    removing_again_is_no_error,
    a_person_of_whom_anything_is_held_loses_no_file,
    a_permit_that_does_not_cover_the_person_is_refused,
    a_cancelled_put_is_whole_or_nothing,
    errors_and_debug_hold_no_content,
}

/// An empty document library, as somebody sees it who looks at it.
#[async_trait]
pub trait LibraryBench: Send + Sync {
    /// The port, opened anew each time where the adapter keeps anything in memory: a process
    /// that was started again.
    async fn documents(&self) -> Arc<dyn Documents>;

    /// A retention label that the library knows.
    fn label(&self) -> Label;

    /// The path of every file in the library, as its visitors see it. Files in recycle bins do
    /// not count.
    async fn names(&self) -> Vec<String>;
}

/// What was put comes back byte for byte, whatever its size.
pub async fn what_was_put_comes_back_byte_for_byte_whatever_its_size(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    // Around the limit of a simple upload and the size of a chunk of the libraries we know.
    for (number, length) in (1_u8..).zip([1, 4_096, 327_680, 4_194_304, 4_194_305, 11_000_003]) {
        let bytes = content(length, number);
        let document = document(&desk, number, &bytes);
        let stored = put(bench, &desk, &document, &bytes, number).await.unwrap();
        assert_eq!(stored.length, length as u64);
        assert!(
            read(bench, &desk, &document, &stored.locator)
                .await
                .unwrap()
                == bytes,
            "{length} bytes"
        );
        let found = locate(bench, &desk, &document).await.unwrap();
        assert_eq!(found, Some(stored));
    }
}

/// The same idempotency key twice is one file with one version, after a restart too.
pub async fn the_same_key_twice_is_one_file_with_one_version(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let document = document(&desk, 1, &bytes);
    let first = put(bench, &desk, &document, &bytes, 1).await.unwrap();
    let again = put(bench, &desk, &document, &bytes, 1).await.unwrap();
    assert_eq!(first.locator, again.locator);
    assert_eq!(
        versions(bench, &desk, &first.locator).await.unwrap().len(),
        1
    );
    assert_eq!(bench.names().await.len(), 1);
}

/// Of concurrent puts of one document one file is left, and both know it.
pub async fn of_concurrent_puts_of_one_document_one_file_is_left(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let document = document(&desk, 1, &bytes);
    let port = bench.documents().await;
    let session = desk.session(Role::ServiceSync);
    let permit = session
        .permit(Act::Store, scope(&desk, &document))
        .await
        .unwrap();
    let attempt = || {
        let content = Content::of(bytes.clone(), MediaType::pdf());
        port.put(&document, None, content, effect(&desk, 1), &permit)
    };
    let won: Vec<StoredDocument> = match futures_util::future::join(attempt(), attempt()).await {
        (Ok(one), Ok(two)) => vec![one, two],
        (Ok(one), Err(lost)) | (Err(lost), Ok(one)) => {
            assert!(lost.fault().is_some_and(Fault::is_transient), "{lost}");
            vec![one]
        }
        (Err(lost), Err(_)) => panic!("nobody won: {lost}"),
    };
    assert!(won.iter().all(|stored| stored.locator == won[0].locator));
    assert_eq!(bench.names().await.len(), 1);
    assert_eq!(
        read(bench, &desk, &document, &won[0].locator)
            .await
            .unwrap(),
        bytes
    );
}

/// Another content under the same document id is a new version; the old one stays listed.
pub async fn another_content_is_a_new_version_and_the_old_one_stays_listed(
    bench: &dyn LibraryBench,
) {
    let desk = Desk::new("documents");
    let (old, new) = (content(5_000, 1), content(6_000, 2));
    let first = put(bench, &desk, &document(&desk, 1, &old), &old, 1)
        .await
        .unwrap();
    let amended = document(&desk, 1, &new);
    let second = put(bench, &desk, &amended, &new, 2).await.unwrap();
    assert_eq!(first.locator, second.locator);
    assert_ne!(first.version, second.version);
    let listed = versions(bench, &desk, &first.locator).await.unwrap();
    let lengths: Vec<u64> = listed.iter().map(|version| version.length).collect();
    assert_eq!(lengths, [6_000, 5_000], "newest first");
    assert!(listed[0].at >= listed[1].at);
    assert_eq!(
        read(bench, &desk, &amended, &first.locator).await.unwrap(),
        new
    );
    assert_eq!(bench.names().await.len(), 1);
}

/// A content stream that breaks off leaves no half file.
pub async fn a_stream_that_breaks_off_leaves_no_half_file(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    for (number, length) in [(1, 5_000), (2, 5_000_000)] {
        let bytes = content(length, number);
        let document = document(&desk, number, &bytes);
        put_stream(bench, &desk, &document, broken_off(&bytes), number)
            .await
            .unwrap_err();
        assert_eq!(locate(bench, &desk, &document).await.unwrap(), None);
        assert_eq!(bench.names().await, [] as [String; 0]);
    }
    let bytes = content(5_000_000, 2);
    let document = document(&desk, 2, &bytes);
    let stored = put(bench, &desk, &document, &bytes, 2).await.unwrap();
    assert!(
        read(bench, &desk, &document, &stored.locator)
            .await
            .unwrap()
            == bytes
    );
}

/// A content stream that breaks off leaves no new version.
pub async fn a_stream_that_breaks_off_leaves_no_new_version(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let old = content(5_000, 1);
    let before = document(&desk, 1, &old);
    let stored = put(bench, &desk, &before, &old, 1).await.unwrap();
    for (number, length) in [(2, 6_000), (3, 5_000_000)] {
        let new = content(length, number);
        let document = document(&desk, 1, &new);
        put_stream(bench, &desk, &document, broken_off(&new), number)
            .await
            .unwrap_err();
        assert_eq!(
            versions(bench, &desk, &stored.locator).await.unwrap().len(),
            1
        );
        assert_eq!(
            read(bench, &desk, &before, &stored.locator).await.unwrap(),
            old
        );
    }
}

/// Content that turns out to be longer, shorter or other than promised is not stored.
pub async fn content_that_is_not_as_promised_is_not_stored(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let document = document(&desk, 1, &bytes);
    let mut other = bytes.clone();
    other[2_500] ^= 1;
    let longer = [bytes.as_slice(), b"more"].concat();
    for wrong in [other, longer, bytes[..4_999].to_vec(), Vec::new()] {
        let stream = stream::iter([Ok(Bytes::from(wrong))]);
        put_stream(bench, &desk, &document, Box::pin(stream), 1)
            .await
            .unwrap_err();
        assert_eq!(locate(bench, &desk, &document).await.unwrap(), None);
        assert_eq!(bench.names().await, [] as [String; 0]);
    }
}

/// The name in the library tells nothing about the person: neither what the document says nor
/// what kind of document it is.
pub async fn the_name_in_the_library_tells_nothing_about_the_person(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let mut document = document(&desk, 1, &bytes);
    (document.kind, document.classification) = special();
    let label = bench.label();
    put_labelled(bench, &desk, &document, Some(&label), whole(&bytes), 1)
        .await
        .unwrap();
    let names = bench.names().await;
    assert_eq!(names.len(), 1);
    let name = names[0].to_lowercase();
    for telling in [
        "police",
        "special",
        "beneficiary",
        "passport",
        "pdf",
        &desk.beneficiary().to_string(),
    ] {
        assert!(!name.contains(telling), "the name tells {telling}");
    }
    assert_unmarked(&name);
}

/// Special categories without a label are refused with `DOC-LABEL`.
pub async fn special_categories_without_a_label_are_refused(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let mut document = document(&desk, 1, &bytes);
    (document.kind, document.classification) = special();
    let refused = put_labelled(bench, &desk, &document, None, whole(&bytes), 1).await;
    assert_eq!(code(refused), Code::DocLabel);
    assert_eq!(bench.names().await, [] as [String; 0]);
    let label = bench.label();
    let stored = put_labelled(bench, &desk, &document, Some(&label), whole(&bytes), 1)
        .await
        .unwrap();
    assert_eq!(locate(bench, &desk, &document).await.unwrap(), Some(stored));
}

/// What was removed is not found.
pub async fn what_was_removed_is_not_found(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let (gone, stays) = (document(&desk, 1, &bytes), document(&desk, 2, &bytes));
    let first = put(bench, &desk, &gone, &bytes, 1).await.unwrap();
    let second = put(bench, &desk, &stays, &bytes, 2).await.unwrap();
    assert_ne!(first.locator, second.locator);
    remove(bench, &desk, &first.locator).await.unwrap();
    assert_eq!(locate(bench, &desk, &gone).await.unwrap(), None);
    assert_eq!(
        fault(read(bench, &desk, &gone, &first.locator).await),
        FaultKind::NotFound
    );
    assert_eq!(bench.names().await.len(), 1);
    assert_eq!(
        read(bench, &desk, &stays, &second.locator).await.unwrap(),
        bytes
    );
}

/// A person of whom anything is held loses no file, by whatever act it would go.
pub async fn a_person_of_whom_anything_is_held_loses_no_file(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let document = document(&desk, 1, &bytes);
    let stored = put(bench, &desk, &document, &bytes, 1).await.unwrap();
    let hold = desk.hold(document.subject).await.unwrap();
    let refused = remove(bench, &desk, &stored.locator).await;
    assert_eq!(code(refused), Code::DstHold);
    assert_eq!(bench.names().await.len(), 1);
    desk.release(hold).await.unwrap();
    remove(bench, &desk, &stored.locator).await.unwrap();
    assert_eq!(bench.names().await.len(), 0);
}

/// Removing what was removed is no error.
pub async fn removing_again_is_no_error(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let stored = put(bench, &desk, &document(&desk, 1, &bytes), &bytes, 1)
        .await
        .unwrap();
    remove(bench, &desk, &stored.locator).await.unwrap();
    remove(bench, &desk, &stored.locator).await.unwrap();
    assert_eq!(bench.names().await, [] as [String; 0]);
}

/// A permit that does not cover the person is refused.
pub async fn a_permit_that_does_not_cover_the_person_is_refused(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let port = bench.documents().await;
    let bytes = content(5_000, 1);
    let (document, subject) = (document(&desk, 1, &bytes), desk.beneficiary());
    let (sync, reader) = (
        (Role::ServiceSync, Act::Store),
        (Role::Paralegal, Act::Open),
    );
    wrong_permits_are_refused(&desk, subject, sync, reader, async |permit| {
        port.put(
            &document,
            None,
            whole_content(&bytes),
            effect(&desk, 1),
            permit,
        )
        .await
    })
    .await;
    assert_eq!(bench.names().await, [] as [String; 0]);
    let at = put(bench, &desk, &document, &bytes, 1)
        .await
        .unwrap()
        .locator;
    let entering = (Role::ServiceSync, Act::Enter);
    wrong_permits_are_refused(&desk, subject, reader, entering, async |permit| {
        port.content(&document, &at, permit).await
    })
    .await;
    wrong_permits_are_refused(&desk, subject, reader, entering, async |permit| {
        port.versions(subject, &at, permit).await
    })
    .await;
    wrong_permits_are_refused(
        &desk,
        subject,
        (Role::Paralegal, Act::Process),
        reader,
        async |permit| port.remove(subject, &at, permit).await,
    )
    .await;
    assert_eq!(read(bench, &desk, &document, &at).await.unwrap(), bytes);
}

/// A caller that goes away in the middle leaves a whole file or none; the next one finds that.
pub async fn a_cancelled_put_is_whole_or_nothing(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(500_000, 1);
    let document = document(&desk, 1, &bytes);
    cancelled(put(bench, &desk, &document, &bytes, 1));
    // And one that gets as far as a stream that never goes on.
    let stuck = stream::iter([Ok(Bytes::from(bytes[..100_000].to_vec()))]).chain(stream::pending());
    cancelled(put_stream(bench, &desk, &document, Box::pin(stuck), 1));
    if let Some(found) = locate(bench, &desk, &document).await.unwrap() {
        assert!(read(bench, &desk, &document, &found.locator).await.unwrap() == bytes);
    }
    let stored = put(bench, &desk, &document, &bytes, 1).await.unwrap();
    assert_eq!(bench.names().await.len(), 1);
    assert_eq!(
        versions(bench, &desk, &stored.locator).await.unwrap().len(),
        1
    );
    assert!(
        read(bench, &desk, &document, &stored.locator)
            .await
            .unwrap()
            == bytes
    );
}

/// Errors and `Debug` contain nothing of the content.
pub async fn errors_and_debug_hold_no_content(bench: &dyn LibraryBench) {
    let desk = Desk::new("documents");
    let bytes = content(5_000, 1);
    let document = document(&desk, 1, &bytes);
    let broken = put_stream(bench, &desk, &document, broken_off(&bytes), 1)
        .await
        .unwrap_err();
    let stored = put(bench, &desk, &document, &bytes, 1).await.unwrap();
    let nowhere = Locator::new("NOWHERE0000000000000000000000000").unwrap();
    let missing = read(bench, &desk, &document, &nowhere).await.unwrap_err();
    let port = bench.documents().await;
    let listed = versions(bench, &desk, &stored.locator).await.unwrap();
    let reader = desk.session(Role::Paralegal);
    let permit = reader
        .permit(Act::Open, scope(&desk, &document))
        .await
        .unwrap();
    let opened = port
        .content(&document, &stored.locator, &permit)
        .await
        .unwrap();
    assert_unmarked(&format!("{port:?} {stored:?} {listed:?} {opened:?}"));
    assert_unmarked(&format!("{broken:?} {broken} {missing:?} {missing}"));
}

pub(crate) async fn put(
    bench: &(impl LibraryBench + ?Sized),
    desk: &Desk,
    document: &Document,
    bytes: &[u8],
    key: u8,
) -> Result<StoredDocument> {
    put_labelled(bench, desk, document, None, whole(bytes), key).await
}

async fn put_stream(
    bench: &dyn LibraryBench,
    desk: &Desk,
    document: &Document,
    stream: ContentStream,
    key: u8,
) -> Result<StoredDocument> {
    put_labelled(bench, desk, document, None, stream, key).await
}

async fn put_labelled(
    bench: &(impl LibraryBench + ?Sized),
    desk: &Desk,
    document: &Document,
    label: Option<&Label>,
    stream: ContentStream,
    key: u8,
) -> Result<StoredDocument> {
    let session = desk.session(Role::ServiceSync);
    let permit = session.permit(Act::Store, scope(desk, document)).await?;
    let content = Content::new(
        document.length,
        document.digest,
        document.media.clone(),
        stream,
    );
    bench
        .documents()
        .await
        .put(document, label, content, effect(desk, key), &permit)
        .await
}

async fn locate(
    bench: &dyn LibraryBench,
    desk: &Desk,
    document: &Document,
) -> Result<Option<StoredDocument>> {
    let session = desk.session(Role::ServiceSync);
    let permit = session.permit(Act::Store, scope(desk, document)).await?;
    bench
        .documents()
        .await
        .locate(document.matter, document.id, &permit)
        .await
}

async fn read(
    bench: &dyn LibraryBench,
    desk: &Desk,
    document: &Document,
    at: &Locator,
) -> Result<Vec<u8>> {
    let session = desk.session(Role::Paralegal);
    let permit = session.permit(Act::Open, scope(desk, document)).await?;
    let content = bench
        .documents()
        .await
        .content(document, at, &permit)
        .await?;
    Ok(content
        .collect(64 << 20, &permit)
        .await?
        .expose(&permit)
        .clone())
}

async fn versions(bench: &dyn LibraryBench, desk: &Desk, at: &Locator) -> Result<Vec<Version>> {
    let session = desk.session(Role::Paralegal);
    let subject = desk.beneficiary();
    let permit = session
        .permit(Act::Open, desk.scope(subject, Category::Identity))
        .await?;
    bench.documents().await.versions(subject, at, &permit).await
}

pub(crate) async fn remove(
    bench: &(impl LibraryBench + ?Sized),
    desk: &Desk,
    at: &Locator,
) -> Result<()> {
    let session = desk.session(Role::Paralegal);
    let subject = desk.beneficiary();
    let permit = session
        .permit(Act::Process, desk.scope(subject, Category::Identity))
        .await?;
    bench.documents().await.remove(subject, at, &permit).await
}
