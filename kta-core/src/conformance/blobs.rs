//! The kit of [`Blobs`].

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{TryStreamExt as _, stream};

use super::desk::Desk;
use super::{cancelled, code, fault};
use crate::error::{Error, Fault, Port};
use crate::id::{Digest, DocumentId, SubjectId};
use crate::pii::{Category, ContentStream};
use crate::policy::{Act, Permit, Role, Scope};
use crate::ports::blobs::{BlobId, Blobs};
use crate::{Code, FaultKind};

conformance_cases! {$
    /// The contract of [`Blobs`](crate::ports::Blobs) as tests: see
    /// [`conformance`](crate::conformance).
    blobs_conformance = blobs:
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
}

/// What was put comes back byte for byte, and length and digest are those of the bytes.
pub async fn what_was_put_comes_back_byte_for_byte(port: &dyn Blobs) {
    let house = House::new("bytes");
    for (number, length) in [1, 65_536, 65_537, 3_000_017].into_iter().enumerate() {
        let (id, bytes) = (
            house.blob(u8::try_from(number).unwrap()),
            sealed(number, length),
        );
        let stored = put(port, &house, &id, &bytes).await;
        assert_eq!(stored, (length as u64, Digest::of(&bytes)));
        assert_eq!(read(port, &house, &id).await, Some(bytes));
        assert!(port.contains(&id).await.unwrap());
    }
}

/// A blob of no bytes is there, and has none.
pub async fn an_empty_blob_is_a_blob(port: &dyn Blobs) {
    let house = House::new("empty");
    let id = house.blob(1);
    assert_eq!(put(port, &house, &id, b"").await, (0, Digest::of(b"")));
    assert!(port.contains(&id).await.unwrap());
    assert_eq!(read(port, &house, &id).await, Some(Vec::new()));
}

/// A second put of the same id replaces the first, longer or shorter.
pub async fn a_second_put_replaces_the_first_whole(port: &dyn Blobs) {
    let house = House::new("replaced");
    let id = house.blob(1);
    for (number, length) in [100_000, 7, 200_000].into_iter().enumerate() {
        let bytes = sealed(number, length);
        put(port, &house, &id, &bytes).await;
        assert_eq!(read(port, &house, &id).await, Some(bytes));
    }
}

/// A stream that breaks off leaves what was there before: the old blob, or none.
pub async fn a_stream_that_breaks_off_leaves_what_was_there(port: &dyn Blobs) {
    let house = House::new("broken");
    let (old, none) = (house.blob(1), house.blob(2));
    let bytes = sealed(1, 100_000);
    put(port, &house, &old, &bytes).await;
    for id in [&old, &none] {
        let broken: Vec<Result<Bytes, Error>> = vec![
            Ok(Bytes::from(sealed(2, 70_000))),
            Err(Fault::new(FaultKind::Corrupt, Port::Intake, "test").into()),
        ];
        let session = house.desk.session(Role::Paralegal);
        let permit = permit(&house, &session, Act::Store).await;
        let outcome = port.put(id, Box::pin(stream::iter(broken)), &permit).await;
        assert_eq!(fault(outcome), FaultKind::Corrupt);
    }
    assert_eq!(read(port, &house, &old).await, Some(bytes));
    assert_eq!(read(port, &house, &none).await, None);
    assert!(!port.contains(&none).await.unwrap());
}

/// A put whose caller went away leaves no half-write.
pub async fn a_cancelled_put_leaves_what_was_there(port: &dyn Blobs) {
    let house = House::new("cancelled");
    let (old, none) = (house.blob(1), house.blob(2));
    let bytes = sealed(1, 100_000);
    put(port, &house, &old, &bytes).await;
    let session = house.desk.session(Role::Paralegal);
    let permit = permit(&house, &session, Act::Store).await;
    for id in [&old, &none] {
        let first = stream::iter([Ok(Bytes::from(sealed(2, 70_000)))]);
        let endless = futures_util::StreamExt::chain(first, stream::pending());
        cancelled(port.put(id, Box::pin(endless), &permit));
    }
    assert_eq!(read(port, &house, &old).await, Some(bytes));
    assert_eq!(read(port, &house, &none).await, None);
}

