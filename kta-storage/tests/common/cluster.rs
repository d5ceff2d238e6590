//! A PostgreSQL server for tests, from the binaries that are installed, and a PgBouncer before it.
//!
//! One server serves all test processes that run at a time: the first one starts it, and a
//! watchdog stops it when none has been there for some seconds. What a test must be able to break,
//! it starts for itself.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use kta_storage::{PgOptions, PgOwner};
use secrecy::SecretString;

/// The password of every role; it is looked for where it must not be.
pub const PASSWORD: &str = "CANARY-invented-password";

/// A running server.
#[derive(Clone, Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    pooler: u16,
}

impl Cluster {
    /// The server of all tests. It has the database `kta`, with the tables made.
    pub fn shared() -> Self {
        static SHARED: OnceLock<(Cluster, File)> = OnceLock::new();
        let (cluster, _) = SHARED.get_or_init(|| {
            let folder = place("shared");
            fs::create_dir_all(&folder).unwrap();
            let turn = File::create(folder.join("turn")).unwrap();
            turn.lock().unwrap();
            // Held until this process ends; the watchdog wants it for itself alone.
            let user = File::create(folder.join("users")).unwrap();
            user.lock_shared().unwrap();
            fs::write(folder.join("stamp"), "").unwrap();
            let cluster = Self::running(&folder).unwrap_or_else(|| {
                let cluster = Self::make(&folder);
                cluster.watch();
                cluster
            });
            (cluster, user)
        });
        cluster.clone()
    }

    /// A server of this test's own; it ends with the value.
    pub fn own(name: &str) -> Owned {
        let folder = place(&format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Owned(Self::make(&folder))
    }

    fn running(folder: &Path) -> Option<Self> {
        let ports = fs::read_to_string(folder.join("ports")).ok()?;
        let (port, pooler) = ports.split_once(' ')?;
        let cluster = Self {
            folder: folder.to_path_buf(),
            port: port.parse().ok()?,
            pooler: pooler.parse().ok()?,
        };
        let answers = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        (answers(cluster.port) && answers(cluster.pooler)).then_some(cluster)
    }

    fn make(folder: &Path) -> Self {
        let data = folder.join("data");
        let _ = fs::remove_file(folder.join("ports"));
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).unwrap();
        let mut cluster = Self {
            folder: folder.to_path_buf(),
            port: 0,
            pooler: 0,
        };
        let password = folder.join("password");
        fs::write(&password, PASSWORD).unwrap();
        give_away(folder);
        let mut initdb = as_postgres(&tool("initdb"));
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--auth=scram-sha-256", "--username=postgres"])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(&data);
        run(&mut initdb);
        cluster.configure();
        // A free port may be somebody else's a moment later.
        let serves = (0..5).any(|_| cluster.listen());
        assert!(serves, "{}", fs::read_to_string(cluster.log()).unwrap());
        let connection = cluster.url("postgres", "postgres");
        block(async move {
            let admin = admin(&connection).await;
            for role in ["kta_owner", "kta_app"] {
                let make = format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'");
                admin.batch_execute(&make).await.unwrap();
            }
        });
        cluster.database("kta");
        assert!((0..5).any(|_| cluster.pool()), "the pooler does not start");
        let ports = format!("{} {}", cluster.port, cluster.pooler);
        fs::write(folder.join("ports"), ports).unwrap();
        cluster
    }

    /// Makes a database with the tables in it.
    pub fn database(&self, name: &str) {
        let connection = self.url("postgres", "postgres");
        let owner = self.options("kta_owner", name);
        let name = name.to_owned();
        block(async move {
            let admin = admin(&connection).await;
            for make in [
                format!("CREATE DATABASE {name}"),
                format!("GRANT CREATE ON DATABASE {name} TO kta_owner"),
            ] {
                admin.batch_execute(&make).await.unwrap();
            }
            let owner = PgOwner::new(&owner).unwrap();
            owner.migrate("kta_app").await.unwrap();
            owner.migrate_keys("kta_app").await.unwrap();
            // Again, as every start of a service may.
            owner.migrate("kta_app").await.unwrap();
        });
    }

