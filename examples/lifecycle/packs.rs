//! Retention packs: signed by two, and read again by the law watch as the years pass.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use kta_core::audit::{Label, NoteKey, SignedNote};
use kta_core::retention::Schedule;
use kta_keys::LocalKeyring;
use kta_policy::{CORE_PACK, Pack, compile};

use crate::cast::Failure;

/// The shipped pack as it stands on a day: somebody read every source again shortly before, which
/// makes a new version, and privacy officer and attorney signed it.
pub(crate) fn in_force(
    keyring: &LocalKeyring,
    read_on: NaiveDate,
    today: NaiveDate,
) -> Result<BTreeMap<Label, Schedule>, Failure> {
    let text = CORE_PACK
        .replace(
            "reviewed_on = 2026-11-22",
            &format!("reviewed_on = {read_on}"),
        )
        .replace(
            "version = \"2026.11.0\"",
            &format!("version = \"{}.0\"", read_on.format("%Y.%m")),
        );
    let pack = Pack::parse(&text)?;
    let (mut signatures, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for role in ["attorney", "dpo"] {
        let signer = keyring.signer(&format!("kta.example/{role}"))?;
        let role = Label::new(role)?;
        signatures.insert(role.clone(), SignedNote::sign(pack.statement(), &signer)?);
        keys.insert(role, NoteKey::of(&signer)?);
    }
    Ok(compile(&[pack.accept(&signatures, &keys)?], today)?)
}
