//! The lines of a bulk file as records: which column is which, and what is told of each line.

use kta_core::Result;
use kta_core::id::SubjectId;
use kta_core::pii::{Fields, Locator, Pii};
use kta_core::policy::Permit;
use serde_json::Value;

use crate::ZohoCrm;
use crate::basis::basis_of;
use crate::coql::{is_id, parse_instant};
use crate::csv::Line;
use crate::error::protocol;
use crate::load::{Contents, LOAD, Loaded};
use crate::map::{BASIS, KEY, MATTER, SUBJECT};
use crate::records::READING;
use crate::value::ValueForm;

/// Where in a line what stands.
pub(crate) struct Columns {
    id: usize,
    modified: usize,
    key: usize,
    subject: usize,
    matter: usize,
    basis: usize,
    owner: usize,
    mapped: Vec<(usize, usize)>,
    count: usize,
}

impl Columns {
    pub(crate) fn read(head: &Line, crm: &ZohoCrm, contents: Contents) -> Result<Self> {
        let find = |name: &str| {
            let position = head
                .cells()
                .position(|cell| cell.eq_ignore_ascii_case(name));
            position.ok_or_else(|| protocol(LOAD, "the file lacks a column"))
        };
        let lines = crm.config.map.fields().iter().enumerate();
        let lines =
            lines.filter(|(_, line)| contents == Contents::Mapped && line.form != ValueForm::Rows);
        Ok(Self {
            id: find("id")?,
            modified: find("Modified_Time")?,
            key: find(KEY)?,
            subject: find(SUBJECT)?,
            matter: find(MATTER)?,
            basis: find(BASIS)?,
            owner: find("Owner")?,
            mapped: lines
                .map(|(line, mapped)| Ok((line, find(&mapped.api_name)?)))
                .collect::<Result<_>>()?,
            count: head.len(),
        })
    }

    pub(crate) fn loaded(&self, line: &Line, crm: &ZohoCrm, permit: &Permit<'_>) -> Result<Loaded> {
        if line.len() != self.count || !line.is_text() {
            return Err(protocol(LOAD, "a line has other columns"));
        }
        let id = Some(line.cell(self.id)).filter(|id| is_id(id));
        let locator = id.and_then(|id| Locator::new(id).ok());
        let modified = parse_instant(&Value::from(line.cell(self.modified)));
        let (locator, modified) = locator
            .zip(modified)
            .ok_or_else(|| protocol(LOAD, "a line has no id or time"))?;
        let subject: Option<SubjectId> = line.cell(self.subject).parse().ok();
        let mut fields = Fields::new();
        for (mapped, column) in &self.mapped {
            let (line_of, text) = (&crm.config.map.fields()[*mapped], line.cell(*column));
            let is_covered = subject
                .is_some_and(|subject| permit.require(&READING, subject, line_of.category).is_ok());
            if is_covered && !text.is_empty() {
                fields.insert(line_of.field.clone(), Pii::new(text.to_owned()));
            }
        }
        Ok(Loaded {
            locator,
            record: line.cell(self.key).parse().ok(),
            subject,
            matter: line.cell(self.matter).parse().ok(),
            owner: Some(line.cell(self.owner))
                .filter(|id| is_id(id))
                .and_then(|id| Locator::new(id).ok()),
            modified,
            basis: basis_of(line.cell(self.basis)),
            stopped: None,
            fields,
        })
    }
}
