//! What a rotation cannot seal anew, and goes on without.

use serde::{Deserialize, Serialize};

use super::Work;
use crate::audit::Outcome;
use crate::error::{Error, FaultKind, Result};
use crate::id::SubjectId;
use crate::pii::placement::CopyOf;
use crate::policy::Act;
use crate::refusal::Code;

/// Something that could not be sealed anew: its person's former key stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Whose it is.
    pub subject: SubjectId,
    /// The record, or the document whose content it is.
    pub of: CopyOf,
    /// Why.
    pub why: Why,
}

/// Why something could not be sealed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is not what was sealed.
    Altered,
    /// It names a key that the person does not have.
    Keyless,
    /// It is registered as present and is not there.
    Lost,
    /// Its schema is not known here.
    Unmapped,
}

impl Why {
    /// The word in the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Keyless => "keyless",
            Self::Lost => "lost",
            Self::Unmapped => "unmapped",
        }
    }

    /// Why, when it is the thing itself that cannot be read, and not a port that failed.
    fn of(error: &Error) -> Option<Self> {
        if let Some(fault) = error.fault() {
            return match fault.kind() {
                FaultKind::Corrupt => Some(Self::Altered),
                FaultKind::NotFound => Some(Self::Lost),
                _ => None,
            };
        }
        match error.refusal()?.code() {
            Code::CryKey => Some(Self::Keyless),
            Code::CrySwap => Some(Self::Altered),
            Code::SynUnmapped => Some(Self::Unmapped),
            _ => None,
        }
    }
}

impl Work<'_> {
    /// Notes that something cannot be read; gives the error back when it says something else,
    /// and when so much is noted that the rotation had better stop.
    pub(super) fn except(&mut self, subject: SubjectId, of: CopyOf, error: Error) -> Result<()> {
        let exceptions = &mut self.filed.rekeying.exceptions;
        let known = |noted: &Exception| noted.subject == subject && noted.of == of;
        let Some(why) = Why::of(&error) else {
            return Err(error);
        };
        if exceptions.iter().any(known) {
            return Ok(());
        }
        if exceptions.len() >= MOST {
            return Err(error);
        }
        exceptions.push(Exception { subject, of, why });
        let event = self
            .permit
            .event(Act::Rekey, Outcome::Done)
            .of_subject(subject)
            .with("exception", why.word());
        self.events.push(match of {
            CopyOf::Document(document) => event.with("document", document),
            CopyOf::Record(record) => event.with("record", record),
        });
        Ok(())
    }

    /// Whether something of this person could not be sealed anew.
    pub(super) fn is_excepted(&self, subject: SubjectId) -> bool {
        let exceptions = &self.filed.rekeying.exceptions;
        exceptions.iter().any(|noted| noted.subject == subject)
    }
}

/// How many exceptions a rotation goes on with.
const MOST: usize = 1000;
