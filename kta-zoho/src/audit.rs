//! The vendor's own audit log, by its export: a job that ends with a file.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::{Category, Locator};
use kta_core::policy::{Act, Permit};
use kta_core::ports::AuditFeed;
use kta_core::ports::crm::AuditRow;
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Method};
use serde_json::{Value, json};

use crate::ZohoCrm;
use crate::coql::{instant, is_id, parse_instant};
use crate::error::protocol;

#[async_trait]
impl AuditFeed for ZohoCrm {
    async fn rows(
        &self,
        from: Timestamp,
        to: Timestamp,
        permit: &Permit<'_>,
    ) -> Result<Vec<AuditRow>> {
        let call = Call::new(Port::Crm, "rows");
        permit.require_act(&[Act::Manage, Act::Report, Act::Review])?;
        let job = self.start_export(call, from, to).await?;
        let mut rows = Vec::new();
        for link in self.links(call, &job).await? {
            let request = || self.client.request_to(call, &link);
            let file = self.client.bytes(call, LARGEST_FILE, request).await?;
            let text = String::from_utf8(file).map_err(|_| protocol(call, "not a text file"))?;
            rows.extend(read(call, &text)?);
        }
        // The file's bounds are the vendor's affair; ours are half a second sharper.
        rows.retain(|row| row.at >= from - TimeDelta::seconds(1) && row.at <= to);
        rows.sort_by_key(|row| (row.at, row.digest));
        rows.dedup();
        Ok(rows)
    }
}

impl ZohoCrm {
    async fn start_export(&self, call: Call, from: Timestamp, to: Timestamp) -> Result<String> {
        let criteria = json!({
            "field": {"api_name": "audited_time"}, "comparator": "between",
            "value": [instant(from), instant(to)],
        });
        let body = json!({"audit_log_export": [{"criteria": criteria}]});
        let path = ["settings", "audit_log_export"];
        // Started twice it is two files of the same rows, which harms nobody.
        let request = || {
            Ok(self
                .client
                .request(call, Method::POST, &path)?
                .repeatable()
                .json(&body))
        };
        let details = self
            .client
            .answer(call, request)
            .await?
            .into_details(call, "audit_log_export")?;
        let id = details["id"].as_str().filter(|id| is_id(id));
        id.map(str::to_owned)
            .ok_or_else(|| protocol(call, "the export has no id"))
    }

    async fn links(&self, call: Call, job: &str) -> Result<Vec<String>> {
        let path = ["settings", "audit_log_export", job];
        for _ in 0..MOST_LOOKS {
            let request = || self.client.request(call, Method::GET, &path);
            let rows = self.client.answer(call, request).await?;
            let rows = rows.into_list(call, "audit_log_export")?;
            let row = rows
                .first()
                .ok_or_else(|| protocol(call, "the export is gone"))?;
            let status = row["status"]
                .as_str()
                .unwrap_or_default()
                .to_ascii_lowercase();
            if status.contains("fail") {
                return Err(call
                    .fault(FaultKind::Unavailable)
                    .because("the export failed")
                    .into());
            }
            let links: Vec<String> = row["download_links"]
                .as_array()
                .map(|list| {
                    list.iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default();
            if !links.is_empty() {
                return Ok(links);
            }
            tokio::time::sleep(self.config.waits.0).await;
        }
        let fault = call.fault(FaultKind::Throttled {
            retry_after: Some(Duration::from_secs(60)),
        });
        Err(fault.because("the export is not ready").into())
    }
}

/// Reads the file by the names of its columns. The vendor does not publish them; these are
/// compared without case, blanks and underscores, and a file without them is refused rather
/// than guessed at.
fn read(call: Call, text: &str) -> Result<Vec<AuditRow>> {
    let mut lines = csv(text)
        .ok_or_else(|| protocol(call, "a quote is left open"))?
        .into_iter();
    let head = lines.next().unwrap_or_default();
    let column = |names: [&str; 3]| {
        head.iter()
            .position(|cell| names.contains(&plain(cell).as_str()))
    };
    let (Some(time), Some(action)) = (
        column(["auditedtime", "time", "actiontime"]),
        column(["action", "actiontype", "operation"]),
    ) else {
        return Err(protocol(call, "the export has other columns"));
    };
    let on = column(["recordid", "entityid", "id"]);
    lines
        .map(|cells| {
            let cell = |position: usize| cells.get(position).map_or("", String::as_str);
            let at = parse_instant(&Value::from(cell(time)))
                .ok_or_else(|| protocol(call, "a row has no time"))?;
            let action = Label::new(cell(action).replace(' ', "_"))
                .map_err(|_| protocol(call, "an action is not a word"))?;
            let on = on
                .map(cell)
                .filter(|id| is_id(id))
                .and_then(|id| Locator::new(id).ok());
            let category = if on.is_some() {
                Category::Identity
            } else {
                Category::FirmRecord
            };
            let row = serde_json::to_vec(&cells).unwrap_or_default();
            Ok(AuditRow {
                at,
                action,
                on,
                digest: Digest::of(&row),
                category,
            })
        })
        .collect()
}

fn plain(cell: &str) -> String {
    cell.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// Comma-separated values (RFC 4180); `None` when a quote is left open. Empty lines are skipped.
fn csv(text: &str) -> Option<Vec<Vec<String>>> {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                cell.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => line.push(core::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                line.push(core::mem::take(&mut cell));
                let whole = core::mem::take(&mut line);
                if whole.iter().any(|cell| !cell.is_empty()) {
                    lines.push(whole);
                }
            }
            other => cell.push(other),
        }
    }
    if quoted {
        return None;
    }
    if !cell.is_empty() || !line.is_empty() {
        line.push(cell);
        lines.push(line);
    }
    Some(lines)
}

const LARGEST_FILE: u64 = 64 << 20;
const MOST_LOOKS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call::new(Port::Crm, "rows");

    #[test]
    fn quoted_cells_keep_their_commas_quotes_and_line_ends() {
        let lines = csv("a,\"b, \"\"c\"\"\r\nd\",e\r\n\r\nf").unwrap();
        assert_eq!(lines, [vec!["a", "b, \"c\"\r\nd", "e"], vec!["f"]]);
        assert_eq!(csv("a,\"b"), None);
        assert_eq!(csv(""), Some(vec![]));
    }

    #[test]
    fn a_row_keeps_no_name_but_its_digest() {
        let file = "Audited Time,Action,Record Id,Record Name\n2026-01-02T03:04:05+02:00,updated,5843104000000413002,ZZCANARY\n";
        let rows = read(CALL, file).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].at.to_rfc3339(), "2026-01-02T01:04:05+00:00");
        assert_eq!(rows[0].action, Label::fixed("updated"));
        assert!(!format!("{rows:?}").contains("ZZCANARY"));
        assert_ne!(
            rows[0].digest,
            read(CALL, &file.replace("CANARY", "OTHER")).unwrap()[0].digest
        );
    }

    #[test]
    fn a_file_with_other_columns_is_refused_and_not_guessed_at() {
        for file in [
            "",
            "x,y\n1,2\n",
            "Audited Time,Action\nyesterday,updated\n",
            "Audited Time,Action\n\"2026",
        ] {
            assert!(read(CALL, file).is_err(), "{file}");
        }
    }
}
