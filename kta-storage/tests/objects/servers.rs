//! Other people's object stores, each a process of its own that ends when it is dropped: moto for
//! S3, Azurite for Azure. And a way to cut the line to them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use kta_storage::{AzureConfig, ObjectBlobs, S3Config};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::HttpRequestBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub const SECRET: &str = "CANARYSECRETKEY";

pub struct Moto {
    _server: Server,
    pub url: String,
    number: AtomicU32,
}

impl Moto {
    /// With `conditional` it keeps If-Match at the completion of an upload, as AWS does.
    pub async fn start(conditional: bool) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects/moto_server.py");
            let mut command = Command::new(python());
            command
                .arg(script)
                .args(conditional.then_some("conditional"));
            // Parts as short as S3 allows them, no shorter.
            command.env("S3_UPLOAD_PART_MIN_SIZE", "5242880");
            Server::start(&mut command)
        });
        let (server, url) = started.await.unwrap();
        Self {
            _server: server,
            url,
            number: AtomicU32::new(0),
        }
    }

    pub fn config(&self, bucket: &str) -> S3Config {
        let key = ("AKIACANARY", SECRET.to_owned().into());
        S3Config::new("us-east-1", bucket, key)
            .unwrap()
            .endpoint(&self.url)
            .part_size(PART)
            .unwrap()
    }

    /// A new bucket; with versions, with locks.
    pub fn bucket(&self, kind: Kind) -> String {
        let name = format!("firm-{}", self.number.fetch_add(1, Ordering::SeqCst));
        let lock = [("x-amz-bucket-object-lock-enabled", "true")];
        let headers: &[_] = if kind == Kind::Locking { &lock } else { &[] };
        assert_eq!(self.send("PUT", &format!("/{name}"), headers, b"").0, 200);
        if kind == Kind::Versioned {
            let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            assert_eq!(
                self.send("PUT", &format!("/{name}?versioning"), &[], on).0,
                200
            );
        }
        name
    }

    pub async fn fresh(&self, kind: Kind) -> ObjectBlobs {
        let bucket = self.bucket(kind);
        ObjectBlobs::s3(&self.config(&bucket)).await.unwrap()
    }

    /// Behind the adapter's back.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        // moto reads from this whose request it is, and checks no signature.
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAOTHER/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0";
        let mut headers = headers.to_vec();
        headers.push(("authorization", authorization));
        raw(&self.url, method, target, &headers, body)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Locking,
    Plain,
    Versioned,
}

pub struct Azurite {
    _server: Server,
    pub url: String,
    number: AtomicU32,
}

impl Azurite {
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let program = azurite().join("node_modules/azurite/dist/src/blob/main.js");
            let mut command = Command::new("node");
            command.arg(program).args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                "0",
                "--inMemoryPersistence",
                "--silent",
                "--disableTelemetry",
                "--disableProductStyleUrl",
            ]);
            Server::start(&mut command)
        });
        let (server, url) = started.await.unwrap();
        Self {
            _server: server,
            url,
            number: AtomicU32::new(0),
        }
    }

    pub fn config(&self, container: &str) -> AzureConfig {
        AzureConfig::new(ACCOUNT, container, &KEY.to_owned().into())
            .unwrap()
            .endpoint(&format!("{}/{ACCOUNT}", self.url))
            .part_size(PART)
            .unwrap()
    }

    pub fn container(&self) -> String {
        let name = format!("firm-{}", self.number.fetch_add(1, Ordering::SeqCst));
        let made = self.send("PUT", &format!("{name}?restype=container"), &[], b"");
        assert_eq!(made.0, 201, "{}", made.1);
        name
    }

    pub async fn fresh(&self) -> ObjectBlobs {
        let container = self.container();
        ObjectBlobs::azure(&self.config(&container)).await.unwrap()
    }

    /// Behind the adapter's back; `target` begins with the container.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let target = format!("/{ACCOUNT}/{target}");
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.url))
            .header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(HttpRequestBody::empty()).unwrap();
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).unwrap());
        let authorizer = AzureAuthorizer::new(&key, ACCOUNT);
        authorizer.try_authorize(&mut request).unwrap();
        let signed = request.headers().iter();
        let signed: Vec<_> = signed
            .filter(|(name, _)| *name != "content-length")
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        raw(&self.url, method, &target, &signed, body)
    }
}

/// Azurite's own account, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub const PART: usize = 5 * 1024 * 1024;

