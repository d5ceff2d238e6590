//! What the kits feed in: invented people with marked values, and the permits for them.

use chrono::TimeDelta;

use super::{Desk, code};
use crate::Code;
use crate::error::Result;
use crate::id::{IdempotencyKey, SubjectId};
use crate::pii::{Category, Fields, Schema};
use crate::policy::{Act, Gate, Permit, Role, Scope};

/// Stands in every marked value, in one spelling that nothing else has.
pub(crate) const MARK: &str = "Qzxmark";

/// Fails when `shown` holds a marked value.
#[track_caller]
pub(crate) fn assert_unmarked(shown: &str) {
    let shown = shown.to_lowercase();
    for marked in [MARK, NUMBER] {
        assert!(
            !shown.contains(&marked.to_lowercase()),
            "a marked value is shown"
        );
    }
}

/// A person's marked fields, as the firm's schema has them; `script` goes into the names.
pub(crate) fn person(script: &str, number: u8) -> Fields {
    let schema = Schema::person();
    let mut fields = Fields::new();
    for (name, value) in [
        ("family_name", format!("{MARK} {script}")),
        ("given_names", format!("{script} {MARK}")),
        ("birth_date", format!("1990-01-{:02}", 1 + number % 28)),
        ("nationality", format!("Utopia {MARK}")),
        ("passport_number", format!("{NUMBER}{number}")),
        ("passport_expiry", "2031-04-15".to_owned()),
        ("email", format!("{MARK}.{number}@mark.example")),
        ("phone", format!("+9725550{number:04}")),
        ("occupation", format!("{MARK} engineer")),
    ] {
        fields.set(&schema, name, value).unwrap();
    }
    fields
}

/// Whether two sets of fields hold the same values.
pub(crate) fn same(one: &Fields, other: &Fields) -> bool {
    let bare = |fields: &Fields| -> Vec<_> {
        fields
            .iter()
            .map(|(name, value)| (name.clone(), value.bare().clone()))
            .collect()
    };
    bare(one) == bare(other)
}

/// Ordinary personal data of one person, in the matter where the person is a party.
pub(crate) fn ordinary(desk: &Desk, subject: SubjectId) -> Scope {
    let matter = if subject == desk.stranger() {
        desk.other_matter()
    } else {
        desk.matter()
    };
    Scope::over(
        [subject],
        [Category::Identity, Category::Case, Category::CaseRef],
    )
    .in_matter(matter)
}

/// The key of the `number`th effect at this desk.
pub(crate) fn effect(desk: &Desk, number: u8) -> IdempotencyKey {
    IdempotencyKey::derived("conformance", &[desk.tenant().as_bytes(), &[number]])
}

/// Calls with permits that must not do: over somebody else, for another act, of another firm,
/// and one that has ended. Each must be refused with `ACL-DENY`.
pub(crate) async fn wrong_permits_are_refused<T: core::fmt::Debug>(
    desk: &Desk,
    subject: SubjectId,
    (role, act): (Role, Act),
    (other_role, other_act): (Role, Act),
    call: impl AsyncFn(&Permit<'_>) -> Result<T>,
) {
    assert_ne!(subject, desk.spouse(), "the kit needs somebody else");
    let session = desk.session(role);
    let somebody_else = session
        .permit(act, ordinary(desk, desk.spouse()))
        .await
        .unwrap();
    assert_eq!(
        code(call(&somebody_else).await),
        Code::AclDeny,
        "over somebody else"
    );
    ended_permits_are_refused(
        desk,
        ordinary(desk, subject),
        (role, act),
        (other_role, other_act),
        call,
    )
    .await;
}

/// Calls with a permit for another act, and with one that has ended. Each must be refused with
/// `ACL-DENY`.
pub(crate) async fn ended_permits_are_refused<T: core::fmt::Debug>(
    desk: &Desk,
    scope: Scope,
    (role, act): (Role, Act),
    (other_role, other_act): (Role, Act),
    call: impl AsyncFn(&Permit<'_>) -> Result<T>,
) {
    let session = desk.session(other_role);
    let other = session.permit(other_act, scope.clone()).await.unwrap();
    assert_eq!(code(call(&other).await), Code::AclDeny, "for another act");
    let session = desk.session(role);
    let ended = session.permit(act, scope).await.unwrap();
    let life = Gate::PERMIT_LIFE + TimeDelta::seconds(1);
    desk.clock().advance(life);
    assert_eq!(code(call(&ended).await), Code::AclDeny, "ended");
    desk.clock().advance(-life);
}

/// Begins the marked numbers; a digit or two follow.
const NUMBER: &str = "QZX88231";