/// Of concurrent puts of one id one stands, whole.
pub async fn of_concurrent_puts_one_stands_whole(port: &dyn Blobs) {
    let house = House::new("concurrent");
    let id = house.blob(1);
    let all: Vec<_> = (0..6)
        .map(|number| sealed(number, 150_000 + number))
        .collect();
    join_all(all.iter().map(|bytes| put(port, &house, &id, bytes))).await;
    let stands = read(port, &house, &id).await.unwrap();
    assert!(all.contains(&stands));
}

/// Whoever reads a blob while another replaces it reads one of the two, whole.
pub async fn a_reader_sees_one_blob_while_another_replaces_it(port: &dyn Blobs) {
    let house = House::new("reader");
    let id = house.blob(1);
    let (old, new) = (sealed(1, 400_000), sealed(2, 300_000));
    put(port, &house, &id, &old).await;
    let session = house.desk.session(Role::Paralegal);
    let permit = permit(&house, &session, Act::Open).await;
    let mut reading = port.stream(&id, &permit).await.unwrap();
    let mut seen = reading.try_next().await.unwrap().unwrap().to_vec();
    put(port, &house, &id, &new).await;
    while let Some(chunk) = reading.try_next().await.unwrap() {
        seen.extend_from_slice(&chunk);
    }
    assert!(seen == old || seen == new);
    assert_eq!(read(port, &house, &id).await, Some(new));
}

/// What was removed is not found; removing it again is no error.
pub async fn what_was_removed_is_not_found(port: &dyn Blobs) {
    let house = House::new("removed");
    let id = house.blob(1);
    put(port, &house, &id, &sealed(1, 100_000)).await;
    for _ in 0..2 {
        remove(port, &house, &id).await;
        assert!(!port.contains(&id).await.unwrap());
        assert_eq!(read(port, &house, &id).await, None);
    }
    let again = sealed(2, 10);
    put(port, &house, &id, &again).await;
    assert_eq!(read(port, &house, &id).await, Some(again));
}

/// Removing one blob leaves the same person's others, and everybody else's.
pub async fn removing_one_blob_leaves_the_others(port: &dyn Blobs) {
    let house = House::new("others");
    let (one, two) = (house.blob(1), house.blob(2));
    for id in [&one, &two] {
        put(port, &house, id, &sealed(1, 1_000)).await;
    }
    remove(port, &house, &one).await;
    assert_eq!(read(port, &house, &two).await, Some(sealed(1, 1_000)));
}

/// Replacing takes the place of what is there, whole; a stream that breaks off leaves it.
pub async fn replacing_takes_the_place_of_what_is_there(port: &dyn Blobs) {
    let house = House::new("replacing");
    let id = house.blob(1);
    put(port, &house, &id, &sealed(1, 100_000)).await;
    let session = officer(&house);
    let permit = session.permit(Act::Rekey, Scope::firm()).await.unwrap();
    let new = sealed(2, 70_000);
    let stored = port.replace(&id, content(&new), &permit).await.unwrap();
    assert_eq!(stored, (70_000, Digest::of(&new)));
    let broken: Vec<Result<Bytes, Error>> = vec![
        Ok(Bytes::from(sealed(3, 70_000))),
        Err(Fault::new(FaultKind::Corrupt, Port::Intake, "test").into()),
    ];
    let broken = Box::pin(stream::iter(broken));
    assert_eq!(
        fault(port.replace(&id, broken, &permit).await),
        FaultKind::Corrupt
    );
    assert_eq!(read(port, &house, &id).await, Some(new));
}

/// Replacing what is not there brings nothing back: neither what never was, nor what was removed
/// while the new bytes were on their way.
pub async fn replacing_brings_nothing_back(port: &dyn Blobs) {
    let house = House::new("brought back");
    let (gone, never) = (house.blob(1), house.blob(2));
    put(port, &house, &gone, &sealed(1, 100_000)).await;
    let session = officer(&house);
    let permit = session.permit(Act::Rekey, Scope::firm()).await.unwrap();
    // The stream stays open until the blob has been removed.
    let (removed, wait) = futures_util::future::AbortHandle::new_pair();
    let wait = futures_util::future::Abortable::new(core::future::pending::<()>(), wait);
    let first = stream::once(async { Ok(Bytes::from(sealed(2, 70_000))) });
    let last = stream::once(async move {
        let _aborted = wait.await;
        Ok(Bytes::from(sealed(3, 7)))
    });
    let slow: ContentStream = Box::pin(futures_util::StreamExt::chain(first, last));
    let erasing = async {
        remove(port, &house, &gone).await;
        removed.abort();
    };
    let replacing = port.replace(&gone, slow, &permit);
    let (outcome, ()) = futures_util::future::join(replacing, erasing).await;
    assert_eq!(fault(outcome), FaultKind::NotFound);
    assert!(!port.contains(&gone).await.unwrap());
    assert_eq!(read(port, &house, &gone).await, None);
    assert_eq!(
        fault(port.replace(&never, content(b"x"), &permit).await),
        FaultKind::NotFound
    );
    assert!(!port.contains(&never).await.unwrap());
}

