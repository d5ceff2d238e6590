//! Who may do what in the CRM, beyond the list of users: roles, profiles with what they permit,
//! and how far records are shared by default. Held against the picture that was approved.
//!
//! The second factor of a user is in none of the vendor's CRM documents: it stays unknown, and
//! [`review_access`](kta_core::steward::review::review_access) makes an administrator's unknown
//! second factor a finding.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::audit::{Label, SignedNote, Signer};
use kta_core::id::Digest;
use kta_core::policy::{Act, Permit};
use kta_core::time::Timestamp;
use kta_core::{Code, Port, Refusal, Result};
use kta_http::{Call, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZohoCrm;
use crate::coql::text_id;
use crate::shares::{self, RecordShares};
use crate::users::of_type;

/// The access of an organisation at one time, by ids and the vendor's words. It names no person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Active users: id, and with which profile and role.
    pub users: BTreeMap<String, UserAccess>,
    /// Roles: id, and under which other role.
    pub roles: BTreeMap<String, RoleAccess>,
    /// Profiles: id, and the permissions that are switched on, as the vendor names them.
    pub profiles: BTreeMap<String, BTreeSet<String>>,
    /// Modules: name, and how far their records are shared by default (`private`,
    /// `public_read_only`, `public_read_write`, `public`).
    pub sharing: BTreeMap<String, String>,
    /// Single records and with whom they are shared, as [`ZohoCrm::shares`] tells; empty where
    /// nobody looked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, RecordShares>,
}

/// What one user has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAccess {
    /// The profile's id.
    pub profile: String,
    /// The role's id.
    pub role: String,
}

/// What one role has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleAccess {
    /// The role above, which sees what this one sees.
    pub above: Option<String>,
    /// Whether those in one role see each other's records.
    pub peers: bool,
}

impl ZohoCrm {
    /// The access as it is now.
    ///
    /// # Errors
    /// `ACL-DENY` unless the permit is for [`Act::Review`] or [`Act::Manage`]; `Misconfigured`
    /// when the CRM user or the token may not see it; faults of the transport.
    pub async fn access(&self, permit: &Permit<'_>) -> Result<Access> {
        permit.require_act(&[Act::Manage, Act::Review])?;
        let mut access = Access::default();
        for row in of_type(&self.client, ACCESS, "ActiveUsers").await? {
            let user = UserAccess {
                profile: id_in(&row["profile"]),
                role: id_in(&row["role"]),
            };
            access.users.insert(text_id(ACCESS, &row)?, user);
        }
        for row in self.settings(&["roles"], "roles").await? {
            let role = RoleAccess {
                above: row["reporting_to"]["id"].as_str().map(str::to_owned),
                peers: row["share_with_peers"].as_bool().unwrap_or(true),
            };
            access.roles.insert(text_id(ACCESS, &row)?, role);
        }
        for row in self.settings(&["profiles"], "profiles").await? {
            let id = text_id(ACCESS, &row)?;
            let mut permitted = BTreeSet::new();
            for row in self.settings(&["profiles", &id], "profiles").await? {
                let details = row["permissions_details"].as_array().into_iter().flatten();
                let on = details.filter(|one| one["enabled"] == true);
                permitted.extend(on.filter_map(|one| one["name"].as_str().map(str::to_owned)));
            }
            access.profiles.insert(id, permitted);
        }
        for row in self.settings(&["data_sharing"], "data_sharing").await? {
            let (name, kind) = (&row["module"]["api_name"], &row["share_type"]);
            if let (Some(name), Some(kind)) = (name.as_str(), kind.as_str()) {
                access.sharing.insert(name.to_owned(), kind.to_owned());
            }
        }
        Ok(access)
    }

    async fn settings(&self, path: &[&str], key: &str) -> Result<Vec<Value>> {
        let path: Vec<&str> = core::iter::once("settings")
            .chain(path.iter().copied())
            .collect();
        let request = || self.client.request(ACCESS, Method::GET, &path);
        self.client
            .answer(ACCESS, request)
            .await?
            .into_list(ACCESS, key)
    }
}

