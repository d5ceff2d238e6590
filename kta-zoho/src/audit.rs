//! The vendor's own audit log, by its export: a job that ends with a file.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::{Category, ContentStream, Locator};
use kta_core::policy::{Act, Permit};
use kta_core::ports::AuditFeed;
use kta_core::ports::crm::AuditRow;
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Method};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::ZohoCrm;
use crate::coql::{instant, is_id, parse_instant};
use crate::csv::{Line, Lines};
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
            let file = self.client.stream(call, LARGEST_FILE, request).await?;
            let file = file.ok_or_else(|| protocol(call, "the file is gone"))?;
            rows.extend(read(call, file).await?);
        }
        // The file's bounds are the vendor's affair; ours are half a second sharper.
        rows.retain(|row| row.at >= from - TimeDelta::seconds(1) && row.at <= to);
        rows.sort_by_key(|row| (row.at, row.digest));
        // Two of one second and content are two, unless two files tell the same one.
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
async fn read(call: Call, mut file: ContentStream) -> Result<Vec<AuditRow>> {
    let (mut lines, mut columns, mut rows) = (Lines::new(call), None, Vec::new());
    let mut take = |line: &Line| {
        if !line.is_text() {
            return Err(protocol(call, "not a text file"));
        }
        match &columns {
            None => columns = Some(Columns::read(call, line)?),
            Some(columns) => rows.push(columns.row(call, line)?),
        }
        Ok(())
    };
    while let Some(piece) = file.next().await {
        let piece = piece?;
        if !piece.is_empty() {
            lines.push(&piece, &mut take)?;
        }
    }
    lines.push(&[], &mut take)?;
    match columns {
        Some(_) => Ok(rows),
        None => Err(protocol(call, "the export has other columns")),
    }
}

/// Where in a line what stands.
struct Columns {
    time: usize,
    action: usize,
    on: Option<usize>,
    count: usize,
}

impl Columns {
    fn read(call: Call, head: &Line) -> Result<Self> {
        let column = |names: [&str; 3]| {
            head.cells()
                .position(|cell| names.contains(&plain(cell).as_str()))
        };
        let (Some(time), Some(action)) = (
            column(["auditedtime", "time", "actiontime"]),
            column(["action", "actiontype", "operation"]),
        ) else {
            return Err(protocol(call, "the export has other columns"));
        };
        let on = column(["recordid", "entityid", "id"]);
        let count = head.len();
        Ok(Self {
            time,
            action,
            on,
            count,
        })
    }

    fn row(&self, call: Call, line: &Line) -> Result<AuditRow> {
        // A quote left open swallows the rest of the file into one line.
        if line.len() != self.count {
            return Err(protocol(call, "a row has other columns"));
        }
        let at = parse_instant(&Value::from(line.cell(self.time)))
            .ok_or_else(|| protocol(call, "a row has no time"))?;
        let action = Label::new(line.cell(self.action).replace(' ', "_"))
            .map_err(|_| protocol(call, "an action is not a word"))?;
        let on = self
            .on
            .map(|on| line.cell(on))
            .filter(|id| is_id(id))
            .and_then(|id| Locator::new(id).ok());
        let category = if on.is_some() {
            Category::Identity
        } else {
            Category::FirmRecord
        };
        let cells: Vec<&str> = line.cells().collect();
        let row = Zeroizing::new(serde_json::to_vec(&cells).unwrap_or_default());
        Ok(AuditRow {
            at,
            action,
            on,
            digest: Digest::of(&row),
            category,
        })
    }
}

fn plain(cell: &str) -> String {
    cell.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

const LARGEST_FILE: u64 = 64 << 20;
const MOST_LOOKS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call::new(Port::Crm, "rows");

    async fn rows(text: &str) -> Result<Vec<AuditRow>> {
        let bytes = bytes::Bytes::from(text.to_owned());
        read(CALL, Box::pin(futures_util::stream::iter([Ok(bytes)]))).await
    }

    #[tokio::test]
    async fn a_row_keeps_no_name_but_its_digest() {
        let file = "Audited Time,Action,Record Id,Record Name\n2026-01-02T03:04:05+02:00,updated,5843104000000413002,\"ZZ,CANARY\"\n";
        let read = rows(file).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].at.to_rfc3339(), "2026-01-02T01:04:05+00:00");
        assert_eq!(read[0].action, Label::fixed("updated"));
        assert!(!format!("{read:?}").contains("CANARY"));
        let other = rows(&file.replace("CANARY", "OTHER")).await.unwrap();
        assert_ne!(read[0].digest, other[0].digest);
    }

    #[tokio::test]
    async fn a_file_with_other_columns_is_refused_and_not_guessed_at() {
        for file in [
            "",
            "x,y\n1,2\n",
            "Audited Time,Action\nyesterday,updated\n",
            "Audited Time,Action\n\"2026",
            "Audited Time,Action\n2026-01-02T03:04:05+02:00,\"updated\n2026-01-02T03:04:06+02:00,deleted\n",
        ] {
            assert!(rows(file).await.is_err(), "{file}");
        }
    }
}
