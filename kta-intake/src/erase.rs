//! Erasure of a message or post from the channel that it came by.
//!
//! A message is erased whole: where it holds several people's data, its placements share one
//! locator, and erasing one of them erases what the others point to as well.

use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::{Locator, Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::{Erased, Method, Probe, Residue};
use kta_core::time::Timestamp;
use kta_core::{Code, Fault, FaultKind, Port, Result};

use crate::folder::Folder;

pub(crate) fn erase(
    (system, folder): (&System, &Folder),
    placement: &Placement,
    permit: &Permit<'_>,
) -> Result<Erased> {
    let locator = admit(system, placement, Act::Destroy, permit)?;
    folder.remove(locator).map_err(|_| broken("erase"))?;
    Ok(Erased {
        method: Method::Overwrite,
        steps: vec![Label::fixed("file.overwrite"), Label::fixed("file.unlink")],
        window: None,
    })
}

pub(crate) fn probe(
    (system, folder): (&System, &Folder),
    placement: &Placement,
    at: Timestamp,
    permit: &Permit<'_>,
) -> Result<Probe> {
    let locator = admit(system, placement, Act::Probe, permit)?;
    let found = folder.find(locator).map_err(|_| broken("probe"))?.len();
    let residue = Residue {
        what: Label::fixed("message-file"),
        until: None,
        content: true,
    };
    let answer = format!("kta-intake/probe/1\ntmp new cur\nfound {found}\n");
    Ok(Probe {
        at,
        asked: vec![Label::fixed("folder.list")],
        evidence: Digest::of(answer.as_bytes()),
        residues: vec![residue; found],
    })
}

/// The permit must be of the placement's firm and person, and the placement one of this channel
/// with a name in it: without one, a copy cannot be told from another's.
fn admit<'p>(
    system: &System,
    placement: &'p Placement,
    act: Act,
    permit: &Permit<'_>,
) -> Result<&'p Locator> {
    permit.require(&[act], placement.subject, placement.category)?;
    if permit.tenant() != placement.tenant {
        return Err(Code::AclDeny.into());
    }
    match &placement.locator {
        Some(locator) if placement.system == *system => Ok(locator),
        _ => Err(Code::DstUnmapped.into()),
    }
}

fn broken(operation: &'static str) -> Fault {
    Fault::new(FaultKind::Unavailable, Port::Erase, operation).because("the folder cannot be used")
}
