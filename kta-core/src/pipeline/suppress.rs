//! The suppression ledger: keyed marks of the erased, so that nobody comes back through a
//! restore, a re-sync or a re-import.

use crate::audit::Label;
use crate::error::Result;
use crate::id::CertificateId;
use crate::pii::{FieldKind, FieldName, Fields};
use crate::pipeline::house::{House, file, label};
use crate::ports::store::{Change, Register, SheetQuery};
use crate::refusal::{Code, Refusal};

/// Marks are made of these fields: each identifies a person by itself.
const MARKED: [(FieldName, FieldKind); 2] = [
    (FieldName::fixed("passport_number"), FieldKind::Passport),
    (FieldName::fixed("national_id"), FieldKind::IsraeliId),
];

/// The marks of a person, keyed so that without the firm's index key they tell nothing.
pub(crate) async fn marks(house: &House, fields: &Fields) -> Result<Vec<Label>> {
    let mut marks = Vec::new();
    for (name, kind) in MARKED {
        if let Some(value) = fields.field(name.as_str()) {
            marks.extend(house.sealer.mark(kind, &name, value).await?.map(label));
        }
    }
    Ok(marks)
}

/// The changes that put a person on the ledger.
pub(crate) fn list(marks: &[Label], certificate: CertificateId) -> Result<Vec<Change>> {
    marks
        .iter()
        .map(|mark| {
            file(
                Register::Suppressions,
                mark.clone(),
                None,
                None,
                &certificate,
            )
        })
        .collect()
}

/// Refuses somebody who was erased.
///
/// # Errors
/// [`Code::SupListed`].
pub(crate) async fn refuse_listed(house: &House, fields: &Fields) -> Result<()> {
    for mark in marks(house, fields).await? {
        let query = SheetQuery::named(house.tenant(), Register::Suppressions, mark);
        if !house.doors.store.sheets(&query).await?.is_empty() {
            return Err(Refusal::new(Code::SupListed).into());
        }
    }
    Ok(())
}