/// Who seals anew reads and replaces anybody's blobs, and neither puts nor removes any; nobody
/// else replaces.
pub async fn who_seals_anew_reads_and_replaces_and_puts_nothing(port: &dyn Blobs) {
    let house = House::new("anew");
    let id = house.blob(1);
    put(port, &house, &id, b"sealed").await;
    let officer = officer(&house);
    let anew = officer.permit(Act::Rekey, Scope::firm()).await.unwrap();
    for id in [&id, &house.blob(2)] {
        assert_eq!(
            code(port.put(id, content(b"x"), &anew).await),
            Code::AclDeny
        );
    }
    assert_eq!(code(port.remove(&id, &anew).await), Code::AclDeny);
    assert!(port.stream(&id, &anew).await.is_ok());
    let session = house.desk.session(Role::Paralegal);
    let handling = permit(&house, &session, Act::Store).await;
    assert_eq!(
        code(port.replace(&id, content(b"x"), &handling).await),
        Code::AclDeny
    );
    assert_eq!(read(port, &house, &id).await, Some(b"sealed".to_vec()));
    assert!(!port.contains(&house.blob(2)).await.unwrap());
}

/// What was never put is not found.
pub async fn what_was_never_put_is_not_found(port: &dyn Blobs) {
    let house = House::new("never");
    assert_eq!(read(port, &house, &house.blob(1)).await, None);
    assert!(!port.contains(&house.blob(1)).await.unwrap());
}

/// A permit that does not cover the person is refused, and nothing happens.
pub async fn a_permit_that_does_not_cover_the_person_is_refused(port: &dyn Blobs) {
    let house = House::new("uncovered");
    let id = house.blob(1);
    put(port, &house, &id, b"sealed").await;
    let stranger = BlobId {
        subject: house.desk.stranger(),
        ..id
    };
    let session = house.desk.session(Role::Paralegal);
    let handling = permit(&house, &session, Act::Store).await;
    let destroyer = house.desk.session(Role::ServiceDestroy);
    let removing = permit(&house, &destroyer, Act::Destroy).await;
    assert_eq!(
        code(port.put(&stranger, content(b"x"), &handling).await),
        Code::AclDeny
    );
    assert_eq!(
        code(port.stream(&stranger, &handling).await.map(drop)),
        Code::AclDeny
    );
    assert_eq!(code(port.remove(&stranger, &removing).await), Code::AclDeny);
    assert!(!port.contains(&stranger).await.unwrap());
}

/// A permit for another act is refused: who may read may not remove, nor the other way round.
pub async fn a_permit_for_another_act_is_refused(port: &dyn Blobs) {
    let house = House::new("other act");
    let id = house.blob(1);
    put(port, &house, &id, b"sealed").await;
    let session = house.desk.session(Role::Paralegal);
    let handling = permit(&house, &session, Act::Store).await;
    let destroyer = house.desk.session(Role::ServiceDestroy);
    let removing = permit(&house, &destroyer, Act::Destroy).await;
    assert_eq!(code(port.remove(&id, &handling).await), Code::AclDeny);
    assert_eq!(
        code(port.put(&id, content(b"x"), &removing).await),
        Code::AclDeny
    );
    assert_eq!(
        code(port.stream(&id, &removing).await.map(drop)),
        Code::AclDeny
    );
    assert_eq!(read(port, &house, &id).await, Some(b"sealed".to_vec()));
}

