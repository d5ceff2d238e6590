//! Calendar arithmetic of legal periods.

use core::fmt;
use core::str::FromStr;

use chrono::{Datelike as _, Days, Months, NaiveDate};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A calendar period: years, months and days, as ISO 8601 writes it (`P3Y`, `P6M`, `P1Y6M`,
/// `P90D`). No hours: retention is a matter of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    months: u32,
    days: u32,
}

/// Text that is not a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 calendar period")]
pub struct BadPeriod;

impl Period {
    /// No time at all: "as soon as".
    pub const ZERO: Self = Self { months: 0, days: 0 };

    /// The longest period that is accepted, in years: longer ones are typing errors.
    pub const LONGEST_YEARS: u32 = 150;

    /// So many years.
    #[must_use]
    pub const fn years(years: u32) -> Self {
        Self {
            months: years * 12,
            days: 0,
        }
    }

    /// The first day on which a minimum that began on `from` has passed.
    ///
    /// Where the target month has no such day the minimum ends on the first day of the next
    /// month: minima round up (three years from 29 February 2020 end on 1 March 2023).
    /// `None` past the end of the calendar.
    #[must_use]
    pub fn floor_from(self, from: NaiveDate) -> Option<NaiveDate> {
        let clamped = from.checked_add_months(Months::new(self.months))?;
        let whole = if clamped.day() < from.day() {
            clamped.succ_opt()?
        } else {
            clamped
        };
        whole.checked_add_days(Days::new(u64::from(self.days)))
    }

    /// The last day of a maximum that began on `from`: maxima and deadlines round down.
    #[must_use]
    pub fn ceiling_from(self, from: NaiveDate) -> Option<NaiveDate> {
        from.checked_add_months(Months::new(self.months))?
            .checked_add_days(Days::new(u64::from(self.days)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (years, months) = (self.months / 12, self.months % 12);
        f.write_str("P")?;
        for (count, unit) in [(years, 'Y'), (months, 'M'), (self.days, 'D')] {
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        if *self == Self::ZERO {
            f.write_str("0D")
        } else {
            Ok(())
        }
    }
}

impl FromStr for Period {
    type Err = BadPeriod;

    fn from_str(text: &str) -> Result<Self, BadPeriod> {
        let mut rest = text
            .strip_prefix('P')
            .filter(|rest| !rest.is_empty())
            .ok_or(BadPeriod)?;
        let (mut months, mut days, mut units) = (0u32, 0u32, "YMWD");
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let count: u32 = rest
                .get(..digits)
                .and_then(|n| n.parse().ok())
                .ok_or(BadPeriod)?;
            let unit = rest.as_bytes().get(digits).copied().ok_or(BadPeriod)?;
            let place = units
                .bytes()
                .position(|known| known == unit)
                .ok_or(BadPeriod)?;
            units = &units[place + 1..];
            match unit {
                b'Y' => months = count.checked_mul(12).ok_or(BadPeriod)?,
                b'M' => months = months.checked_add(count).ok_or(BadPeriod)?,
                b'W' => days = count.checked_mul(7).ok_or(BadPeriod)?,
                _ => days = days.checked_add(count).ok_or(BadPeriod)?,
            }
            rest = &rest[digits + 1..];
        }
        let sane = months <= Self::LONGEST_YEARS * 12 && days <= Self::LONGEST_YEARS * 366;
        if sane {
            Ok(Self { months, days })
        } else {
            Err(BadPeriod)
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn minima_round_up_over_a_missing_leap_day() {
        assert_eq!(
            Period::years(3).floor_from(day("2020-02-29")),
            Some(day("2023-03-01"))
        );
        assert_eq!(
            Period::years(5).floor_from(day("2024-02-29")),
            Some(day("2029-03-01"))
        );
        assert_eq!(
            Period::years(1).floor_from(day("2028-02-29")),
            Some(day("2029-03-01"))
        );
        assert_eq!(
            Period::years(3).floor_from(day("2020-01-01")),
            Some(day("2023-01-01"))
        );
    }

    #[test]
    fn maxima_round_down_over_a_missing_leap_day() {
        assert_eq!(
            Period::years(3).ceiling_from(day("2020-02-29")),
            Some(day("2023-02-28"))
        );
    }

    #[test]
    fn text_form_round_trips_and_nonsense_is_refused() {
        for text in ["P3Y", "P1Y6M", "P90D", "P0D", "P2Y3M4D"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert_eq!("P2W".parse::<Period>().unwrap().to_string(), "P14D");
        for text in [
            "",
            "P",
            "3Y",
            "P3",
            "PY",
            "P3Y3Y",
            "P6M1Y",
            "P1H",
            "P999Y",
            "P99999999999Y",
            "P-1Y",
            "P٣Y",
        ] {
            assert_eq!(text.parse::<Period>(), Err(BadPeriod), "{text}");
        }
    }
}
