//! A hardware security module, through PKCS#11.
//!
//! What lies on the token:
//!
//! ```text
//!  secret key  AES-256  label kek_…   id: 16 random bytes   never leaves the token
//!  data        label kek_…      application "kta-keys tombstone"   the evidence, as JSON
//!  data        label <holder>   application "kta-keys copy"        the KEKs in a declared backup
//! ```
//!
//! PKCS#11 has no unique names and no compare-and-set, so that two processes that create one KEK
//! at once may leave two keys under its label. That is harmless: a wrapped secret names its key
//! by id, and `destroy` destroys every key under the label. Within one process creations and
//! destructions take turns.

mod token;
mod trouble;

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::crypto::SecretKey;
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekDestroyed, KekId, KekState, Kms, WrappedKey};
use kta_core::time::Timestamp;
use kta_core::{Error, FaultKind, Result};
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};

use token::{Place, Token};
use trouble::{Answer, Trouble, fault};

/// A [`Kms`] in a hardware security module. Clones are handles to the same session.
///
/// The KEKs are AES-256 keys that the module generates, marked sensitive, not extractable and
/// not copyable. A secret is sealed inside the module with AES-GCM; the associated data names
/// the KEK, its key on the token and the caller's context. The nonce is 96 bits drawn by the
/// module, combined (XOR) with as many from the operating system, so that neither a poor
/// generator nor a machine restored twice from one snapshot repeats one. With random nonces a
/// KEK may wrap up to 2^32 secrets; the hierarchy wraps a few an epoch.
///
/// A destroyed KEK is gone from the token at once (`C_DestroyObject`), and a data object keeps
/// the evidence. Backups of the token that a module's own tools make hold the KEK still:
/// [`declare_copy`](Self::declare_copy) them. A KEK that the token does not swear was generated
/// on it, always sensitive and never extractable counts as a copy, too.
///
/// All calls go to one thread of their own, which holds the session; async callers wait without
/// blocking theirs. A lost session is opened again. A PIN that was refused is not tried again,
/// because a token locks itself after a few wrong ones: make a new `Pkcs11Kms`. A module that
/// hangs lets the calls hang: put a timeout around them; a dropped call that had not begun is
/// not made.
///
/// Dropping the last clone waits until the session is closed and the thread has ended, for a few
/// seconds at the most: a module that is being called while its process exits may crash it.
///
/// Login in PKCS#11 is per process and token, not per session: while one handle is logged in,
/// the module lets a second one in whatever PIN it has.
///
/// ```no_run
/// use kta_keys::{Pkcs11Kms, TokenName};
/// # fn main() -> kta_core::Result<()> {
/// # let pin = String::new();
/// let token = TokenName::Label("firm".to_owned());
/// let hsm = Pkcs11Kms::open("/usr/lib/softhsm/libsofthsm2.so", token, pin.into())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pkcs11Kms {
    office: Arc<Office>,
}

/// Which token of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenName {
    /// The one token with this label.
    Label(String),
    /// The token in the slot of this number. Some modules number their slots anew at each start.
    Slot(u64),
}

impl Pkcs11Kms {
    /// Loads the module, logs in to the token and starts the thread. It blocks on the module:
    /// do not call it on a thread that serves others. A module stays loaded until the process
    /// ends.
    ///
    /// # Errors
    /// `Misconfigured` for a file that is no PKCS#11 module, and for a refused PIN; `NotFound`
    /// when the module has no such token, or several; `Unavailable` when the module or its
    /// device does not answer.
    pub fn open(module: impl Into<PathBuf>, token: TokenName, pin: SecretString) -> Result<Self> {
        let place = Place::new(module.into(), token, pin);
        let session = place.token().map_err(Error::from)?;
        let desk = Desk {
            place,
            session: Some(session),
            refused: None,
        };
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let (open, closed) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("kta-pkcs11".to_owned())
            .spawn(move || {
                let _open: std::sync::mpsc::Sender<()> = open;
                let mut desk = desk;
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut desk);
                }
            })
            .map_err(|_| fault(FaultKind::Unavailable).because("no thread for the token"))?;
        let office = Office {
            jobs: Some(jobs),
            closed: Mutex::new(closed),
            thread: Some(thread),
        };
        Ok(Self {
            office: Arc::new(office),
        })
    }

    /// Declares that the token was backed up as it is now, and who holds the backup. Until
    /// [`copy_destroyed`](Self::copy_destroyed), destroying a KEK in it proves nothing, and the
    /// evidence says so.
    ///
    /// # Errors
    /// Those of [`Kms::create`].
    pub async fn declare_copy(&self, holder: Label) -> Result<()> {
        self.ask(move |token| token.declare_copy(&holder)).await
    }

    /// Declares that all backups with this holder are destroyed.
    ///
    /// KEKs that are destroyed from now on do not count them. For those that were destroyed
    /// before, tell the hierarchies of keys too:
    /// [`copies_destroyed`](kta_core::crypto::Hierarchy::copies_destroyed).
    ///
    /// # Errors
    /// Those of [`Kms::create`].
    pub async fn copy_destroyed(&self, holder: &Label) -> Result<()> {
        let holder = holder.clone();
        self.ask(move |token| token.copy_destroyed(&holder)).await
    }

    /// Lets the thread do this. It may be done twice, when the session was lost meanwhile.
    async fn ask<T: Send + 'static>(
        &self,
        act: impl Fn(&Token) -> Answer<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::from(fault(FaultKind::Unavailable).because("the thread has ended"));
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            // Nobody waits any more: it is not done.
            if !answer.is_closed() {
                let _ = answer.send(desk.serve(&act));
            }
        });
        let jobs = self.office.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

