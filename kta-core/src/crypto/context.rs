//! Where a sealed value belongs, as canonical bytes.

use super::aead::{SUITE, VERSION};
use super::derive::push;
use crate::id::{MatterId, RecordId, SubjectId, TenantId};

/// The place of a sealed value: its associated data. A value opens only at the place at which it
/// was sealed; moved to another row, field, person, firm or revision it is refused.
///
/// The canonical bytes are the format version and the suite, one byte each, then tenant,
/// subject, matter (empty when there is none), record and field name, each with its length in
/// eight bytes (big-endian) before it, then the revision in eight bytes. Lengths make the parts
/// impossible to confuse; JSON, which can write one thing in many ways, is never used for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The firm.
    pub tenant: TenantId,
    /// The person whom the value is about, and under whose key it is sealed.
    pub subject: SubjectId,
    /// The matter it belongs to, if it belongs to one.
    pub matter: Option<MatterId>,
    /// The record that holds it.
    pub record: RecordId,
    /// The field's name in its schema, or what is written of a
    /// [group](crate::pii::FieldGroup) of fields; never a value.
    pub field: &'a str,
    /// The revision of the field, so that an older value cannot be put back as the newer.
    pub revision: u64,
}

impl SealContext<'_> {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160 + self.field.len());
        bytes.extend_from_slice(&[VERSION, SUITE]);
        push(&mut bytes, self.tenant.as_bytes());
        push(&mut bytes, self.subject.as_bytes());
        push(
            &mut bytes,
            self.matter
                .as_ref()
                .map_or(&[][..], |matter| matter.as_bytes()),
        );
        push(&mut bytes, self.record.as_bytes());
        push(&mut bytes, self.field.as_bytes());
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn place() -> SealContext<'static> {
        SealContext {
            tenant: TenantId::from_bytes([1; 16]),
            subject: SubjectId::from_bytes([2; 16]),
            matter: Some(MatterId::from_bytes([3; 16])),
            record: RecordId::from_bytes([4; 16]),
            field: "passport.number",
            revision: 5,
        }
    }

    /// The same place with one part changed, for each part.
    pub(crate) fn other_places() -> Vec<SealContext<'static>> {
        let place = place();
        vec![
            SealContext {
                tenant: TenantId::from_bytes([9; 16]),
                ..place
            },
            SealContext {
                subject: SubjectId::from_bytes([9; 16]),
                ..place
            },
            SealContext {
                matter: Some(MatterId::from_bytes([9; 16])),
                ..place
            },
            SealContext {
                matter: None,
                ..place
            },
            SealContext {
                record: RecordId::from_bytes([9; 16]),
                ..place
            },
            SealContext {
                field: "passport.numbe",
                ..place
            },
            SealContext { field: "", ..place },
            SealContext {
                revision: 4,
                ..place
            },
            SealContext {
                revision: 6,
                ..place
            },
        ]
    }

    #[test]
    fn the_canonical_bytes_do_not_drift() {
        let bytes = place().to_bytes();
        let hex = crate::crypto::testing::hex(&bytes);
        let length = "0000000000000010";
        let expected = [
            "0101".to_owned(),
            format!("{length}{}", "01".repeat(16)),
            format!("{length}{}", "02".repeat(16)),
            format!("{length}{}", "03".repeat(16)),
            format!("{length}{}", "04".repeat(16)),
            "000000000000000f70617373706f72742e6e756d626572".to_owned(),
            "0000000000000005".to_owned(),
        ]
        .concat();
        assert_eq!(hex, expected);
    }

    #[test]
    fn each_part_counts() {
        let mut all: Vec<_> = other_places().iter().map(SealContext::to_bytes).collect();
        all.push(place().to_bytes());
        let many = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), many);
    }
}
