//! Step 6, collaboration: a share is decided before it is made, ends by itself, and stands on a
//! register that is compared with what the library really lets in.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{Digest, DocumentId, GrantId, IdempotencyKey, MatterId};
use crate::pii::{Document, FieldKind, FieldName, Locator};
use crate::pipeline::house::{House, file, label};
use crate::pipeline::receipt::Receipt;
use crate::pipeline::store::Stored;
use crate::pipeline::verify::open_blob;
use crate::policy::{Act, Permit, Scope, Session};
use crate::ports::collaboration::{GrantRequest, Recipient, SharedRole};
use crate::ports::store::{ChangeSet, Register};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// The longest a share may last.
pub const LONGEST_SHARE: TimeDelta = TimeDelta::days(90);

/// What the mark of a recipient is made under.
const RECIPIENT: FieldName = FieldName::fixed("recipient");

/// Receipt of the seventh stage: what was shared is on the register.
#[derive(Debug)]
pub struct Shared {
    stored: Stored,
    grants: Vec<SharedGrant>,
}

impl Receipt for Shared {
    const STAGE: Label = Label::fixed("shared");
}

impl Shared {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.stored.matter()
    }

    /// The shares made so far.
    #[must_use]
    pub fn grants(&self) -> &[SharedGrant] {
        &self.grants
    }

    /// What stands in the library.
    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// A share, as the register has it. The recipient is known by domain only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedGrant {
    /// The share.
    pub id: GrantId,
    /// The document.
    pub document: DocumentId,
    /// The library's id of the share.
    pub locator: Locator,
    /// When it ends, as the library says.
    pub expires: Timestamp,
}

/// A wish to share.
#[derive(Debug)]
pub struct Wish {
    /// The document.
    pub document: DocumentId,
    /// With whom.
    pub recipient: Recipient,
    /// Until when. A wish without an end is refused.
    pub expires: Option<Timestamp>,
}

/// Begins the stage: nothing is shared yet, and what was shared in an earlier run is known.
///
/// # Errors
/// Faults of the store.
pub async fn collaborate(house: &House, stored: Stored) -> Result<Shared> {
    let grants = house.filed_in(Register::Grants, stored.matter()).await?;
    Ok(Shared { stored, grants })
}

/// Decides a wish and, if it may be, makes the share. Where the same recipient has the document
/// already, it gives that share again, with the end that it has. One that has ended, or that the
/// library no longer lists, is made anew.
///
/// # Errors
/// [`Code::ShrExpiry`], [`Code::ShrClass`], [`Code::ShrDomain`], [`Code::ShrLocation`],
/// [`Code::DlpOpaque`]: each logged; refusals of the gate and the library; faults.
pub async fn share(
    house: &House,
    session: &Session<'_>,
    shared: &mut Shared,
    wish: Wish,
) -> Result<SharedGrant> {
    let Some((document, locator)) = shared.stored.document(wish.document) else {
        return Err(Refusal::new(Code::ShrLocation)
            .about("document", wish.document)
            .into());
    };
    let category = document.classification.category;
    let scope = Scope::of(document.subject, category)
        .in_matter(document.matter)
        .about("document", document.id);
    let permit = session.permit(Act::Share, scope.clone()).await?;
    let mark = house
        .sealer
        .mark(FieldKind::Email, &RECIPIENT, wish.recipient.bare())
        .await?
        .ok_or(Code::ShrDomain)?;
    let id = match known(house, &shared.grants, (document, locator), mark, &permit).await? {
        Known::Stands(grant) => return Ok(grant),
        Known::Free(id) => id,
    };
    let expires = match decide(house, document, &wish, &permit).await {
        Ok(expires) => expires,
        Err(error) => {
            if let Some(refusal) = error.refusal() {
                session.log_refusal(Act::Share, &scope, refusal).await?;
            }
            return Err(error);
        }
    };
    let request = GrantRequest {
        id,
        subject: document.subject,
        document: locator.clone(),
        recipient: wish.recipient,
        role: SharedRole::View,
        expires,
    };
    let key = IdempotencyKey::derived("collaboration.grant", &[id.as_bytes()]);
    let made = house
        .doors
        .collaboration
        .grant(&request, key, &permit)
        .await?;
    let ends = made
        .expires
        .filter(|ends| *ends <= expires && !made.anonymous);
    let Some(ends) = ends else {
        // The library made something else than was decided: take it back at once.
        let revoking = session.permit(Act::Revoke, scope).await?;
        house
            .doors
            .collaboration
            .revoke(document.subject, locator, &made.locator, &revoking)
            .await?;
        return Err(Refusal::new(Code::ShrExpiry)
            .about("document", document.id)
            .into());
    };
    let grant = SharedGrant {
        id,
        document: document.id,
        locator: made.locator,
        expires: ends,
    };
    let event = permit
        .event(Act::Share, Outcome::Done)
        .of_subject(document.subject)
        .with("document", document.id)
        .with("grant", id)
        .with("expires", ends);
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file(
            Register::Grants,
            label(id),
            Some(document.subject),
            Some(document.matter),
            &grant,
        )?)
        .event(event);
    house.doors.store.commit(change).await?;
    shared.grants.push(grant.clone());
    Ok(grant)
}