    fn configure(&self) {
        let data = self.folder.join("data");
        let name = vec!["localhost".to_owned()];
        let certified = rcgen::generate_simple_self_signed(name).unwrap();
        fs::write(data.join("server.crt"), certified.cert.pem()).unwrap();
        fs::write(self.folder.join("root.pem"), certified.cert.pem()).unwrap();
        let key = data.join("server.key");
        fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&key, own).unwrap();
        let mut settings = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        let folder = self.folder.display();
        write!(
            settings,
            "listen_addresses = '127.0.0.1'\n\
             unix_socket_directories = '{folder}'\nmax_connections = 200\n\
             shared_buffers = 32MB\nssl = on\nautovacuum_naptime = 5min\n"
        )
        .unwrap();
        give_away(&data);
    }

    /// Starts the server at another port; whether it serves.
    fn listen(&mut self) -> bool {
        self.port = free_port();
        fs::write(
            self.data().join("postgresql.auto.conf"),
            format!("port = {}\n", self.port),
        )
        .unwrap();
        self.try_start()
    }

    /// Starts the server, and waits until it serves.
    pub fn start(&self) {
        let mut left = 50;
        while !self.try_start() {
            left -= 1;
            assert!(left > 0, "{}", fs::read_to_string(self.log()).unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn try_start(&self) -> bool {
        let mut start = self.pg_ctl();
        start.args(["start", "-w", "-s", "-l"]).arg(self.log());
        quiet(&mut start).status().unwrap().success()
    }

    /// Kills the server as a crash of its machine would, but for what the disk had.
    pub fn crash(&self) {
        run(self.pg_ctl().args(["stop", "-s", "-m", "immediate"]));
    }

    fn pg_ctl(&self) -> Command {
        let mut command = as_postgres(&tool("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data"));
        command
    }

    /// Starts a pooler at another port; whether it serves.
    fn pool(&mut self) -> bool {
        self.pooler = free_port();
        let folder = self.folder.display();
        let (port, pooler) = (self.port, self.pooler);
        let users: String = ["kta_app", "kta_owner"]
            .map(|role| format!("\"{role}\" \"{PASSWORD}\"\n"))
            .concat();
        fs::write(self.folder.join("users.txt"), users).unwrap();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {pooler}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {folder}/users.txt\n\
             pool_mode = transaction\ndefault_pool_size = 6\nmax_client_conn = 1000\n\
             server_tls_sslmode = disable\nlogfile = {folder}/pooler.log\n\
             pidfile = {folder}/pooler.pid\n"
        );
        let file = self.folder.join("pooler.ini");
        fs::write(&file, settings).unwrap();
        let mut start = as_postgres(&find("pgbouncer", &["/usr/sbin", "/usr/bin"]));
        start.arg("-d").arg("-q").arg(file);
        if !quiet(&mut start).status().unwrap().success() {
            return false;
        }
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            std::net::TcpStream::connect(("127.0.0.1", self.pooler)).is_ok()
        })
    }

    /// Stops everything when nobody has used it for a while.
    fn watch(&self) {
        let folder = self.folder.display();
        let stop = self.stop_script();
        let script = format!(
            "while sleep 2; do flock -n -x {folder}/users sh -c \
             'test $(( $(date +%s) - $(stat -c %Y {folder}/stamp) )) -ge 8 && {{ {stop}; exit 0; }}; \
             exit 1' && exit; done"
        );
        let status = quiet(Command::new("sh").args(["-c", &format!("({script}) &")]))
            .process_group(0)
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn stop_script(&self) -> String {
        let folder = self.folder.display();
        let pg_ctl = tool("pg_ctl");
        let pg_ctl = pg_ctl.display();
        let by = if is_root() {
            "runuser -u postgres -- "
        } else {
            ""
        };
        format!(
            "kill $(cat {folder}/pooler.pid); {by}{pg_ctl} stop -s -m immediate -D {folder}/data; \
             rm -rf {folder}/data {folder}/ports"
        )
    }

    /// Where the server writes what it has to say.
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The server's own files.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The certificate that vouches for the server, in PEM.
    pub fn root(&self) -> Vec<u8> {
        fs::read(self.folder.join("root.pem")).unwrap()
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, role: &str, base: &str) -> String {
        self.url_at(self.port, role, base)
    }

    pub fn url_at(&self, port: u16, role: &str, base: &str) -> String {
        format!("postgresql://{role}:{PASSWORD}@127.0.0.1:{port}/{base}")
    }

    /// Options that lead straight to the server.
    pub fn options(&self, role: &str, base: &str) -> PgOptions {
        PgOptions::new(&SecretString::from(self.url(role, base))).unwrap()
    }

    /// Options that lead there through the Unix socket.
    pub fn by_socket(&self, role: &str, base: &str) -> PgOptions {
        let (folder, port) = (self.folder.display(), self.port);
        let words =
            format!("host={folder} port={port} user={role} password={PASSWORD} dbname={base}");
        PgOptions::new(&SecretString::from(words)).unwrap()
    }

    /// Options that lead through the pooler.
    pub fn pooled(&self, role: &str, base: &str) -> PgOptions {
        let url = self.url_at(self.pooler, role, base);
        PgOptions::new(&SecretString::from(url)).unwrap()
    }

    /// A connection of the superuser's.
    pub async fn admin(&self, base: &str) -> tokio_postgres::Client {
        admin(&self.url("postgres", base)).await
    }
}

