//! A library for one matter, made from a template: named by the matter's id, versions kept, columns for what
//! the firm says of a file, nothing inherited, and nobody in it but those who work on the matter.
//!
//! Asked again it ends the same: every step finds what an earlier try made.

use crate::access::{Allowed, Reach, judge};
use crate::recycle_bin::{Rest, closed};
use crate::{SharePoint, names};
use kta_core::id::MatterId;
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Recipient, SharedRole};
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl SharePoint {
    /// Makes the library of a matter on this site, or finishes making it, and gives the id of its drive:
    /// [`Config::library`](crate::Config::library) takes it.
    ///
    /// Afterwards the library is looked at again: who gets in must be those of `team` and this application.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to manage; `Unsupported` without SharePoint REST, which alone can break
    /// inheritance; `DOC-NOVER` when versions cannot be switched on; `SHP-…` when somebody else gets in all
    /// the same; a `Misconfigured` fault for somebody the directory does not know.
    pub async fn found(
        &self,
        matter: MatterId,
        team: &[(Recipient, SharedRole)],
        permit: &Permit<'_>,
    ) -> Result<Locator> {
        permit.require_act(&[Act::Manage, Act::Process])?;
        let rest = self.rest().ok_or_else(|| {
            FOUND
                .fault(FaultKind::Unsupported)
                .because("only SharePoint REST breaks inheritance, and it is switched off")
        })?;
        let title = names::folder(matter);
        let drive = self.library_of(&title).await?;
        rest.settle(&title).await?;
        for (person, role) in team {
            let login = format!(
                "i:0#.f|membership|{}",
                person.address(permit).to_lowercase()
            );
            rest.admit(&title, &login, *role).await?;
        }
        if !rest.keeps_versions(FOUND, &title).await? {
            return Err(Code::DocNover.into());
        }
        let mut allowed = Allowed::default();
        for (person, _) in team {
            let address = person.address(permit).to_lowercase();
            let mut url = self.graph.url(&["users", &address])?;
            url.query_pairs_mut().append_pair("$select", "id");
            let found: Option<Named> = self.graph.find(FOUND, url).await?;
            let found = found.ok_or_else(|| {
                FOUND
                    .fault(FaultKind::Misconfigured)
                    .because("the directory does not know somebody of the team")
            })?;
            allowed.people.insert(locator(&found.id)?);
        }
        let whole = Self {
            drive: drive.clone(),
            ..self.clone()
        };
        let root = locator("root")?;
        let ways = whole.ways(&root, permit).await?;
        if let Some(finding) = judge(&root, &ways, &allowed).first() {
            return Err(Refusal::new(finding.code).about("matter", matter).into());
        }
        let inside: BTreeSet<&Locator> = ways
            .iter()
            .filter_map(|way| match &way.who {
                Reach::Person(id) | Reach::Guest(id) => Some(id),
                _ => None,
            })
            .collect();
        if allowed.people.iter().any(|person| !inside.contains(person)) {
            let fault = FOUND.fault(FaultKind::Unavailable);
            return Err(fault
                .because("somebody of the team does not get in yet")
                .into());
        }
        locator(&drive)
    }

    /// The drive of the library of this title, made if need be.
    async fn library_of(&self, title: &str) -> Result<String> {
        let url = self.graph.url(&["sites", self.site.as_str(), "lists"])?;
        let columns: Vec<Value> = COLUMNS
            .iter()
            .map(|name| json!({ "name": name, "text": {}, "indexed": true }))
            .collect();
        let body = json!({ "displayName": title, "columns": columns,
            "list": { "template": "documentLibrary" } });
        let make = || Ok(Request::post(FOUND, url.clone()).json(&body).repeatable());
        let answer = self.graph.ask(make).await?;
        // 409: somebody made it, or we ourselves and the answer was lost.
        if !matches!(answer.status, 200 | 201 | 409) {
            return Err(answer.unexpected(FOUND));
        }
        let drive = self.drive_of(FOUND, title).await?;
        Ok(drive.ok_or_else(|| FOUND.fault(FaultKind::NotFound))?)
    }

    /// The drive of the library of this title, if the site has it.
    pub(crate) async fn drive_of(&self, call: Call, title: &str) -> Result<Option<String>> {
        let parts = ["sites", self.site.as_str(), "lists", title, "drive"];
        let mut url = self.graph.url(&parts)?;
        url.query_pairs_mut().append_pair("$select", "id");
        let drive: Option<Named> = self.graph.find(call, url).await?;
        Ok(drive.map(|drive| drive.id))
    }
}

impl Rest {
    /// Cuts a library off from what the site grants, and has it keep versions.
    async fn settle(&self, title: &str) -> Result<()> {
        let list = format!("GetByTitle('{}')", title.replace('\'', "''"));
        let cut = "breakroleinheritance(copyRoleAssignments=false,clearSubscopes=true)";
        let url = self.client.url(&["web", "lists", &list, cut])?;
        self.post(url, None, false).await?;
        let url = self.client.url(&["web", "lists", &list])?;
        let body = json!({ "__metadata": { "type": "SP.List" }, "EnableVersioning": true,
            "EnableMinorVersions": false, "MajorVersionLimit": MAJOR_VERSIONS });
        self.post(url, Some(&body), true).await.map(drop)
    }

    /// Gives somebody a role in a library of its own.
    async fn admit(&self, title: &str, login: &str, role: SharedRole) -> Result<()> {
        let url = self.client.url(&["web", "ensureuser"])?;
        let user = self
            .post(url, Some(&json!({ "logonName": login })), false)
            .await?;
        let id = user["Id"].as_u64().ok_or_else(|| {
            FOUND
                .fault(FaultKind::Protocol)
                .because("a user without a number")
        })?;
        let role = match role {
            SharedRole::Edit => CONTRIBUTE,
            SharedRole::View => READ,
        };
        let list = format!("GetByTitle('{}')", title.replace('\'', "''"));
        let add = format!("addroleassignment(principalid={id},roledefid={role})");
        let url = self
            .client
            .url(&["web", "lists", &list, "roleassignments", &add])?;
        self.post(url, None, false).await.map(drop)
    }

    async fn post(&self, url: kta_http::Url, body: Option<&Value>, merge: bool) -> Result<Value> {
        let make = || {
            let mut request = Request::post(FOUND, url.clone()).repeatable();
            if let Some(body) = body {
                let kind = "application/json;odata=verbose";
                request = request.bytes(body.to_string().into_bytes(), kind);
            }
            if merge {
                request = request
                    .header("x-http-method", "MERGE")
                    .header("if-match", "*");
            }
            Ok(request.header("accept", "application/json;odata=nometadata"))
        };
        let answer = self.client.ask(make).await?;
        match answer.status {
            200 | 201 | 204 => Ok(answer.value),
            404 => {
                let fault = FOUND.fault(FaultKind::Misconfigured).with_status(404);
                Err(fault
                    .because("SharePoint knows no such library or person")
                    .into())
            }
            _ => Err(closed(answer.unexpected(FOUND))),
        }
    }
}

fn locator(id: &str) -> Result<Locator> {
    Locator::new(id).map_err(|_| FOUND.fault(FaultKind::Protocol).because("not an id").into())
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

const FOUND: Call = Call::new(Port::Documents, "found");
/// What the firm says of a file: ids and words.
const COLUMNS: [&str; 3] = ["KtaDocument", "KtaKind", "KtaRetention"];
const MAJOR_VERSIONS: u32 = 500;
/// SharePoint's built-in role definitions.
const READ: u32 = 1_073_741_826;
const CONTRIBUTE: u32 = 1_073_741_827;
