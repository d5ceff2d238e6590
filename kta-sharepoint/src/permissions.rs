//! Sharing: bound to a person, ending at a date, read back from the library.

use crate::access::Identity;
use crate::{READ, SharePoint, admitted};
use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kta_core::id::{IdempotencyKey, SubjectId};
use kta_core::pii::{Locator, Pii};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Collaboration, Grant, GrantRequest, SharedRole};
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use serde_json::json;

#[async_trait]
impl Collaboration for SharePoint {
    async fn grant(
        &self,
        request: &GrantRequest,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Grant> {
        admitted(permit, &[Act::Share], request.subject)?;
        if request.expires <= permit.now() {
            return Err(Code::ShrExpiry.into());
        }
        self.behind_no_wall(GRANT, &request.document, permit)
            .await?;
        let item = request.document.as_str();
        let address = Pii::new(request.recipient.address(permit).to_lowercase());
        let address = address.expose(permit).as_str();
        // The library keeps one direct permission for each person: the same grant again finds it.
        if let Some(same) = self.granted(GRANT, item, address, request).await? {
            return same.read(GRANT);
        }
        let url = self.graph.url(&self.by_id(item, &["invite"]))?;
        let body = json!({
            "recipients": [{ "email": address }],
            "roles": [role_name(request.role)],
            "requireSignIn": true,
            "sendInvitation": false,
            "expirationDateTime": request.expires.to_rfc3339_opts(SecondsFormat::Secs, true),
            // Left out or false, the first share would strip what the folder grants.
            "retainInheritedPermissions": true,
        });
        let make = || Ok(Request::post(GRANT, url.clone()).json(&body).repeatable());
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 201 => {}
            207 => return Err(Code::ShrDomain.into()),
            _ => return Err(answer.unexpected(GRANT)),
        }
        // What the answer says is not taken for what the library holds.
        let made = self.of_person(GRANT, item, address).await?;
        let made = made.ok_or_else(|| {
            GRANT
                .fault(FaultKind::Protocol)
                .because("the grant is not listed")
        })?;
        if made.ends_by(request.expires) {
            return made.read(GRANT);
        }
        self.end_by(item, made, request).await
    }

    async fn grants(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Grant>> {
        admitted(permit, READ, subject)?;
        self.behind_no_wall(GRANTS, locator, permit).await?;
        let now = permit.now();
        let all = self
            .permissions(GRANTS, locator.as_str())
            .await?
            .unwrap_or_default();
        all.iter()
            .filter(|each| !each.is_membership() && !each.has_ended(now))
            .map(|each| each.read(GRANTS))
            .collect()
    }

    async fn revoke(
        &self,
        subject: SubjectId,
        locator: &Locator,
        grant: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, &[Act::Revoke, Act::Share, Act::Destroy], subject)?;
        self.behind_no_wall(REVOKE, locator, permit).await?;
        self.withdraw(REVOKE, locator.as_str(), grant.as_str())
            .await
    }
}

impl SharePoint {
    /// Every permission of an item; `None` when there is no such item.
    pub(crate) async fn permissions(
        &self,
        call: Call,
        item: &str,
    ) -> Result<Option<Vec<Permission>>> {
        let url = self.graph.url(&self.by_id(item, &["permissions"]))?;
        self.graph.list(call, url, MOST).await
    }

    /// Takes one permission back; one that is gone is no error.
    pub(crate) async fn withdraw(&self, call: Call, item: &str, permission: &str) -> Result<()> {
        let url = self
            .graph
            .url(&self.by_id(item, &["permissions", permission]))?;
        let answer = self
            .graph
            .ask(|| Ok(Request::delete(call, url.clone())))
            .await?;
        match (answer.status, answer.code.as_str()) {
            (200 | 204 | 404, _) => Ok(()),
            (403, "notAllowed") => {
                let fault = call.fault(FaultKind::Unsupported).with_status(403);
                Err(fault
                    .because("the grant is inherited and is revoked where it is set")
                    .into())
            }
            _ => Err(answer.unexpected(call)),
        }
    }

