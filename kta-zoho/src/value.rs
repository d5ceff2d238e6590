//! Values as the CRM's forms want them: text, choices, rows of a subform. And the body of a write.

use std::collections::BTreeMap;

use kta_core::{Code, Result};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::about_field;

/// What a mapped field is in the CRM. On our side every value is a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueForm {
    /// Several of a list (`multiselectpicklist`): the choices with `;` between them, in the order
    /// of the CRM.
    Choices,
    /// Rows of a subform: what [`rows_text`] writes. They are in no query and no bulk file, so
    /// that only [`fetch`](kta_core::ports::Crm::fetch) brings them.
    Rows,
    /// A text, a date, a number in digits.
    #[default]
    Text,
}

/// Rows of a subform in one form: a JSON list of objects of texts, without blanks, the fields in
/// order, empty ones left out. What was entered so is fetched so.
#[must_use]
pub fn rows_text(rows: &[BTreeMap<String, String>]) -> String {
    let filled = |row: &BTreeMap<String, String>| -> Map<String, Value> {
        let cells = row.iter().filter(|(_, text)| !text.is_empty());
        cells
            .map(|(name, text)| (name.clone(), text.clone().into()))
            .collect()
    };
    let rows: Vec<BTreeMap<String, Value>> = rows
        .iter()
        .map(|row| filled(row).into_iter().collect())
        .collect();
    // A list of maps of texts is always JSON.
    serde_json::to_string(&rows).unwrap_or_default()
}

impl ValueForm {
    /// Our text as the CRM takes it.
    ///
    /// # Errors
    /// `REV-INCOMPLETE` for a text that is no rows.
    pub(crate) fn cell<'a>(self, api_name: &str, text: &'a str) -> Result<Cell<'a>> {
        Ok(match self {
            Self::Text => Cell::Text(text),
            Self::Choices => Cell::Choices(
                text.split(';')
                    .map(str::trim)
                    .filter(|choice| !choice.is_empty())
                    .collect(),
            ),
            Self::Rows => {
                let rows: Option<Vec<BTreeMap<String, String>>> = serde_json::from_str(text).ok();
                let rows = rows.ok_or_else(|| about_field(Code::RevIncomplete, Some(api_name)))?;
                let row = |row: BTreeMap<String, String>| {
                    let cells = row.into_iter().map(|(name, text)| (name, text.into()));
                    Value::Object(cells.collect())
                };
                Cell::Rows(rows.into_iter().map(row).collect())
            }
        })
    }

    /// What the CRM shows as our text; `None` for what is empty.
    pub(crate) fn text(self, value: Value) -> Option<String> {
        let text = match (self, value) {
            (Self::Text, Value::String(text)) => text,
            (Self::Text, Value::Number(number)) => number.to_string(),
            (Self::Choices, Value::Array(list)) => {
                let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                words.join(";")
            }
            // A bulk file has choices in one cell.
            (Self::Choices, Value::String(text)) => text,
            (Self::Rows, Value::Array(list)) if !list.is_empty() => {
                let rows: Vec<BTreeMap<String, String>> = list.into_iter().map(own_cells).collect();
                rows_text(&rows)
            }
            _ => return None,
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The cells of a subform's row that people fill in; the vendor adds its own.
fn own_cells(row: Value) -> BTreeMap<String, String> {
    let Value::Object(row) = row else {
        return BTreeMap::new();
    };
    let own = |name: &str| !name.starts_with('$') && !VENDORS.contains(&name);
    row.into_iter()
        .filter(|(name, _)| own(name))
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Number(number) => Some((name, number.to_string())),
            Value::Bool(flag) => Some((name, flag.to_string())),
            _ => None,
        })
        .collect()
}

