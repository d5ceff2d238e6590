//! The recycle bin, entry by entry. Emptying it, and deleting from it by a filter, would take
//! other people's records along: neither can be asked for here.

use kta_core::time::Timestamp;
use kta_core::{Error, FaultKind, Result};
use kta_http::{Call, Method};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::coql::{parse_instant, text_id};
use crate::error::protocol;

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
    Ok(rows.first().map(|row| {
        // The single entry names its module in an object, the list in a text.
        let module = row["module"]["api_name"].as_str();
        let module = module.or(row["module"].as_str());
        Binned {
            since: parse_instant(&row["deleted_time"]),
            related: module.is_some_and(|module| RELATED.contains(&module)),
        }
    }))
}

/// Deletes a note or an attachment for good, and nothing else that this id may name.
pub(crate) async fn purge_related(client: &Client, call: Call, id: &str) -> Result<()> {
    match look(client, call, id).await? {
        Some(binned) if binned.related => purge(client, call, id).await.map(drop),
        _ => Ok(()),
    }
}

/// How many notes and attachments the bin has, of whomever, that were put there until `until`, and when the
/// last of them was. An entry does not tell the record that it was under.
pub(crate) async fn related(
    client: &Client,
    call: Call,
    until: Option<Timestamp>,
) -> Result<(usize, Option<Timestamp>)> {
    let (mut count, mut last) = (0, None);
    for module in RELATED {
        for row in entries(client, call, module).await? {
            let since = parse_instant(&row["deleted_time"]);
            let later = since.zip(until).is_some_and(|(since, until)| since > until);
            if !later {
                count += 1;
                last = last.max(since);
            }
        }
    }
    Ok((count, last))
}

/// The ids of a module's entries with this name.
pub(crate) async fn named(
    client: &Client,
    call: Call,
    module: &str,
    name: &str,
) -> Result<Vec<String>> {
    let mut rows = entries(client, call, module).await?;
    rows.retain(|row| row["display_name"] == name);
    rows.iter().map(|row| text_id(call, row)).collect()
}

/// Every entry of a module.
async fn entries(client: &Client, call: Call, module: &str) -> Result<Vec<Value>> {
    let path = ["settings", "recycle_bin"];
    let filter = json!({
        "field": {"api_name": "module"}, "comparator": "equal", "value": module,
    })
    .to_string();
    let mut entries = Vec::new();
    for page in 1..=MOST_PAGES {
        let page = page.to_string();
        let request = || {
            let request = client.request(call, Method::GET, &path)?;
            let request = request.query("filters", &filter);
            Ok(request.query("per_page", "200").query("page", &page))
        };
        let answer = client.answer(call, request).await?;
        let more = answer.has_more();
        let mut rows = answer.into_list(call, "recycle_bin")?;
        // A filter that is not heeded gives other modules too.
        rows.retain(|row| row["module"] == module);
        entries.append(&mut rows);
        if !more {
            return Ok(entries);
        }
    }
    Err(protocol(call, "the pages do not end"))
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
    /// Whether it is a note or an attachment.
    pub(crate) related: bool,
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
                since: parse_instant(&row["deleted_time"]),
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
    /// When it was deleted, for good if it was.
    pub(crate) since: Option<Timestamp>,
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

/// What stands under records, as the bin calls it.
const RELATED: &[&str] = &["Attachments", "Notes"];
const DELETED_LIST: u64 = 2;
/// 200 lines each.
pub(crate) const MOST_PAGES: u32 = 500;
