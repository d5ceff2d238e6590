//! Against SQLCipher, which one program cannot hold beside SQLite: it runs as a process of its
//! own, with the loop inside, and is told through a pipe how many reads to do.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kta_core::policy::Permit;

use crate::figures::{Figures, Race, sized, target};
use crate::firm::Firm;
use crate::read::read;
use crate::values::at_random;

/// With the page cache that it has by default, and with one that holds everything.
pub(crate) fn measure(
    figures: &mut Figures,
    runtime: &tokio::runtime::Runtime,
    firm: &Firm,
    permits: &[Permit<'_>],
    people: usize,
) {
    let program = match build() {
        Ok(program) => program,
        Err(why) => return figures.remark(format!("no figure against SQLCipher: {why}")),
    };
    let folder = tempfile::tempdir_in(target()).unwrap();
    let file = folder.path().join("cipher.db");
    let peers = [
        (2_000, "its default page cache of 2 MB"),
        (256 << 10, "a page cache of 256 MB"),
    ];
    let [default, large] =
        peers.map(|(cache, _)| RefCell::new(Peer::start(&program, &file, people, cache)));
    figures.remark(format!(
        "SQLCipher {} with a raw key, in a process of its own that is told through a pipe to read {BATCH} records",
        default.borrow().version,
    ));
    let next = RefCell::new(at_random(people, 7));
    let race = Race::run(
        sized(15, 5),
        [
            &mut || read(runtime, firm, permits, BATCH, &mut *next.borrow_mut()),
            &mut || default.borrow_mut().read(),
            &mut || large.borrow_mut().read(),
        ],
    );
    figures.at_least(
        &format!(
            "{}: get by id, bounded, ours ÷ SQLCipher with its default page cache of 2 MB",
            firm.sealed()
        ),
        race.ratio(1, 0),
        "times",
        3.0,
    );
    figures.remark(format!(
        "against SQLCipher with a page cache of 256 MB, whose pages stay decrypted: {:.2} of its throughput; it takes {:.1} µs a read, and {:.1} µs with its default",
        race.ratio(2, 0),
        race.seconds(2) / f64::from(BATCH) * 1e6,
        race.seconds(1) / f64::from(BATCH) * 1e6,
    ));
}

/// Builds the peer's program; it has a workspace and a lock file of its own.
fn build() -> Result<PathBuf, &'static str> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sqlcipher/Cargo.toml");
    let out = target().join("sqlcipher");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--manifest-path",
        ])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", &out)
        .stdout(Stdio::null())
        .status();
    match built {
        Ok(status) if status.success() => Ok(out.join("release/kta-sqlcipher-peer")),
        _ => Err("it does not build here; it needs the headers of OpenSSL"),
    }
}

struct Peer {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl Peer {
    fn start(program: &Path, file: &Path, records: usize, cache: i64) -> Self {
        let mut process = Command::new(program)
            .arg(file)
            .args([records.to_string(), cache.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut peer = Self {
            orders: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            version: String::new(),
            process,
        };
        peer.version = peer.answer().trim_start_matches("ready ").to_owned();
        peer
    }

    fn read(&mut self) {
        writeln!(self.orders.as_mut().unwrap(), "{BATCH}").unwrap();
        assert_eq!(self.answer(), "done");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.answers.read_line(&mut line).unwrap() > 0,
            "the peer ended"
        );
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its standard input ends, and so does it.
        self.orders = None;
        drop(self.process.wait());
    }
}

/// Reads in one turn: the way through the pipe is nothing beside them.
const BATCH: u32 = 512;
