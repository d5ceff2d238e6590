//! The recycle bin, entry by entry. Emptying it, and deleting from it by a filter, would take
//! other people's records along: neither can be asked for here.

use kta_core::time::Timestamp;
use kta_core::{Error, FaultKind, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::coql::parse_instant;

/// Deletes one entry for good. `false` when there is none.
pub(crate) async fn purge(client: &Client, call: Call, id: &str) -> Result<bool> {
    let path = ["settings", "recycle_bin", id];
    let request = || client.request(call, Method::DELETE, &path);
    let answer = client.answer(call, request).await;
    Ok(unless_gone(one_row(call, answer, "recycle_bin"))?.is_some())
}

/// When the entry was put there, or `None` when there is none.
pub(crate) async fn look(client: &Client, call: Call, id: &str) -> Result<Option<Binned>> {
    let path = ["settings", "recycle_bin", id];
    let request = || client.request(call, Method::GET, &path);
    let Some(answer) = unless_gone(client.answer(call, request).await)? else {
        return Ok(None);
    };
    let rows = answer.into_list(call, "recycle_bin")?;
    Ok(rows.first().map(|row| Binned {
        since: parse_instant(&row["deleted_time"]),
    }))
}

/// Puts an entry back, so that what hangs on it can be reached.
pub(crate) async fn restore(client: &Client, call: Call, id: &str) -> Result<()> {
    let path = ["settings", "recycle_bin", id, "actions", "restore"];
    let request = || Ok(client.request(call, Method::POST, &path)?.repeatable());
    let answer = client.answer(call, request).await;
    unless_gone(one_row(call, answer, "recycle_bin")).map(drop)
}

/// The details of the one row that was written, or its error.
pub(crate) fn one_row(call: Call, answer: Result<Answer>, key: &str) -> Result<Value> {
    answer?.into_details(call, key)
}

/// `None` for an answer that says that there is no such thing (any more).
pub(crate) fn unless_gone<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.kind() == FaultKind::NotFound)
}

/// An entry of the recycle bin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binned {
    pub(crate) since: Option<Timestamp>,
}

/// The line of a module's deleted list about `id`, if there is one.
pub(crate) async fn deleted_line(
    client: &Client,
    call: Call,
    module: &str,
    id: &str,
) -> Result<Option<DeletedLine>> {
    for page in 1..=MOST_PAGES {
        let answer = deleted_page(client, call, module, page, None).await?;
        let more = answer.has_more();
        let rows = answer.into_list(call, "data")?;
        if let Some(row) = rows.iter().find(|row| row["id"].as_str() == Some(id)) {
            let display_name = row["display_name"].as_str().unwrap_or_default();
            return Ok(Some(DeletedLine {
                display_name: display_name.to_owned(),
            }));
        }
        if !more {
            break;
        }
    }
    Ok(None)
}

/// What a deleted list remembers of a record.
pub(crate) struct DeletedLine {
    /// Personal, unless it was made empty before.
    pub(crate) display_name: String,
}

/// A page of a module's deleted list, newest first.
pub(crate) async fn deleted_page(
    client: &Client,
    call: Call,
    module: &str,
    page: u32,
    since: Option<&str>,
) -> Result<Answer> {
    let (path, page) = ([module, "deleted"], page.to_string());
    let request = || {
        let request = client.request(call, Method::GET, &path)?;
        let request = request
            .query("type", "all")
            .query("per_page", "200")
            .query("page", &page);
        Ok(match since {
            Some(since) => request.header("if-modified-since", since),
            None => request,
        })
    };
    client.answer_for(DELETED_LIST, call, request).await
}

const DELETED_LIST: u64 = 2;
/// 200 lines each.
pub(crate) const MOST_PAGES: u32 = 500;
