//! The outbox.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::Firm;
use super::samples::{Samples, at};
use crate::conformance::fault;
use crate::ports::store::{Change, Job, JobState, Settled};
use crate::{Code, FaultKind};

/// The same job id enqueued twice is one job, however far it is.
pub async fn the_same_job_twice_is_one_job(port: &dyn Firm) {
    let rows = Samples::of("one job");
    enqueue(port, &rows, &[(1, 0), (1, 5)]).await;
    assert_eq!(
        port.jobs(rows.tenant, None).await.unwrap(),
        [rows.job(1, 0)]
    );
    settle(port, &rows, 1, None, Settled::Done).await.unwrap();
    enqueue(port, &rows, &[(1, 0)]).await;
    assert_eq!(
        port.jobs(rows.tenant, Some(JobState::Waiting))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        port.jobs(rows.tenant, Some(JobState::Done))
            .await
            .unwrap()
            .len(),
        1
    );
}

/// A new job has not been worked on.
pub async fn a_job_that_was_worked_on_is_not_enqueued(port: &dyn Firm) {
    let rows = Samples::of("worked");
    for job in [
        Job {
            attempts: 1,
            ..rows.job(1, 0)
        },
        Job {
            lease: 1,
            ..rows.job(1, 0)
        },
        Job {
            state: JobState::Done,
            ..rows.job(1, 0)
        },
        Job {
            leased_until: Some(at(0)),
            ..rows.job(1, 0)
        },
    ] {
        let outcome = port.commit(rows.set(0).with(Change::Enqueue(job))).await;
        assert_eq!(fault(outcome), FaultKind::Protocol);
    }
}

/// A job is leased only when it is due, oldest due time first, at most as many as wanted.
pub async fn a_job_is_leased_when_it_is_due_and_oldest_first(port: &dyn Firm) {
    let rows = Samples::of("due");
    enqueue(port, &rows, &[(1, 30), (2, 10), (3, 20), (4, 10)]).await;
    assert!(lease(port, &rows, 9, 100, 9).await.is_empty());
    assert_eq!(lease(port, &rows, 20, 100, 2).await, [2, 4]);
    assert!(lease(port, &rows, 20, 100, 0).await.is_empty());
    assert_eq!(lease(port, &rows, 20, 100, 9).await, [3]);
    assert_eq!(lease(port, &rows, 30, 100, 9).await, [1]);
    let backwards = port.lease(rows.tenant, at(30_000), at(30_000), 9).await;
    assert_eq!(fault(backwards), FaultKind::Protocol);
}

/// A leased job is not leased again before its lease ends; then it is, under a higher lease.
pub async fn a_leased_job_is_not_leased_again_before_its_lease_ends(port: &dyn Firm) {
    let rows = Samples::of("lease");
    enqueue(port, &rows, &[(1, 0)]).await;
    let first = port.lease(rows.tenant, at(0), at(5_000), 9).await.unwrap();
    assert!(lease(port, &rows, 4, 9, 9).await.is_empty());
    let second = port
        .lease(rows.tenant, at(5_000), at(9_000), 9)
        .await
        .unwrap();
    let (first, second) = (&first[0], &second[0]);
    assert!(second.lease > first.lease);
    assert_eq!((first.attempts, second.attempts), (1, 2));
    assert_eq!(
        (first.state, second.leased_until),
        (JobState::Leased, Some(at(9_000)))
    );
    assert_eq!(
        port.jobs(rows.tenant, Some(JobState::Leased))
            .await
            .unwrap(),
        core::slice::from_ref(second)
    );
}

/// Of concurrent workers no two get the same job.
pub async fn concurrent_workers_share_no_job(port: &dyn Firm) {
    let rows = Samples::of("workers");
    let jobs: Vec<_> = (1..=20).map(|number| (number, 0)).collect();
    enqueue(port, &rows, &jobs).await;
    let leases = join_all((0..10).map(|_| port.lease(rows.tenant, at(0), at(9_000), 3))).await;
    let leased: Vec<_> = leases
        .into_iter()
        .flat_map(|jobs| jobs.unwrap())
        .map(|job| job.id)
        .collect();
    assert_eq!(leased.len(), 20);
    assert_eq!(leased.into_iter().collect::<BTreeSet<_>>().len(), 20);
}

/// Settling under a lease that has ended and been given to somebody else is a conflict.
pub async fn settling_under_a_lost_lease_is_a_conflict(port: &dyn Firm) {
    let rows = Samples::of("lost lease");
    enqueue(port, &rows, &[(1, 0)]).await;
    let mine = port.lease(rows.tenant, at(0), at(1_000), 1).await.unwrap()[0].lease;
    let theirs = port
        .lease(rows.tenant, at(1_000), at(2_000), 1)
        .await
        .unwrap()[0]
        .lease;
    for lost in [Some(mine), Some(theirs + 1)] {
        let outcome = settle(port, &rows, 1, lost, Settled::Done).await;
        assert_eq!(outcome, Err(FaultKind::Conflict));
    }
    // The present lease settles even when it has ended, as long as nobody else has it.
    settle(port, &rows, 1, Some(theirs), Settled::Done)
        .await
        .unwrap();
    // The same settlement again is the same settlement; another one is a conflict.
    settle(port, &rows, 1, Some(theirs), Settled::Done)
        .await
        .unwrap();
    let other = settle(port, &rows, 1, Some(theirs), Settled::Dead(None)).await;
    assert_eq!(other, Err(FaultKind::Conflict));
}

