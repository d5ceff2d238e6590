//! Queries. They go in bodies, never in addresses. Nearly all hold only ids, instants and field
//! names of ours; the one value of a person that may stand in one goes through [`quoted`].

use chrono::SecondsFormat;
use kta_core::Result;
use kta_core::id::RecordId;
use kta_core::time::Timestamp;
use kta_http::{Call, Method};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::client::{Answer, Client};
use crate::error::protocol;
use crate::map::{KEY, MATTER, SUBJECT};

/// Runs a query for at most two hundred rows.
pub(crate) async fn query(client: &Client, call: Call, text: &str) -> Result<Answer> {
    query_for(credits(200), client, call, text).await
}

/// What a query for so many rows costs.
pub(crate) const fn credits(rows: usize) -> u64 {
    match rows {
        ..=200 => 1,
        201..=1_000 => 2,
        _ => 3,
    }
}

/// Runs a query that costs `price` credits.
pub(crate) async fn query_for(
    price: u64,
    client: &Client,
    call: Call,
    text: &str,
) -> Result<Answer> {
    let body = json!({"select_query": text});
    let request = || {
        Ok(client
            .request(call, Method::POST, &["coql"])?
            .reads()
            .json(&body))
    };
    client.answer_for(price, call, request).await
}

/// A value between quotes, so that it stays a value: quotes and backslashes are escaped. `None`
/// for what no query can hold: control characters, and more than a thousand characters.
pub(crate) fn quoted(value: &str) -> Option<Zeroizing<String>> {
    let fits = value.chars().count() <= LONGEST && !value.chars().any(char::is_control);
    if !fits || value.is_empty() {
        return None;
    }
    let mut text = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    text.push('\'');
    for character in value.chars() {
        if matches!(character, '\'' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('\'');
    Some(text)
}

/// The one record with our key: its id, and whose and for which matter it is. The CRM compares
/// text without case, so the answer is compared again.
pub(crate) async fn find(
    client: &Client,
    call: Call,
    module: &str,
    record: RecordId,
) -> Result<Option<Value>> {
    let mut found = with_key(client, call, module, record, 2).await?.into_iter();
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        return Err(protocol(call, "the unique key stands in two records"));
    }
    Ok(first)
}

/// The CRM's ids of every live record with our key. There is one at most, unless somebody brought one
/// back from the recycle bin meanwhile: whoever erases takes them all.
pub(crate) async fn ids_of(
    client: &Client,
    call: Call,
    module: &str,
    record: RecordId,
) -> Result<Vec<String>> {
    let rows = with_key(client, call, module, record, 200).await?;
    rows.iter().map(|row| text_id(call, row)).collect()
}

/// At most so many live records with our key.
async fn with_key(
    client: &Client,
    call: Call,
    module: &str,
    record: RecordId,
    most: usize,
) -> Result<Vec<Value>> {
    let key = record.to_string();
    let text = format!(
        "select id, {KEY}, {SUBJECT}, {MATTER} from {module} where {KEY} = '{key}' limit 0, {most}"
    );
    let mut rows = query(client, call, &text).await?.into_list(call, "data")?;
    rows.retain(|row| row[KEY].as_str() == Some(&key));
    Ok(rows)
}

/// The CRM's id of the one record with our key.
pub(crate) async fn id_of(
    client: &Client,
    call: Call,
    module: &str,
    record: RecordId,
) -> Result<Option<String>> {
    let row = find(client, call, module, record).await?;
    row.map(|row| text_id(call, &row)).transpose()
}

/// The `id` of a row: digits, as every path of the API wants them.
pub(crate) fn text_id(call: Call, row: &Value) -> Result<String> {
    let id = row.get("id").and_then(Value::as_str).filter(|id| is_id(id));
    id.map(str::to_owned)
        .ok_or_else(|| protocol(call, "a row has no id"))
}

/// Whether a text can be an id of the CRM.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The form in which queries and headers take an instant.
pub(crate) fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, false)
}

/// An instant as the CRM writes it, with its organisation's offset.
pub(crate) fn parse_instant(value: &Value) -> Option<Timestamp> {
    Some(
        chrono::DateTime::parse_from_rfc3339(value.as_str()?)
            .ok()?
            .to_utc(),
    )
}

const LONGEST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let text = |value: &str| quoted(value).map(|text| text.to_string());
        assert_eq!(text("O'Sample").as_deref(), Some(r"'O\'Sample'"));
        assert_eq!(
            text(r"\' or id > '0").as_deref(),
            Some(r"'\\\' or id > \'0'")
        );
        assert_eq!(text("דוגמה").as_deref(), Some("'דוגמה'"));
        for bad in ["", "a\nb", "a\0b", &"x".repeat(1_001)] {
            assert_eq!(text(bad), None);
        }
    }
}