impl Access {
    /// What is more than was approved: an access that became narrower is no finding.
    ///
    /// - `ACC-UNLISTED`: a user who is not in the approved picture; nothing else is said of them;
    /// - `ACC-OVERPRIV`: a user with another profile or role; a profile with a permission more;
    ///   a role that moved, or whose peers see each other now; a profile or role that is new;
    ///   records of a module shared further; one record shared with somebody more, or further.
    #[must_use]
    pub fn drift(&self, approved: &Self) -> Vec<Refusal> {
        let mut findings = Vec::new();
        for (id, user) in &self.users {
            match approved.users.get(id) {
                None => findings.push(about(Code::AccUnlisted, "user", id)),
                Some(was) if was != user => findings.push(about(Code::AccOverpriv, "user", id)),
                Some(_) => {}
            }
        }
        for (id, role) in &self.roles {
            let wider = approved
                .roles
                .get(id)
                .is_none_or(|was| was.above != role.above || (role.peers && !was.peers));
            if wider {
                findings.push(about(Code::AccOverpriv, "role", id));
            }
        }
        for (id, permitted) in &self.profiles {
            match approved.profiles.get(id) {
                None => findings.push(about(Code::AccOverpriv, "profile", id)),
                Some(was) => findings.extend(permitted.difference(was).map(|permission| {
                    let finding = about(Code::AccOverpriv, "profile", id);
                    match Label::new(permission.as_str()) {
                        Ok(permission) => finding.about("permission", permission),
                        Err(_) => finding,
                    }
                })),
            }
        }
        for (module, kind) in &self.sharing {
            let was = approved.sharing.get(module).map_or(0, |kind| reach(kind));
            if reach(kind) > was {
                findings.push(about(Code::AccOverpriv, "module", module));
            }
        }
        for (record, shares) in &self.shares {
            let was = |who| {
                approved
                    .shares
                    .get(record)
                    .and_then(|shares| shares.get(who))
            };
            for (who, permission) in shares {
                if shares::reach(permission) > was(who).map_or(0, |was| shares::reach(was)) {
                    let finding = about(Code::AccOverpriv, "record", record);
                    findings.push(match Label::new(who.as_str()) {
                        Ok(who) => finding.about("with", who),
                        Err(_) => finding,
                    });
                }
            }
        }
        findings
    }

    /// SHA-256 over the picture in one form: what a recertification is about.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Maps of texts in order are always JSON, and always the same.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Signs that this picture was looked at and approved on this day, as a C2SP signed note.
    /// Who may do that, and that it is filed, is
    /// [`certify`](kta_core::steward::review::certify)'s, which signs the list of users.
    ///
    /// # Errors
    /// `AUD-CHAIN` when the signer's name or key cannot stand in a note.
    pub fn recertify(&self, at: Timestamp, signer: &dyn Signer) -> Result<SignedNote> {
        let text = format!(
            "kta crm access\n{}\nusers {} roles {} profiles {} modules {}\n{}\n",
            kta_core::time::text(at),
            self.users.len(),
            self.roles.len(),
            self.profiles.len(),
            self.sharing.len(),
            self.digest(),
        );
        Ok(SignedNote::sign(text, signer)?)
    }
}

/// How far a way of sharing reaches. One that is not known reaches furthest.
fn reach(kind: &str) -> u8 {
    match kind {
        "private" => 1,
        "public_read_only" => 2,
        "public_read_write" => 3,
        _ => 4,
    }
}

fn about(code: Code, what: &'static str, id: &str) -> Refusal {
    match Label::new(id) {
        Ok(id) => Refusal::new(code).about(what, id),
        Err(_) => code.into(),
    }
}

fn id_in(value: &Value) -> String {
    value["id"].as_str().unwrap_or_default().to_owned()
}

const ACCESS: Call = Call::new(Port::Crm, "access");