/// A value on its way to the CRM. Texts are borrowed, so that no copy of them is left.
#[derive(Debug)]
pub(crate) enum Cell<'a> {
    Choices(Vec<&'a str>),
    Rows(Vec<Value>),
    Text(&'a str),
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        match self {
            Self::Choices(choices) => choices.serialize(serializer),
            Self::Rows(rows) => rows.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

/// The body of a write.
#[derive(Serialize)]
pub(crate) struct Write<'a> {
    data: Vec<Row<'a>>,
    /// Always sent with records, and empty: left out, it would run every automation of the
    /// organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<[&'static str; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_check_fields: Option<[&'static str; 1]>,
}

impl<'a> Write<'a> {
    pub(crate) fn new(row: Row<'a>, unique: Option<[&'static str; 1]>) -> Self {
        Self::many(vec![row], unique)
    }

    pub(crate) fn many(rows: Vec<Row<'a>>, unique: Option<[&'static str; 1]>) -> Self {
        Self {
            data: rows,
            trigger: Some([]),
            duplicate_check_fields: unique,
        }
    }

    /// For notes, whose call the vendor documents without automations.
    pub(crate) fn without_trigger(row: Row<'a>) -> Self {
        Self {
            data: vec![row],
            trigger: None,
            duplicate_check_fields: None,
        }
    }
}

/// API names and values of a row.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Row<'a>(pub(crate) BTreeMap<&'a str, Cell<'a>>);

impl<'a> Row<'a> {
    pub(crate) fn of(cells: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let cells = cells.into_iter();
        Self(cells.map(|(name, text)| (name, Cell::Text(text))).collect())
    }

    pub(crate) fn set(&mut self, name: &'a str, text: &'a str) {
        self.0.insert(name, Cell::Text(text));
    }
}

/// What the vendor puts into every row of a subform.
const VENDORS: [&str; 9] = [
    "Created_By",
    "Created_Time",
    "Layout",
    "Modified_By",
    "Modified_Time",
    "Owner",
    "Parent_Id",
    "Serial_Number__s",
    "id",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_come_back_as_they_were_entered_without_what_the_vendor_adds() {
        let child = BTreeMap::from([
            ("Child_Name".to_owned(), "Testa דוגמה".to_owned()),
            ("Birth".to_owned(), "2020-02-03".to_owned()),
            ("Empty".to_owned(), String::new()),
        ]);
        let text = rows_text(&[child]);
        assert_eq!(
            text,
            r#"[{"Birth":"2020-02-03","Child_Name":"Testa דוגמה"}]"#
        );
        let cell = ValueForm::Rows.cell("Dependents", &text).unwrap();
        let mut sent = serde_json::to_value(&cell).unwrap();
        sent[0]["id"] = "1".into();
        sent[0]["Parent_Id"] = json!({"id": "2", "name": "Sample"});
        sent[0]["$sequence_number"] = 1.into();
        assert_eq!(ValueForm::Rows.text(sent), Some(text));
        assert!(ValueForm::Rows.cell("Dependents", "ZZCANARY").is_err());
        assert_eq!(ValueForm::Rows.text(json!([])), None);
    }

    #[test]
    fn choices_come_back_in_the_order_of_the_crm() {
        let cell = ValueForm::Choices
            .cell("Languages", "Hebrew;  English;")
            .unwrap();
        let sent = serde_json::to_value(&cell).unwrap();
        assert_eq!(sent, json!(["Hebrew", "English"]));
        assert_eq!(
            ValueForm::Choices.text(sent).as_deref(),
            Some("Hebrew;English")
        );
        assert_eq!(ValueForm::Choices.text(json!([])), None);
    }

    #[test]
    fn a_write_always_says_that_no_automation_shall_run() {
        let row = Row::of([("Last_Name", "Sample")]);
        let body = serde_json::to_value(Write::new(row, Some(["KTA_Key"]))).unwrap();
        assert_eq!(body["trigger"], json!([]));
        assert_eq!(body["duplicate_check_fields"], json!(["KTA_Key"]));
    }
}