/// A job that is done or dead is not leased again; a dead one says why.
pub async fn a_settled_job_is_not_leased_again(port: &dyn Firm) {
    let rows = Samples::of("settled");
    enqueue(port, &rows, &[(1, 0), (2, 0)]).await;
    for (number, outcome) in [
        (1, Settled::Done),
        (2, Settled::Dead(Some(Code::SupListed))),
    ] {
        let lease = port.lease(rows.tenant, at(0), at(1), 1).await.unwrap()[0].lease;
        settle(port, &rows, number, Some(lease), outcome)
            .await
            .unwrap();
    }
    assert!(lease(port, &rows, 99, 100, 9).await.is_empty());
    let dead = port.jobs(rows.tenant, Some(JobState::Dead)).await.unwrap();
    assert_eq!(dead[0].reason, Some(Code::SupListed));
    assert_eq!(dead[0].leased_until, None);
}

/// A job that is to be tried again waits for its new time.
pub async fn a_retried_job_waits_for_its_new_time(port: &dyn Firm) {
    let rows = Samples::of("retried");
    enqueue(port, &rows, &[(1, 0)]).await;
    let lease_1 = port.lease(rows.tenant, at(0), at(60_000), 1).await.unwrap()[0].lease;
    settle(port, &rows, 1, Some(lease_1), Settled::Retry(at(30_000)))
        .await
        .unwrap();
    assert!(lease(port, &rows, 29, 90, 9).await.is_empty());
    let again = port
        .lease(rows.tenant, at(30_000), at(90_000), 9)
        .await
        .unwrap();
    assert_eq!((again[0].attempts, again[0].due), (2, at(30_000)));
    let late = settle(port, &rows, 1, Some(lease_1), Settled::Done).await;
    assert_eq!(late, Err(FaultKind::Conflict));
}

/// A stage settles its own job without a lease, unless a worker has it.
pub async fn a_stage_settles_its_own_job_without_a_lease(port: &dyn Firm) {
    let rows = Samples::of("own job");
    enqueue(port, &rows, &[(1, 0), (2, 0)]).await;
    settle(port, &rows, 1, None, Settled::Done).await.unwrap();
    settle(port, &rows, 1, None, Settled::Done).await.unwrap();
    assert_eq!(
        settle(port, &rows, 1, None, Settled::Dead(None)).await,
        Err(FaultKind::Conflict)
    );
    assert_eq!(lease(port, &rows, 0, 60, 9).await, [2]);
    assert_eq!(
        settle(port, &rows, 2, None, Settled::Done).await,
        Err(FaultKind::Conflict)
    );
    // Once the lease has ended it may; then the worker comes too late, with the same word, too.
    let mine = port.lease(rows.tenant, at(70_000), at(80_000), 1);
    let mine = mine.await.unwrap()[0].lease;
    // An entry of a machine whose clock is ahead ends no lease.
    let ahead = rows.set(500_000).event(rows.event(None));
    port.commit(ahead).await.unwrap();
    assert_eq!(
        settle(port, &rows, 2, None, Settled::Done).await,
        Err(FaultKind::Conflict)
    );
    let settled = rows.set(90_000).with(Change::Settle {
        job: rows.job(2, 0).id,
        lease: None,
        outcome: Settled::Done,
    });
    port.commit(settled).await.unwrap();
    let late = settle(port, &rows, 2, Some(mine), Settled::Done).await;
    assert_eq!(late, Err(FaultKind::Conflict));
    // Enqueued and settled in one set, beside its effect.
    let both = rows
        .set(0)
        .with(Change::Enqueue(rows.job(3, 0)))
        .with(Change::Settle {
            job: rows.job(3, 0).id,
            lease: None,
            outcome: Settled::Done,
        });
    port.commit(both).await.unwrap();
    assert_eq!(
        port.jobs(rows.tenant, Some(JobState::Done))
            .await
            .unwrap()
            .len(),
        3
    );
}

/// Settling a job that is not there finds nothing, and nothing of the set happens.
pub async fn settling_a_job_that_is_not_there_is_not_found(port: &dyn Firm) {
    let rows = Samples::of("no job");
    let outcome = settle(port, &rows, 1, None, Settled::Done).await;
    assert_eq!(outcome, Err(FaultKind::NotFound));
    assert_eq!(port.size(rows.tenant).await.unwrap(), 0);
}

async fn enqueue(port: &dyn Firm, rows: &Samples, jobs: &[(u8, i64)]) {
    for (number, due) in jobs {
        let set = rows.set(0).with(Change::Enqueue(rows.job(*number, *due)));
        port.commit(set).await.unwrap();
    }
}

async fn lease(port: &dyn Firm, rows: &Samples, now: i64, until: i64, limit: usize) -> Vec<u8> {
    let jobs = port
        .lease(rows.tenant, at(now * 1000), at(until * 1000), limit)
        .await
        .unwrap();
    jobs.iter().map(|job| job.id.as_bytes()[0]).collect()
}

/// Settles a job beside an event, at the second 3.
async fn settle(
    port: &dyn Firm,
    rows: &Samples,
    number: u8,
    lease: Option<u64>,
    outcome: Settled,
) -> Result<(), FaultKind> {
    let settle = Change::Settle {
        job: rows.job(number, 0).id,
        lease,
        outcome,
    };
    let set = rows.set(3_000).with(settle).event(rows.event(None));
    match port.commit(set).await {
        Ok(_) => Ok(()),
        Err(error) => Err(fault::<()>(Err(error))),
    }
}
