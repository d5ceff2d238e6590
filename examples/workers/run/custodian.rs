//! One keyring for several processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kta_core::crypto::SecretKey;
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekDestroyed, KekId, KekState, Kms, WrappedKey};
use kta_core::time::Timestamp;
use kta_core::{Fault, FaultKind, Result};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};

/// A [`LocalKeyring`] that is opened for each call and closed again, because one process at a
/// time may hold it; who comes meanwhile waits for its turn. The keys of people need no call:
/// a worker asks for the epoch's key once. A firm of many machines has a custodian that serves
/// them all, and none of this.
#[derive(Clone, Debug)]
pub struct InTurns {
    keyring: PathBuf,
    key_file: PathBuf,
}

impl InTurns {
    pub fn at(keyring: PathBuf, key_file: PathBuf) -> Self {
        Self { keyring, key_file }
    }

    pub fn create(&self) -> Result<()> {
        let unlock = Unlock::key_file(&self.key_file);
        LocalKeyring::create(&self.keyring, &unlock, Arc::new(OsEntropy)).map(drop)
    }

    async fn turn(&self) -> Result<LocalKeyring> {
        let unlock = Unlock::key_file(&self.key_file);
        let since = Instant::now();
        loop {
            let opened = LocalKeyring::open(&self.keyring, &unlock, Arc::new(OsEntropy));
            let kind = opened.as_ref().err().and_then(|error| error.fault());
            let held = kind.map(Fault::kind) == Some(FaultKind::Unavailable);
            if !held || since.elapsed() > PATIENCE {
                return opened;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl Kms for InTurns {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        Kms::create(&self.turn().await?, tenant, key).await
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.turn().await?.wrap(kek, secret, context).await
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.turn().await?.unwrap(kek, wrapped, context).await
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        self.turn().await?.destroy(kek, at).await
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        self.turn().await?.state(kek).await
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