struct Server(Child);

impl Server {
    /// Starts it, and waits for the address that it prints.
    fn start(command: &mut Command) -> (Self, String) {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Self(command.spawn().expect("python3 and node are installed"));
        let mut output = BufReader::new(server.0.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("http://127.0.0.1:") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "did not start");
        }
        let url = line[line.find("http://").unwrap()..].trim().to_owned();
        // What else it says must not stop it.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        (server, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line to a server that counts what goes there, and can be cut.
pub struct Line {
    pub url: String,
    state: Arc<State>,
}

struct State {
    sent: AtomicU64,
    /// Bytes until it is cut; below zero it is.
    left: AtomicI64,
}

impl Line {
    pub async fn to(server: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.trim_start_matches("http://").to_owned();
        let state = Arc::new(State {
            sent: AtomicU64::new(0),
            left: AtomicI64::new(i64::MAX),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, state) = (server.clone(), shared.clone());
                tokio::spawn(async move {
                    if state.left.load(Ordering::SeqCst) < 0 {
                        return;
                    }
                    let far = tokio::net::TcpStream::connect(server).await.unwrap();
                    let (mut near_in, mut near_out) = near.into_split();
                    let (mut far_in, mut far_out) = far.into_split();
                    let back = async { tokio::io::copy(&mut far_in, &mut near_out).await };
                    let forth = async {
                        let mut piece = vec![0; 64 * 1024];
                        while let Ok(length @ 1..) = near_in.read(&mut piece).await {
                            let count = i64::try_from(length).unwrap();
                            if state.left.fetch_sub(count, Ordering::SeqCst) < count {
                                state.left.store(-1, Ordering::SeqCst);
                                return;
                            }
                            state.sent.fetch_add(length as u64, Ordering::SeqCst);
                            if far_out.write_all(&piece[..length]).await.is_err() {
                                return;
                            }
                        }
                    };
                    tokio::select! { _ = back => {}, () = forth => {} }
                });
            }
        });
        Self { url, state }
    }

    /// Cuts it after so many bytes more.
    pub fn cut_after(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap();
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Cuts it after so many bytes more, and mends it a moment later.
    pub fn interrupt_after(&self, bytes: usize) {
        self.cut_after(bytes);
        let state = self.state.clone();
        tokio::spawn(async move {
            while state.left.load(Ordering::SeqCst) >= 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            state.left.store(i64::MAX, Ordering::SeqCst);
        });
    }

    /// Mends it; gives the bytes that went there since the last time.
    pub fn mend(&self) -> u64 {
        self.state.left.store(i64::MAX, Ordering::SeqCst);
        self.state.sent.swap(0, Ordering::SeqCst)
    }
}

/// One request over a connection of its own.
fn raw(
    url: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer[9..12].parse().unwrap(), answer)
}

/// The interpreter of an environment with moto, made once under the target directory.
///
/// # Panics
/// When it cannot be made: a test that did not run has not passed.
fn python() -> PathBuf {
    let (place, python) = (
        place("objects-moto"),
        place("objects-moto").join("bin/python"),
    );
    once(&place, &PACKAGES.join("\n"), || {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv", "--clear"]).arg(&place));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-compile"])
            .arg("--disable-pip-version-check")
            .args(PACKAGES));
    });
    python
}

/// A folder with Azurite in it, made once under the target directory, of the versions in the
/// lock file.
fn azurite() -> PathBuf {
    let place = place("objects-azurite");
    let wanted = include_str!("azurite/package-lock.json");
    once(&place, wanted, || {
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(
            place.join("package.json"),
            include_str!("azurite/package.json"),
        )
        .unwrap();
        std::fs::write(place.join("package-lock.json"), wanted).unwrap();
        run(Command::new("npm")
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--silent",
            ])
            .current_dir(&place));
    });
    place
}

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Makes a place once; tests are processes of their own and may come here at once.
fn once(place: &Path, wanted: &str, make: impl FnOnce()) {
    let lock = File::create(place.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let made = place.with_extension("made");
    if std::fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return;
    }
    make();
    std::fs::write(made, wanted).unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().expect("python3 and npm are installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

/// moto with what its server needs for S3.
const PACKAGES: [&str; 5] = [
    "moto==5.2.5",
    "flask==3.1.3",
    "flask-cors==6.0.5",
    "pyyaml==6.0.3",
    "py-partiql-parser==0.6.3",
];
