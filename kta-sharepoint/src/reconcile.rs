//! One walk over the library that holds it against what the firm knows of it.
//!
//! ```text
//!   delta, from the beginning ──► every item, and the tree it stands in
//!        │ ours, but in another matter's folder ─► misfiled     │ not ours at all ─► unknown
//!        │ ours, and nowhere ─► deleted (still in a bin?)
//!        └► $batch: versions ─► trimmed, unexplained     permissions ─► ways ─► judged
//! ```
//!
//! A deletion by hand, a document moved into another client's folder, a version that is gone, a link for
//! anyone and a walled person in a group within a group are all found by one such walk.

use crate::access::{AccessFinding, Allowed, LOOK, judge};
use crate::batch::{Part, batch};
use crate::groups::Directory;
use crate::items::Item;
use crate::permissions::Permission;
use crate::{SharePoint, WRITE, names};
use kta_core::audit::Label;
use kta_core::id::{DocumentId, MatterId};
use kta_core::pii::Locator;
use kta_core::policy::Permit;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the firm knows of one file of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The document.
    pub document: DocumentId,
    /// The matter in whose folder it belongs.
    pub matter: MatterId,
    /// Every version the firm made and did not remove.
    pub versions: BTreeSet<Label>,
}

/// What a walk over the library saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many files the library has.
    pub files: usize,
    /// What is not as it should be, in a fixed order.
    pub findings: Vec<Finding>,
}

/// One thing that is not as the firm knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Finding {
    /// Somebody has access who should not.
    Access(AccessFinding),
    /// A document is gone that nobody here removed.
    Deleted {
        /// The document.
        document: DocumentId,
        /// Whether a recycle bin still has it, as far as SharePoint REST tells; see
        /// [`SharePoint::recover`].
        recoverable: bool,
    },
    /// A grant of the register is not there any more.
    GrantGone(Locator),
    /// A document lies in a folder that is not its matter's.
    Misfiled {
        /// The document.
        document: DocumentId,
        /// Where it is.
        item: Locator,
        /// The matter whose folder it is in, if it is in one.
        found_in: Option<MatterId>,
    },
    /// A version the firm made is gone.
    Trimmed {
        /// The document.
        document: DocumentId,
        /// The versions.
        versions: BTreeSet<Label>,
    },
    /// A version that nobody here made.
    Unexplained {
        /// The document.
        document: DocumentId,
        /// The versions.
        versions: BTreeSet<Label>,
    },
    /// A file that the firm does not know.
    Unknown(Locator),
}

