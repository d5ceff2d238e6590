//! Many worker processes on one PostgreSQL server, killed at random while they work. Each person
//! is taken in (key, permit, sealed record with index entries and placement) and then found and
//! read, each in a job of its own; at the end the audit log is counted: everybody exactly once.
//!
//! ```text
//! cargo run --release --example workers -- --workers 4 --people 10000 --kills 50
//! ```
//!
//! Without `--url` it starts a server of its own from the installed binaries.

mod run;

#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared with tests: it uses its part, and a server that does not start is the end"
)]
#[path = "../../kta-storage/tests/common/cluster.rs"]
mod cluster;

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use cluster::Cluster;
use kta_storage::{PgOptions, PgOwner};
use run::{Failure, Plan, Task};
use secrecy::SecretString;

const USAGE: &str =
    "workers [--workers N] [--people P] [--kills K] [--lease SECONDS] [--url URL [--owner-url URL]]
--url is the role of the application; with --owner-url the tables are made first.
Each worker must be able to reach the server.";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return fail("no runtime");
    };
    if arguments == [WORKER] {
        return match runtime.block_on(run::work()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&format!("a worker stopped: {failure}")),
        };
    }
    match Options::parse(arguments.into_iter()) {
        Ok(options) => match runtime.block_on(boss(options)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&format!("stopped: {failure}")),
        },
        Err(why) => fail(&format!("{why}\nusage: {USAGE}")),
    }
}

async fn boss(options: Options) -> Result<(), Failure> {
    let own = match &options.url {
        Some(_) => None,
        None => {
            say("starting a PostgreSQL server");
            Some(tokio::task::spawn_blocking(|| Cluster::own("workers")).await?)
        }
    };
    let url = match (&options.url, &own) {
        (Some(url), _) => url.clone(),
        (None, Some(own)) => own.url("kta_app", "kta"),
        (None, None) => return Err("no server".into()),
    };
    if let Some(owner) = &options.owner {
        let owner = PgOwner::new(&PgOptions::new(&SecretString::from(owner.as_str()))?)?;
        let role = run::role_in(&url)?;
        owner.migrate(&role).await?;
        owner.migrate_keys(&role).await?;
    }
    let folder = tempfile::tempdir()?;
    let task = Task::found(url, folder.path(), options.lease, options.plan.people).await?;
    let program = std::env::current_exe()?;
    let worker = || {
        let mut command = Command::new(&program);
        command.arg(WORKER);
        command
    };
    let counted = tokio::select! {
        counted = run::watch(&task, &options.plan, worker, |line| say(&line)) => counted?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    say(&counted.to_string());
    if counted.killed < options.plan.kills {
        return Err(
            "everything was done before all were killed: more people, or fewer kills".into(),
        );
    }
    Ok(())
}

// No `Debug`: there is a password in the URLs.
struct Options {
    plan: Plan,
    lease: Duration,
    url: Option<String>,
    owner: Option<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, &'static str> {
        let mut options = Self {
            plan: Plan {
                workers: 4,
                people: 400,
                kills: 8,
            },
            lease: Duration::from_secs(5),
            url: None,
            owner: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or("an option without its value")?;
            let number = || value.parse::<u32>().map_err(|_| "not a number");
            match name.as_str() {
                "--workers" => options.plan.workers = number()? as usize,
                "--people" => options.plan.people = number()?,
                "--kills" => options.plan.kills = number()? as usize,
                "--lease" => options.lease = Duration::from_secs(number()?.into()),
                "--url" => options.url = Some(value),
                "--owner-url" => options.owner = Some(value),
                _ => return Err("an unknown option"),
            }
        }
        if options.plan.workers == 0 || options.plan.people == 0 || options.lease.is_zero() {
            return Err("at least one worker, one person and one second");
        }
        if options.owner.is_some() && options.url.is_none() {
            return Err("--owner-url goes with --url");
        }
        Ok(options)
    }
}

fn say(text: &str) {
    // When nobody listens any more, the work goes on all the same.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn fail(text: &str) -> ExitCode {
    // There is nobody left to tell when even this cannot be written.
    let _ = writeln!(std::io::stderr(), "workers: {text}");
    ExitCode::FAILURE
}

/// The only argument of a process that is a worker.
const WORKER: &str = "--as-a-worker";
