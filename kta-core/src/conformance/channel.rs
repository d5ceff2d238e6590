//! The kit of [`Channel`].
//!
//! Its packages are petitions on form I-129 of the edition of 20 January 2025 to `us.uscis`,
//! filed on the day that the [`Desk`] opens: with the signed petition, the LCA, and the
//! beneficiary's passport and degree, all as PDF. A channel that keeps a register must take them.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::NaiveDate;
use futures_util::future::join;
use futures_util::stream;

use super::desk::Desk;
use super::marks::{assert_unmarked, effect, ended_permits_are_refused};
use super::{cancelled, code};
use crate::Code;
use crate::audit::Label;
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, DocumentId, IdempotencyKey, SubjectId};
use crate::memory::{FaultPlan, Flaky, Strike};
use crate::pii::{Category, Content, ContentStream, DocumentKind, MediaType};
use crate::policy::{Act, Permit, Role, Scope};
use crate::ports::channel::{Channel, Package, Part, Submission};

conformance_cases! {$
    /// The contract of [`Channel`](crate::ports::Channel) as tests: see
    /// [`conformance`](crate::conformance).
    channel_conformance = channel:
    the_same_key_twice_is_one_submission,
    of_concurrent_submissions_under_one_key_one_is_left,
    another_key_is_another_submission,
    find_tells_whether_a_submission_exists_and_never_makes_one,
    find_tells_nothing_of_another_matter,
    after_an_unknown_outcome_find_gives_the_truth,
    a_package_whose_parts_do_not_match_is_refused_and_leaves_nothing,
    a_permit_that_does_not_cover_every_person_is_refused,
    a_permit_for_another_act_or_ended_is_refused,
    a_cancelled_submission_is_whole_or_nothing,
    errors_and_debug_hold_no_content,
}

/// The same idempotency key twice is one submission, and both answers are it.
pub async fn the_same_key_twice_is_one_submission(port: &dyn Channel) {
    let filing = Filing::new("twice");
    let first = filing.submit(port, 1).await.unwrap();
    assert_eq!(
        (first.key.clone(), first.package),
        (filing.key(1).to_string(), filing.package.digest())
    );
    assert_eq!(filing.submit(port, 1).await.unwrap(), first);
    // A retry after midnight: the day of filing is another, the submission is not.
    let mut later = Filing {
        desk: filing.desk,
        package: filing.package.clone(),
    };
    later.package.on = later.package.on.succ_opt().unwrap();
    assert_eq!(later.submit(port, 1).await.unwrap(), first);
}

/// Of two submissions under one key at the same time one is left, and both answers are it.
pub async fn of_concurrent_submissions_under_one_key_one_is_left(port: &dyn Channel) {
    let filing = Filing::new("concurrent");
    let (one, other) = join(filing.submit(port, 1), filing.submit(port, 1)).await;
    assert_eq!(one.unwrap(), other.unwrap());
}

/// Another key is another submission.
pub async fn another_key_is_another_submission(port: &dyn Channel) {
    let filing = Filing::new("two keys");
    let (one, other) = (
        filing.submit(port, 1).await.unwrap(),
        filing.submit(port, 2).await.unwrap(),
    );
    assert_ne!(one.key, other.key);
    assert_eq!(filing.find(port, 1).await, Some(one));
    assert_eq!(filing.find(port, 2).await, Some(other));
}

/// `find` tells whether a submission under a key exists, and never makes one.
pub async fn find_tells_whether_a_submission_exists_and_never_makes_one(port: &dyn Channel) {
    let filing = Filing::new("find");
    for _ in 0..2 {
        assert_eq!(filing.find(port, 1).await, None);
    }
    let made = filing.submit(port, 1).await.unwrap();
    assert_eq!(filing.find(port, 1).await, Some(made));
    assert_eq!(filing.find(port, 2).await, None);
}

/// `find` under a permit of another matter tells nothing, not even that there is something.
pub async fn find_tells_nothing_of_another_matter(port: &dyn Channel) {
    let filing = Filing::new("hidden");
    filing.submit(port, 1).await.unwrap();
    let session = filing.desk.session(Role::Attorney);
    let scope = filing
        .desk
        .scope(filing.desk.stranger(), Category::Identity);
    let elsewhere = session.permit(Act::Transmit, scope).await.unwrap();
    assert_eq!(port.find(filing.key(1), &elsewhere).await.unwrap(), None);
}

/// After an unknown outcome, `find` gives the truth: what was made is there, what was not is not.
pub async fn after_an_unknown_outcome_find_gives_the_truth(port: &dyn Channel) {
    let filing = Filing::new("unknown");
    for (number, strike, made) in [(1, Strike::After, true), (2, Strike::Before, false)] {
        let flaky = Flaky::of(Borrowed(port), &FaultPlan::at(0, strike));
        assert!(filing.submit(&flaky, number).await.is_err());
        let found = filing.find(port, number).await;
        assert_eq!(
            found.as_ref().map(|submission| submission.package),
            made.then(|| filing.package.digest())
        );
        let again = filing.submit(port, number).await.unwrap();
        assert!(found.is_none_or(|found| found == again), "one submission");
    }
}

