//! Who can really reach a file: inheritance, links, groups within groups, guests, applications; and how
//! that compares with who may.
//!
//! ```text
//!   permissions of the item ──┬── link ──► anyone · the whole firm · those it names
//!                             ├── person, guest, application
//!                             ├── group of the directory ──► members, and their members …
//!                             └── group of the site (SharePoint REST) ──► people, directory groups, everyone
//! ```
//!
//! A wall is breached by whoever stands behind it and gets in by any of these ways. A group that cannot be
//! looked into counts as one that is too broad.

use crate::SharePoint;
use crate::groups::Directory;
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::ports::SharedRole;
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Result};
use kta_http::Call;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Who may reach the files, by the directory's object ids (for guests too) and applications' client ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Those who work on the matter.
    pub people: BTreeSet<Locator>,
    /// Those behind the matter's wall; being here outweighs everything else.
    pub walled: BTreeSet<Locator>,
    /// Applications, this one among them.
    pub applications: BTreeSet<Locator>,
    /// Grants of the share register, by the library's id of the grant.
    pub grants: BTreeSet<Locator>,
}

/// One effective way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Who gets in.
    pub who: Reach,
    /// What they may do.
    pub role: SharedRole,
    /// The library's id of the permission that lets them in.
    pub grant: Locator,
    /// The groups on the way, the one that was granted first; empty for a grant to the person.
    pub through: Vec<Locator>,
    /// Whether the permission is set above the item.
    pub inherited: bool,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
}

/// Whom a way lets in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Whoever has the link.
    Anyone,
    /// An application.
    Application(Locator),
    /// Everybody in the firm.
    Everyone,
    /// Somebody from outside.
    Guest(Locator),
    /// Somebody of the firm.
    Person(Locator),
    /// A group that could not be looked into.
    Unresolved,
}

/// Something about access that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessFinding {
    /// `SHP-ANON-LINK`, `SHP-BROAD-GROUP`, `SHP-GUEST`, `SHP-WALL-BREACH`; `ACC-UNLISTED` for a person of
    /// the firm granted access by name who is not on the matter; `ACC-OVERPRIV` for an application.
    pub code: Code,
    /// The item; for an application's grant over the whole site, the site.
    pub item: Locator,
    /// The permission.
    pub grant: Locator,
    /// Whom it is about, where it is somebody.
    pub who: Option<Locator>,
    /// The groups on the way, the one that was granted first.
    pub through: Vec<Locator>,
}

impl SharePoint {
    /// Every effective way to an item, groups looked into.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to review, search, process, revoke or share; `NotFound` for no such
    /// item; faults, also when the application may not read groups (`GroupMember.Read.All`).
    pub async fn ways(&self, item: &Locator, permit: &Permit<'_>) -> Result<Vec<Way>> {
        permit.require_act(LOOK)?;
        let all = self.permissions(WAYS, item.as_str()).await?;
        let all = all.ok_or_else(|| WAYS.fault(FaultKind::NotFound))?;
        let mut directory = Directory::new(self);
        directory.ways(&all, permit.now()).await
    }