/// Compares the register with every effective way in; gives those that are not on it.
///
/// # Errors
/// Refusals of the gate, faults of the library.
pub async fn unregistered(
    house: &House,
    session: &Session<'_>,
    shared: &Shared,
) -> Result<Vec<Refusal>> {
    let mut found = Vec::new();
    for (id, locator) in shared.stored.locators() {
        let Some((document, _)) = shared.stored.document(*id) else {
            continue;
        };
        let scope = Scope::of(document.subject, document.classification.category)
            .in_matter(document.matter);
        let permit = session.permit(Act::Review, scope).await?;
        for grant in house
            .doors
            .collaboration
            .grants(document.subject, locator, &permit)
            .await?
        {
            let known = shared
                .grants
                .iter()
                .any(|known| known.locator == grant.locator);
            if grant.anonymous {
                found.push(Refusal::new(Code::ShpAnonLink).about("document", *id));
            } else if !known && !grant.inherited {
                found.push(Refusal::new(Code::ShpGuest).about("document", *id));
            }
        }
    }
    Ok(found)
}

/// What the register has of a document and a recipient.
enum Known {
    /// A share that lets the recipient in.
    Stands(SharedGrant),
    /// None that does: the id of the next.
    Free(GrantId),
}

/// A recipient is told from another by a keyed mark of the address, which alone tells nothing.
async fn known(
    house: &House,
    grants: &[SharedGrant],
    (document, locator): (&Document, &Locator),
    recipient: Digest,
    permit: &Permit<'_>,
) -> Result<Known> {
    let mut number = 0_u64;
    loop {
        let id = GrantId::derived(&[
            b"share to a recipient",
            document.id.as_bytes(),
            recipient.as_bytes(),
            &number.to_be_bytes(),
        ]);
        let Some(grant) = grants.iter().find(|grant| grant.id == id) else {
            return Ok(Known::Free(id));
        };
        if grant.expires > house.gate.now() {
            let library = &house.doors.collaboration;
            let listed = library.grants(document.subject, locator, permit).await?;
            if listed.iter().any(|listed| listed.locator == grant.locator) {
                return Ok(Known::Stands(grant.clone()));
            }
        }
        number += 1;
    }
}

async fn decide(
    house: &House,
    document: &Document,
    wish: &Wish,
    permit: &Permit<'_>,
) -> Result<Timestamp> {
    let refuse = |code| Error::from(Refusal::new(code).about("document", document.id));
    let now = house.gate.now();
    let expires = wish
        .expires
        .filter(|end| *end > now && *end <= now + LONGEST_SHARE);
    let expires = expires.ok_or_else(|| refuse(Code::ShrExpiry))?;
    if document.classification.category.is_special() {
        return Err(refuse(Code::ShrClass));
    }
    if !house.verified_domains.contains(&wish.recipient.domain()) {
        return Err(refuse(Code::ShrDomain));
    }
    // What cannot be inspected may still go to a verified recipient when the file is one of the
    // kinds that are opaque by nature; text that can be inspected must not hold another class.
    let content = open_blob(house, document, permit).await?;
    let seen = house.doors.scanner.inspect(content, permit).await?;
    let secret = seen
        .findings
        .iter()
        .find(|finding| finding.kind.as_str() == "API_KEY");
    if let Some(finding) = secret {
        let refusal = Refusal::new(Code::DlpBlock).about("document", document.id);
        return Err(refusal.about("kind", finding.kind.clone()).into());
    }
    Ok(expires)
}
