//! Attachments under a record: bytes in a store of their own.

use kta_core::Result;
use kta_http::{Call, Method};

use crate::client::Client;
use crate::coql::text_id;
use crate::records::MODULE;
use crate::recycle_bin::{self, one_row, unless_gone};

/// Deletes and purges every attachment under a live record; gives how many there were.
pub(crate) async fn erase_all(client: &Client, call: Call, record: &str) -> Result<u32> {
    let mut erased = 0;
    for _ in 0..MOST_ROUNDS {
        // Gone with its record means that somebody else is erasing at the same time.
        let ids = unless_gone(list(client, call, record).await)?.unwrap_or_default();
        if ids.is_empty() {
            return Ok(erased);
        }
        for id in &ids {
            let path = [MODULE, record, "Attachments", id];
            let request = || client.request(call, Method::DELETE, &path);
            unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
            recycle_bin::purge(client, call, id).await?;
            erased += 1;
        }
    }
    Err(crate::error::protocol(call, "attachments do not go away"))
}

/// A page of the ids of a record's attachments.
pub(crate) async fn list(client: &Client, call: Call, record: &str) -> Result<Vec<String>> {
    let path = [MODULE, record, "Attachments"];
    let request = || {
        let request = client.request(call, Method::GET, &path)?;
        Ok(request.query("fields", "id").query("per_page", "200"))
    };
    let rows = client
        .answer(call, request)
        .await?
        .into_list(call, "data")?;
    rows.iter().map(|row| text_id(call, row)).collect()
}

/// Each round takes up to 200 attachments away.
const MOST_ROUNDS: u32 = 500;
