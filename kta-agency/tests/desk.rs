//! The desk: what lies on it, the act that is recorded, and what is left.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use common::{Believing, believed, desk_at, place, signer};
use kta_agency::{FactSheets, PackageManifest, PortalDesk, verify_folder};
use kta_core::audit::{Label, NoteKey};
use kta_core::conformance::Desk;
use kta_core::id::{Digest, DocumentId, IdempotencyKey, MatterId, PlacementId, SubjectId};
use kta_core::pii::{
    Category, Content, CopyOf, DocumentKind, MediaType, Pii, Placement, PlacementKind,
    PlacementState,
};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::channel::{Channel as _, Package, Part, Submission, SubmissionState};
use kta_core::ports::erase::{Erase as _, Probe};
use kta_core::{Code, FaultKind, Result};

const RECEIPT: &str = "IOE-01 2345 6789";

/// Invented clients, and a filing for one of them.
struct Filing {
    firm: Desk,
    package: Package,
    bodies: Vec<Vec<u8>>,
}

impl Filing {
    fn new(case: &str) -> Self {
        let firm = Desk::new(case);
        Self::of(firm, |firm| {
            (firm.matter(), firm.petitioner(), firm.beneficiary())
        })
    }

    fn of(firm: Desk, people: impl FnOnce(&Desk) -> (MatterId, SubjectId, SubjectId)) -> Self {
        let (matter, petitioner, beneficiary) = people(&firm);
        let kinds = [
            (petitioner, DocumentKind::Lca, Category::EmployerRecord),
            (beneficiary, DocumentKind::Passport, Category::Identity),
            (beneficiary, DocumentKind::Degree, Category::Case),
        ];
        let bodies: Vec<Vec<u8>> = kinds
            .iter()
            .map(|(_, kind, _)| format!("CANARY {kind} {matter}").into_bytes())
            .collect();
        let part = |((subject, kind, category), body): ((_, DocumentKind, _), &Vec<u8>)| Part {
            document: DocumentId::derived(&[matter.as_bytes(), body]),
            subject,
            kind,
            category,
            media: MediaType::pdf(),
            length: body.len() as u64,
            digest: Digest::of(body),
        };
        let package = Package {
            matter,
            agency: Label::fixed("us.uscis"),
            form: Label::fixed("i-129"),
            edition: "2025-01-20".parse().unwrap(),
            on: firm.now().date_naive(),
            authority: Some(Digest::of(b"authority")),
            attorney: firm.actor(Role::Attorney),
            parts: kinds.into_iter().zip(&bodies).map(part).collect(),
        };
        Self {
            firm,
            package,
            bodies,
        }
    }

    fn key(&self) -> IdempotencyKey {
        IdempotencyKey::derived("file", &[self.package.matter.as_bytes()])
    }

    fn scope(&self) -> Scope {
        let subjects: Vec<_> = self.package.parts.iter().map(|part| part.subject).collect();
        let categories = [Category::Identity, Category::Case, Category::EmployerRecord];
        Scope::over(subjects, categories).in_matter(self.package.matter)
    }

    async fn submit(&self, desk: &PortalDesk) -> Result<Submission> {
        let session = self.firm.session(Role::Attorney);
        let permit = session.permit(Act::Transmit, self.scope()).await.unwrap();
        let contents = self
            .bodies
            .iter()
            .map(|body| Content::of(body.clone(), MediaType::pdf()))
            .collect();
        desk.submit(&self.package, contents, self.key(), &permit)
            .await
    }

    async fn record(&self, desk: &PortalDesk, receipt: &str, late: i64) -> Result<Submission> {
        let session = self.firm.session(Role::Attorney);
        let permit = session.permit(Act::Transmit, self.scope()).await.unwrap();
        let filed_at = self.firm.now() + TimeDelta::minutes(late);
        desk.record_act(self.key(), &Pii::new(receipt.to_owned()), filed_at, &permit)
            .await
    }

