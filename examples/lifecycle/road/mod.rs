//! The road itself: the fifteen steps with everything that goes wrong on the way, one chapter or
//! two a file.

mod access;
mod agency;
mod casework;
mod destruction;
mod exit;
mod founding;
mod receipt;
mod stewards;
mod verification;

use std::path::Path;

use kta_core::audit::Label;
use kta_core::pipeline::dispose::Disposed;
use kta_core::pipeline::govern;
use kta_core::pipeline::retain::Nexus;
use kta_core::policy::{Purpose, Role, Session};

use crate::cast::{Cast, Failure, Manifest};
use crate::doors::Opened;
use crate::packs;
use crate::story::Story;

/// One traveller: everything a step needs.
struct Road<'a> {
    opened: &'a Opened,
    manifest: &'a Manifest,
    family: &'a Path,
    cast: &'a Cast,
    /// How much later than in the manifest everything happens.
    shift: chrono::TimeDelta,
}

pub(crate) async fn travel(
    opened: &mut Opened,
    manifest: &Manifest,
    family: &Path,
    cast: &Cast,
    shift: chrono::TimeDelta,
    story: &mut Story,
) -> Result<Disposed, Failure> {
    opened.house.schedules = schedules(opened, "2026-02-20")?;
    let road = Road {
        opened,
        manifest,
        family,
        cast,
        shift,
    };
    road.found(story).await?;
    road.review(story).await?;
    let deliveries = road.receive(story).await?;
    let verified = road.verify(story, &deliveries).await?;
    road.incidents(story).await?;
    road.access(story).await?;
    let shared = road.work(story, verified).await?;
    let transmitted = road.transmit(story, shared).await?;
    road.close(story).await?;
    let hold = road.retain(story, transmitted).await?;
    opened.pass_until("2045-01-10T09:00:00Z".parse()?);
    opened.house.schedules = schedules(opened, "2044-11-22")?;
    let road = Road {
        opened,
        manifest,
        family,
        cast,
        shift,
    };
    let officer = road.session(cast.staff.dpo, Role::Dpo, Purpose::Compliance);
    let records = road.session(cast.staff.records, Role::Records, Purpose::Disposition);
    govern::enact(&opened.house, &officer, &records).await?;
    let disposed = road.dispose(story, hold).await?;
    road.improve(story).await?;
    Ok(disposed)
}

impl<'a> Road<'a> {
    fn session(&self, who: kta_core::id::ActorId, role: Role, purpose: Purpose) -> Session<'a> {
        self.opened.house.session(who, role, purpose)
    }

    fn case_work(&self, who: kta_core::id::ActorId, role: Role) -> Session<'a> {
        self.session(who, role, Purpose::Representation)
    }
}

/// The firm is in Israel, and the clients' data did not come from Europe.
fn nexus() -> Nexus {
    Nexus {
        regimes: [Label::fixed("IL")].into(),
        custodian: false,
    }
}

/// The schedules in force now, of packs whose sources were last read on this day.
fn schedules(
    opened: &Opened,
    read_on: &str,
) -> Result<std::collections::BTreeMap<Label, kta_core::retention::Schedule>, Failure> {
    packs::in_force(
        &opened.keyring,
        read_on.parse()?,
        opened.house.gate.now().date_naive(),
    )
}
