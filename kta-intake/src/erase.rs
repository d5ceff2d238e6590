//! Erasure of a message or post from the channel that it came by.
//!
//! A message is erased whole: where it holds several people's data, its placements share one
//! locator, and erasing one of them erases what the others point to as well.

use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::{Locator, Placement};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Erased, Method, Probe, Residue};
use kta_core::time::Timestamp;
use kta_core::{Code, Fault, FaultKind, Port, Result};

use crate::folder::Folder;

pub(crate) fn erase(folder: &Folder, placement: &Placement, permit: &Permit<'_>) -> Result<Erased> {
    permit.require(&[Act::Destroy], placement.subject, placement.category)?;
    folder
        .remove(locator(placement)?)
        .map_err(|_| broken("erase"))?;
    Ok(Erased {
        method: Method::Overwrite,
        steps: vec![Label::fixed("file.overwrite"), Label::fixed("file.unlink")],
        window: None,
    })
}

pub(crate) fn probe(
    folder: &Folder,
    placement: &Placement,
    at: Timestamp,
    permit: &Permit<'_>,
) -> Result<Probe> {
    permit.require(&[Act::Probe], placement.subject, placement.category)?;
    let found = folder
        .find(locator(placement)?)
        .map_err(|_| broken("probe"))?;
    let residue = Residue {
        what: Label::fixed("message-file"),
        until: None,
        content: true,
    };
    let answer = format!("kta-intake/probe/1\ntmp new cur\nfound {}\n", found.len());
    Ok(Probe {
        at,
        asked: vec![Label::fixed("folder.list")],
        evidence: Digest::of(answer.as_bytes()),
        residues: vec![residue; found.len()],
    })
}

fn locator(placement: &Placement) -> Result<&Locator> {
    // A copy without a name in this system cannot be told from another's: that is no erasure.
    placement
        .locator
        .as_ref()
        .ok_or_else(|| Code::DstUnmapped.into())
}

fn broken(operation: &'static str) -> Fault {
    Fault::new(FaultKind::Unavailable, Port::Erase, operation).because("the folder cannot be used")
}
