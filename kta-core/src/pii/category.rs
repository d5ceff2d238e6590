//! Categories per regime: one flag is not enough, because a salary is especially sensitive in
//! Israel and ordinary under the GDPR.

use serde::{Deserialize, Serialize};

/// The firm's handling class of a piece of personal data, from the least to the most guarded
/// within each family of duties (domain table of immigration data sets). The numbers are written
/// (see [`Classification::code`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Category {
    /// Job, education, travel, finances: the substance of a case.
    Case = 1,
    /// Receipt and case numbers.
    CaseRef = 2,
    /// Kept for the employer: I-9, LCA and PERM files.
    EmployerRecord = 3,
    /// The firm's own bookkeeping about the client.
    FirmRecord = 4,
    /// Names, birth dates, passport and identity numbers.
    Identity = 5,
    /// The part of an LCA file that anybody may inspect; must hold no beneficiary data.
    PublicFile = 6,
    /// Health, criminal, biometric, belief: GDPR articles 9 and 10.
    Special = 7,
    /// Asylum, trafficking, domestic violence: never to employer, home state or family.
    SpecialProtected = 8,
    /// In the firm's custody but not to be opened, such as a sealed medical report.
    SpecialSealed = 9,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 9] = [
        Self::Case,
        Self::CaseRef,
        Self::EmployerRecord,
        Self::FirmRecord,
        Self::Identity,
        Self::PublicFile,
        Self::Special,
        Self::SpecialProtected,
        Self::SpecialSealed,
    ];

    /// The name as policies and packs write it, for example `SPECIAL_SEALED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Case => "CASE",
            Self::CaseRef => "CASE_REF",
            Self::EmployerRecord => "EMPLOYER_RECORD",
            Self::FirmRecord => "FIRM_RECORD",
            Self::Identity => "IDENTITY",
            Self::PublicFile => "PUBLIC_FILE",
            Self::Special => "SPECIAL",
            Self::SpecialProtected => "SPECIAL_PROTECTED",
            Self::SpecialSealed => "SPECIAL_SEALED",
        }
    }

    /// Whether each opening must be on disk in the log before the value is seen.
    #[must_use]
    pub const fn is_special(self) -> bool {
        matches!(
            self,
            Self::Special | Self::SpecialProtected | Self::SpecialSealed
        )
    }
}

impl core::fmt::Display for Category {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A category together with what each regime calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// The firm's handling class.
    pub category: Category,
    /// GDPR article 9: special categories.
    #[serde(default)]
    pub art9: bool,
    /// GDPR article 10: criminal convictions and offences.
    #[serde(default)]
    pub art10: bool,
    /// Israeli Privacy Protection Law, Amendment 13: information of especial sensitivity.
    #[serde(default)]
    pub il_esi: bool,
    /// Concerns a minor; authority of the guardian ends at majority.
    #[serde(default)]
    pub minor: bool,
}

impl Classification {
    /// What the domain table says of `category` by default. Everything a law firm holds about a
    /// client is under a statutory duty of confidence and so especially sensitive in Israel;
    /// only the public file is not.
    #[must_use]
    pub const fn of(category: Category) -> Self {
        Self {
            category,
            art9: category.is_special(),
            art10: false,
            il_esi: !matches!(category, Category::PublicFile),
            minor: false,
        }
    }

    /// Two bytes that say all of it, for what is signed and sealed: the category's number, which
    /// never changes, and a bit for each regime (1 article 9, 2 article
    /// 10, 4 Israel, 8 minor).
    #[must_use]
    pub const fn code(self) -> u16 {
        let flags = self.art9 as u16
            | (self.art10 as u16) << 1
            | (self.il_esi as u16) << 2
            | (self.minor as u16) << 3;
        (self.category as u16) << 8 | flags
    }

    /// The same, concerning a minor.
    #[must_use]
    pub const fn of_minor(mut self, minor: bool) -> Self {
        self.minor = minor;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_classifications_have_one_code() {
        let mut codes = std::collections::BTreeSet::new();
        for (number, category) in (1..).zip(Category::ALL) {
            for bits in 0..16_u16 {
                let of = Classification {
                    category,
                    art9: bits & 1 > 0,
                    art10: bits & 2 > 0,
                    il_esi: bits & 4 > 0,
                    minor: bits & 8 > 0,
                };
                assert_eq!(of.code(), number << 8 | bits, "{of:?}");
                assert!(codes.insert(of.code()));
            }
        }
        assert_eq!(codes.len(), 144);
    }
}