    /// The direct grant that is exactly as asked for.
    async fn granted(
        &self,
        call: Call,
        item: &str,
        address: &str,
        request: &GrantRequest,
    ) -> Result<Option<Permission>> {
        let found = self.of_person(call, item, address).await?;
        Ok(found.filter(|each| each.role() == request.role && each.ends_at(request.expires)))
    }

    async fn of_person(&self, call: Call, item: &str, address: &str) -> Result<Option<Permission>> {
        let all = self.permissions(call, item).await?;
        let all = all.ok_or_else(|| call.fault(FaultKind::NotFound))?;
        Ok(all.into_iter().find(|each| {
            each.link.is_none() && each.inherited_from.is_none() && each.is_for(address)
        }))
    }

    /// Sets the end of a grant whose end the library did not take; where it will not, the grant goes.
    async fn end_by(&self, item: &str, made: Permission, request: &GrantRequest) -> Result<Grant> {
        let url = self
            .graph
            .url(&self.by_id(item, &["permissions", &made.id]))?;
        let end = request.expires.to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = json!({ "expirationDateTime": end });
        let make = || Ok(Request::patch(GRANT, url.clone()).json(&body).repeatable());
        let answer = self.graph.ask(make).await?;
        if answer.status == 200 {
            let now: Option<Permission> = self.graph.find(GRANT, url.clone()).await?;
            if let Some(ended) = now.filter(|each| each.ends_by(request.expires)) {
                return ended.read(GRANT);
            }
        }
        self.withdraw(GRANT, item, &made.id).await?;
        Err(Code::ShrExpiry.into())
    }
}

/// A permission as the library lists it. It names people and is therefore not `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Permission {
    pub(crate) id: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    link: Option<Link>,
    #[serde(default)]
    granted_to_v2: Option<Identities>,
    #[serde(default)]
    granted_to_identities_v2: Vec<Identities>,
    #[serde(default)]
    invitation: Option<Invitation>,
    #[serde(default)]
    pub(crate) inherited_from: Option<serde_json::Value>,
    #[serde(default)]
    expiration_date_time: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    scope: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identities {
    #[serde(default)]
    user: Option<Person>,
    #[serde(default)]
    site_user: Option<Person>,
    #[serde(default)]
    site_group: Option<Named>,
    #[serde(default)]
    group: Option<Named>,
    #[serde(default)]
    application: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Person {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    login_name: Option<String>,
}

#[derive(Deserialize)]
struct Invitation {
    #[serde(default)]
    email: Option<String>,
}

impl Permission {
    /// What the port says of it.
    fn read(&self, call: Call) -> Result<Grant> {
        let locator = Locator::new(self.id.as_str())
            .map_err(|_| call.fault(FaultKind::Protocol).because("not an id"))?;
        Ok(Grant {
            locator,
            expires: self.expires(),
            role: self.role(),
            anonymous: self
                .link
                .as_ref()
                .is_some_and(|link| link.scope.as_deref() == Some("anonymous")),
            inherited: self.inherited_from.is_some(),
        })
    }

    /// The library's own members: groups that the library itself admits.
    fn is_membership(&self) -> bool {
        let to_group = self
            .granted_to_v2
            .as_ref()
            .is_some_and(|to| to.site_group.is_some() || (to.group.is_some() && to.user.is_none()));
        self.inherited_from.is_some() && self.link.is_none() && to_group
    }

    fn is_for(&self, address: &str) -> bool {
        let same = |email: &Option<String>| {
            email
                .as_ref()
                .is_some_and(|email| email.eq_ignore_ascii_case(address))
        };
        self.invitation
            .as_ref()
            .is_some_and(|invited| same(&invited.email))
            || self.granted_to_v2.as_ref().is_some_and(|to| {
                [&to.user, &to.site_user]
                    .into_iter()
                    .flatten()
                    .any(|person| same(&person.email))
            })
    }

    /// The scope of the link, if it is one.
    pub(crate) fn link_scope(&self) -> Option<&str> {
        self.link.as_ref()?.scope.as_deref()
    }

    /// Whom it names, directly or on its link.
    pub(crate) fn identities(&self) -> Vec<Identity<'_>> {
        let named = self
            .granted_to_v2
            .iter()
            .chain(&self.granted_to_identities_v2);
        let mut all: Vec<Identity<'_>> =
            named.map(|to| to.identity(self.is_invitation())).collect();
        if all.is_empty() && self.link.is_none() {
            all.push(Identity::Unknown);
        }
        all
    }

    fn is_invitation(&self) -> bool {
        self.invitation
            .as_ref()
            .is_some_and(|invitation| invitation.email.is_some())
    }

    pub(crate) fn role(&self) -> SharedRole {
        let writes = self
            .roles
            .iter()
            .any(|role| role != "read" && role != "view");
        let edits = self.link.as_ref().is_some_and(|link| {
            matches!(link.kind.as_deref(), Some("edit" | "review" | "createOnly"))
        });
        if writes || edits {
            SharedRole::Edit
        } else {
            SharedRole::View
        }
    }

    /// The library writes year 1 for "never".
    pub(crate) fn expires(&self) -> Option<Timestamp> {
        let at = DateTime::parse_from_rfc3339(self.expiration_date_time.as_deref()?).ok()?;
        let at = at.with_timezone(&Utc);
        (at.timestamp() > 0).then_some(at)
    }

    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }

    /// Whether it ends at `wanted`; the library counts whole seconds.
    fn ends_at(&self, wanted: Timestamp) -> bool {
        self.expires()
            .is_some_and(|at| (at - wanted).abs() < TimeDelta::seconds(1))
    }

    /// Whether it ends at `wanted` or sooner, as a tenant's own limit may have it.
    fn ends_by(&self, wanted: Timestamp) -> bool {
        self.expires().is_some_and(|at| at <= wanted)
    }
}

