//! Worker processes on one PostgreSQL server, killed while they work: the example, small.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/workers/run/mod.rs"]
mod run;

#[allow(dead_code, unreachable_pub, reason = "shared: this test uses its part")]
#[path = "../kta-storage/tests/common/cluster.rs"]
mod cluster;

use std::process::Command;
use std::time::Duration;

use cluster::Cluster;
use run::{Plan, Task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_no_person_and_repeat_none() {
    let url = Cluster::shared().url("kta_app", "kta");
    let role = run::role_in(&url).unwrap();
    assert_eq!(role, "kta_app");
    let plan = Plan {
        workers: 3,
        people: 200,
        kills: 6,
    };
    let folder = tempfile::tempdir().unwrap();
    let lease = Duration::from_secs(2);
    let task = Task::found(url, folder.path(), lease, plan.people)
        .await
        .unwrap();
    let program = std::env::current_exe().unwrap();
    let worker = || {
        let mut command = Command::new(&program);
        command.env(CHILD, "yes");
        command.args([
            "the_process_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ]);
        command
    };
    let counted = run::watch(&task, &plan, worker, |line| println!("{line}"))
        .await
        .unwrap();
    println!("{counted}");
    assert!(counted.killed >= plan.kills / 2, "{counted}");
    // Six entries a person, and those of what was begun again.
    assert!(counted.entries >= 6 * u64::from(plan.people));
    assert!(counted.admitted >= 2 * u64::from(plan.people));
    assert!(counted.again > 0, "nobody was killed at work");
}

#[tokio::test]
#[ignore = "the other test runs it as a process of its own and kills it"]
async fn the_process_that_is_killed() {
    // Otherwise somebody asked for all tests, and there is no task on the input.
    if std::env::var_os(CHILD).is_some() {
        run::work().await.unwrap();
    }
}

const CHILD: &str = "KTA_WORKERS_CHILD";
