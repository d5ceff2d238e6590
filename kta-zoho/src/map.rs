//! Which of our fields stand in which of the CRM's: the only ones that leave or enter.

use kta_core::pii::{Category, FieldName};
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal};

use crate::value::ValueForm;

/// One line of a [`FieldMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedField {
    /// Our field.
    pub field: FieldName,
    /// The CRM's API name for it.
    pub api_name: String,
    /// The category that a permit must cover for it to be read or written.
    pub category: Category,
    /// What it is in the CRM.
    pub form: ValueForm,
}

/// The list of mapped fields. What is not on it is refused with `SYN-UNMAPPED`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMap {
    fields: Vec<MappedField>,
}

impl FieldMap {
    /// A map of these fields.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) when one of ours or one of theirs stands
    /// twice, is one of the adapter's own fields, or is not an API name, and when no field maps
    /// to `Last_Name`, which the CRM requires; `CRM-WRONG-STORE` for a field of a special
    /// category.
    pub fn new(fields: Vec<MappedField>) -> Result<Self, Error> {
        let unfit = |why| {
            Err(
                Fault::new(FaultKind::Misconfigured, Port::Crm, "map fields")
                    .because(why)
                    .into(),
            )
        };
        for (position, one) in fields.iter().enumerate() {
            if one.category.is_special() {
                let refusal = Refusal::new(Code::CrmWrongStore);
                return Err(refusal.about("field", one.field.label().clone()).into());
            }
            if !is_api_name(&one.api_name) || OWN_FIELDS.contains(&one.api_name.as_str()) {
                return unfit("a field of the CRM cannot be mapped");
            }
            let twice =
                |other: &MappedField| other.field == one.field || other.api_name == one.api_name;
            if fields[..position].iter().any(twice) {
                return unfit("a field is mapped twice");
            }
        }
        if !fields.iter().any(|one| one.api_name == LAST_NAME) {
            return unfit("no field is mapped to the name the CRM requires");
        }
        Ok(Self { fields })
    }

    /// The map for records of `person.v1` in the module `Contacts`. Its medical note is left
    /// out on purpose: special categories are not kept in the CRM.
    #[must_use]
    pub fn person() -> Self {
        use Category::{Case, Identity};
        let fields = PERSON.map(|(field, api_name, identity)| MappedField {
            field: FieldName::fixed(field),
            api_name: api_name.to_owned(),
            category: if identity { Identity } else { Case },
            form: ValueForm::Text,
        });
        Self {
            fields: fields.to_vec(),
        }
    }

    /// The lines.
    #[must_use]
    pub fn fields(&self) -> &[MappedField] {
        &self.fields
    }

    /// The line of our field.
    #[must_use]
    pub fn of(&self, field: &FieldName) -> Option<&MappedField> {
        self.fields.iter().find(|one| one.field == *field)
    }

    pub(crate) fn holds(&self, api_name: &str) -> bool {
        self.fields.iter().any(|one| one.api_name == api_name)
    }
}

fn is_api_name(text: &str) -> bool {
    text.len() <= 50
        && text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The name without which the CRM keeps no contact.
pub(crate) const LAST_NAME: &str = "Last_Name";
/// Our record's id, the unique key of every write.
pub(crate) const KEY: &str = "KTA_Key";
/// Our data subject's id.
pub(crate) const SUBJECT: &str = "Subject_Key";
/// Our matter's id.
pub(crate) const MATTER: &str = "Matter_Key";
/// What the record is kept for.
pub(crate) const PURPOSE: &str = "Purpose";
/// The vendor's own field for the lawful basis.
pub(crate) const BASIS: &str = "Data_Processing_Basis";

/// The fields that the adapter writes itself; custom ones must exist in the organisation.
pub(crate) const OWN_FIELDS: [&str; 5] = [KEY, SUBJECT, MATTER, PURPOSE, BASIS];

/// Our field, theirs, whether it is identity data (otherwise case data).
const PERSON: [(&str, &str, bool); 14] = [
    ("family_name", LAST_NAME, true),
    ("given_names", "First_Name", true),
    ("birth_date", "Date_of_Birth", true),
    ("birth_place", "Place_of_Birth", true),
    ("nationality", "Nationality", true),
    ("passport_number", "Passport_Number", true),
    ("passport_expiry", "Passport_Expiry", true),
    ("national_id", "National_ID", true),
    ("a_number", "Alien_Number", true),
    ("email", "Email", false),
    ("phone", "Phone", false),
    ("address", "Mailing_Street", false),
    ("occupation", "Occupation", false),
    ("salary", "Salary", false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_map_is_a_map_and_leaves_special_categories_out() {
        let map = FieldMap::person();
        assert_eq!(FieldMap::new(map.fields().to_vec()), Ok(map.clone()));
        assert!(map.of(&FieldName::fixed("medical_note")).is_none());
        assert!(map.fields().iter().all(|one| !one.category.is_special()));
    }

    #[test]
    fn a_map_with_doubles_own_fields_or_no_name_is_refused() {
        let line = |field: &'static str, api_name: &str| MappedField {
            field: FieldName::fixed(field),
            api_name: api_name.to_owned(),
            category: Category::Identity,
            form: ValueForm::Text,
        };
        let name = line("family_name", LAST_NAME);
        for bad in [
            vec![],
            vec![line("email", "Email")],
            vec![name.clone(), line("email", LAST_NAME)],
            vec![name.clone(), line("family_name", "Email")],
            vec![name.clone(), line("email", KEY)],
            vec![name.clone(), line("email", "Email,Phone")],
        ] {
            assert!(FieldMap::new(bad).is_err());
        }
    }

    #[test]
    fn a_special_category_is_not_mapped_into_the_crm() {
        let mut fields = FieldMap::person().fields().to_vec();
        fields[1].category = Category::Special;
        let refused = FieldMap::new(fields).unwrap_err();
        assert_eq!(refused.refusal().unwrap().code(), Code::CrmWrongStore);
    }
}
