//! Who is in a group: the directory's, within one another, and the site's own.

use crate::SharePoint;
use crate::access::{Identity, MOST, Reach, WAYS, Way, locator};
use crate::permissions::Permission;
use kta_core::pii::Locator;
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The directory and the site's groups, each asked once.
pub(crate) struct Directory<'l> {
    library: &'l SharePoint,
    /// Everybody in a directory group, with the groups on the way below it.
    groups: BTreeMap<String, Vec<(Reach, Vec<Locator>)>>,
    site_groups: BTreeMap<String, Vec<(Reach, Vec<Locator>)>>,
}

impl<'l> Directory<'l> {
    pub(crate) fn new(library: &'l SharePoint) -> Self {
        Self {
            library,
            groups: BTreeMap::new(),
            site_groups: BTreeMap::new(),
        }
    }

    /// The ways that these permissions open, ended ones left out.
    pub(crate) async fn ways(
        &mut self,
        permissions: &[Permission],
        now: Timestamp,
    ) -> Result<Vec<Way>> {
        let mut ways = Vec::new();
        for permission in permissions.iter().filter(|each| !each.has_ended(now)) {
            let grant = locator(&permission.id)?;
            let mut reached = Vec::new();
            match permission.link_scope() {
                Some("anonymous") => reached.push((Reach::Anyone, Vec::new())),
                Some("organization") => reached.push((Reach::Everyone, Vec::new())),
                _ => {}
            }
            for identity in permission.identities() {
                match identity {
                    Identity::Application(id) => {
                        reached.push((Reach::Application(locator(id)?), Vec::new()));
                    }
                    Identity::Group(id) => reached.extend(self.group(id).await?),
                    Identity::Guest(id) => reached.push((Reach::Guest(locator(id)?), Vec::new())),
                    Identity::Person(id) => reached.push((Reach::Person(locator(id)?), Vec::new())),
                    Identity::SiteGroup(id) => reached.extend(self.site_group(id).await?),
                    Identity::Unknown => reached.push((Reach::Unresolved, Vec::new())),
                }
            }
            ways.extend(reached.into_iter().map(|(who, through)| Way {
                who,
                role: permission.role(),
                grant: grant.clone(),
                through,
                inherited: permission.inherited_from.is_some(),
                expires: permission.expires(),
            }));
        }
        Ok(ways)
    }