/// A server that ends with this value.
#[derive(Debug)]
pub struct Owned(Cluster);

impl core::ops::Deref for Owned {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = quiet(Command::new("sh").args(["-c", &self.0.stop_script()])).status();
        let _ = fs::remove_dir_all(&self.0.folder);
    }
}

/// A plain connection.
pub async fn admin(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// A short path, because sockets have short names, which the server's own user may enter.
fn place(name: &str) -> PathBuf {
    let mut hash = DefaultHasher::new();
    // Examples are built without a folder of their own.
    let own = option_env!("CARGO_TARGET_TMPDIR").unwrap_or(env!("CARGO_MANIFEST_DIR"));
    (own, user()).hash(&mut hash);
    let build = hash.finish() as u32;
    std::env::temp_dir().join(format!("kta-pg-{build:08x}-{name}"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn tool(name: &str) -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    versions.sort();
    versions.reverse();
    let folders: Vec<_> = versions.iter().map(|path| path.to_str().unwrap()).collect();
    find(name, &folders)
}

/// A tool in these folders or on the path.
fn find(name: &str, folders: &[&str]) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    folders
        .iter()
        .copied()
        .chain(path.split(':'))
        .map(|folder| Path::new(folder).join(name))
        .find(|tool| tool.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: install postgresql and pgbouncer"))
}

fn is_root() -> bool {
    user() == 0
}

fn user() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid()
}

/// The server refuses to run as root.
fn as_postgres(tool: &Path) -> Command {
    if !is_root() {
        return Command::new(tool);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(tool);
    command
}

fn give_away(folder: &Path) {
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres"]).arg(folder));
    }
    let mode = if folder.ends_with("data") {
        0o700
    } else {
        0o755
    };
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

fn run(command: &mut Command) {
    let told = std::env::temp_dir().join(format!("kta-pg-said-{}", std::process::id()));
    // A file and not a pipe: what the server keeps open would keep a pipe open.
    let said = File::create(&told).unwrap();
    let status = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .status()
        .unwrap();
    let said = fs::read_to_string(&told).unwrap_or_default();
    let _ = fs::remove_file(told);
    assert!(status.success(), "{command:?}: {said}");
}

/// Runs to the end, also where a runtime is already there.
fn block(work: impl Future<Output = ()> + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work);
        });
    });
}
