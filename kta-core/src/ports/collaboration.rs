//! Sharing with people outside the matter's own place.

use async_trait::async_trait;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::{GrantId, IdempotencyKey, SubjectId};
use crate::pii::{Locator, Pii};
use crate::policy::Permit;
use crate::time::Timestamp;

/// Grants, their register and their end.
///
/// # Behavior
/// - A grant is bound to its recipient and ends at its expiry; both are read back from the
///   system, not assumed.
/// - The same idempotency key twice is one grant.
/// - `grants` lists every effective way in, those not made by us too.
/// - A revoked grant is not listed; revoking it again is no error.
/// - A permit that does not cover the person is refused.
#[async_trait]
pub trait Collaboration: core::fmt::Debug + Send + Sync {
    /// Shares a document.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, is for another act or has ended;
    /// `SHR-EXPIRY` for an end that has passed, or that the system does not take; `SHR-DOMAIN` for
    /// a recipient whom it does not take; `NotFound` for a document that is not there, `Conflict`
    /// where the key is another grant's; faults of the system. The same key again makes no second
    /// grant.
    async fn grant(
        &self,
        request: &GrantRequest,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Grant>;

    /// Who has access to a document beyond the library's own members.
    ///
    /// # Errors
    /// `ACL-DENY` as for [`grant`](Self::grant); faults of the system. A document that is not
    /// there is `NotFound`, or has none.
    async fn grants(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Grant>>;

    /// Takes a grant back.
    ///
    /// # Errors
    /// `ACL-DENY` as for [`grant`](Self::grant), `Unsupported` for one that is
    /// [inherited](Grant::inherited); faults of the system. It may be called again after any
    /// fault.
    async fn revoke(
        &self,
        subject: SubjectId,
        locator: &Locator,
        grant: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()>;
}

/// What to share, with whom, until when. The decision to share has been made before.
#[derive(Debug)]
pub struct GrantRequest {
    /// Our id of the share.
    pub id: GrantId,
    /// Whose data it is.
    pub subject: SubjectId,
    /// The library's id of the document.
    pub document: Locator,
    /// With whom.
    pub recipient: Recipient,
    /// What the recipient may do.
    pub role: SharedRole,
    /// Until when; there is no share without an end.
    pub expires: Timestamp,
}

/// Somebody outside, by e-mail address.
pub struct Recipient(Pii<String>);

impl Recipient {
    /// A recipient with this address.
    ///
    /// # Errors
    /// [`Code::ShrDomain`](crate::refusal::Code::ShrDomain) when it is not an address.
    pub fn new(address: String) -> Result<Self> {
        let address = Pii::new(address);
        if crate::pii::FieldKind::Email.accepts(address.bare()) {
            Ok(Self(address))
        } else {
            Err(crate::refusal::Code::ShrDomain.into())
        }
    }

    /// The address.
    #[must_use]
    pub fn address<'a>(&'a self, permit: &'a Permit<'_>) -> &'a str {
        self.0.expose(permit)
    }

    pub(crate) const fn bare(&self) -> &Pii<String> {
        &self.0
    }

    /// The domain in lower case: whom the firm shares with may be known, the person may not.
    #[must_use]
    pub fn domain(&self) -> String {
        self.0
            .bare()
            .rsplit_once('@')
            .map(|(_, domain)| domain.to_ascii_lowercase())
            .unwrap_or_default()
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(..)")
    }
}

/// What a recipient may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedRole {
    /// Change it too.
    Edit,
    /// See it.
    View,
}

/// An effective way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The system's id of it.
    pub locator: Locator,
    /// Until when, if it ends.
    pub expires: Option<Timestamp>,
    /// What it allows.
    pub role: SharedRole,
    /// Whether anybody who has the link gets in.
    pub anonymous: bool,
    /// Whether it comes from above and cannot be revoked here.
    pub inherited: bool,
}