impl Identities {
    /// Whom it stands for. A person from outside is told by the invitation or by the sign-in name that
    /// the directory gives guests.
    fn identity(&self, invited: bool) -> Identity<'_> {
        let person = self.user.as_ref().or(self.site_user.as_ref());
        if let Some(Named { id: Some(id) }) = &self.group {
            return Identity::Group(id);
        }
        if let Some(Named { id: Some(id) }) = &self.site_group {
            return Identity::SiteGroup(id);
        }
        if let Some(Named { id: Some(id) }) = &self.application {
            return Identity::Application(id);
        }
        let Some(Person { id: Some(id), .. }) = person else {
            return Identity::Unknown;
        };
        let login = self
            .site_user
            .as_ref()
            .and_then(|user| user.login_name.as_deref());
        let outside = login.is_some_and(|login| {
            let login = login.to_ascii_lowercase();
            login.contains("#ext#") || login.contains("urn:spo:guest")
        });
        if invited || outside {
            Identity::Guest(id)
        } else {
            Identity::Person(id)
        }
    }
}

fn role_name(role: SharedRole) -> &'static str {
    match role {
        SharedRole::Edit => "write",
        SharedRole::View => "read",
    }
}

const GRANT: Call = Call::new(Port::Collaboration, "grant");
const GRANTS: Call = Call::new(Port::Collaboration, "grants");
const REVOKE: Call = Call::new(Port::Collaboration, "revoke");
/// A library gives one item at most 50 000 permissions of its own; what is near that is broken.
const MOST: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(json: serde_json::Value) -> Permission {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_anonymous_link_is_told_apart_and_its_role_read_from_its_kind() {
        let grant =
            permission(json!({ "id": "1", "link": { "scope": "anonymous", "type": "edit" } }))
                .read(GRANTS)
                .unwrap();
        assert!(grant.anonymous && !grant.inherited);
        assert_eq!((grant.role, grant.expires), (SharedRole::Edit, None));
    }

    #[test]
    fn groups_of_the_library_are_members_and_guests_are_not() {
        let group = json!({ "id": "1", "roles": ["write"], "inheritedFrom": {},
            "grantedToV2": { "siteGroup": { "id": "5" } } });
        assert!(permission(group).is_membership());
        let guest = json!({ "id": "2", "roles": ["read"], "inheritedFrom": {},
            "grantedToV2": { "user": { "email": "invented.reader@example.test" } } });
        assert!(!permission(guest).is_membership());
    }

    #[test]
    fn the_librarys_year_one_means_no_end() {
        let endless = json!({ "id": "1", "expirationDateTime": "0001-01-01T00:00:00Z" });
        assert_eq!(permission(endless).expires(), None);
    }
}
