//! The end of a message: purged, and then looked for.

use super::Mailbox;
use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{Locator, Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Erase, Erased, Method, Probe, Residue};
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Request};

#[async_trait]
impl Erase for Mailbox {
    fn system(&self) -> System {
        self.channel.clone()
    }

    /// Purges the message past the folder for deleted items. Exchange's single-item recovery keeps what
    /// was purged for 14 days, or up to 30 where an administrator says so; Graph does not show it.
    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&self.channel, Act::Destroy, permit)?;
        let url = self.url(&[
            "messages",
            locator(ERASE, placement)?.as_str(),
            "permanentDelete",
        ])?;
        let make = || Ok(Request::post(ERASE, url.clone()).repeatable());
        let answer = self.graph.ask(make).await?;
        let step = match answer.status {
            200 | 204 => "message.permanent_delete",
            404 => "message.absent",
            _ => return Err(answer.unexpected(ERASE)),
        };
        Ok(Erased {
            method: Method::ProviderDeletion,
            steps: vec![Label::fixed(step)],
            window: Some(permit.now() + TimeDelta::days(RECOVERY_DAYS)),
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.channel, Act::Probe, permit)?;
        let id = locator(PROBE, placement)?;
        let there = self.folder_of(PROBE, id.as_str()).await?.is_some();
        let residue = Residue {
            what: Label::fixed("message"),
            until: None,
            content: true,
        };
        Ok(Probe {
            at: permit.now(),
            // What single-item recovery holds is not shown by Graph, and that is said.
            asked: vec![
                Label::fixed("message.by_id"),
                Label::fixed("recoverable_items.unasked"),
            ],
            evidence: Digest::of(format!("message.by_id={}", u8::from(there)).as_bytes()),
            residues: there.then_some(residue).into_iter().collect(),
        })
    }
}

fn locator(call: Call, placement: &Placement) -> Result<&Locator> {
    let locator = placement.locator.as_ref();
    Ok(locator.ok_or_else(|| {
        call.fault(FaultKind::Protocol)
            .because("a placement without the mailbox's id")
    })?)
}

const ERASE: Call = Call::new(Port::Erase, "erase");
const PROBE: Call = Call::new(Port::Erase, "probe");
/// Single-item recovery's longest.
const RECOVERY_DAYS: i64 = 30;