impl SharePoint {
    /// Walks over the whole library and says what is not as `known` and `allowed` have it.
    ///
    /// `allowed` gives, for a matter, who may reach its files; a matter it has nothing for lets nobody in.
    /// The walk reads every page of the delta feed, and for every file its versions and permissions, twenty
    /// answers to a request.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to review, search, process or manage; faults. There is no half survey:
    /// what could not be asked is an error.
    pub async fn survey(
        &self,
        known: &[Known],
        allowed: &BTreeMap<MatterId, Allowed>,
        permit: &Permit<'_>,
    ) -> Result<Survey> {
        permit.require_act(LOOK)?;
        let tree = self.tree().await?;
        let by_id: BTreeMap<DocumentId, &Known> =
            known.iter().map(|each| (each.document, each)).collect();
        let nobody = Allowed::default();
        let mut survey = Survey::default();
        let (mut seen, mut held) = (BTreeSet::new(), BTreeSet::new());
        let files: Vec<&Item> = tree.values().filter(|item| item.file.is_some()).collect();
        survey.files = files.len();
        let mut directory = Directory::new(self);
        for some in files.chunks(TEN) {
            let answers = self.details(some).await?;
            for (item, answer) in some.iter().zip(answers) {
                // Gone since the page was read: whether it is lost is asked by its path below.
                let Some((versions, permissions)) = answer else {
                    continue;
                };
                let place = Locator::new(item.id.as_str())
                    .map_err(|_| SURVEY.fault(FaultKind::Protocol).because("not an id"))?;
                let folder = item
                    .parent_id()
                    .and_then(|parent| tree.get(parent))
                    .and_then(|folder| names::matter(&folder.name));
                let ours = names::document(&item.name).and_then(|id| by_id.get(&id));
                // A misfiled document keeps its own wall: whoever may see the other matter may not see it.
                let matter = ours.map(|known| known.matter).or(folder);
                let rights = matter
                    .and_then(|matter| allowed.get(&matter))
                    .unwrap_or(&nobody);
                let ways = directory.ways(&permissions, permit.now()).await?;
                held.extend(ways.iter().map(|way| way.grant.clone()));
                let judged = judge(&place, &ways, rights);
                survey
                    .findings
                    .extend(judged.into_iter().map(Finding::Access));
                let Some(known) = ours else {
                    survey.findings.push(Finding::Unknown(place));
                    continue;
                };
                let document = known.document;
                let twice = !seen.insert(document);
                let below = self.folder.names();
                if twice || folder != Some(known.matter) || !is_below(&tree, item, below) {
                    survey.findings.push(Finding::Misfiled {
                        document,
                        item: place,
                        found_in: folder,
                    });
                }
                let gone: BTreeSet<Label> = known.versions.difference(&versions).cloned().collect();
                let more: BTreeSet<Label> = versions.difference(&known.versions).cloned().collect();
                if !gone.is_empty() {
                    let versions = gone;
                    survey
                        .findings
                        .push(Finding::Trimmed { document, versions });
                }
                if !more.is_empty() {
                    let versions = more;
                    survey
                        .findings
                        .push(Finding::Unexplained { document, versions });
                }
            }
        }
        let mut lost: Vec<DocumentId> = Vec::new();
        for (id, known) in by_id.iter().filter(|(id, _)| !seen.contains(*id)) {
            // The feed shows what was just stored after a while only.
            let path = self.path(known.matter, *id);
            if self.item_at(SURVEY, &path).await?.is_none() {
                lost.push(*id);
            }
        }
        let binned = self.binned(&lost).await?;
        survey
            .findings
            .extend(lost.into_iter().map(|document| Finding::Deleted {
                document,
                recoverable: binned.contains(&names::file(document)),
            }));
        let registered = allowed.values().flat_map(|each| &each.grants);
        let gone = registered.filter(|grant| !held.contains(*grant));
        survey
            .findings
            .extend(gone.cloned().map(Finding::GrantGone));
        survey.findings.sort();
        survey.findings.dedup();
        Ok(survey)
    }

