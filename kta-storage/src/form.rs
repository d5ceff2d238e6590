//! How the values of the port stand in columns, whatever the database.

use kta_core::policy::Purpose;
use kta_core::ports::store::JobState;
use kta_core::time::Timestamp;
use kta_core::{Error, Fault, FaultKind, Port, Result};

/// Reads what [`to_json`] wrote.
pub(crate) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|_| corrupt(Port::Store, "read"))
}

pub(crate) fn to_json<T: serde::Serialize>(what: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(what).map_err(|_| corrupt(Port::Store, "commit"))
}

/// A number as databases count: to 2^63 - 1.
pub(crate) fn integer(number: u64) -> Result<i64> {
    let too_large =
        Fault::new(FaultKind::Protocol, Port::Store, "commit").because("a number is too large");
    i64::try_from(number).map_err(|_| too_large.into())
}

/// A limit as databases count.
pub(crate) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970; every instant has them.
pub(crate) const fn millis(at: Timestamp) -> i64 {
    at.timestamp_millis()
}

/// Microseconds since 1970; every instant has them.
pub(crate) const fn micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

/// The first millisecond that is not before an instant: entries are dated to the millisecond.
pub(crate) fn millis_from(at: Timestamp) -> i64 {
    let whole = Timestamp::from_timestamp_millis(millis(at)) == Some(at);
    millis(at) + i64::from(!whole)
}

/// By which bit of a class's row a purpose is found: stored, so it stays.
pub(crate) const fn purpose_bit(purpose: Purpose) -> i64 {
    match purpose {
        Purpose::Compliance => 1,
        Purpose::Disposition => 2,
        Purpose::Filing => 4,
        Purpose::Marketing => 8,
        Purpose::Representation => 16,
        Purpose::Retention => 32,
        Purpose::Security => 64,
    }
}

pub(crate) const fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Dead => "dead",
        JobState::Done => "done",
        JobState::Leased => "leased",
        JobState::Waiting => "waiting",
    }
}

pub(crate) fn state_of(name: &str) -> Option<JobState> {
    let all = [
        JobState::Dead,
        JobState::Done,
        JobState::Leased,
        JobState::Waiting,
    ];
    all.into_iter().find(|state| state_name(*state) == name)
}

/// A stored row that is not what was written.
pub(crate) fn corrupt(port: Port, operation: &'static str) -> Error {
    Fault::new(FaultKind::Corrupt, port, operation)
        .because("a stored row cannot be read")
        .into()
}
