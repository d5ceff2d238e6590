//! What an erasure is about to take from under a record, written into the record before it does.
//!
//! A note or an attachment that was deleted and not yet purged lies in the recycle bin, where nothing
//! tells whose it was. So the record says it, in the one field that every layout has and that is about to
//! be overwritten in any case: `Erased 111 222 333`. Whoever goes on with a broken-off erasure reads it
//! there and purges these first. At the end the name is `Erased` with our key, which finds the record
//! itself in the bin when nobody had registered where it was.

use kta_core::Result;
use kta_core::id::RecordId;
use kta_http::{Call, Method};

use crate::client::Client;
use crate::coql::is_id;
use crate::map::LAST_NAME;
use crate::notes::ERASED;
use crate::records::MODULE;
use crate::recycle_bin::{one_row, unless_gone};
use crate::value::{Row, Write};

/// Overwrites the name of a live record with the ids of what goes next from under it.
pub(crate) async fn write(client: &Client, call: Call, record: &str, ids: &[String]) -> Result<()> {
    let mut name = ERASED.to_owned();
    for id in ids {
        name.push(' ');
        name.push_str(id);
    }
    overwrite(client, call, record, &name).await
}

/// Overwrites the name of a live record. The list of deleted records keeps it for ever, and no call takes it
/// out.
pub(crate) async fn overwrite(client: &Client, call: Call, record: &str, name: &str) -> Result<()> {
    let path = [MODULE, record];
    let names = [(LAST_NAME, name), ("First_Name", "")];
    let write = Write::new(Row::of(names), None);
    let request = || Ok(client.request(call, Method::PUT, &path)?.json(&write));
    let answer = client.answer(call, request).await;
    unless_gone(one_row(call, answer, "data")).map(drop)
}

/// The name under which a record goes.
pub(crate) fn last(record: RecordId) -> String {
    format!("{ERASED} {record}")
}

/// The ids that stand in a name of a record; none in a person's.
pub(crate) fn read(name: &str) -> Vec<String> {
    let words = name.strip_prefix(ERASED).unwrap_or_default();
    let ids: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    match ids.iter().all(|id| is_id(id)) {
        true => ids,
        false => Vec::new(),
    }
}

/// So many ids of twenty digits fit into a name of eighty characters.
pub(crate) const AT_ONCE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_gives_its_ids_and_a_name_gives_none() {
        assert_eq!(read("Erased 11 22 33"), ["11", "22", "33"]);
        for name in [
            "Erased",
            "Erasedová",
            "Erased Sample",
            "Erased 1 Sample",
            "1 2",
            "",
        ] {
            assert_eq!(read(name), Vec::<String>::new(), "{name}");
        }
        let last = last(RecordId::derived(&[b"invented"]));
        assert!(read(&last).is_empty() && last.len() <= 80);
        let longest = ERASED.len() + AT_ONCE * (1 + 20);
        assert!(longest <= 80);
    }
}
