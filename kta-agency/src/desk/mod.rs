//! The desk of the person who files: packages ready to be handed in, and the record of each act.

mod erase;
mod folder;
mod order;

use core::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kta_core::audit::{Label, Signer};
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{Content, Pii, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::channel::{Channel, Package, Submission, SubmissionState};
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, FaultKind, Refusal, Result};
use sha2::Sha256;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::check::check;
use crate::facts::FactSource;
use crate::manifest::{MANIFEST, PARTS, PackageManifest};
use crate::register::{ChannelKind, Register};
use folder::{Filed, Folder, HumanAct, fault};

/// A [`Channel`] whose last step is a person's: most agencies take filings at a web site or a
/// counter only, so software can prepare, bind and prove, but not post.
///
/// ```text
/// submit ──► check ──► matters/mat_…/idk_…/   manifest.txt (signed)   work-order.txt   parts/001.pdf …
///                          Prepared │
///   a person files at the portal    │
///                                   ▼
/// record_act(receipt) ──► Acknowledged, receipt bound to the matter, the parts overwritten
/// ```
///
/// A package appears by one rename, whole or not at all, and survives the process. The parts lie
/// there readable, for the person who uploads them: only for its owner, only until the act is
/// recorded. One process has a desk at a time. Files are written in place, waiting for the disk.
pub struct PortalDesk {
    folder: Folder,
    key: Zeroizing<[u8; 32]>,
    register: Register,
    facts: Arc<dyn FactSource>,
    signer: Arc<dyn Signer>,
    by: ChannelKind,
    /// One change at a time.
    turn: Mutex<()>,
}

impl PortalDesk {
    /// The name under which placements know a desk.
    pub const SYSTEM: System = Label::fixed("agency-desk");

    /// Opens the desk in this folder, or sets one up. What an earlier process was cut off from
    /// is cleared away.
    ///
    /// # Errors
    /// `Misconfigured` when others can read the folder, `Corrupt` when it is no desk,
    /// `Unavailable` when another process has it or the disk does not take it.
    pub fn open(
        folder: &Path,
        register: Register,
        facts: Arc<dyn FactSource>,
        signer: Arc<dyn Signer>,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let folder = Folder::open(folder)?;
        let key = folder.key(entropy)?;
        Ok(Self {
            folder,
            key,
            register,
            facts,
            signer,
            by: ChannelKind::Portal,
            turn: Mutex::default(),
        })
    }

    /// The same for another kind of human act: a courier's, a visit in person.
    #[must_use]
    pub fn by(mut self, kind: ChannelKind) -> Self {
        self.by = kind;
        self
    }

    /// Records that the package was filed: the agency's receipt number and when. The receipt
    /// belongs to one matter from then on, and the parts on the desk are overwritten. The same
    /// act again is no other act.
    ///
    /// # Errors
    /// [`Code::AgyReceipt`] for a number that is none of this agency's, is bound to another
    /// matter, differs from the one recorded, or is said to be of the future; [`Code::AclDeny`]
    /// for a permit that does not cover the package; `NotFound` without such a submission.
    pub async fn record_act(
        &self,
        key: IdempotencyKey,
        receipt: &Pii<String>,
        filed_at: Timestamp,
        permit: &Permit<'_>,
    ) -> Result<Submission> {
        let _turn = self.turn.lock().await;
        permit.require_act(&[Act::Transmit])?;
        let Some((place, mut filed)) = self.folder.find(key, permit.matter())? else {
            return Err(fault(FaultKind::NotFound)
                .because("no such submission")
                .into());
        };
        filed.package.admit(permit)?;
        let refused = || Refusal::new(Code::AgyReceipt).about("matter", filed.package.matter);
        let kind = self
            .register
            .form(&filed.package.agency, &filed.package.form)
            .map(|form| form.receipt);
        let number = kind
            .and_then(|kind| kind.parse(receipt.expose(permit)))
            .map(Zeroizing::new);
        let number = number.ok_or_else(refused)?;
        if filed_at > permit.now() {
            return Err(refused().about("filed", "future").into());
        }
        let digest = self.keyed(&[
            b"receipt of package",
            filed.submission.package.as_bytes(),
            number.as_bytes(),
        ]);
        match &filed.submission.state {
            SubmissionState::Acknowledged { receipt, .. } if *receipt != digest => {
                return Err(refused().about("recorded", "otherwise").into());
            }
            SubmissionState::Acknowledged { .. } => {}
            _ => {
                let tag = self.keyed(&[b"receipt", number.as_bytes()]);
                if self.folder.bind(&tag, filed.package.matter)? != filed.package.matter {
                    return Err(refused().about("bound", "elsewhere").into());
                }
                filed.submission.state = SubmissionState::Acknowledged {
                    receipt: digest,
                    at: filed_at,
                };
                filed.act = Some(HumanAct {
                    actor: permit.actor(),
                    filed_at,
                    recorded_at: permit.now(),
                });
                self.folder.put_record(&place, &filed)?;
            }
        }
        self.folder.clear_parts(&place)?;
        Ok(filed.submission)
    }