    /// Everybody in a directory group, however deep, each with the groups on the way.
    async fn group(&mut self, id: &str) -> Result<Vec<(Reach, Vec<Locator>)>> {
        if let Some(known) = self.groups.get(id) {
            return Ok(known.clone());
        }
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([id.to_owned()]);
        let mut open = vec![(id.to_owned(), vec![locator(id)?])];
        while let Some((group, path)) = open.pop() {
            let url = self
                .library
                .graph
                .url(&["groups", &group, "members"])
                .map(|mut url| {
                    url.query_pairs_mut()
                        .append_pair("$select", "id,userType")
                        .append_pair("$top", "999");
                    url
                })?;
            let members: Option<Vec<Member>> = self.library.graph.list(WAYS, url, MOST).await?;
            let Some(members) = members else {
                // Not shown, or of another kind: nothing proves that it is narrow.
                found.push((Reach::Unresolved, path));
                continue;
            };
            for member in members {
                if member.kind.ends_with("group") {
                    // A circle of groups is walked once; so is one that is in two.
                    if seen.insert(member.id.clone()) {
                        let mut path = path.clone();
                        path.push(locator(&member.id)?);
                        open.push((member.id, path));
                    }
                    continue;
                }
                let id = locator(&member.id)?;
                let who = match (member.kind.as_str(), member.user_type.as_deref()) {
                    (kind, _) if kind.ends_with("servicePrincipal") => Reach::Application(id),
                    (_, Some(kind)) if kind.eq_ignore_ascii_case("guest") => Reach::Guest(id),
                    _ => Reach::Person(id),
                };
                found.push((who, path.clone()));
            }
            if found.len() > MOST {
                let fault = WAYS.fault(FaultKind::Protocol);
                return Err(fault
                    .because("a group has more members than a firm has")
                    .into());
            }
        }
        self.groups.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    /// Everybody in a group of the site, which only SharePoint REST shows.
    async fn site_group(&mut self, id: &str) -> Result<Vec<(Reach, Vec<Locator>)>> {
        if let Some(known) = self.site_groups.get(id) {
            return Ok(known.clone());
        }
        let here = locator(&format!("site-group-{id}"))?;
        let Some(rest) = self.library.rest() else {
            return Ok(vec![(Reach::Unresolved, vec![here])]);
        };
        let mut found = Vec::new();
        let users = rest.site_group(WAYS, id).await?;
        for login in users.into_iter().flatten() {
            match Principal::of(&login) {
                Principal::Everyone => found.push((Reach::Everyone, vec![here.clone()])),
                Principal::Group(group) => {
                    for (who, mut path) in self.group(group).await? {
                        path.insert(0, here.clone());
                        found.push((who, path));
                    }
                }
                Principal::User(name) => {
                    let who = self.user(name).await?;
                    found.push((who, vec![here.clone()]));
                }
                Principal::System => {}
                Principal::Unknown => found.push((Reach::Unresolved, vec![here.clone()])),
            }
        }
        self.site_groups.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    /// Whom a sign-in name stands for.
    async fn user(&self, name: &str) -> Result<Reach> {
        let mut url = self.library.graph.url(&["users", name])?;
        url.query_pairs_mut().append_pair("$select", "id,userType");
        let user: Option<Member> = self.library.graph.find(WAYS, url).await?;
        Ok(match user {
            Some(user) if user.user_type.as_deref() == Some("Guest") => {
                Reach::Guest(locator(&user.id)?)
            }
            Some(user) => Reach::Person(locator(&user.id)?),
            None => Reach::Unresolved,
        })
    }
}

/// Whom SharePoint's login names stand for.
enum Principal<'l> {
    Everyone,
    Group(&'l str),
    System,
    Unknown,
    User(&'l str),
}

impl<'l> Principal<'l> {
    fn of(login: &'l str) -> Self {
        let last = login.rsplit('|').next().unwrap_or_default();
        if login == "c:0(.s|true" || last.starts_with("spo-grid-all-users") {
            Self::Everyone
        } else if login.starts_with("c:0t.c|tenant|")
            || login.contains("federateddirectoryclaimprovider")
        {
            // `_o` marks the owners of a Microsoft 365 group: some of its members.
            Self::Group(last.trim_end_matches("_o"))
        } else if login.starts_with("i:0#.f|membership|") {
            Self::User(last)
        } else if login == "SHAREPOINT\\system" || login.starts_with("i:0i.t|") {
            Self::System
        } else {
            Self::Unknown
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    id: String,
    #[serde(default, rename = "@odata.type")]
    kind: String,
    #[serde(default)]
    user_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names_of_sharepoint_are_told_apart() {
        let kind = |login: &str| match Principal::of(login) {
            Principal::Everyone => "everyone".to_owned(),
            Principal::Group(id) => format!("group {id}"),
            Principal::System => "system".to_owned(),
            Principal::Unknown => "unknown".to_owned(),
            Principal::User(name) => format!("user {name}"),
        };
        assert_eq!(kind("c:0(.s|true"), "everyone");
        assert_eq!(kind("c:0-.f|rolemanager|spo-grid-all-users/0f"), "everyone");
        assert_eq!(kind("c:0t.c|tenant|ab-cd"), "group ab-cd");
        assert_eq!(
            kind("c:0o.c|federateddirectoryclaimprovider|ab-cd_o"),
            "group ab-cd"
        );
        assert_eq!(
            kind("i:0#.f|membership|a@firm.example"),
            "user a@firm.example"
        );
        assert_eq!(kind("SHAREPOINT\\system"), "system");
        assert_eq!(kind("c:0!.s|windows"), "unknown");
    }
}
