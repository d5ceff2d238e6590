//! The emergency accesses that owe a review, and their review by somebody else.

use crate::audit::{Label, Outcome};
use crate::error::Result;
use crate::id::PermitId;
use crate::pipeline::House;
use crate::policy::{Act, Glass, GlassFinding, GlassReview, Role, Scope, Session};
use crate::ports::store::{ChangeSet, Expected, Register, SheetQuery};
use crate::refusal::{Code, Refusal};
use crate::steward::shelf;

/// Every emergency access, the oldest first: who, when, for which act, over whom, until when, and
/// who found what afterwards. Those without a [review](Glass::review) owe one;
/// [`Glass::is_overdue`] says which of them owe it too long. What is behind a wall is not in it.
///
/// # Errors
/// Refusals of the gate; [`Code::AclDeny`] for roles that review nothing of the kind; faults of
/// the store.
pub async fn broken(house: &House, session: &Session<'_>) -> Result<Vec<Glass>> {
    let scope = Scope::firm().about("list", "glass");
    require_reviewer(session, &scope).await?;
    let _permit = session.permit(Act::Review, scope).await?;
    let all = all(house).await?;
    let all = all.into_iter().map(|(glass, _)| glass);
    Ok(session
        .sight()
        .only(all, |glass| (glass.matter, glass.subject)))
}

/// Reviews an emergency access. The attorney of the matter, the officers and the auditor may; who
/// broke the glass never does, in whatever role.
///
/// # Errors
/// [`Code::RevSelf`] for whoever broke the glass; [`Code::AclDeny`] for a permit that is none of
/// an emergency, or was reviewed, and for other roles; refusals of the gate;
/// [`Conflict`](crate::FaultKind::Conflict) when somebody else reviewed it at the same time.
pub async fn review(
    house: &House,
    session: &Session<'_>,
    permit: PermitId,
    finding: GlassFinding,
) -> Result<Glass> {
    let asked = Scope::firm().about("glass", permit);
    require_reviewer(session, &asked).await?;
    let mut all = all(house).await?.into_iter();
    let found = all.find(|(glass, _)| glass.permit == permit);
    let sight = session.sight();
    let seen = found.filter(|(glass, _)| sight.admits(glass.matter, glass.subject));
    let Some((mut glass, expected)) = seen.filter(|(glass, _)| glass.review.is_none()) else {
        let refusal = Refusal::new(Code::AclDeny).about("glass", permit);
        return Err(shelf::refuse(session, Act::Review, &asked, refusal).await);
    };
    let scope = asked.in_matter(glass.matter).other_than(glass.actor);
    let admitted = session.permit(Act::Review, scope).await?;
    let now = house.gate.now();
    glass.review = Some(GlassReview {
        by: session.actor(),
        role: session.role(),
        at: now,
        finding,
    });
    let event = admitted
        .event(Act::Review, Outcome::Done)
        .with("glass", permit)
        .with("finding", finding.as_str());
    let sheet = shelf::file(
        Register::Findings,
        glass.name(),
        glass.matter,
        &glass,
        expected,
    )?;
    let change = ChangeSet::new(house.tenant(), now).with(sheet).event(event);
    house.doors.store.commit(change).await?;
    Ok(glass)
}

async fn require_reviewer(session: &Session<'_>, scope: &Scope) -> Result<()> {
    if REVIEWERS.contains(&session.role()) {
        return Ok(());
    }
    let refusal = Refusal::new(Code::AclDeny).about("act", Act::Review.as_str());
    Err(shelf::refuse(session, Act::Review, scope, refusal).await)
}

async fn all(house: &House) -> Result<Vec<(Glass, Expected)>> {
    let query = SheetQuery {
        after: Some(const { Label::fixed(Glass::SHELF) }),
        ..SheetQuery::all(house.tenant(), Register::Findings)
    };
    let sheets = house.doors.store.sheets(&query).await?;
    let ours = sheets
        .iter()
        .take_while(|sheet| sheet.id.as_str().starts_with(Glass::SHELF));
    let read = ours.map(|sheet| {
        let glass = serde_json::from_slice(&sheet.body).map_err(|_| shelf::corrupt())?;
        Ok((glass, Expected::Revision(sheet.revision)))
    });
    read.collect()
}

/// Who reviews an emergency access. An attorney only within a matter of the attorney's own.
const REVIEWERS: [Role; 4] = [Role::Attorney, Role::Auditor, Role::Ciso, Role::Dpo];