/// A permit that has ended is refused.
pub async fn a_permit_that_has_ended_is_refused(port: &dyn Blobs) {
    let house = House::new("ended");
    let id = house.blob(1);
    put(port, &house, &id, b"sealed").await;
    let session = house.desk.session(Role::Paralegal);
    let permit = permit(&house, &session, Act::Store).await;
    house.desk.clock().advance(chrono::TimeDelta::minutes(16));
    assert_eq!(
        code(port.put(&id, content(b"x"), &permit).await),
        Code::AclDeny
    );
    assert_eq!(
        code(port.stream(&id, &permit).await.map(drop)),
        Code::AclDeny
    );
}

/// A permit of another firm is refused, even for a person of the same id.
pub async fn a_permit_of_another_firm_is_refused(port: &dyn Blobs) {
    let (house, other) = (House::new("ours"), House::new("theirs"));
    let id = house.blob(1);
    put(port, &house, &id, b"sealed").await;
    let theirs = BlobId {
        subject: other.desk.beneficiary(),
        ..id
    };
    let session = other.desk.session(Role::Paralegal);
    let permit = permit(&other, &session, Act::Store).await;
    assert_eq!(
        code(port.put(&theirs, content(b"x"), &permit).await),
        Code::AclDeny
    );
    assert_eq!(
        code(port.stream(&theirs, &permit).await.map(drop)),
        Code::AclDeny
    );
}

/// Errors and `Debug` contain no stored byte.
pub async fn errors_and_debug_hold_no_stored_byte(port: &dyn Blobs) {
    let house = House::new("told");
    let id = house.blob(1);
    put(port, &house, &id, b"MARKED-CIPHERTEXT").await;
    let session = house.desk.session(Role::Paralegal);
    let permit = permit(&house, &session, Act::Open).await;
    let refused = port.remove(&id, &permit).await.unwrap_err();
    let missing = port
        .stream(&house.blob(2), &permit)
        .await
        .map(drop)
        .unwrap_err();
    let told = format!("{port:?} {refused} {refused:?} {missing} {missing:?}");
    assert!(!told.contains("MARKED"), "{told}");
}

struct House {
    desk: Desk,
}

impl House {
    fn new(case: &str) -> Self {
        Self {
            desk: Desk::new(case),
        }
    }

    fn blob(&self, number: u8) -> BlobId {
        BlobId {
            tenant: self.desk.tenant(),
            subject: self.subject(),
            document: DocumentId::from_bytes([number; 16]),
        }
    }

    fn subject(&self) -> SubjectId {
        self.desk.beneficiary()
    }
}

fn officer(house: &House) -> crate::policy::Session<'_> {
    house.desk.session(Role::Ciso)
}

async fn permit<'s>(
    house: &House,
    session: &'s crate::policy::Session<'_>,
    act: Act,
) -> Permit<'s> {
    session
        .permit(act, house.desk.scope(house.subject(), Category::Case))
        .await
        .unwrap()
}

async fn put(port: &dyn Blobs, house: &House, id: &BlobId, bytes: &[u8]) -> (u64, Digest) {
    let session = house.desk.session(Role::Paralegal);
    let permit = permit(house, &session, Act::Store).await;
    port.put(id, content(bytes), &permit).await.unwrap()
}

async fn read(port: &dyn Blobs, house: &House, id: &BlobId) -> Option<Vec<u8>> {
    let session = house.desk.session(Role::Paralegal);
    let permit = permit(house, &session, Act::Open).await;
    match port.stream(id, &permit).await {
        Ok(stream) => {
            let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
            Some(chunks.concat())
        }
        Err(error) => {
            assert_eq!(fault::<()>(Err(error)), FaultKind::NotFound);
            None
        }
    }
}

async fn remove(port: &dyn Blobs, house: &House, id: &BlobId) {
    let session = house.desk.session(Role::ServiceDestroy);
    let permit = permit(house, &session, Act::Destroy).await;
    port.remove(id, &permit).await.unwrap();
}

/// Bytes in chunks of uneven length.
fn content(bytes: &[u8]) -> ContentStream {
    let chunks: Vec<_> = bytes
        .chunks(30_011)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    Box::pin(stream::iter(chunks))
}

fn sealed(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at * 31 + at / 251 + number * 97) % 256) as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::memory::MemoryBlobs;

    async fn fresh() -> MemoryBlobs {
        MemoryBlobs::new()
    }

    blobs_conformance!(
        #[tokio::test]
        fresh
    );
}