#[async_trait]
impl Kms for Pkcs11Kms {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        let name = IdempotencyKey::derived("pkcs11-kek", &[tenant.as_bytes(), key.as_bytes()]);
        let name = name.to_string().replacen("idk", "kek", 1);
        let kek = KekId::new(name).map_err(|_| fault(FaultKind::Misconfigured))?;
        self.ask(move |token| {
            let _turn = turn();
            token.create(&kek).map(|()| kek.clone())
        })
        .await
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        let secret = SecretKey::from_bytes(*secret.expose());
        let (kek, context) = (kek.clone(), context.to_vec());
        self.ask(move |token| token.wrap(&kek, &secret, &context))
            .await
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        let (kek, wrapped, context) = (kek.clone(), wrapped.clone(), context.to_vec());
        self.ask(move |token| token.unwrap(&kek, &wrapped, &context))
            .await
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        let kek = kek.clone();
        self.ask(move |token| {
            let _turn = turn();
            token.destroy(&kek, at)
        })
        .await
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        let kek = kek.clone();
        self.ask(move |token| token.state(&kek)).await
    }
}

impl fmt::Debug for Pkcs11Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Kms").finish_non_exhaustive()
    }
}

/// What the clones share: the way to the thread, and the thread.
struct Office {
    /// There until the drop.
    jobs: Option<mpsc::Sender<Job>>,
    /// Hangs up when the session is closed.
    closed: Mutex<std::sync::mpsc::Receiver<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.jobs = None;
        let closed = self
            .closed
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let hung = closed.recv_timeout(CLOSING) == Err(RecvTimeoutError::Timeout);
        // Past its last call into the module, the thread ends at once.
        if let Some(thread) = self.thread.take().filter(|_| !hung) {
            let _ = thread.join();
        }
    }
}

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// What the thread has.
struct Desk {
    place: Place,
    session: Option<Token>,
    /// The PIN was refused: asking again would lock the token.
    refused: Option<Error>,
}

impl Desk {
    fn serve<T>(&mut self, act: &impl Fn(&Token) -> Answer<T>) -> Result<T> {
        let mut attempts = 2;
        loop {
            attempts -= 1;
            match self.attempt(act) {
                Err(trouble) if trouble.is_stale() && attempts > 0 => {}
                outcome => return outcome.map_err(Error::from),
            }
        }
    }

    fn attempt<T>(&mut self, act: &impl Fn(&Token) -> Answer<T>) -> Answer<T> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone().into());
        }
        let token = match self.session.take() {
            Some(token) => token,
            None => self.place.token().map_err(|trouble| match trouble {
                trouble if trouble.is_refused_pin() => {
                    let error = Error::from(trouble);
                    self.refused = Some(error.clone());
                    Trouble::House(error)
                }
                // It was there once: a missing token is one that may come back.
                Trouble::NoToken => Trouble::House(
                    fault(FaultKind::Unavailable)
                        .because("the token is not in its slot")
                        .into(),
                ),
                trouble => trouble,
            })?,
        };
        let outcome = act(&token);
        // After anything but an ordinary answer the session may be in the middle of something.
        if matches!(outcome, Ok(_) | Err(Trouble::House(_))) {
            self.session = Some(token);
        }
        outcome
    }
}

/// Creations and destructions in this process take turns: see the module's documentation.
fn turn() -> impl Drop {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a drop waits for a module that does not come back.
const CLOSING: Duration = Duration::from_secs(5);

/// Calls that may wait for the thread; further ones wait for a place.
const QUEUE: usize = 64;