    /// Brings a document back that somebody deleted, while a recycle bin has it; tells whether it did. Of
    /// several deletions it is the latest.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to store or process; `Unsupported` without SharePoint REST; `Conflict` when
    /// its place is taken; faults.
    pub async fn recover(&self, document: DocumentId, permit: &Permit<'_>) -> Result<bool> {
        permit.require_act(WRITE)?;
        let rest = self.rest().ok_or_else(|| {
            RECOVER
                .fault(FaultKind::Unsupported)
                .because("recycle bins are in SharePoint REST, which is switched off")
        })?;
        let name = names::file(document);
        let entries = rest
            .entries(RECOVER, |entry| entry.leaf_name == name)
            .await?;
        // The later of two deletions is what the firm had last.
        match entries.iter().max_by_key(|entry| entry.deleted_date) {
            Some(entry) => rest.restore(RECOVER, entry).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Every item of the library by its id: the delta feed from the beginning, the last word on each.
    async fn tree(&self) -> Result<BTreeMap<String, Item>> {
        let mut url = self.graph.url(&["drives", &self.drive, "root", "delta"])?;
        url.query_pairs_mut().append_pair(
            "$select",
            "id,name,size,file,folder,deleted,parentReference",
        );
        let mut tree = BTreeMap::new();
        for _ in 0..MOST_PAGES {
            let make = || {
                let request = Request::get(SURVEY, url.clone());
                Ok(request.header("prefer", "deltaExcludeParent"))
            };
            let answer = self.graph.ask(make).await?;
            if answer.status != 200 {
                return Err(answer.unexpected(SURVEY));
            }
            let page: Page = answer.parse(SURVEY)?;
            for item in page.value {
                if item.deleted.is_some() {
                    tree.remove(&item.id);
                } else {
                    tree.insert(item.id.clone(), item);
                }
            }
            match page.next {
                Some(next) => url = self.page_url(&next)?,
                None => return Ok(tree),
            }
        }
        let fault = SURVEY.fault(FaultKind::Protocol);
        Err(fault.because("the library has no end").into())
    }

    /// Versions and permissions of these items; `None` for one that is gone.
    async fn details(&self, items: &[&Item]) -> Result<Vec<Option<Details>>> {
        let both = |item: &&Item| {
            ["versions", "permissions"].map(|tail| Part::read(self.by_id(&item.id, &[tail])))
        };
        let parts: Vec<Part> = items.iter().flat_map(both).collect();
        let mut answers = batch(&self.graph, SURVEY, &parts).await?.into_iter();
        let mut all = Vec::new();
        for item in items {
            let (Some(versions), Some(permissions)) = (answers.next(), answers.next()) else {
                break; // a batch gives an answer for each path
            };
            if versions.status == 404 || permissions.status == 404 {
                all.push(None);
                continue;
            }
            let versions = match paged(&versions.value) {
                // The rest of a long list is asked for the ordinary way.
                true => self.list_versions(SURVEY, &item.id).await?,
                false if versions.status == 200 => crate::versions::read(SURVEY, versions.value)?,
                false => return Err(versions.unexpected(SURVEY)),
            };
            let permissions = match paged(&permissions.value) {
                true => self
                    .permissions(SURVEY, &item.id)
                    .await?
                    .unwrap_or_default(),
                false if permissions.status == 200 => {
                    permissions.parse::<Permissions>(SURVEY)?.value
                }
                false => return Err(permissions.unexpected(SURVEY)),
            };
            let versions = versions.into_iter().map(|version| version.id).collect();
            all.push(Some((versions, permissions)));
        }
        Ok(all)
    }

    /// Which of these documents' names are in a recycle bin.
    async fn binned(&self, documents: &[DocumentId]) -> Result<BTreeSet<String>> {
        let Some(rest) = self.rest().filter(|_| !documents.is_empty()) else {
            return Ok(BTreeSet::new());
        };
        let wanted: BTreeSet<String> = documents.iter().map(|id| names::file(*id)).collect();
        let entries = rest
            .entries(SURVEY, |entry| wanted.contains(&entry.leaf_name))
            .await?;
        Ok(entries.into_iter().map(|entry| entry.leaf_name).collect())
    }
}

/// Whether the item's matter folder lies directly in the configured folder.
fn is_below(tree: &BTreeMap<String, Item>, item: &Item, folder: &[String]) -> bool {
    let mut at = item.parent_id().and_then(|parent| tree.get(parent));
    for name in folder.iter().rev() {
        at = at.and_then(|folder| tree.get(folder.parent_id()?));
        if at.is_none_or(|folder| folder.name != *name) {
            return false;
        }
    }
    // Above that there is the root alone, which has no parent.
    let top = at.and_then(|folder| tree.get(folder.parent_id()?));
    top.is_none_or(|root| root.parent_id().is_none())
}

fn paged(value: &serde_json::Value) -> bool {
    value.get("@odata.nextLink").is_some()
}

/// The names of a file's versions, and its permissions.
type Details = (BTreeSet<Label>, Vec<Permission>);

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    value: Vec<Item>,
    #[serde(default, rename = "@odata.nextLink")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Permissions {
    value: Vec<Permission>,
}

const SURVEY: Call = Call::new(Port::Documents, "survey");
const RECOVER: Call = Call::new(Port::Documents, "recover");
/// Two questions for each item, twenty to a request.
const TEN: usize = 10;
const MOST_PAGES: usize = 1_000_000;