/// A package whose parts do not match their digests is refused and leaves nothing behind.
pub async fn a_package_whose_parts_do_not_match_is_refused_and_leaves_nothing(port: &dyn Channel) {
    let filing = Filing::new("mismatch");
    let with = |at: usize, content: Content| {
        let mut contents = filing.contents();
        contents[at] = content;
        contents
    };
    let promise = |at: usize, bytes: Vec<Result<Bytes>>| {
        let part = &filing.package.parts[at];
        let stream: ContentStream = Box::pin(stream::iter(bytes));
        Content::new(part.length, part.digest, part.media.clone(), stream)
    };
    let whole = body(3);
    let mut flipped = whole.clone();
    flipped[70_000] ^= 1;
    let broken = Fault::new(FaultKind::Corrupt, Port::Blobs, "read content");
    let mut swapped = filing.contents();
    swapped.swap(2, 3);
    let mut short = filing.contents();
    short.pop();
    let mut long = filing.contents();
    long.push(Content::of(body(9), MediaType::pdf()));
    let flawed: [(&str, Vec<Content>); 10] = [
        ("too few", short),
        ("too many", long),
        ("none", Vec::new()),
        ("in another order", swapped),
        (
            "another document",
            with(3, Content::of(body(8), MediaType::pdf())),
        ),
        (
            "another type",
            with(3, Content::of(body(3), MediaType::text())),
        ),
        (
            "changed on the way",
            with(3, promise(3, vec![Ok(flipped.into())])),
        ),
        (
            "cut off",
            with(3, promise(3, vec![Ok(whole[..70_000].to_vec().into())])),
        ),
        (
            "longer",
            with(
                0,
                promise(0, vec![Ok(body(0).into()), Ok(Bytes::from_static(b"x"))]),
            ),
        ),
        (
            "broken off",
            with(
                3,
                promise(3, vec![Ok(whole[..9].to_vec().into()), Err(broken.into())]),
            ),
        ),
    ];
    for (flaw, contents) in flawed {
        let session = filing.desk.session(Role::Attorney);
        let permit = session.permit(Act::Transmit, filing.scope()).await.unwrap();
        let outcome = port
            .submit(&filing.package, contents, filing.key(1), &permit)
            .await;
        let lasting = match outcome.unwrap_err() {
            Error::Refused(_) => true,
            Error::Broken(fault) => {
                !fault.is_transient() && fault.kind() != FaultKind::OutcomeUnknown
            }
        };
        assert!(lasting, "{flaw}: trying again cannot help");
        assert_eq!(filing.find(port, 1).await, None, "{flaw}");
    }
    assert!(filing.submit(port, 1).await.is_ok());
}

/// A permit that does not cover every person in the package, or every category, is refused.
pub async fn a_permit_that_does_not_cover_every_person_is_refused(port: &dyn Channel) {
    let filing = Filing::new("uncovered");
    let (beneficiary, petitioner) = (filing.desk.beneficiary(), filing.desk.petitioner());
    let all = [Category::Identity, Category::Case, Category::EmployerRecord];
    let narrow: [(Vec<SubjectId>, &[Category]); 3] = [
        (vec![beneficiary], &all),
        (vec![petitioner], &all),
        (vec![beneficiary, petitioner], &all[..2]),
    ];
    let session = filing.desk.session(Role::Attorney);
    for (subjects, categories) in narrow {
        let scope =
            Scope::over(subjects, categories.iter().copied()).in_matter(filing.desk.matter());
        let permit = session.permit(Act::Transmit, scope).await.unwrap();
        let outcome = port
            .submit(&filing.package, filing.contents(), filing.key(1), &permit)
            .await;
        assert_eq!(code(outcome), Code::AclDeny);
        assert_eq!(filing.find(port, 1).await, None);
    }
}

/// A permit for another act, and one that has ended, is refused by both operations.
pub async fn a_permit_for_another_act_or_ended_is_refused(port: &dyn Channel) {
    let filing = Filing::new("other permit");
    let submit = async |permit: &Permit<'_>| {
        port.submit(&filing.package, filing.contents(), filing.key(1), permit)
            .await
    };
    let find = async |permit: &Permit<'_>| port.find(filing.key(1), permit).await;
    let (right, other) = ((Role::Attorney, Act::Transmit), (Role::Attorney, Act::Open));
    ended_permits_are_refused(&filing.desk, filing.scope(), right, other, submit).await;
    assert_eq!(filing.find(port, 1).await, None);
    ended_permits_are_refused(&filing.desk, filing.scope(), right, other, find).await;
}

