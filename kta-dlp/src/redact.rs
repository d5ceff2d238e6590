//! Taking findings out of a text so that a second look finds nothing.

use crate::entity::{Entity, Finding};
use crate::scan::Scan;
use kta_core::{Code, Refusal};
use zeroize::Zeroizing;

/// A copy of `text` with a mark like `⟦US_SSN⟧` in place of every finding of these kinds, all
/// kinds when none is named; the same value elsewhere in the text goes too.
///
/// The result is scanned again, and again when taking something out changed what its neighbours
/// look like.
///
/// # Errors
/// [`Code::DlpResidue`] when after [`ROUNDS`] rounds something is still found.
pub fn redact(text: &str, kinds: &[Entity]) -> Result<String, Refusal> {
    let mut scan = Scan::new();
    let mut redacted = Zeroizing::new(text.to_owned());
    for _ in 0..ROUNDS {
        let findings: Vec<Finding> = scan
            .text(&redacted)
            .into_iter()
            .filter(|finding| kinds.is_empty() || kinds.contains(&finding.kind))
            .collect();
        if findings.is_empty() {
            return Ok(std::mem::take(&mut *redacted));
        }
        redacted = Zeroizing::new(without(&redacted, &findings));
    }
    Err(Code::DlpResidue.into())
}

fn without(text: &str, findings: &[Finding]) -> String {
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    for finding in findings {
        // Findings are in order and apart, on character boundaries.
        rest.push_str(&text[at..place(finding.start)]);
        rest.push_str(&mark(finding.kind));
        at = place(finding.end);
    }
    rest.push_str(&text[at..]);
    for finding in findings {
        let value = &text[place(finding.start)..place(finding.end)];
        if value.len() >= SHORTEST_REPEATED && rest.contains(value) {
            rest = Zeroizing::new(rest).replace(value, &mark(finding.kind));
        }
    }
    rest
}

/// What stands in place of a value.
#[must_use]
pub fn mark(kind: Entity) -> String {
    format!("⟦{}⟧", kind.name())
}

/// Offsets within a text that is in memory fit.
fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// How often a text is looked at before giving up.
pub const ROUNDS: usize = 6;

/// Shorter values are as likely something else where they stand alone.
const SHORTEST_REPEATED: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_redacted_text_holds_none_of_the_values() {
        let text = "Client Testa Canary, SSN 123-45-6789, mail testa.canary@example.com. Again: 123-45-6789.";
        let redacted = redact(text, &[]).unwrap();
        assert!(
            !redacted.contains("6789") && !redacted.contains("anary"),
            "{redacted}"
        );
        assert!(redacted.contains("⟦US_SSN⟧"));
    }

    #[test]
    fn only_the_named_kinds_are_taken_out() {
        let redacted = redact("SSN 123-45-6789, phone (212) 555-0142", &[Entity::Phone]).unwrap();
        assert_eq!(redacted, "SSN 123-45-6789, phone ⟦PHONE⟧");
    }

    #[test]
    fn a_value_dressed_as_a_mark_is_still_found() {
        let redacted = redact("SSN ⟦123-45-6789⟧", &[]).unwrap();
        assert!(!redacted.contains("6789"));
    }

    proptest! {
        #[test]
        fn what_was_redacted_is_not_found_again(words in proptest::collection::vec(
            prop_oneof![
                Just("SSN"), Just("123-45-6789"), Just("passport"), Just("X1234567"), Just("born"), Just("11/05/1988"),
                Just("Anna Muster"), Just("dear"), Just("(212) 555-0142"), Just("12 Main Street, Springfield, IL 62704"),
                Just(","), Just("\n"), Just(":"), Just("123456782"), Just("ת.ז."), Just("account"), Just("87654321"),
            ], 0..40)) {
            let redacted = redact(&words.join(" "), &[]).unwrap();
            prop_assert_eq!(Scan::new().text(&redacted), vec![]);
        }
    }
}
