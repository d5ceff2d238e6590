//! Shares of a document in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{MemoryLibrary, READING, admitted, denied};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{IdempotencyKey, SubjectId};
use crate::pii::{Locator, Pii};
use crate::policy::{Act, Permit};
use crate::ports::{Collaboration, Grant, GrantRequest, SharedRole};
use crate::refusal::Code;

/// Who has access to one file.
#[derive(Default)]
pub(super) struct Shares {
    shares: Vec<Share>,
    keys: BTreeMap<IdempotencyKey, Locator>,
    count: u32,
}

struct Share {
    grant: Grant,
    /// Whom it is bound to; an anonymous link is bound to nobody.
    recipient: Option<Pii<String>>,
}

impl MemoryLibrary {
    /// Makes a link that lets anybody in who has it, as a visitor of the library might.
    pub fn link(&self, at: &Locator) -> Option<Locator> {
        self.with_shares(at, |shares, _, _| {
            let grant = Grant {
                locator: shares.next()?,
                expires: None,
                role: SharedRole::View,
                anonymous: true,
                inherited: false,
            };
            let locator = grant.locator.clone();
            shares.shares.push(Share {
                grant,
                recipient: None,
            });
            Some(locator)
        })?
    }
}

#[async_trait]
impl Collaboration for MemoryLibrary {
    async fn grant(
        &self,
        request: &GrantRequest,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Grant> {
        admitted(&[Act::Share], request.subject, permit)?;
        let shared = self.with_shares(&request.document, |shares, subject, category| {
            if subject != request.subject {
                return Err(denied(permit));
            }
            permit.require(&[Act::Share], subject, category)?;
            shares.grant(request, key, permit)
        });
        shared.unwrap_or_else(|| Err(missing()))
    }

    async fn grants(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Grant>> {
        admitted(READING, subject, permit)?;
        let listed = self.with_shares(at, |shares, owner, _| {
            let effective =
                |share: &&Share| share.grant.expires.is_none_or(|end| end > permit.now());
            let grants = shares
                .shares
                .iter()
                .filter(effective)
                .map(|share| share.grant.clone());
            if owner == subject {
                Ok(grants.collect())
            } else {
                Err(denied(permit))
            }
        });
        listed.unwrap_or_else(|| Err(missing()))
    }

    async fn revoke(
        &self,
        subject: SubjectId,
        at: &Locator,
        grant: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(&[Act::Destroy, Act::Revoke, Act::Share], subject, permit)?;
        let revoked = self.with_shares(at, |shares, owner, _| {
            if owner != subject {
                return Err(denied(permit));
            }
            shares.shares.retain(|share| share.grant.locator != *grant);
            Ok(())
        });
        // A file that is gone has no shares.
        revoked.unwrap_or(Ok(()))
    }
}

impl Shares {
    fn grant(
        &mut self,
        request: &GrantRequest,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Grant> {
        if let Some(made) = self.keys.get(&key) {
            let known = self
                .shares
                .iter()
                .find(|share| share.grant.locator == *made);
            let known = known.ok_or_else(|| conflict("the grant of this key was revoked"))?;
            let address = request.recipient.address(permit);
            let same = known
                .recipient
                .as_ref()
                .is_some_and(|bound| bound.bare() == address);
            return if same {
                Ok(known.grant.clone())
            } else {
                Err(conflict("the key was used already"))
            };
        }
        if request.expires <= permit.now() {
            return Err(Code::ShrExpiry.into());
        }
        let grant = Grant {
            locator: self.next().ok_or_else(missing)?,
            expires: Some(request.expires),
            role: request.role,
            anonymous: false,
            inherited: false,
        };
        let recipient = Some(Pii::new(request.recipient.address(permit).to_owned()));
        self.keys.insert(key, grant.locator.clone());
        self.shares.push(Share {
            grant: grant.clone(),
            recipient,
        });
        Ok(grant)
    }

    fn next(&mut self) -> Option<Locator> {
        self.count += 1;
        Locator::new(format!("share-{}", self.count)).ok()
    }
}

fn missing() -> Error {
    Fault::new(FaultKind::NotFound, Port::Collaboration, "find").into()
}

fn conflict(why: &'static str) -> Error {
    Fault::new(FaultKind::Conflict, Port::Collaboration, "grant")
        .because(why)
        .into()
}
