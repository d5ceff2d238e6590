//! Against PostgreSQL with pgcrypto: a server of its own from the installed programs, asked by
//! `pgbench` over a Unix socket with prepared statements.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use kta_core::policy::Permit;

use crate::figures::{Figures, median, sized};
use crate::firm::Firm;
use crate::read::read;
use crate::values::{COLUMNS, at_random, of};

/// One encrypted document a record, and one encrypted value a column, as tutorials show it.
pub(crate) fn measure(
    figures: &mut Figures,
    runtime: &tokio::runtime::Runtime,
    firm: &Firm,
    permits: &[Permit<'_>],
    people: usize,
) {
    let rows = sized(2_000, 100);
    let server = Server::start(rows, "-c fsync=off").and_then(|server| {
        server.fill()?;
        Ok(server)
    });
    let server = match server {
        Ok(server) => server,
        Err(why) => return figures.remark(format!("no figure against PostgreSQL: {why}")),
    };
    let mut next = at_random(people, 7);
    let (mut document, mut columns) = (Vec::new(), Vec::new());
    let (mut of_document, mut of_columns) = (Vec::new(), Vec::new());
    for _ in 0..sized(5, 3) {
        let reads = sized(20_000, 2_000);
        let start = Instant::now();
        read(runtime, firm, permits, reads, &mut next);
        let ours = start.elapsed().as_secs_f64() / f64::from(reads);
        of_document.push(server.seconds("document", sized(4_000, 400)));
        of_columns.push(server.seconds("columns", sized(600, 60)));
        document.push(of_document[of_document.len() - 1] / ours);
        columns.push(of_columns[of_columns.len() - 1] / ours);
    }
    figures.at_least(
        &format!(
            "{}: get by id, bounded, ours ÷ PostgreSQL with pgcrypto, one value a record",
            firm.sealed()
        ),
        median(document),
        "times",
        20.0,
    );
    figures.at_least(
        &format!(
            "{}: get by id, bounded, ours ÷ PostgreSQL with pgcrypto, one value a column",
            firm.sealed()
        ),
        median(columns),
        "times",
        200.0,
    );
    figures.remark(format!(
        "ours is a library in the process, PostgreSQL a server behind a socket: that is part of the difference. It holds {rows} rows, all in memory, because its time goes to pgp_sym_decrypt with the default key derivation: {:.0} µs a record of one value, {:.0} µs of ten",
        median(of_document) * 1e6,
        median(of_columns) * 1e6,
    ));
}

pub(crate) struct Server {
    programs: PathBuf,
    folder: tempfile::TempDir,
    rows: usize,
}

impl Server {
    /// A server with these settings beside its usual ones.
    pub(crate) fn start(rows: usize, settings: &str) -> Result<Self, &'static str> {
        let programs = programs().ok_or("its programs are not installed")?;
        // The socket's path must be short, and the folder another user's when we are root.
        let folder = tempfile::tempdir().map_err(|_| "no temporary folder")?;
        let server = Self {
            programs,
            folder,
            rows,
        };
        server.give_away()?;
        let data = server.data();
        server.run(
            "initdb",
            &[
                "-D",
                &data,
                "-A",
                "trust",
                "-U",
                "bench",
                "-E",
                "UTF8",
                "--locale=C",
            ],
            "",
        )?;
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c shared_buffers=256MB {settings}",
            server.folder.path().display(),
        );
        server.run(
            "pg_ctl",
            &[
                "-D",
                &data,
                "-w",
                "-s",
                "-l",
                &format!("{data}.log"),
                "-o",
                &options,
                "start",
            ],
            "",
        )?;
        Ok(server)
    }

    fn fill(&self) -> Result<(), &'static str> {
        let names: Vec<_> = COLUMNS.split(',').map(str::trim).collect();
        let typed = names.iter().map(|name| format!("{name} bytea NOT NULL"));
        let mut script = format!(
            "CREATE EXTENSION pgcrypto;
             CREATE TABLE document (id integer PRIMARY KEY, body bytea NOT NULL);
             CREATE TABLE columns (id integer PRIMARY KEY, {});\n",
            typed.collect::<Vec<_>>().join(", "),
        );
        for number in 0..self.rows {
            let values = of(number);
            let sealed = |value: &str| {
                format!("pgp_sym_encrypt('{value}', '{SECRET}', 'cipher-algo=aes256')")
            };
            let each: Vec<_> = values.iter().map(|value| sealed(value)).collect();
            script += &format!(
                "INSERT INTO document VALUES ({number}, {});\n",
                sealed(&values.join("|"))
            );
            script += &format!(
                "INSERT INTO columns VALUES ({number}, {});\n",
                each.join(", ")
            );
        }
        self.run(
            "psql",
            &[
                "-q",
                "-X",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &self.socket(),
                "-U",
                "bench",
                "-d",
                "postgres",
                "-f",
                "-",
            ],
            &script,
        )
        .map_err(|_| "pgcrypto is not installed")
        .map(drop)
    }

    /// The mean seconds that a read takes at the client.
    fn seconds(&self, table: &str, reads: u32) -> f64 {
        let open = |name: &str| format!("pgp_sym_decrypt({name}, '{SECRET}')");
        let wanted = match table {
            "document" => open("body"),
            _ => COLUMNS
                .split(',')
                .map(|name| open(name.trim()))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let script = format!(
            "\\set id random(0, {})\nSELECT {wanted} FROM {table} WHERE id = :id;\n",
            self.rows - 1,
        );
        let file = self.folder.path().join(format!("{table}.sql"));
        std::fs::write(&file, script).unwrap();
        let reads = reads.to_string();
        let told = self
            .run(
                "pgbench",
                &[
                    "-n",
                    "-M",
                    "prepared",
                    "-c",
                    "1",
                    "-t",
                    &reads,
                    "-h",
                    &self.socket(),
                    "-U",
                    "bench",
                    "-f",
                    &file.to_string_lossy(),
                    "postgres",
                ],
                "",
            )
            .unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let (_, rest) = told.split_once("latency average = ").unwrap();
        rest.split_once(" ms")
            .unwrap()
            .0
            .trim()
            .parse::<f64>()
            .unwrap()
            / 1e3
    }

    fn data(&self) -> String {
        self.folder
            .path()
            .join("data")
            .to_string_lossy()
            .into_owned()
    }

    /// The folder of its socket.
    pub(crate) fn socket(&self) -> String {
        self.folder.path().to_string_lossy().into_owned()
    }

    /// PostgreSQL does not run as root.
    fn give_away(&self) -> Result<(), &'static str> {
        if !is_root() {
            return Ok(());
        }
        let given = Command::new("chown")
            .arg("postgres")
            .arg(self.folder.path())
            .status();
        let given = given.is_ok_and(|status| status.success());
        given
            .then_some(())
            .ok_or("there is no user postgres to run it")
    }

    fn run(&self, program: &str, words: &[&str], input: &str) -> Result<Output, &'static str> {
        let path = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        // Through a file: a server that stays must hold no pipe of ours.
        let given = self.folder.path().join("input");
        std::fs::write(&given, input).map_err(|_| "no room for a script")?;
        let input = std::fs::File::open(given).map_err(|_| "no script")?;
        let stays = program == "pg_ctl";
        let out = || if stays { Stdio::null() } else { Stdio::piped() };
        let done = command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(input)
            .stdout(out())
            .stderr(out())
            .output()
            .map_err(|_| "a program of it does not start")?;
        done.status
            .success()
            .then_some(done)
            .ok_or("a program of it fails")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.run(
            "pg_ctl",
            &["-D", &self.data(), "-s", "-m", "immediate", "stop"],
            "",
        ));
    }
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("pgbench").exists() && bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

const SECRET: &str = "an invented secret of some length";
