//! Notes under a record: a store of their own, which outlives it.

use kta_core::Result;
use kta_core::pii::Pii;
use kta_http::{Call, Method};
use serde_json::Value;

use crate::client::Client;
use crate::coql::{query, text_id};
use crate::records::MODULE;
use crate::recycle_bin::{self, one_row, unless_gone};
use crate::value::{Row, Write};

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

/// The title and text of every note under a live record.
pub(crate) async fn texts(client: &Client, call: Call, record: &str) -> Result<Vec<Pii<String>>> {
    let mut texts = Vec::new();
    for page in 1..=MOST_ROUNDS {
        let (path, page) = ([MODULE, record, "Notes"], page.to_string());
        let request = || {
            let request = client.request(call, Method::GET, &path)?;
            let request = request.query("fields", "id,Note_Title,Note_Content");
            Ok(request.query("page", &page))
        };
        let answer = client.answer(call, request).await?;
        let more = answer.has_more();
        for mut row in answer.into_list(call, "data")? {
            for name in ["Note_Title", "Note_Content"] {
                if let Value::String(text) = row[name].take() {
                    texts.push(Pii::new(text));
                }
            }
        }
        if !more {
            return Ok(texts);
        }
    }
    Err(crate::error::protocol(call, "the pages do not end"))
}

async fn erase(client: &Client, call: Call, note: &str) -> Result<()> {
    let path = ["Notes", note];
    let empty = [("Note_Title", ERASED), ("Note_Content", ERASED)];
    let write = Write::without_trigger(Row::of(empty));
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
