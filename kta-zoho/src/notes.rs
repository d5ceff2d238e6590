//! Notes under a record: a store of their own, which outlives it.

use std::collections::BTreeMap;

use kta_core::Result;
use kta_http::{Call, Method};

use crate::client::Client;
use crate::coql::{query, text_id};
use crate::records::{MODULE, Row, Write};
use crate::recycle_bin::{self, one_row, unless_gone};

/// Empties, deletes and purges every note under a live record; gives how many there were.
///
/// A note is emptied first: its title would stand in the list of deleted things for ever, and a
/// process killed between the two deletions would leave its text in the recycle bin, where no
/// question finds it by its record.
pub(crate) async fn erase_all(client: &Client, call: Call, record: &str) -> Result<u32> {
    let mut erased = 0;
    for _ in 0..MOST_ROUNDS {
        let path = [MODULE, record, "Notes"];
        let request = || {
            let request = client.request(call, Method::GET, &path)?;
            Ok(request.query("fields", "id"))
        };
        // Gone with its record means that somebody else is erasing at the same time.
        let Some(answer) = unless_gone(client.answer(call, request).await)? else {
            return Ok(erased);
        };
        let rows = answer.into_list(call, "data")?;
        if rows.is_empty() {
            return Ok(erased);
        }
        for row in &rows {
            erase(client, call, &text_id(call, row)?).await?;
            erased += 1;
        }
    }
    Err(crate::error::protocol(call, "notes do not go away"))
}

/// How many notes the CRM still has for the record, asked by another way than the record's own
/// list.
pub(crate) async fn count(client: &Client, call: Call, record: &str) -> Result<usize> {
    let text = format!("select id from Notes where Parent_Id = '{record}' limit 0, 200");
    Ok(query(client, call, &text)
        .await?
        .into_list(call, "data")?
        .len())
}

async fn erase(client: &Client, call: Call, note: &str) -> Result<()> {
    let path = ["Notes", note];
    let empty = BTreeMap::from([("Note_Title", ERASED), ("Note_Content", ERASED)]);
    let write = Write::without_trigger(Row(empty));
    let request = || Ok(client.request(call, Method::PUT, &path)?.json(&write));
    unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
    let request = || client.request(call, Method::DELETE, &path);
    unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
    recycle_bin::purge(client, call, note).await.map(drop)
}

/// What stands in place of a name or text that is about to go.
pub(crate) const ERASED: &str = "Erased";

/// Each round takes up to 200 notes away.
const MOST_ROUNDS: u32 = 500;
