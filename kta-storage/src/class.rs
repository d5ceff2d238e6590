//! Policy classes within a change set: which governs which, without a record's being touched. One
//! place for every database.

use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::RecordKey;
use kta_core::policy::{PolicyClass, Succession};
use kta_core::ports::store::{Expected, Register, Sheet};
use kta_core::time::Timestamp;
use kta_core::{Port, Result};

use crate::form::{corrupt, purpose_bit};
use crate::rules::{Rows, Stored, conflict, file, missing};

/// Records that one class governs, whichever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cohort {
    /// By which number records name it.
    pub(crate) no: i64,
    /// The class that governs them.
    pub(crate) governing: Digest,
}

/// Interns a class, with the purposes by which its records are found.
pub(crate) fn intern(rows: &mut impl Rows, class: &PolicyClass) -> Result<()> {
    let sheet = Sheet::of_class(class);
    if rows.sheet_revision(sheet.register, &sheet.id)?.is_some() {
        return Ok(());
    }
    file(rows, &sheet, Expected::Absent)?;
    let bits = class.admitted().map(purpose_bit);
    rows.admit(class.id(), bits.fold(0, |all, bit| all | bit))
}

/// Where a record is written: among those that what its class means now governs, or, over a stored
/// record, where that stands.
pub(crate) fn cohort_of<R: Rows>(
    rows: &mut R,
    class: Digest,
    stored: Option<&R::Stored>,
) -> Result<Cohort> {
    match stored.map(Stored::cohort) {
        None => cohort(rows, class),
        Some(stored) if stored.governing == means(rows, class)? => Ok(stored),
        Some(_) => Err(conflict("another class governs the record")),
    }
}

pub(crate) fn reclass(
    rows: &mut impl Rows,
    key: &RecordKey,
    from: Digest,
    to: Digest,
) -> Result<()> {
    let stored = rows.record(key)?;
    let stored = stored.ok_or_else(|| missing("no record of this key"))?;
    if !is_interned(rows, to)? {
        return Err(missing("no class of this name is interned"));
    }
    if stored.cohort().governing != from {
        return Err(conflict("another class governs the record"));
    }
    if means(rows, to)? == from {
        return Ok(());
    }
    let cohort = cohort(rows, to)?;
    rows.move_record(key, stored, cohort)
}

pub(crate) fn reinstate(rows: &mut impl Rows, class: Digest, now: Timestamp) -> Result<()> {
    match rows.governs(class)? {
        Some(governs) if governs == class => return Ok(()),
        None if is_interned(rows, class)? => return Ok(()),
        None => return Err(missing("no class of this name")),
        Some(_) => {}
    }
    rows.enthrone(class)?;
    note(rows, class, None, now)
}

pub(crate) fn supersede(
    rows: &mut impl Rows,
    from: Digest,
    to: &PolicyClass,
    now: Timestamp,
) -> Result<()> {
    let governs = rows.governs(from)?;
    if governs.is_none() && !is_interned(rows, from)? {
        return Err(missing("no class of this name"));
    }
    let by = means(rows, to.id())?;
    if by == from {
        return Err(conflict("a class cannot supersede itself"));
    }
    match governs {
        Some(governs) if governs == by => return Ok(()),
        Some(governs) if governs != from => {
            return Err(conflict("the class was superseded by another"));
        }
        _ => {}
    }
    intern(rows, to)?;
    if governs.is_none() {
        rows.enthrone(from)?;
    }
    rows.succeed(from, by)?;
    note(rows, from, Some(by), now)
}

/// Where what is written under `class` now goes.
fn cohort(rows: &mut impl Rows, class: Digest) -> Result<Cohort> {
    let governing = in_force(rows, class)?;
    rows.cohort(governing)
}

/// What governs what is written under `class` now: the class itself, if it was never in force.
fn in_force(rows: &mut impl Rows, class: Digest) -> Result<Digest> {
    match rows.governs(class)? {
        Some(governing) => Ok(governing),
        None => rows.enthrone(class).map(|()| class),
    }
}

/// What would govern what is written under `class` now.
fn means(rows: &impl Rows, class: Digest) -> Result<Digest> {
    Ok(rows.governs(class)?.unwrap_or(class))
}

fn is_interned(rows: &impl Rows, class: Digest) -> Result<bool> {
    let (register, name) = sheet_of(class)?;
    Ok(rows.sheet_revision(register, &name)?.is_some())
}

/// Where a class of this name is interned.
pub(crate) fn sheet_of(class: Digest) -> Result<(Register, Label)> {
    let name = Label::new(class.to_string()).map_err(|_| corrupt(Port::Store, "commit"))?;
    Ok((Register::Classes, name))
}

/// Enters a succession into its register.
fn note(rows: &mut impl Rows, class: Digest, by: Option<Digest>, at: Timestamp) -> Result<()> {
    // A number that nobody had: there is no sheet of it to look for.
    let number = rows.successions()? + 1;
    let sheet = Sheet::of_succession(number, &Succession { class, by, at });
    rows.put_sheet(&sheet, 1)
}
