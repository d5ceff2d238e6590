//! A decision in words, for the person who asked and for the lawyer who reviews it.

use kta_core::audit::Label;
use kta_core::guidance::{self, Language};
use kta_core::policy::{Decision, Verdict};

use super::CedarPolicy;

/// A decision in the words of one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it is a yes.
    pub admitted: bool,
    /// The rule that decided, and what it says; further rules that said no after it.
    pub because: Vec<(Label, String)>,
    /// What to do now, where it is a no.
    pub advice: Option<&'static str>,
}

impl CedarPolicy {
    /// The decision in words: the deciding rule first. A rule that has none in this language
    /// speaks the language it was written in.
    ///
    /// It says nothing that the decision does not: whoever must not learn why is shown the code
    /// alone, which is the same for what is forbidden and for what does not exist.
    #[must_use]
    pub fn explain(&self, decision: &Decision, language: Language) -> Explanation {
        let because = decision.reasons.iter().map(|reason| {
            let words = match language {
                Language::English => None,
                Language::Hebrew => self.in_hebrew(decision, reason.rule.as_str()),
            };
            let words = words.map_or_else(|| reason.text.clone(), str::to_owned);
            (reason.rule.clone(), words)
        });
        let advice = match decision.verdict {
            Verdict::Permit => None,
            Verdict::Deny(code) => Some(guidance::of(code, language)),
        };
        Explanation {
            admitted: decision.verdict == Verdict::Permit,
            because: because.collect(),
            advice,
        }
    }

    fn in_hebrew(&self, decision: &Decision, rule: &str) -> Option<&str> {
        match (rule, decision.verdict) {
            ("acl.role", Verdict::Permit) => Some("התפקיד כולל פעולה זו"),
            ("acl.role", Verdict::Deny(_)) => Some("התפקיד אינו כולל פעולה זו"),
            ("engine.error", _) => Some("לא ניתן היה להעריך את המדיניות, ולכן התשובה היא לא"),
            _ => {
                let bar = self
                    .bars
                    .iter()
                    .find(|bar| bar.reason.rule.as_str() == rule)?;
                bar.hebrew.as_deref()
            }
        }
    }
}
