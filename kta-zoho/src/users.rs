//! Who has access to the CRM.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::ports::{AccessReview, CrmUser};
use kta_core::{Port, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::ZohoCrm;
use crate::client::Client;
use crate::coql::text_id;
use crate::error::protocol;

#[async_trait]
impl AccessReview for ZohoCrm {
    async fn users(&self, permit: &Permit<'_>) -> Result<Vec<CrmUser>> {
        let call = Call::new(Port::Crm, "users");
        permit.require_act(&[Act::Manage, Act::Review])?;
        let administrators = ids(call, &of_type(&self.client, call, "AdminUsers").await?)?;
        let own = ids(call, &of_type(&self.client, call, "CurrentUser").await?)?;
        let active = of_type(&self.client, call, "ActiveUsers").await?;
        active
            .iter()
            .map(|row| {
                let id = text_id(call, row)?;
                Ok(CrmUser {
                    profile: row["profile"]["name"].as_str().and_then(label),
                    administrator: administrators.contains(&id),
                    // The users API of the CRM does not tell.
                    second_factor: None,
                    integration: own.contains(&id),
                    locator: Locator::new(id).map_err(|_| protocol(call, "a row has no id"))?,
                })
            })
            .collect()
    }
}

pub(crate) async fn of_type(client: &Client, call: Call, kind: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for page in 1..=MOST_PAGES {
        let page = page.to_string();
        let request = || {
            let request = client.request(call, Method::GET, &["users"])?;
            Ok(request
                .query("type", kind)
                .query("per_page", "200")
                .query("page", &page))
        };
        let answer = client.answer(call, request).await?;
        let more = answer.has_more();
        all.extend(answer.into_list(call, "users")?);
        if !more {
            return Ok(all);
        }
    }
    Err(protocol(call, "the pages do not end"))
}

fn ids(call: Call, rows: &[Value]) -> Result<BTreeSet<String>> {
    rows.iter().map(|row| text_id(call, row)).collect()
}

/// A profile's name where it can be a label; blanks become underscores.
fn label(name: &str) -> Option<Label> {
    Label::new(name.replace(' ', "_")).ok()
}

/// 200 users each.
const MOST_PAGES: u32 = 50;
