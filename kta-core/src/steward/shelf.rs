//! How the wing keeps its sheets: read with the revision that the next write must expect, so
//! that of two stewards at once one is told to look again.

use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::Label;
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::MatterId;
use crate::pipeline::House;
use crate::policy::{Act, Scope, Session};
use crate::ports::store::{Change, Expected, Register, Sheet, SheetQuery};
use crate::refusal::Refusal;

/// What a register holds under this name, and the revision to expect when it is changed.
pub(super) async fn find<T: DeserializeOwned>(
    house: &House,
    register: Register,
    id: &Label,
) -> Result<Option<(T, Expected)>> {
    let query = SheetQuery::named(house.tenant(), register, id.clone());
    let sheets = house.doors.store.sheets(&query).await?;
    let Some(sheet) = sheets.first() else {
        return Ok(None);
    };
    let what = serde_json::from_slice(&sheet.body).map_err(|_| corrupt())?;
    Ok(Some((what, Expected::Revision(sheet.revision))))
}

/// A change that writes `what` into a register over what was expected there.
pub(super) fn file<T: Serialize>(
    register: Register,
    id: Label,
    matter: Option<MatterId>,
    what: &T,
    expected: Expected,
) -> Result<Change> {
    let body = serde_json::to_vec(what).map_err(|_| corrupt())?;
    let revision = match expected {
        Expected::Revision(known) => known.saturating_add(1),
        Expected::Absent | Expected::Any => 1,
    };
    let sheet = Sheet {
        register,
        id,
        subject: None,
        matter,
        revision,
        body,
    };
    Ok(Change::File { sheet, expected })
}

/// The refusal as an error, once it is on the log.
pub(super) async fn refuse(
    session: &Session<'_>,
    act: Act,
    scope: &Scope,
    refusal: impl Into<Refusal>,
) -> Error {
    let refusal = refusal.into();
    match session.log_refusal(act, scope, &refusal).await {
        Ok(()) => refusal.into(),
        Err(error) => error,
    }
}

/// The label that names an id or a digest.
pub(super) fn name(id: impl fmt::Display) -> Label {
    // The text forms of ids and digests are labels.
    Label::new(id.to_string()).unwrap_or(const { Label::fixed("-") })
}

pub(super) fn corrupt() -> Error {
    Fault::new(FaultKind::Corrupt, Port::Store, "read a register").into()
}
