//! A network between store and server that can be told to fail: it understands as much of the
//! protocol as it takes to see a COMMIT pass.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server gives the transaction up at COMMIT, with this code.
    GivesUp(&'static str),
    /// The server gives the transaction up at its begin, with this code.
    GivesUpEarly(&'static str),
    /// The connection goes before COMMIT reaches the server.
    LostBefore,
    /// The connection goes after COMMIT reached the server, and before its answer.
    LostAfter,
    /// The client's side of the connection goes; COMMIT reaches the server some time later.
    Late,
}

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Calm,
    /// The next writing transaction meets this trouble; then it is as the second says.
    Next(Trouble, After),
    /// So many of a hundred writing transactions meet some trouble.
    Storm(u64),
    /// Nothing gets through, and who tries is told.
    Down,
    /// Nothing gets through, and nobody is told.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Calm,
    Down,
}

/// The network.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    sky: Arc<Sky>,
}

struct Sky {
    weather: Mutex<Weather>,
    /// Tells connections that exist when nothing gets through any more.
    change: watch::Sender<Weather>,
    troubles: [AtomicU32; KINDS.len()],
}

const KINDS: [Trouble; 7] = [
    Trouble::GivesUp("40001"),
    Trouble::GivesUp("40P01"),
    Trouble::GivesUpEarly("40001"),
    Trouble::LostBefore,
    Trouble::LostAfter,
    Trouble::LostAfter,
    Trouble::Late,
];

impl Proxy {
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            sky: Arc::new(Sky {
                weather: Mutex::new(Weather::Calm),
                change: watch::Sender::new(Weather::Calm),
                troubles: Default::default(),
            }),
        };
        let sky = Arc::clone(&proxy.sky);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let sky = Arc::clone(&sky);
                tokio::spawn(async move { sky.carry(client, server).await });
            }
        });
        proxy
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.sky.set(weather);
    }

    /// How often it failed, in all ways.
    pub(crate) fn troubles(&self) -> Vec<(Trouble, u32)> {
        let counts = self
            .sky
            .troubles
            .iter()
            .map(|it| it.load(Ordering::Relaxed));
        KINDS.into_iter().zip(counts).collect()
    }
}

impl Sky {
    fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
        self.change.send_replace(weather);
    }

    /// The trouble that a writing transaction meets which begins now.
    fn trouble(&self) -> Option<Trouble> {
        let weather = *self.weather.lock().unwrap();
        match weather {
            Weather::Next(trouble, after) => {
                // The others wait for what comes after when this one has met it.
                self.set(match after {
                    After::Calm => Weather::Calm,
                    After::Down => Weather::Next(trouble, After::Down),
                });
                Some(trouble)
            }
            Weather::Storm(percent) => {
                let random = RandomState::new().build_hasher().finish();
                if random % 100 >= percent {
                    return None;
                }
                let kind = (random >> 32) as usize % KINDS.len();
                self.troubles[kind].fetch_add(1, Ordering::Relaxed);
                Some(KINDS[kind])
            }
            _ => None,
        }
    }

    async fn carry(&self, client: TcpStream, server: u16) {
        let mut change = self.change.subscribe();
        let now = *change.borrow_and_update();
        match now {
            Weather::Down => return,
            Weather::Silent => {
                // Accepted, and never heard of again.
                while *change.borrow_and_update() == Weather::Silent {
                    change.changed().await.unwrap();
                }
                return;
            }
            _ => {}
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            return;
        };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move {
            let _ = copy(&mut from_server, &mut to_client).await;
        });
        let stop = back.abort_handle();
        let carried = async {
            let mut trouble = None;
            let mut first = true;
            while let Some(message) = message(&mut from_client, first).await {
                first = false;
                let text = query(&message);
                if text.contains("READ WRITE") {
                    trouble = self.trouble();
                    if let Some(Trouble::GivesUpEarly(code)) = trouble.take_if(|it| early(*it)) {
                        let _ = to_server.write_all(&raise(text, code)).await;
                        continue;
                    }
                }
                let commit = text == "COMMIT";
                match trouble.take_if(|_| commit) {
                    None => {
                        if to_server.write_all(&message).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    Some(Trouble::GivesUp(code)) => {
                        let _ = to_server.write_all(&raise("ROLLBACK", code)).await;
                        continue;
                    }
                    Some(Trouble::LostAfter) => {
                        stop.abort();
                        let _ = to_server.write_all(&message).await;
                        // The server gets to read it before it learns that nobody listens.
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                    Some(Trouble::Late) => {
                        stop.abort();
                        drop(from_client);
                        tokio::time::sleep(Duration::from_millis(150)).await;
                        let _ = to_server.write_all(&message).await;
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        self.after();
                        return;
                    }
                    Some(_) => {}
                }
                self.after();
                break;
            }
        };
        tokio::select! {
            () = carried => {}
            () = async {
                loop {
                    match *change.borrow_and_update() {
                        Weather::Down => return,
                        Weather::Silent => stop.abort(),
                        _ => {}
                    }
                    if change.changed().await.is_err() {
                        return;
                    }
                }
            } => {}
        }
        stop.abort();
    }

    /// The trouble was met; what comes after it comes.
    fn after(&self) {
        let down = matches!(*self.weather.lock().unwrap(), Weather::Next(_, After::Down));
        if down {
            self.set(Weather::Down);
        }
    }
}

const fn early(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::GivesUpEarly(_))
}

/// The next message of a client: its type, where it has one, its length and itself.
async fn message(client: &mut (impl tokio::io::AsyncRead + Unpin), first: bool) -> Option<Vec<u8>> {
    let mut message = vec![0; if first { 4 } else { 5 }];
    client.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(*message.last_chunk().unwrap()) as usize;
    let head = message.len();
    message.resize(head - 4 + length, 0);
    client.read_exact(&mut message[head..]).await.ok()?;
    Some(message)
}

/// The text of a plain query; nothing of any other message.
fn query(message: &[u8]) -> &str {
    match message {
        [b'Q', _, _, _, _, text @ .., 0] => core::str::from_utf8(text).unwrap(),
        _ => "",
    }
}

/// A query after whose first part the server raises an error of this code.
fn raise(first: &str, code: &str) -> Vec<u8> {
    let text = format!("{first}; DO $$ BEGIN RAISE EXCEPTION SQLSTATE '{code}'; END $$\0");
    let mut message = vec![b'Q'];
    message.extend((text.len() as u32 + 4).to_be_bytes());
    message.extend(text.as_bytes());
    message
}
