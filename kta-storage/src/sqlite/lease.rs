//! Jobs inside a transaction.

use kta_core::ports::store::Job;
use kta_core::time::Timestamp;
use kta_core::{Code, Port, Result};
use rusqlite::params;

use super::change::Firm;
use super::fault::broken;
use super::query;
use crate::form::{integer, limit, micros, state_name};

impl Firm<'_> {
    /// Leases due jobs.
    pub(super) fn lease(&self, now: Timestamp, until: Timestamp, most: usize) -> Result<Vec<Job>> {
        let due = || -> rusqlite::Result<Vec<Job>> {
            let mut statement = self.db.prepare_cached(DUE)?;
            let rows =
                statement.query_map(params![self.no, micros(now), limit(most)], query::job)?;
            rows.collect()
        };
        let mut jobs = due().map_err(broken(Port::Jobs, "lease"))?;
        for job in &mut jobs {
            job.lease_until(until);
            self.write_job(job)?;
        }
        Ok(jobs)
    }

    pub(super) fn write_job(&self, job: &Job) -> Result<()> {
        self.execute(
            "INSERT INTO job (firm, id, kind, subject, matter, due, ready, attempts, state, lease,
             leased_until, reason, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (firm, id) DO UPDATE SET due = excluded.due, ready = excluded.ready,
             attempts = excluded.attempts, state = excluded.state, lease = excluded.lease,
             leased_until = excluded.leased_until, reason = excluded.reason",
            params![
                self.no,
                job.id.as_bytes(),
                job.kind.as_str(),
                job.subject.as_ref().map(|id| id.as_bytes()),
                job.matter.as_ref().map(|id| id.as_bytes()),
                micros(job.due),
                job.ready().map(micros),
                job.attempts,
                state_name(job.state),
                integer(job.lease)?,
                job.leased_until.map(micros),
                job.reason.map(Code::as_str),
                job.payload,
            ],
        )
        .map(drop)
    }
}

/// Due jobs, oldest first. Whatever is ready is due, so the index ends where nothing is.
pub(super) const DUE: &str = "SELECT id, kind, subject, matter, due, attempts, state, lease,
    leased_until, reason, payload FROM job WHERE firm = ?1 AND due <= ?2 AND ready <= ?2
    ORDER BY due, id LIMIT ?3";
