//! As whom the adapter speaks to AWS.

use core::fmt;

use async_trait::async_trait;
use kta_core::Result;
use secrecy::SecretString;

/// An access key, with a session token where it is a temporary one.
#[derive(Clone)]
pub struct AwsCredentials {
    pub(crate) id: String,
    pub(crate) secret: SecretString,
    pub(crate) session: Option<SecretString>,
}

impl AwsCredentials {
    /// A long-lived access key.
    #[must_use]
    pub fn new(id: impl Into<String>, secret: SecretString) -> Self {
        Self {
            id: id.into(),
            secret,
            session: None,
        }
    }

    /// The same with the session token of temporary credentials.
    #[must_use]
    pub fn session(mut self, token: SecretString) -> Self {
        self.session = Some(token);
        self
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsCredentials(..)")
    }
}

/// Where credentials come from: a role of the machine, a file, a vault. Fixed
/// [`AwsCredentials`] are one that never changes.
///
/// # Behavior
/// - It is asked for every request, so it keeps what it has until that ends.
/// - `refused` says that AWS called the last ones expired: then there should be others.
/// - Neither errors nor `Debug` contain a secret.
#[async_trait]
pub trait AwsIdentity: fmt::Debug + Send + Sync {
    /// The present credentials.
    ///
    /// # Errors
    /// A fault when there are none.
    async fn credentials(&self, refused: bool) -> Result<AwsCredentials>;
}

#[async_trait]
impl AwsIdentity for AwsCredentials {
    async fn credentials(&self, _refused: bool) -> Result<AwsCredentials> {
        Ok(self.clone())
    }
}
