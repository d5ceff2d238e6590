//! What the server, the driver and the pool say, in this house's words. The server's own messages
//! stay behind: they may quote values and addresses.

use std::error::Error as _;
use std::io;

use deadpool_postgres::{PoolError, TimeoutType};
use kta_core::{Error, Fault, FaultKind, Port};
use tokio_postgres::error::Severity;

/// Why a statement or a connection did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) kind: FaultKind,
    pub(super) detail: &'static str,
    pub(super) next: Next,
}

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The server undid the transaction, or never began it: the same may go well another time.
    Again,
    /// The connection went. What was sent may have been done, what was not sent was not.
    Lost,
    /// It would not go better another time.
    Nothing,
}

impl Broken {
    const fn new(kind: FaultKind, detail: &'static str, next: Next) -> Self {
        Self { kind, detail, next }
    }

    /// No answer in time; the connection is given up.
    pub(super) const fn silent() -> Self {
        let detail = "the server does not answer in time";
        Self::new(FaultKind::Timeout, detail, Next::Lost)
    }

    /// A stored row that is not what was written.
    pub(super) const fn unreadable() -> Self {
        let detail = "a stored row cannot be read";
        Self::new(FaultKind::Corrupt, detail, Next::Nothing)
    }

    pub(super) fn in_operation(self, port: Port, operation: &'static str) -> Error {
        Fault::new(self.kind, port, operation)
            .because(self.detail)
            .into()
    }

    fn of_code(code: &str, fatal: bool) -> Self {
        use FaultKind as F;
        let (kind, detail, next) = match code {
            "40003" => (F::Unavailable, "the connection was lost", Next::Lost),
            "40001" | "40P01" | "40000" | "40002" => (
                F::Unavailable,
                "the server gave the transaction up, again and again",
                Next::Again,
            ),
            "55P03" => (
                F::Unavailable,
                "another process holds the firm's rows",
                Next::Again,
            ),
            "57014" => (F::Timeout, "the statement takes too long", Next::Nothing),
            // In a failover the address may still lead to a standby.
            "25006" => (F::Unavailable, "the server only reads", Next::Again),
            "53100" => (F::Unavailable, "the server's disk is full", Next::Nothing),
            "53300" => (
                F::Unavailable,
                "the server has no connection free",
                Next::Again,
            ),
            _ => match code.get(..2).unwrap_or_default() {
                "08" | "57" => (F::Unavailable, "the server is not serving", Next::Lost),
                "53" | "58" => (F::Unavailable, "the server's machine fails", Next::Nothing),
                "XX" => (F::Corrupt, "the server's files are damaged", Next::Nothing),
                "22" => (
                    F::Protocol,
                    "a value does not fit its column",
                    Next::Nothing,
                ),
                "23" => (F::Conflict, "a row like this is stored", Next::Nothing),
                "28" | "3D" => (
                    F::Misconfigured,
                    "the server refuses the role",
                    Next::Nothing,
                ),
                "3F" | "42" => (
                    F::Misconfigured,
                    "the tables are not there, or the role has no right to them",
                    Next::Nothing,
                ),
                _ => (
                    F::Misconfigured,
                    "the server refuses the statement",
                    Next::Nothing,
                ),
            },
        };
        // A session that ended is lost, whatever ended it.
        let next = if fatal && next == Next::Again && code != "53300" {
            Next::Lost
        } else {
            next
        };
        Self::new(kind, detail, next)
    }
}

impl From<&tokio_postgres::Error> for Broken {
    fn from(error: &tokio_postgres::Error) -> Self {
        if let Some(told) = error.as_db_error() {
            let fatal = matches!(
                told.parsed_severity(),
                Some(Severity::Fatal | Severity::Panic)
            );
            return Self::of_code(told.code().code(), fatal);
        }
        let source = error.source().and_then(|it| it.downcast_ref::<io::Error>());
        let untrusted = source
            .and_then(io::Error::get_ref)
            .is_some_and(|inner| inner.is::<rustls::Error>());
        if untrusted {
            let detail = "the server's certificate is not accepted";
            return Self::new(FaultKind::Misconfigured, detail, Next::Nothing);
        }
        if error.is_closed() || source.is_some() {
            let detail = "the connection was lost";
            return Self::new(FaultKind::Unavailable, detail, Next::Lost);
        }
        let detail = "the server does not speak as configured";
        Self::new(FaultKind::Misconfigured, detail, Next::Nothing)
    }
}

impl From<tokio_postgres::Error> for Broken {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::from(&error)
    }
}

impl From<PoolError> for Broken {
    fn from(error: PoolError) -> Self {
        let (kind, detail) = match error {
            PoolError::Backend(error) => return Self::from(&error),
            PoolError::Timeout(TimeoutType::Wait) => {
                (FaultKind::Timeout, "no connection came free in time")
            }
            PoolError::Timeout(_) => (FaultKind::Unavailable, "the server cannot be reached"),
            _ => (FaultKind::Unavailable, "the store is closed"),
        };
        Self::new(kind, detail, Next::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str) -> Broken {
        Broken::of_code(code, false)
    }

    #[test]
    fn what_the_server_undid_is_tried_again_and_what_it_refuses_is_not() {
        for code in ["40001", "40P01", "55P03", "25006"] {
            assert_eq!(of(code).next, Next::Again, "{code}");
        }
        for code in [
            "42501", "42P01", "28P01", "22P02", "23505", "53100", "XX001",
        ] {
            assert_eq!(of(code).next, Next::Nothing, "{code}");
        }
        assert_eq!(of("28P01").kind, FaultKind::Misconfigured);
        assert_eq!(of("XX001").kind, FaultKind::Corrupt);
    }

    #[test]
    fn a_session_that_ended_leaves_the_outcome_open() {
        for code in ["57P01", "57P02", "08006", "08P01", "40003"] {
            assert_eq!(of(code).next, Next::Lost, "{code}");
        }
        assert_eq!(Broken::of_code("40001", true).next, Next::Lost);
    }
}