    async fn find(&self, desk: &PortalDesk) -> Option<Submission> {
        let session = self.firm.session(Role::Attorney);
        let permit = session.permit(Act::Transmit, self.scope()).await.unwrap();
        desk.find(self.key(), &permit).await.unwrap()
    }

    fn folder(&self, place: &Path) -> PathBuf {
        place
            .join("matters")
            .join(self.package.matter.to_string())
            .join(self.key().to_string())
    }

    fn placement(&self, at: usize) -> Placement {
        let part = &self.package.parts[at];
        Placement {
            tenant: self.firm.tenant(),
            id: PlacementId::derived(&[part.document.as_bytes()]),
            subject: part.subject,
            matter: Some(self.package.matter),
            system: PortalDesk::SYSTEM,
            kind: PlacementKind::Recipient,
            of: CopyOf::Document(part.document),
            category: part.category,
            locator: None,
            state: PlacementState::Present,
            since: self.firm.now(),
        }
    }

    async fn erase(&self, desk: &PortalDesk, at: usize) -> Vec<String> {
        let session = self.firm.session(Role::ServiceDestroy);
        let permit = session.permit(Act::Destroy, self.scope()).await.unwrap();
        let erased = desk
            .erase(&self.placement(at), self.key(), &permit)
            .await
            .unwrap();
        erased.steps.iter().map(ToString::to_string).collect()
    }

    async fn probe(&self, desk: &PortalDesk, at: usize) -> Probe {
        let session = self.firm.session(Role::Records);
        let permit = session.permit(Act::Probe, self.scope()).await.unwrap();
        desk.probe(&self.placement(at), &permit).await.unwrap()
    }
}

fn content_left(probe: &Probe) -> bool {
    probe.residues.iter().any(|residue| residue.content)
}

fn code<T: std::fmt::Debug>(outcome: Result<T>) -> Code {
    outcome.unwrap_err().refusal().expect("a refusal").code()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.append(&mut files(&path))
        } else {
            all.push(path)
        }
    }
    all
}

#[tokio::test]
async fn a_prepared_package_verifies_offline_and_every_changed_byte_is_found() {
    let place = place();
    let filing = Filing::new("verifies");
    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    assert_eq!(
        filing.submit(&desk).await.unwrap().state,
        SubmissionState::Prepared
    );
    let (folder, key) = (filing.folder(&place), NoteKey::of(&signer()).unwrap());
    assert_eq!(verify_folder(&folder, &key), Ok(filing.package.clone()));

    for file in ["manifest.txt", "parts/001.pdf", "parts/003.pdf"] {
        let path = folder.join(file);
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, changed).unwrap();
            let fault = verify_folder(&folder, &key).unwrap_err();
            assert_eq!(
                fault.fault().unwrap().kind(),
                FaultKind::Corrupt,
                "{file} {position}"
            );
        }
        fs::write(&path, whole).unwrap();
    }
    fs::write(folder.join("parts/004.pdf"), "more").unwrap();
    assert!(verify_folder(&folder, &key).is_err(), "a file too many");
    fs::remove_file(folder.join("parts/004.pdf")).unwrap();
    fs::rename(folder.join("parts/001.pdf"), folder.join("parts/009.pdf")).unwrap();
    assert!(
        verify_folder(&folder, &key).is_err(),
        "a file under another name"
    );
}

#[tokio::test]
async fn a_manifest_has_one_text_form_and_garbage_is_refused() {
    let manifest = PackageManifest::of(Filing::new("text").package);
    let text = manifest.text();
    assert_eq!(PackageManifest::parse(&text), Ok(manifest));
    let lines: Vec<&str> = text.lines().collect();
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        assert!(
            PackageManifest::parse(&(fewer.join("\n") + "\n")).is_err(),
            "without line {at}"
        );
        let mut more = lines.clone();
        more.insert(at, lines[at]);
        assert!(
            PackageManifest::parse(&(more.join("\n") + "\n")).is_err(),
            "line {at} twice"
        );
    }
    for garbage in [
        "",
        "\n",
        "kta-package/1\n",
        "part ",
        &text.replace(' ', "  "),
        &text.to_uppercase(),
    ] {
        assert!(PackageManifest::parse(garbage).is_err());
    }
}

