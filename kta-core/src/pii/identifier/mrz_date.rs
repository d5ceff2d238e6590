//! Dates of a machine readable zone.

use super::{IdentifierFlaw, number};

/// A date of the zone: year without century; month and day may be unknown in a date of birth.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MrzDate {
    year: u8,
    month: Option<u8>,
    day: Option<u8>,
}

impl MrzDate {
    /// A day of the calendar; only the last two digits of the year are written.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Date`] when there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, IdentifierFlaw> {
        let short = u8::try_from(year % 100).map_err(|_| IdentifierFlaw::Date)?;
        let date = Self {
            year: short,
            month: Some(month),
            day: Some(day),
        };
        let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        if date.exists() && (leap || (month, day) != (2, 29)) {
            Ok(date)
        } else {
            Err(IdentifierFlaw::Date)
        }
    }

    /// Year without century, 0–99.
    pub fn year(self) -> u8 {
        self.year
    }

    /// Month 1–12, if known.
    pub fn month(self) -> Option<u8> {
        self.month
    }

    /// Day 1–31, if known.
    pub fn day(self) -> Option<u8> {
        self.day
    }

    /// The latest year that ends in these two digits and is not after `limit`: with this year as
    /// the limit a year of birth, with this year and fifty a year of expiry.
    pub fn year_not_after(self, limit: u16) -> u16 {
        let century = limit - limit % 100 + u16::from(self.year);
        if century <= limit {
            century
        } else {
            century.saturating_sub(100)
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, IdentifierFlaw> {
        let pair = |from: usize| match &text.as_bytes()[from..from + 2] {
            b"<<" => Ok(None),
            two if two.iter().all(u8::is_ascii_digit) => u8::try_from(number(two))
                .map(Some)
                .map_err(|_| IdentifierFlaw::Date),
            _ => Err(IdentifierFlaw::Date),
        };
        let date = Self {
            year: pair(0)?.ok_or(IdentifierFlaw::Date)?,
            month: pair(2)?,
            day: pair(4)?,
        };
        if date.exists() {
            Ok(date)
        } else {
            Err(IdentifierFlaw::Date)
        }
    }

    fn exists(self) -> bool {
        let last = match self.month {
            Some(4 | 6 | 9 | 11) => 30,
            Some(2) if self.year.is_multiple_of(4) => 29,
            Some(2) => 28,
            Some(1..=12) => 31,
            Some(_) => return false,
            None => return self.day.is_none(),
        };
        self.day.is_none_or(|day| (1..=last).contains(&day))
    }

    pub(super) fn written(self) -> String {
        let pair =
            |part: Option<u8>| part.map_or_else(|| "<<".to_owned(), |part| format!("{part:02}"));
        format!("{:02}{}{}", self.year, pair(self.month), pair(self.day))
    }
}

impl std::fmt::Debug for MrzDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MrzDate(redacted)")
    }
}
