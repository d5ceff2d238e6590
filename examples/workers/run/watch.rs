//! Whoever starts the workers, kills some, and reads the log meanwhile.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kta_core::time::Entropy as _;
use kta_keys::OsEntropy;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};

use super::Failure;
use super::count::{Count, Counted};
use super::task::{Step, Task};
use super::worker::AT_WORK;

/// How many of what.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub workers: usize,
    pub people: u32,
    pub kills: usize,
}

/// Runs the task to its end, and counts.
pub async fn watch(
    task: &Task,
    plan: &Plan,
    worker: impl Fn() -> Command,
    mut say: impl FnMut(String),
) -> Result<Counted, Failure> {
    let store = task.store().await?;
    let mut count = Count::of(task);
    let all = u64::from(plan.people) * Step::ALL.len() as u64;
    // At random moments of the run; towards its end it may be over before one is noticed.
    let last_quarter = (all - all / 4).max(1);
    let moment = |_| random() % last_quarter;
    let mut moments: Vec<u64> = (0..plan.kills).map(moment).collect();
    moments.sort_unstable();
    moments.reverse();
    let mut crew = Vec::new();
    for _ in 0..plan.workers {
        crew.push(Worker::start(task, worker()).await?);
    }
    let began = Instant::now();
    let (mut told, mut moved, mut last) = (began, began, 0);
    while count.done() < all {
        count.read_on(&store).await?;
        if count.done() > last {
            (last, moved) = (count.done(), Instant::now());
        }
        while moments.last().is_some_and(|moment| *moment <= count.done()) {
            let Some(victim) = some_at_work(&crew) else {
                break;
            };
            moments.pop();
            tokio::time::sleep(Duration::from_micros(random() % 20_000)).await;
            crew.swap_remove(victim).kill().await?;
            crew.push(Worker::start(task, worker()).await?);
        }
        for worker in &mut crew {
            if let Some(status) = worker.process.try_wait()? {
                return Err(format!("a worker ended by itself: {status}").into());
            }
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let (killed, people) = (plan.kills - moments.len(), plan.people);
            say(format!(
                "  {} of {people} entered, {} read; {killed} workers killed",
                count.done_with(Step::Enter),
                count.done_with(Step::Review),
            ));
        }
        if moved.elapsed() > task.lease + PATIENCE {
            return Err("nothing goes on any more".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    for worker in crew {
        worker.stop().await?;
    }
    let killed = plan.kills - moments.len();
    count.finish(&store, plan, killed, took).await
}

/// A worker's process.
struct Worker {
    process: Child,
    input: ChildStdin,
    at_work: Arc<AtomicBool>,
}

impl Worker {
    async fn start(task: &Task, command: Command) -> Result<Self, Failure> {
        let mut command = tokio::process::Command::from(command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let mut input = process.stdin.take().ok_or("no input")?;
        let output = process.stdout.take().ok_or("no output")?;
        // On its input, because arguments and environment can be seen by others.
        let mut line = serde_json::to_vec(task)?;
        line.push(b'\n');
        input.write_all(&line).await?;
        let at_work = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&at_work);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.ends_with(AT_WORK) {
                    flag.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(Self {
            process,
            input,
            at_work,
        })
    }

    /// SIGKILL: it gets no chance to say anything.
    async fn kill(mut self) -> Result<(), Failure> {
        self.process.start_kill()?;
        let status = self.process.wait().await?;
        if status.code().is_some() {
            return Err(format!("a worker ended before it was killed: {status}").into());
        }
        Ok(())
    }

    async fn stop(self) -> Result<(), Failure> {
        let Self {
            mut process, input, ..
        } = self;
        drop(input);
        let status = tokio::time::timeout(PATIENCE, process.wait()).await??;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a worker ended badly: {status}").into())
        }
    }
}

/// Any of the crew that has had jobs in hand.
fn some_at_work(crew: &[Worker]) -> Option<usize> {
    let ready = |worker: &Worker| worker.at_work.load(Ordering::Relaxed);
    let ready: Vec<_> = (0..crew.len()).filter(|one| ready(&crew[*one])).collect();
    (!ready.is_empty()).then(|| ready[random() as usize % ready.len()])
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    OsEntropy.fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

const PATIENCE: Duration = Duration::from_secs(60);