/// A submission whose caller went away is whole or not there, and can be made afterwards.
pub async fn a_cancelled_submission_is_whole_or_nothing(port: &dyn Channel) {
    let filing = Filing::new("cancelled");
    let mut contents = filing.contents();
    let part = &filing.package.parts[3];
    let first = stream::iter([Ok(Bytes::from(body(3)[..50_000].to_vec()))]);
    let endless: ContentStream = Box::pin(futures_util::StreamExt::chain(first, stream::pending()));
    contents[3] = Content::new(part.length, part.digest, part.media.clone(), endless);
    let session = filing.desk.session(Role::Attorney);
    let permit = session.permit(Act::Transmit, filing.scope()).await.unwrap();
    cancelled(port.submit(&filing.package, contents, filing.key(1), &permit));
    assert_eq!(filing.find(port, 1).await, None);
    let made = filing.submit(port, 1).await.unwrap();
    assert_eq!(filing.find(port, 1).await, Some(made));
}

/// Errors and `Debug` contain nothing of the content.
pub async fn errors_and_debug_hold_no_content(port: &dyn Channel) {
    let filing = Filing::new("told");
    let made = filing.submit(port, 1).await.unwrap();
    let session = filing.desk.session(Role::Attorney);
    let permit = session.permit(Act::Transmit, filing.scope()).await.unwrap();
    let mut swapped = filing.contents();
    swapped.swap(2, 3);
    let error = port
        .submit(&filing.package, swapped, filing.key(2), &permit)
        .await
        .unwrap_err();
    assert_unmarked(&format!("{port:?} {made:?} {error} {error:?}"));
}

/// A petition for the family's beneficiary, and who files it.
struct Filing {
    desk: Desk,
    package: Package,
}

impl Filing {
    fn new(case: &str) -> Self {
        let desk = Desk::new(case);
        let (beneficiary, petitioner) = (desk.beneficiary(), desk.petitioner());
        let parts = [
            (petitioner, DocumentKind::FormI129, Category::Case),
            (petitioner, DocumentKind::Lca, Category::EmployerRecord),
            (beneficiary, DocumentKind::Passport, Category::Identity),
            (beneficiary, DocumentKind::Degree, Category::Case),
        ];
        let part =
            |(number, (subject, kind, category)): (u8, (SubjectId, DocumentKind, Category))| {
                let content = body(number);
                Part {
                    document: DocumentId::derived(&[desk.tenant().as_bytes(), &[number]]),
                    subject,
                    kind,
                    category,
                    media: MediaType::pdf(),
                    length: content.len() as u64,
                    digest: Digest::of(&content),
                }
            };
        let package = Package {
            matter: desk.matter(),
            agency: Label::fixed("us.uscis"),
            form: Label::fixed("i-129"),
            edition: NaiveDate::from_ymd_opt(2025, 1, 20).unwrap(),
            on: desk.now().date_naive(),
            authority: Some(Digest::of(b"signed authority")),
            attorney: desk.actor(Role::Attorney),
            parts: (0..).zip(parts).map(part).collect(),
        };
        Self { desk, package }
    }

    fn key(&self, number: u8) -> IdempotencyKey {
        effect(&self.desk, number)
    }

    fn scope(&self) -> Scope {
        let subjects = [self.desk.beneficiary(), self.desk.petitioner()];
        let categories = [Category::Identity, Category::Case, Category::EmployerRecord];
        Scope::over(subjects, categories).in_matter(self.desk.matter())
    }

    fn contents(&self) -> Vec<Content> {
        (0..4)
            .map(|number| Content::of(body(number), MediaType::pdf()))
            .collect()
    }

    async fn submit(&self, port: &dyn Channel, number: u8) -> Result<Submission> {
        let session = self.desk.session(Role::Attorney);
        let permit = session.permit(Act::Transmit, self.scope()).await.unwrap();
        port.submit(&self.package, self.contents(), self.key(number), &permit)
            .await
    }

    async fn find(&self, port: &dyn Channel, number: u8) -> Option<Submission> {
        let session = self.desk.session(Role::Attorney);
        let permit = session.permit(Act::Transmit, self.scope()).await.unwrap();
        port.find(self.key(number), &permit).await.unwrap()
    }
}

/// A document with a marked beginning; the fourth is longer than a segment.
fn body(number: u8) -> Vec<u8> {
    let mut bytes = format!("%PDF-1.7 {} {number} ", super::marks::MARK).into_bytes();
    let length = if number == 3 { 150_000 } else { 5_000 };
    bytes.resize(length, number);
    bytes
}

/// The caller's port, lent to a wrapper.
#[derive(Debug)]
struct Borrowed<'p>(&'p dyn Channel);

#[async_trait]
impl Channel for Borrowed<'_> {
    fn name(&self) -> Label {
        self.0.name()
    }

    async fn submit(
        &self,
        package: &Package,
        parts: Vec<Content>,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Submission> {
        self.0.submit(package, parts, key, permit).await
    }

    async fn find(&self, key: IdempotencyKey, permit: &Permit<'_>) -> Result<Option<Submission>> {
        self.0.find(key, permit).await
    }
}

#[cfg(test)]
mod tests {
    use crate::memory::MemoryChannel;

    async fn fresh() -> MemoryChannel {
        MemoryChannel::new()
    }

    channel_conformance!(
        #[tokio::test]
        fresh
    );
}
