use super::{Compact, IdentifierFlaw, is_bidi_control, is_separator, number};

/// A case number of the Department of Labor: `I-200-YYDDD-NNNNNN` and its relatives.
///
/// `YYDDD` is the year and the day of the year of filing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabourCaseNumber {
    program: CaseProgram,
    text: Compact<18>,
}

/// Which programme a [`LabourCaseNumber`] belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CaseProgram {
    /// Labour condition application (`I-200` … `I-203`: H-1B, H-1B1 Chile and Singapore, E-3).
    LabourCondition,
    /// Permanent labour certification (`A-`, since 2023 `G-100`).
    Permanent,
    /// Prevailing wage determination (`P-100`, `P-200`, …).
    PrevailingWage,
}

impl LabourCaseNumber {
    /// Reads a case number; hyphens are part of it.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Prefix`] for an unknown programme, [`IdentifierFlaw::Date`] for a day of
    /// the year that is 000 or beyond the year's last, else [`IdentifierFlaw::Shape`].
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = hyphenated(text)?;
        let mut parts = folded.text().split('-');
        let mut next = || parts.next().ok_or(IdentifierFlaw::Shape);
        let letter = next()?;
        let (program, serial_length) = match letter {
            "A" => (CaseProgram::Permanent, 5),
            "G" | "I" | "P" => match (letter, next()?) {
                ("I", "200" | "201" | "202" | "203") => (CaseProgram::LabourCondition, 6),
                ("G", "100") => (CaseProgram::Permanent, 6),
                ("P", "100" | "200" | "300" | "400" | "500") => (CaseProgram::PrevailingWage, 6),
                _ => return Err(IdentifierFlaw::Prefix),
            },
            _ => return Err(IdentifierFlaw::Prefix),
        };
        let (filed, serial) = (next()?, next()?);
        let all_digits = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if parts.next().is_some() || !all_digits(filed, 5) || !all_digits(serial, serial_length) {
            return Err(IdentifierFlaw::Shape);
        }
        let (year, day) = filed.as_bytes().split_at(2);
        let last = if number(year).is_multiple_of(4) {
            366
        } else {
            365
        };
        if !(1..=last).contains(&number(day)) {
            return Err(IdentifierFlaw::Date);
        }
        Ok(Self {
            program,
            text: folded,
        })
    }

    /// The programme it belongs to.
    pub fn program(&self) -> CaseProgram {
        self.program
    }

    /// The number with its hyphens.
    pub fn reveal(&self) -> &str {
        self.text.text()
    }
}

fn hyphenated(text: &str) -> Result<Compact<18>, IdentifierFlaw> {
    let mut folded = Compact {
        bytes: [0; 18],
        length: 0,
    };
    for character in text.trim().chars() {
        if is_bidi_control(character) {
            return Err(IdentifierFlaw::Bidi);
        }
        if is_separator(character) {
            folded.push(b'-')?;
        } else {
            folded.push(super::fold_alphanumeric(character).ok_or(IdentifierFlaw::Character)?)?;
        }
    }
    Ok(folded)
}
