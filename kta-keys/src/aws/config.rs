//! Which account and region, and as whom.

use std::sync::Arc;

use kta_core::{Port, Result};
use kta_http::Origin;

use super::AwsIdentity;
use crate::remote::{Connection, Prefix};

/// Which account and region, and as whom.
///
/// Actions needed: `kms:CreateKey`, `kms:TagResource`, `kms:DescribeKey`, `kms:Encrypt`,
/// `kms:Decrypt`, `kms:ScheduleKeyDeletion`, and `ssm:GetParameters`, `ssm:PutParameter` on
/// `parameter/<prefix>/*`. Give it no `ssm:DeleteParameter` and no `kms:CancelKeyDeletion`.
#[derive(Clone, Debug)]
pub struct AwsConfig {
    pub(super) region: String,
    pub(super) identity: Arc<dyn AwsIdentity>,
    pub(super) kms: Origin,
    pub(super) ssm: Origin,
    pub(super) days: u8,
    pub(super) prefix: Prefix,
    pub(super) connection: Connection,
}

impl AwsConfig {
    /// The public endpoints of `region` (`eu-central-1`), a waiting period of 7 days, the
    /// shortest there is, parameters below `/kta`.
    ///
    /// # Errors
    /// `Misconfigured` for what is no region.
    pub fn new(region: &str, identity: Arc<dyn AwsIdentity>) -> Result<Self> {
        let endpoint = |service| {
            Origin::parse(
                &format!("https://{service}.{region}.amazonaws.com"),
                Port::Kms,
            )
        };
        Ok(Self {
            region: region.to_owned(),
            identity,
            kms: endpoint("kms")?,
            ssm: endpoint("ssm")?,
            days: 7,
            prefix: Prefix::new("kta")?,
            connection: Connection::default(),
        })
    }

    /// The same with these endpoints (of a VPC, of FIPS): scheme, host and port.
    ///
    /// # Errors
    /// What [`Origin::parse`] refuses.
    pub fn endpoints(mut self, kms: &str, ssm: &str) -> Result<Self> {
        self.kms = Origin::parse(kms, Port::Kms)?;
        self.ssm = Origin::parse(ssm, Port::Kms)?;
        Ok(self)
    }

    /// The same with this many days between `destroy` and deletion, brought into 7 to 30.
    #[must_use]
    pub fn waiting(mut self, days: u8) -> Self {
        self.days = days.clamp(7, 30);
        self
    }

    /// The same with keys whose names begin like this.
    ///
    /// # Errors
    /// `Misconfigured` for anything but 1 to 40 lower-case letters, digits and inner hyphens.
    pub fn prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = Prefix::new(prefix)?;
        Ok(self)
    }

    /// The same reached like this.
    #[must_use]
    pub fn over(mut self, connection: Connection) -> Self {
        self.connection = connection;
        self
    }
}