    /// Applications with a grant over the whole site beside those allowed.
    ///
    /// # Errors
    /// As [`ways`](Self::ways).
    pub async fn stray_applications(
        &self,
        allowed: &Allowed,
        permit: &Permit<'_>,
    ) -> Result<Vec<AccessFinding>> {
        permit.require_act(LOOK)?;
        let url = self.graph.url(&["sites", &self.site, "permissions"])?;
        let granted: Option<Vec<SiteGrant>> = self.graph.list(WAYS, url, MOST).await?;
        let site = locator(&self.site)?;
        let mut found = Vec::new();
        for grant in granted.into_iter().flatten() {
            let whom = [grant.granted_to_identities_v2, grant.granted_to_identities];
            for application in whom.into_iter().flatten().filter_map(|to| to.application) {
                let who = locator(&application.id)?;
                if !allowed.applications.contains(&who) {
                    found.push(AccessFinding {
                        code: Code::AccOverpriv,
                        item: site.clone(),
                        grant: locator(&grant.id)?,
                        who: Some(who),
                        through: Vec::new(),
                    });
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

/// Holds the ways to an item against who may. Pure: the same ways give the same findings.
///
/// Of a group that lets in people who are not on the matter there is one finding, whoever they are; of each
/// walled person one for each way.
#[must_use]
pub fn judge(item: &Locator, ways: &[Way], allowed: &Allowed) -> Vec<AccessFinding> {
    let mut found = Vec::new();
    for way in ways {
        let finding = |code, who: Option<&Locator>| AccessFinding {
            code,
            item: item.clone(),
            grant: way.grant.clone(),
            who: who.cloned(),
            through: way.through.clone(),
        };
        let broad = || AccessFinding {
            through: way.through.iter().take(1).cloned().collect(),
            ..finding(Code::ShpBroadGroup, None)
        };
        let registered = allowed.grants.contains(&way.grant);
        found.extend(match &way.who {
            Reach::Anyone => Some(finding(Code::ShpAnonLink, None)),
            Reach::Everyone | Reach::Unresolved => Some(broad()),
            Reach::Guest(who) | Reach::Person(who) if allowed.walled.contains(who) => {
                Some(finding(Code::ShpWallBreach, Some(who)))
            }
            Reach::Application(who) => {
                (!allowed.applications.contains(who)).then(|| finding(Code::AccOverpriv, Some(who)))
            }
            Reach::Guest(who) if !registered && !allowed.people.contains(who) => {
                Some(finding(Code::ShpGuest, Some(who)))
            }
            Reach::Person(who) if !registered && !allowed.people.contains(who) => {
                Some(if way.through.is_empty() {
                    finding(Code::AccUnlisted, Some(who))
                } else {
                    broad()
                })
            }
            Reach::Guest(_) | Reach::Person(_) => None,
        });
    }
    found.sort();
    found.dedup();
    found
}

/// Whom a permission names.
pub(crate) enum Identity<'p> {
    Application(&'p str),
    Group(&'p str),
    Guest(&'p str),
    Person(&'p str),
    SiteGroup(&'p str),
    Unknown,
}

pub(crate) fn locator(id: &str) -> Result<Locator> {
    Locator::new(id).map_err(|_| WAYS.fault(FaultKind::Protocol).because("not an id").into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SiteGrant {
    id: String,
    #[serde(default)]
    granted_to_identities_v2: Vec<GrantedTo>,
    #[serde(default)]
    granted_to_identities: Vec<GrantedTo>,
}

#[derive(Deserialize)]
struct GrantedTo {
    #[serde(default)]
    application: Option<Application>,
}

#[derive(Deserialize)]
struct Application {
    id: String,
}

pub(crate) const WAYS: Call = Call::new(Port::Collaboration, "ways");
pub(crate) const LOOK: &[Act] = &[
    Act::Manage,
    Act::Process,
    Act::Review,
    Act::Revoke,
    Act::Search,
    Act::Share,
];
/// More members, or more ways, than a firm has.
pub(crate) const MOST: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Locator {
        Locator::new(text).unwrap()
    }

    fn way(who: Reach, through: &[&str]) -> Way {
        Way {
            who,
            role: SharedRole::View,
            grant: id("grant"),
            through: through.iter().map(|group| id(group)).collect(),
            inherited: false,
            expires: None,
        }
    }

    fn codes(ways: &[Way], allowed: &Allowed) -> Vec<Code> {
        judge(&id("item"), ways, allowed)
            .iter()
            .map(|finding| finding.code)
            .collect()
    }

    #[test]
    fn a_wall_outweighs_the_team_and_the_register() {
        let allowed = Allowed {
            people: [id("ann")].into(),
            walled: [id("ann")].into(),
            grants: [id("grant")].into(),
            ..Allowed::default()
        };
        let ways = [way(Reach::Person(id("ann")), &["outer", "inner"])];
        let found = judge(&id("item"), &ways, &allowed);
        assert_eq!(found[0].code, Code::ShpWallBreach);
        assert_eq!(found[0].through, [id("outer"), id("inner")]);
    }

    #[test]
    fn a_broad_group_is_one_finding_and_a_person_by_name_is_another() {
        let allowed = Allowed {
            people: [id("ann")].into(),
            ..Allowed::default()
        };
        let ways = [
            way(Reach::Person(id("ann")), &["team"]),
            way(Reach::Person(id("bob")), &["team"]),
            way(Reach::Person(id("cid")), &["team", "inner"]),
        ];
        assert_eq!(codes(&ways, &allowed), [Code::ShpBroadGroup]);
        assert_eq!(codes(&ways[..1], &allowed), []);
        let by_name = [way(Reach::Person(id("bob")), &[])];
        assert_eq!(codes(&by_name, &allowed), [Code::AccUnlisted]);
    }

    #[test]
    fn links_guests_and_applications_have_their_codes() {
        let none = Allowed::default();
        let code = |who| codes(&[way(who, &[])], &none);
        assert_eq!(code(Reach::Anyone), [Code::ShpAnonLink]);
        assert_eq!(code(Reach::Everyone), [Code::ShpBroadGroup]);
        assert_eq!(code(Reach::Unresolved), [Code::ShpBroadGroup]);
        assert_eq!(code(Reach::Guest(id("gus"))), [Code::ShpGuest]);
        assert_eq!(code(Reach::Application(id("app"))), [Code::AccOverpriv]);
        let registered = Allowed {
            grants: [id("grant")].into(),
            ..Allowed::default()
        };
        assert_eq!(codes(&[way(Reach::Guest(id("gus")), &[])], &registered), []);
        assert_eq!(
            codes(&[way(Reach::Anyone, &[])], &registered),
            [Code::ShpAnonLink],
            "no register makes an anonymous link lawful"
        );
    }
}
