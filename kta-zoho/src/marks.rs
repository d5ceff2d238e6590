//! Marks on a record: tags, and the lock that keeps people's hands off it.

use kta_core::audit::Label;
use kta_core::id::SubjectId;
use kta_core::pii::{Category, Locator};
use kta_core::policy::{Act, Permit};
use kta_core::{Port, Result};
use kta_http::{Call, Method};
use serde_json::json;

use crate::ZohoCrm;
use crate::coql::text_id;
use crate::records::{MODULE, locator};
use crate::recycle_bin::{one_row, unless_gone};

/// A lock on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The CRM's id of the lock.
    pub locator: Locator,
    /// Why, where it is a label; what people wrote by hand need not be one.
    pub reason: Option<Label>,
}

impl ZohoCrm {
    /// Puts tags on a record. A tag is seen by every user and in lists of tags: it is a label of
    /// the firm's and never says anything about the person.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, or the record is somebody else's;
    /// faults of the transport.
    pub async fn tag(
        &self,
        subject: SubjectId,
        at: &Locator,
        tags: &[Label],
        permit: &Permit<'_>,
    ) -> Result<()> {
        self.mark(subject, at, tags, "add_tags", permit).await
    }

    /// Takes tags off a record; one that is not there is no error.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub async fn untag(
        &self,
        subject: SubjectId,
        at: &Locator,
        tags: &[Label],
        permit: &Permit<'_>,
    ) -> Result<()> {
        self.mark(subject, at, tags, "remove_tags", permit).await
    }

    /// The tags of a record that are labels.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub async fn tags(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Label>> {
        let call = Call::new(Port::Crm, "tags");
        permit.require(&MARKING, subject, Category::Case)?;
        let row = self.row(call, subject, at, permit).await?;
        let names = row["Tag"].as_array().into_iter().flatten();
        Ok(names
            .filter_map(|tag| Label::new(tag["name"].as_str()?).ok())
            .collect())
    }

    async fn mark(
        &self,
        subject: SubjectId,
        at: &Locator,
        tags: &[Label],
        action: &'static str,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let call = Call::new(Port::Crm, "tag");
        permit.require(&MARKING, subject, Category::Case)?;
        self.row(call, subject, at, permit).await?;
        let names: Vec<_> = tags
            .iter()
            .map(|tag| json!({"name": tag.as_str()}))
            .collect();
        let body = json!({"tags": names});
        let path = [MODULE, at.as_str(), "actions", action];
        let request = || {
            let request = self.client.request(call, Method::POST, &path)?;
            // A tag is there or it is not.
            Ok(request.repeatable().json(&body))
        };
        let answer = self.client.answer(call, request).await;
        one_row(call, answer, "data").map(drop)
    }

    /// Locks a record, so that nobody changes or deletes it by hand: for a legal hold. A record
    /// that is locked stays as it is, and its lock is given.
    ///
    /// The CRM must be set up for locking in this module; without that it is a `Misconfigured`
    /// fault.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub async fn lock(
        &self,
        subject: SubjectId,
        at: &Locator,
        reason: &Label,
        permit: &Permit<'_>,
    ) -> Result<Lock> {
        let call = Call::new(Port::Crm, "lock");
        if let Some(lock) = self.lock_of(subject, at, permit).await? {
            return Ok(lock);
        }
        let body = json!({"data": [{"Locked_Reason__s": reason.as_str()}]});
        let path = [MODULE, at.as_str(), LOCKS];
        let request = || {
            let request = self.client.request(call, Method::POST, &path)?;
            // The second lock of a record is refused.
            Ok(request.repeatable().json(&body))
        };
        let answer = self.client.answer(call, request).await;
        match one_row(call, answer, "data") {
            Ok(details) => Ok(Lock {
                locator: locator(call, &text_id(call, &details)?)?,
                reason: Some(reason.clone()),
            }),
            // Perhaps our own first attempt, whose answer was lost.
            Err(error) => match self.lock_of(subject, at, permit).await? {
                Some(lock) => Ok(lock),
                None => Err(error),
            },
        }
    }

    /// The lock of a record, if it has one.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub async fn lock_of(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Option<Lock>> {
        let call = Call::new(Port::Crm, "lock of");
        permit.require(&MARKING, subject, Category::Case)?;
        self.row(call, subject, at, permit).await?;
        let path = [MODULE, at.as_str(), LOCKS];
        let request = || {
            let request = self.client.request(call, Method::GET, &path)?;
            Ok(request.query("fields", "id,Locked_Reason__s"))
        };
        let answer = self.client.answer(call, request).await?;
        let rows = answer.into_list(call, "data")?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Lock {
            locator: locator(call, &text_id(call, row)?)?,
            reason: row["Locked_Reason__s"]
                .as_str()
                .and_then(|text| Label::new(text).ok()),
        }))
    }

    /// Takes a lock off; one that is not there is no error.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub async fn unlock(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let call = Call::new(Port::Crm, "unlock");
        let Some(lock) = self.lock_of(subject, at, permit).await? else {
            return Ok(());
        };
        let path = [MODULE, at.as_str(), LOCKS, lock.locator.as_str()];
        let request = || self.client.request(call, Method::DELETE, &path);
        let answer = self.client.answer(call, request).await;
        unless_gone(one_row(call, answer, "data")).map(drop)
    }
}

const LOCKS: &str = "Locking_Information__s";
const MARKING: [Act; 7] = [
    Act::Amend,
    Act::Enter,
    Act::Hold,
    Act::Process,
    Act::Retain,
    Act::Review,
    Act::Transfer,
];