#[tokio::test]
async fn a_submission_survives_the_process_and_a_cut_one_is_cleared_away() {
    let place = place();
    let filing = Filing::new("survives");
    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    let made = filing.submit(&desk).await.unwrap();
    assert!(
        desk_at(&place, Arc::new(Believing)).is_err(),
        "one process at a time"
    );
    drop(desk);
    let half = place.join("staging/idk_half/parts");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("001.pdf"), "CANARY half").unwrap();

    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    assert_eq!(filing.find(&desk).await, Some(made.clone()));
    assert_eq!(filing.submit(&desk).await.unwrap(), made);
    assert_eq!(fs::read_dir(place.join("staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_recorded_act_acknowledges_binds_the_receipt_and_overwrites_the_parts() {
    let place = place();
    let filing = Filing::new("act");
    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    filing.submit(&desk).await.unwrap();
    let trace = place.join("trace");
    fs::hard_link(filing.folder(&place).join("parts/002.pdf"), &trace).unwrap();

    let filed = filing.record(&desk, RECEIPT, -5).await.unwrap();
    assert!(matches!(filed.state, SubmissionState::Acknowledged { .. }));
    assert_eq!(
        filing.record(&desk, "ioe0123456789", -3).await.unwrap(),
        filed,
        "the same act again"
    );
    assert_eq!(filing.find(&desk).await, Some(filed.clone()));
    assert!(
        fs::read(&trace).unwrap().iter().all(|byte| *byte == 0),
        "overwritten, not only removed"
    );
    drop(desk);
    fs::remove_file(trace).unwrap();

    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    assert_eq!(filing.find(&desk).await, Some(filed));
    for path in files(&place) {
        let bytes = fs::read(&path).unwrap();
        for canary in ["CANARY", "0123456789"] {
            let hit = bytes
                .windows(canary.len())
                .any(|part| part == canary.as_bytes());
            assert!(!hit, "{canary} in {path:?}");
        }
    }
}

#[tokio::test]
async fn receipts_that_are_none_or_belong_elsewhere_are_refused() {
    let place = place();
    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    let (one, other) = (Filing::new("receipt one"), Filing::new("receipt other"));
    one.submit(&desk).await.unwrap();
    other.submit(&desk).await.unwrap();
    for none in ["", "IOE12345", "IO50123456789", "IOE01234567890", "CANARY"] {
        let error = one.record(&desk, none, 0).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code(), Code::AgyReceipt);
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    }
    assert_eq!(
        code(one.record(&desk, RECEIPT, 1).await),
        Code::AgyReceipt,
        "filed in the future"
    );
    one.record(&desk, RECEIPT, 0).await.unwrap();
    assert_eq!(
        code(other.record(&desk, RECEIPT, 0).await),
        Code::AgyReceipt,
        "bound to another matter"
    );
    assert_eq!(
        code(one.record(&desk, "EAC2212345678", 0).await),
        Code::AgyReceipt,
        "recorded otherwise"
    );
    other.record(&desk, "EAC2212345678", 0).await.unwrap();
}

#[tokio::test]
async fn an_act_is_recorded_under_a_permit_for_the_whole_package_only() {
    let desk = common::fresh().await;
    let filing = Filing::new("permit");
    filing.submit(&desk).await.unwrap();
    let receipt = Pii::new(RECEIPT.to_owned());
    let session = filing.firm.session(Role::Attorney);
    for scope in [
        filing
            .firm
            .scope(filing.firm.beneficiary(), Category::Identity),
        filing
            .firm
            .scope(filing.firm.stranger(), Category::Identity),
    ] {
        let permit = session.permit(Act::Transmit, scope).await.unwrap();
        let error = desk
            .record_act(filing.key(), &receipt, filing.firm.now(), &permit)
            .await
            .unwrap_err();
        let hidden = error.fault().map(|fault| fault.kind()) == Some(FaultKind::NotFound);
        assert!(hidden || error.refusal().map(|refusal| refusal.code()) == Some(Code::AclDeny));
    }
    assert_eq!(
        filing.find(&desk).await.unwrap().state,
        SubmissionState::Prepared
    );
}

#[tokio::test]
async fn erasing_takes_one_persons_document_and_the_probe_looks_at_the_bytes() {
    let place = place();
    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    let filing = Filing::new("erase");
    filing.submit(&desk).await.unwrap();
    assert!(content_left(&filing.probe(&desk, 1).await));
    assert_eq!(
        filing.erase(&desk, 1).await,
        ["part.overwrite", "part.remove"]
    );
    assert_eq!(
        filing.erase(&desk, 1).await,
        ["part.absent"],
        "again is no error"
    );
    let probe = filing.probe(&desk, 1).await;
    assert!(!content_left(&probe));
    assert_eq!(probe.residues.len(), 1, "the manifest still names it");
    assert!(
        content_left(&filing.probe(&desk, 2).await),
        "nothing of anybody else"
    );

    // A copy under a name that `erase` would not know is seen all the same.
    fs::write(
        filing.folder(&place).join("parts/copy.tmp"),
        &filing.bodies[1],
    )
    .unwrap();
    assert!(content_left(&filing.probe(&desk, 1).await));
}

#[tokio::test]
async fn erasing_and_probing_want_their_own_permits() {
    let desk = common::fresh().await;
    let filing = Filing::new("wrong permits");
    filing.submit(&desk).await.unwrap();
    let session = filing.firm.session(Role::Attorney);
    let permit = session.permit(Act::Transmit, filing.scope()).await.unwrap();
    assert_eq!(
        code(
            desk.erase(&filing.placement(1), filing.key(), &permit)
                .await
        ),
        Code::AclDeny
    );
    assert_eq!(
        code(desk.probe(&filing.placement(1), &permit).await),
        Code::AclDeny
    );
}

#[tokio::test]
async fn a_package_is_checked_against_the_firms_facts_before_anything_is_written() {
    let place = place();
    let sheets = Arc::new(FactSheets::new());
    let desk = desk_at(&place, sheets.clone()).unwrap();
    let filing = Filing::new("checked");
    assert_eq!(
        code(filing.submit(&desk).await),
        Code::AgyNoAuth,
        "nothing is known of the matter"
    );
    let mut facts = believed(&filing.package);
    facts
        .documents
        .get_mut(&filing.package.parts[1].document)
        .unwrap()
        .subject = filing.firm.stranger();
    sheets.file(facts);
    assert_eq!(code(filing.submit(&desk).await), Code::AgyWrongPerson);
    assert_eq!(fs::read_dir(place.join("staging")).unwrap().count(), 0);
    sheets.file(believed(&filing.package));
    assert!(filing.submit(&desk).await.is_ok());
}

#[tokio::test]
async fn nothing_on_the_desk_is_for_others_and_no_name_tells_anything() {
    let place = place();
    let desk = desk_at(&place, Arc::new(Believing)).unwrap();
    let filing = Filing::new("names");
    filing.submit(&desk).await.unwrap();
    for path in files(&place) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path:?}");
        assert!(!path.to_string_lossy().contains("CANARY"));
    }
    let order = fs::read_to_string(filing.folder(&place).join("work-order.txt")).unwrap();
    assert!(order.contains("my.uscis.gov") && order.contains("passport of the beneficiary"));
    assert!(!order.contains("CANARY"));
    drop(desk);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = desk_at(&place, Arc::new(Believing)).unwrap_err();
    assert_eq!(refused.fault().unwrap().kind(), FaultKind::Misconfigured);
}