    /// A digest that nobody can make by trying numbers without the desk's own key.
    fn keyed(&self, parts: &[&[u8]]) -> Digest {
        // Proof: HMAC takes keys of every length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).expect("a key of 32 bytes");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Digest::from_bytes(mac.finalize().into_bytes().into())
    }
}

#[async_trait]
impl Channel for PortalDesk {
    fn name(&self) -> Label {
        Self::SYSTEM
    }

    /// # Errors
    /// Those of [`check`], [`Code::AgyNoAuth`] where the firm has no facts of the matter,
    /// `Corrupt` for parts that are not what the manifest says, `Conflict` for a key of another
    /// matter's submission; refusals of the permit; faults of the disk.
    async fn submit(
        &self,
        package: &Package,
        parts: Vec<Content>,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Submission> {
        package.admit(permit)?;
        let _turn = self.turn.lock().await;
        if let Some((_, filed)) = self.folder.find(key, None)? {
            let same = filed.package.matter == package.matter;
            return if same {
                Ok(filed.submission)
            } else {
                Err(fault(FaultKind::Conflict).into())
            };
        }
        let facts = self
            .facts
            .facts(package, permit)
            .await?
            .ok_or(Code::AgyNoAuth)?;
        check(package, self.by, &self.register, &facts)?;
        if parts.len() != package.parts.len() {
            return Err(fault(FaultKind::Corrupt)
                .because("parts and manifest differ in number")
                .into());
        }
        let manifest = PackageManifest::of(package.clone());
        let staged = self.folder.stage(key)?;
        for ((name, part), content) in manifest.files().zip(parts) {
            if !part.promises(&content) {
                return Err(fault(FaultKind::Corrupt)
                    .because("a part is not what the manifest says")
                    .into());
            }
            let mut file = staged.file(&[PARTS, &name])?;
            let mut stream = content.into_stream(permit);
            while let Some(chunk) = stream.try_next().await? {
                file.append(&chunk)?;
            }
            file.finish()?;
        }
        staged.put(
            MANIFEST,
            manifest.sign(&*self.signer)?.to_string().as_bytes(),
        )?;
        let order = order::text(&manifest, key, self.by, &self.register, &facts);
        staged.put(order::NAME, order.as_bytes())?;
        let submission = Submission {
            key: key.to_string(),
            package: package.digest(),
            state: SubmissionState::Prepared,
        };
        let filed = Filed {
            submission: submission.clone(),
            package: package.clone(),
            prepared_at: permit.now(),
            prepared_by: permit.actor(),
            act: None,
        };
        staged.commit(&filed)?;
        Ok(submission)
    }

    async fn find(&self, key: IdempotencyKey, permit: &Permit<'_>) -> Result<Option<Submission>> {
        permit.require_act(&[Act::Transmit])?;
        let found = self.folder.find(key, permit.matter())?;
        let ours = found.filter(|(_, filed)| permit.matter() == Some(filed.package.matter));
        Ok(ours.map(|(_, filed)| filed.submission))
    }
}

impl fmt::Debug for PortalDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortalDesk")
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}
