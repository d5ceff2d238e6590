//! What SQLite says, in this house's words. SQLite's own messages stay behind: they may quote
//! values.

use kta_core::{Error, Fault, FaultKind, Port};
use rusqlite::ErrorCode;

pub(crate) use crate::form::corrupt;

/// Turns an error of SQLite in `operation` of `port` into a fault.
pub(crate) fn broken(port: Port, operation: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |error| {
        let (kind, detail) = judge(&error);
        Fault::new(kind, port, operation).because(detail).into()
    }
}

fn judge(error: &rusqlite::Error) -> (FaultKind, &'static str) {
    use rusqlite::Error as E;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (FaultKind::Unavailable, "the disk is full"),
        Some(ErrorCode::CannotOpen) => (FaultKind::Misconfigured, "the file cannot be opened"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (FaultKind::Misconfigured, "the file cannot be written")
        }
        Some(ErrorCode::DatabaseCorrupt) => (FaultKind::Corrupt, "the file is damaged"),
        Some(ErrorCode::NotADatabase) => (FaultKind::Corrupt, "the file is no database"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (FaultKind::Unavailable, "another process holds the file")
        }
        Some(ErrorCode::OutOfMemory) => (FaultKind::Unavailable, "out of memory"),
        Some(ErrorCode::SystemIoFailure) => (FaultKind::Unavailable, "the disk failed"),
        Some(ErrorCode::TooBig) => (FaultKind::Protocol, "a value is too long"),
        Some(ErrorCode::ConstraintViolation) => (FaultKind::Conflict, "a row like this is stored"),
        Some(_) => (
            FaultKind::Misconfigured,
            "the database refuses the statement",
        ),
        None => match error {
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..) => (FaultKind::Corrupt, "a stored row cannot be read"),
            _ => (
                FaultKind::Misconfigured,
                "the statement does not fit the database",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32) -> Fault {
        let text = Some("CANARY".to_owned());
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), text);
        *broken(Port::Store, "commit")(error).fault().unwrap()
    }

    #[test]
    fn a_full_disk_is_worth_another_try_and_a_read_only_one_is_not() {
        use rusqlite::ffi;
        assert!(of(ffi::SQLITE_FULL).is_transient());
        assert_eq!(of(ffi::SQLITE_FULL).detail(), Some("the disk is full"));
        assert_eq!(of(ffi::SQLITE_READONLY).kind(), FaultKind::Misconfigured);
        assert_eq!(of(ffi::SQLITE_CORRUPT).kind(), FaultKind::Corrupt);
        assert_eq!(of(ffi::SQLITE_NOTADB).kind(), FaultKind::Corrupt);
        assert!(of(ffi::SQLITE_BUSY).is_transient());
    }

    #[test]
    fn the_words_of_the_database_stay_behind() {
        let fault = of(rusqlite::ffi::SQLITE_CONSTRAINT);
        assert!(!format!("{fault} {fault:?}").contains("CANARY"));
    }
}
