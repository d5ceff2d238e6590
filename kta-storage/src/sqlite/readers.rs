//! Connections for reading, as many as are wanted at once.

use core::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;

use kta_core::{Error, Fault, FaultKind, Port, Result};
use rusqlite::Connection;

use super::open::Form;

/// A pool of read-only connections; a reader never waits for the writer nor for another reader.
///
/// A thread gets the connection that it had before, as long as that is idle: its pages and plans
/// are in that core's cache, and to fetch them from another's took a tenth of a read.
pub(crate) struct Readers {
    form: &'static Form,
    path: PathBuf,
    cache: Option<u64>,
    /// The one that was used last is last.
    idle: Mutex<Vec<(ThreadId, Connection)>>,
}

impl Readers {
    pub(crate) const fn of(form: &'static Form, path: PathBuf, cache: Option<u64>) -> Self {
        Self {
            form,
            path,
            cache,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Reads on a connection that nobody else uses meanwhile.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let thread = std::thread::current().id();
        let db = self
            .idle(thread)
            .map_or_else(|| self.form.open_reader(&self.path, self.cache), Ok)?;
        let outcome = read(&db);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && db.is_autocommit() {
            idle.push((thread, db));
        }
        outcome
    }

    /// The thread's own connection or, when there are as many as are kept, the one that was idle
    /// for longest.
    fn idle(&self, thread: ThreadId) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let own = idle.iter().rposition(|(of, _)| *of == thread);
        let which = own.or((idle.len() >= IDLE).then_some(0))?;
        Some(idle.remove(which).1)
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

/// Runs what may take long beside the runtime's own threads, or here when there is no runtime.
pub(crate) async fn aside<T: Send + 'static>(
    port: Port,
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    let died = |_| Error::from(Fault::new(FaultKind::OutcomeUnknown, port, operation));
    tokio::task::spawn_blocking(work).await.map_err(died)?
}

/// How many connections are kept for the next reader.
const IDLE: usize = 8;
