//! Single records that somebody shared with others, beyond what role and module give.

use std::collections::BTreeMap;

use kta_core::Result;
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::{Port, audit::Label};
use kta_http::{Call, Method};

use crate::ZohoCrm;
use crate::error::protocol;
use crate::records::MODULE;
use crate::recycle_bin::unless_gone;

/// With whom a record is shared (`users:` or `roles:` or `groups:` and the CRM's id), and how:
/// `read_only`, `read_write` or `full_access`.
pub type RecordShares = BTreeMap<String, String>;

impl ZohoCrm {
    /// With whom each of these records is shared by hand; those that nobody shared are left out.
    /// A call for each record: an access review asks for those of its matters, or a sample.
    ///
    /// The vendor's rules that share many records by a criterion have no documented call: what
    /// they give is seen here only where the vendor tells it of the record.
    ///
    /// # Errors
    /// `ACL-DENY` unless the permit is for [`Act::Review`] or [`Act::Manage`]; `Misconfigured`
    /// when the CRM user or the token may not see it; faults of the transport.
    pub async fn shares(
        &self,
        records: &[Locator],
        permit: &Permit<'_>,
    ) -> Result<BTreeMap<String, RecordShares>> {
        permit.require_act(&[Act::Manage, Act::Review])?;
        let mut all = BTreeMap::new();
        for at in records {
            let path = [MODULE, at.as_str(), "actions", "share"];
            let request = || {
                let request = self.client.request(SHARES, Method::GET, &path)?;
                Ok(request.query("view", "summary"))
            };
            let Some(answer) = unless_gone(self.client.answer(SHARES, request).await)? else {
                continue;
            };
            let mut shares = RecordShares::new();
            for row in answer.into_list(SHARES, "share")? {
                let (with, kind) = (&row["shared_with"]["id"], &row["shared_with"]["type"]);
                // A share that cannot be read must not look like none.
                let who = with.as_str().zip(kind.as_str());
                let who = who.map(|(with, kind)| format!("{kind}:{with}"));
                let who = who.filter(|who| Label::new(who.as_str()).is_ok());
                let (who, permission) = who
                    .zip(row["permission"].as_str())
                    .ok_or_else(|| protocol(SHARES, "a share does not say with whom"))?;
                shares.insert(who, permission.to_owned());
            }
            if !shares.is_empty() {
                all.insert(at.as_str().to_owned(), shares);
            }
        }
        Ok(all)
    }
}

/// How far a permission over one record reaches. One that is not known reaches furthest.
pub(crate) fn reach(permission: &str) -> u8 {
    match permission {
        "read_only" => 1,
        "read_write" => 2,
        _ => 3,
    }
}

const SHARES: Call = Call::new(Port::Crm, "shares");
