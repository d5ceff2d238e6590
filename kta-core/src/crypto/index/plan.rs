//! How long an entry is, and which fields get none.

use core::fmt;

/// The plan of one field's index: how many bits an entry has.
///
/// For how many rows is kept with the index key, because entries of another length are not
/// found. When there are many more rows than it was made for, searches read more rows than
/// needed: the [next index key](super::super::Hierarchy::rotate_index) is planned for more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPlan {
    field: String,
    rows: u64,
    bits: u8,
}

/// A field that gets no index. Holds no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexRefused {
    /// There are so few possible values that counting equal entries would tell them: a country,
    /// a sex, a status, a date of birth.
    #[error("a field of {possible} possible values gets no index; {least} are the least")]
    FewValues {
        /// How many values the field may take.
        possible: u64,
        /// How many it would need.
        least: u64,
    },
    /// So few rows that no length of entry would make them share one.
    #[error("{rows} rows need no index: open them all")]
    FewRows {
        /// How many rows are expected.
        rows: u64,
    },
    /// Entries of that length would be as good as names: fewer than two rows share one.
    #[error("entries of {bits} bits tell rows apart; {most} are the most")]
    TooLong {
        /// The length asked for.
        bits: u8,
        /// The longest for that many rows.
        most: u8,
    },
}

impl IndexPlan {
    /// Possible values that a field needs: more than there are dates of birth among the living.
    pub const LEAST_VALUES: u64 = 1 << 16;

    /// For how many rows an index is planned of which nothing else is said.
    pub const USUAL_ROWS: u64 = 100_000;

    /// The plan for a field that may take `possible` values, in `rows` rows: the longest entries
    /// that at least two rows share on average.
    ///
    /// # Errors
    /// [`IndexRefused`] for too few possible values or too few rows.
    pub fn new(field: &str, possible: u64, rows: u64) -> Result<Self, IndexRefused> {
        if possible < Self::LEAST_VALUES {
            return Err(IndexRefused::FewValues {
                possible,
                least: Self::LEAST_VALUES,
            });
        }
        if rows < 4 {
            return Err(IndexRefused::FewRows { rows });
        }
        // Proof: a logarithm of 64 bits is at most 63, and at least 2 here.
        let bits = (rows.ilog2() - 1) as u8;
        Ok(Self {
            field: field.to_owned(),
            rows,
            bits,
        })
    }

    /// The same plan with shorter entries: less leaks, and a search opens more rows.
    ///
    /// # Errors
    /// [`IndexRefused::TooLong`] for longer entries than the plan's, or none at all.
    pub fn shortened(self, bits: u8) -> Result<Self, IndexRefused> {
        if bits == 0 || bits > self.bits {
            return Err(IndexRefused::TooLong {
                bits,
                most: self.bits,
            });
        }
        Ok(Self { bits, ..self })
    }

    /// The field.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Bits of an entry.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// What leaks, and what a search costs: how many rows share an entry on average, with the
    /// rows that the plan was made for.
    #[must_use]
    pub fn shared_by(&self) -> f64 {
        self.rows as f64 / f64::from(self.bits).exp2()
    }
}

/// One sentence for whoever decides whether the field is indexed.
impl fmt::Display for IndexPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "entries of {} bits, each shared by {:.1} of {} rows on average if values are spread \
             evenly; whoever has the rows and no key learns which rows share an entry, and how \
             common the commonest values are",
            self.bits,
            self.shared_by(),
            self.rows
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_few_values_get_no_index() {
        for possible in [2, 195, 366 * 120] {
            let refused = IndexPlan::new("field", possible, 1_000_000).unwrap_err();
            assert!(
                matches!(refused, IndexRefused::FewValues { .. }),
                "{possible}"
            );
        }
        assert!(IndexPlan::new("field", 1_000_000_000, 1_000_000).is_ok());
    }

    #[test]
    fn two_to_four_rows_share_an_entry() {
        for rows in [4, 5, 1000, 50_000, 1_000_000, u64::MAX] {
            let plan = IndexPlan::new("field", u64::MAX, rows).unwrap();
            assert!((2.0..=4.0).contains(&plan.shared_by()), "{rows}");
        }
        assert_eq!(
            IndexPlan::new("field", u64::MAX, 3),
            Err(IndexRefused::FewRows { rows: 3 })
        );
    }

    #[test]
    fn a_plan_says_what_leaks_and_what_collides() {
        let plan = IndexPlan::new("field", u64::MAX, 50_000).unwrap();
        let said = plan.to_string();
        assert!(
            said.starts_with("entries of 14 bits, each shared by 3.1 of 50000 rows"),
            "{said}"
        );
        assert!(said.contains("which rows share an entry"));
    }

    #[test]
    fn entries_may_be_shorter_than_planned_but_not_longer() {
        let plan = IndexPlan::new("field", u64::MAX, 50_000).unwrap();
        assert_eq!(plan.clone().shortened(8).unwrap().bits(), 8);
        let refused = plan.shortened(15).unwrap_err();
        assert_eq!(refused, IndexRefused::TooLong { bits: 15, most: 14 });
    }
}
