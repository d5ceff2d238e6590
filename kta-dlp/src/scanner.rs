//! The port [`Scanner`] over this crate's scan.

use crate::entity::Entity;
use crate::extract::{self, Extracted};
use crate::scan::{Pushed, Scan};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use kta_core::audit::Label;
use kta_core::pii::{Content, ContentStream, Pii};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Finding, FindingKind, Inspection, Scanner};
use kta_core::{Fault, FaultKind, Port, Result};
use zeroize::Zeroizing;

/// Looks into content by itself, without any service.
///
/// Text passes as a stream in constant memory. Word documents and pages are read whole, up to
/// [`DlpScanner::LARGEST_FILE`]; everything else is opaque. The permit must be for an act in whose
/// course content is looked at, and must not have ended (else `ACL-DENY`).
#[derive(Debug, Clone, Copy, Default)]
pub struct DlpScanner;

impl DlpScanner {
    /// A scanner for every kind.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Bytes of a file that has to be read whole, at most; a larger one is opaque.
    pub const LARGEST_FILE: u64 = 32 * 1024 * 1024;

    /// Findings told of one content, at most; what lies beyond counts as not read.
    pub const MOST_FINDINGS: usize = 100_000;
}

#[async_trait]
impl Scanner for DlpScanner {
    async fn inspect(&self, content: Content, permit: &Permit<'_>) -> Result<Inspection> {
        permit.require_act(Act::ON_CONTENT)?;
        let media = content.media().as_str().to_owned();
        let small = content.length() <= Self::LARGEST_FILE;
        let mut stream = content.into_stream(permit);
        let mut head = Zeroizing::new(Vec::new());
        while head.len() < HEAD
            && let Some(chunk) = stream.next().await
        {
            head.extend_from_slice(&chunk?);
        }
        let streamed = extract::is_plain(&media)
            && !extract::is_binary(&head)
            && !matches!(
                **head,
                [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [b'P', b'K', 3, 4, ..]
            );
        if streamed {
            return text(&head, stream).await;
        }
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if small {
                head.extend_from_slice(&chunk);
            }
        }
        if !small {
            return Ok(Inspection {
                findings: Vec::new(),
                opaque: true,
            });
        }
        Ok(whole(&extract::extract(&head, &media)))
    }

    async fn redact(
        &self,
        text: &Pii<String>,
        kinds: &[FindingKind],
        permit: &Permit<'_>,
    ) -> Result<Pii<String>> {
        permit.require_act(Act::ON_CONTENT)?;
        let kinds = kinds
            .iter()
            .map(|kind| {
                let unknown = Fault::new(FaultKind::Unsupported, Port::Scanner, "redact")
                    .because("a kind that is never found");
                Entity::named(kind.as_str()).ok_or_else(|| unknown.into())
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Pii::new(crate::redact(text.expose(permit), &kinds)?))
    }
}

async fn text(head: &[u8], mut stream: ContentStream) -> Result<Inspection> {
    let (mut scan, mut pushed) = (Scan::new(), Pushed::default());
    let mut seen = Inspection::default();
    scan.push(&mut pushed, head, &mut |finding| note(&mut seen, finding));
    while let Some(chunk) = stream.next().await {
        scan.push(&mut pushed, &chunk?, &mut |finding| {
            note(&mut seen, finding)
        });
    }
    scan.finish(&mut pushed, &mut |finding| note(&mut seen, finding));
    seen.opaque |= pushed.broken;
    Ok(seen)
}

fn whole(extracted: &Extracted) -> Inspection {
    let mut seen = Inspection {
        findings: Vec::new(),
        opaque: extracted.opaque,
    };
    for finding in Scan::new().text(&extracted.text) {
        note(&mut seen, finding);
    }
    seen
}

fn note(seen: &mut Inspection, finding: crate::Finding) {
    if seen.findings.len() == DlpScanner::MOST_FINDINGS {
        seen.opaque = true;
        return;
    }
    seen.findings.push(Finding {
        kind: Label::fixed(finding.kind.name()),
        start: finding.start,
        end: finding.end,
        confidence: finding.confidence,
    });
}

/// Bytes by which a file is told from text.
const HEAD: usize = 4096;
