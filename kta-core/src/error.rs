//! The two ways a call can fail: a lawful no ([`Refusal`]) and something broken ([`Fault`]).

use core::fmt;
use core::time::Duration;

use crate::refusal::Refusal;

/// The result of every fallible call of this house.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A lawful no, with its stable code.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something broke; [`Fault::is_transient`] says whether to try again.
    #[error(transparent)]
    Broken(#[from] Fault),
}

impl Error {
    /// The refusal, if this is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Broken(_) => None,
        }
    }

    /// The fault, if this is one.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Broken(fault) => Some(fault),
            Self::Refused(_) => None,
        }
    }
}

impl From<crate::refusal::Code> for Error {
    fn from(code: crate::refusal::Code) -> Self {
        Self::Refused(code.into())
    }
}

/// Something broke. It names the port and the operation, never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    port: Port,
    operation: &'static str,
    detail: Option<&'static str>,
    status: Option<u16>,
}

impl Fault {
    /// A fault of `kind` in `operation` of `port`.
    #[must_use]
    pub const fn new(kind: FaultKind, port: Port, operation: &'static str) -> Self {
        Self {
            kind,
            port,
            operation,
            detail: None,
            status: None,
        }
    }

    /// The same fault with a fixed explanation (written in the source, so never a value).
    #[must_use]
    pub const fn because(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The same fault with the protocol's numeric status (for HTTP, 100 to 599).
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// What kind of breakage this is.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        self.kind
    }

    /// The port at which it broke.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The operation that broke, in the port's own words.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// The explanation, if one was given.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        self.detail
    }

    /// The protocol's status, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the same call may succeed later. `false` for [`FaultKind::OutcomeUnknown`]:
    /// there the caller must first ask whether it happened.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Conflict
                | FaultKind::Throttled { .. }
                | FaultKind::Timeout
                | FaultKind::Unavailable
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {} of port {}",
            self.kind, self.operation, self.port
        )?;
        if let Some(status) = self.status {
            write!(f, " (status {status})")?;
        }
        if let Some(detail) = self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// What kind of breakage a [`Fault`] is, and so what the caller may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Somebody else changed the thing first; read it again, then retry.
    Conflict,
    /// Stored bytes are not what was written.
    Corrupt,
    /// The adapter is set up wrongly; nothing will work until that is mended.
    Misconfigured,
    /// The thing asked for is not there.
    NotFound,
    /// The request left, but no answer came back: it may or may not have happened. Call the
    /// port's `find` before any second attempt.
    OutcomeUnknown,
    /// The other side spoke in a way its contract does not allow.
    Protocol,
    /// The other side asks us to slow down.
    Throttled {
        /// How long it asked us to wait, where it said so.
        retry_after: Option<Duration>,
    },
    /// No answer in time, and certainly no effect.
    Timeout,
    /// The other side cannot be reached or says that it is not serving.
    Unavailable,
    /// A capability that this adapter does not declare.
    Unsupported,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "conflicting change",
            Self::Corrupt => "corrupt data",
            Self::Misconfigured => "wrong configuration",
            Self::NotFound => "nothing found",
            Self::OutcomeUnknown => "unknown outcome",
            Self::Protocol => "protocol violation",
            Self::Throttled { .. } => "throttling",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailability",
            Self::Unsupported => "undeclared capability",
        })
    }
}

/// The doors of the house, as faults name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the port trait of the same name")]
#[non_exhaustive]
pub enum Port {
    Blobs,
    Channel,
    Collaboration,
    Crm,
    Documents,
    Erase,
    Intake,
    Jobs,
    KeyTable,
    Kms,
    Ledger,
    Policy,
    Scanner,
    Store,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_called_transient() {
        let fault = Fault::new(FaultKind::OutcomeUnknown, Port::Channel, "submit");
        assert!(!fault.is_transient());
        assert!(Fault::new(FaultKind::Timeout, Port::Crm, "fetch").is_transient());
    }

    #[test]
    fn a_fault_reads_as_one_lower_case_sentence() {
        let fault = Fault::new(FaultKind::Unavailable, Port::Crm, "enter").with_status(503);
        assert_eq!(
            fault.to_string(),
            "unavailability in enter of port Crm (status 503)"
        );
    }
}
