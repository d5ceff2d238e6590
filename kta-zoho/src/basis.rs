//! The vendor's words for the lawful bases.

use kta_core::policy::LawfulBasis;

/// A lawful basis as the CRM shows it.
pub(crate) fn basis_text(basis: LawfulBasis) -> &'static str {
    match basis {
        LawfulBasis::Consent => "Consent",
        LawfulBasis::Contract => "Contract",
        LawfulBasis::LegalObligation => "Legal Obligation",
        LawfulBasis::LegitimateInterests => "Legitimate Interests",
        LawfulBasis::PublicTask => "Public Interests",
        LawfulBasis::VitalInterests => "Vital Interests",
    }
}

/// The lawful basis of a text; `None` for what the law does not know.
pub(crate) fn basis_of(text: &str) -> Option<LawfulBasis> {
    use LawfulBasis::*;
    [
        Consent,
        Contract,
        LegalObligation,
        LegitimateInterests,
        PublicTask,
        VitalInterests,
    ]
    .into_iter()
    .find(|basis| basis_text(*basis) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lawful_basis_comes_back_as_itself() {
        for basis in [
            LawfulBasis::Consent,
            LawfulBasis::Contract,
            LawfulBasis::LegalObligation,
            LawfulBasis::LegitimateInterests,
            LawfulBasis::PublicTask,
            LawfulBasis::VitalInterests,
        ] {
            assert_eq!(basis_of(basis_text(basis)), Some(basis));
        }
        assert_eq!(basis_of("Pending"), None);
    }
}
