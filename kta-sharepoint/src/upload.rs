//! Storing content: one request for what is small, a session of fragments for what is not.
//!
//! ```text
//!   stream ──► SHA-256 (by Content) ──► quickXor ──► fragment ──► PUT
//!                                                       │ broke? GET the session: go on where it is
//!        last fragment waits for the stream's end ──────┘ then: same hash as the library's? done
//! ```
//!
//! Nothing is doubled: a new file is made only where there is none (`fail`), a new version only of the
//! version that was seen (`If-Match`); whatever answer is lost, the item itself tells what happened.

use crate::items::{Item, PUT};
use crate::{QuickXor, SharePoint};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use kta_core::pii::{Content, ContentStream};
use kta_core::policy::Permit;
use kta_core::{Error, FaultKind, Result};
use kta_http::{Request, Url};
use serde_json::json;

/// Where content is to go.
#[allow(
    clippy::large_enum_variant,
    reason = "one lives on the stack for one upload"
)]
pub(crate) enum Slot {
    /// To this path below the root, where nothing is.
    New(Vec<String>),
    /// On top of this item as it was seen.
    Version(Item),
}

/// What became of an upload.
pub(crate) struct Sent {
    pub(crate) item: Item,
    /// Whether the library's own hash shows that it holds our bytes.
    pub(crate) proven: bool,
    /// Whether the file is new.
    pub(crate) created: bool,
}

impl SharePoint {
    /// Stores content in `slot`, or finds that it is there already.
    pub(crate) async fn upload(
        &self,
        slot: Slot,
        content: Content,
        permit: &Permit<'_>,
    ) -> Result<Sent> {
        let length = content.length();
        let stream = content.into_stream(permit);
        if length <= SMALL {
            self.put_small(slot, stream).await
        } else {
            self.put_large(slot, stream, length).await
        }
    }

    async fn put_small(&self, slot: Slot, mut stream: ContentStream) -> Result<Sent> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        let bytes = bytes.freeze();
        let ours = Ours {
            hash: QuickXor::of(&bytes),
            length: bytes.len() as u64,
        };
        if let Slot::Version(item) = &slot
            && ours.is(item)
        {
            return Ok(unchanged(item));
        }
        let (segments, tag) = self.target(&slot, "content");
        let url = self.graph.url(&segments)?;
        let make = || {
            let mut request = Request::put(PUT, url.clone()).bytes(bytes.to_vec(), OCTETS);
            request = match &tag {
                Some(tag) => request.header("if-match", tag),
                None => request.query("@microsoft.graph.conflictBehavior", "fail"),
            };
            Ok(request)
        };
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 201 => Ok(ours.judge(&slot, answer.parse(PUT)?)),
            // Somebody was there before us: perhaps we ourselves, whose first answer was lost.
            409 | 412 => self.settled(&slot, &ours).await,
            _ => Err(answer.unexpected(PUT)),
        }
    }

    async fn put_large(&self, slot: Slot, mut stream: ContentStream, length: u64) -> Result<Sent> {
        let session = self.open_session(&slot, length).await?;
        let mut hash = QuickXor::default();
        let mut buffer = BytesMut::new();
        let mut at = 0u64;
        loop {
            let chunk = match stream.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => {
                    self.cancel(&session).await;
                    return Err(error);
                }
                None => break,
            };
            hash.update(&chunk);
            buffer.extend_from_slice(&chunk);
            // The last fragment is kept back: only a stream that ended well may become a file.
            while buffer.len() > FRAGMENT {
                let fragment = buffer.split_to(FRAGMENT).freeze();
                let end = at + fragment.len() as u64;
                let error = match self.fragment(&session, at, fragment, length).await {
                    Ok(Progress::Taken) => None,
                    Ok(_) => Some(lost()),
                    Err(error) => Some(error),
                };
                if let Some(error) = error {
                    self.cancel(&session).await;
                    return Err(error);
                }
                at = end;
            }
        }
        let ours = Ours {
            hash: hash.finish(),
            length,
        };
        if let Slot::Version(item) = &slot
            && ours.is(item)
        {
            self.cancel(&session).await;
            return Ok(unchanged(item));
        }
        match self.fragment(&session, at, buffer.freeze(), length).await? {
            Progress::Item(item) => Ok(ours.judge(&slot, item)),
            Progress::Taken | Progress::Conflict | Progress::Gone => {
                let settled = self.settled(&slot, &ours).await;
                if settled.is_err() {
                    self.cancel(&session).await;
                }
                settled
            }
        }
    }

    async fn open_session(&self, slot: &Slot, length: u64) -> Result<Url> {
        let (segments, tag) = self.target(slot, "createUploadSession");
        let url = self.graph.url(&segments)?;
        let behaviour = if tag.is_some() { "replace" } else { "fail" };
        let body = json!({ "item": {
            "@microsoft.graph.conflictBehavior": behaviour, "fileSize": length } });
        let make = || {
            // A session that was opened and not heard of stores nothing and ends by itself.
            let request = Request::post(PUT, url.clone()).json(&body).repeatable();
            Ok(match &tag {
                Some(tag) => request.header("if-match", tag),
                None => request,
            })
        };
        let answer = self.graph.ask(make).await?;
        if answer.status != 200 {
            return Err(answer.unexpected(PUT));
        }
        let url = answer.value["uploadUrl"].as_str();
        let url = url.ok_or_else(|| PUT.fault(FaultKind::Protocol).because("no upload address"))?;
        self.graph.presigned_url(PUT, url)
    }

    /// Sends one fragment; when the way is lost, asks the session where it is and goes on from there.
    async fn fragment(
        &self,
        session: &Url,
        start: u64,
        bytes: Bytes,
        total: u64,
    ) -> Result<Progress> {
        let end = start + bytes.len() as u64;
        let mut at = start;
        let mut last: Option<Error> = None;
        for _ in 0..ATTEMPTS {
            let rest = bytes.slice((at - start) as usize..);
            let range = format!("bytes {at}-{}/{total}", end.saturating_sub(1));
            let request = Request::put(PUT, session.clone())
                .header("content-range", &range)
                .bytes(rest.to_vec(), OCTETS);
            match self.graph.try_presigned(request).await {
                Ok(answer) => match answer.status {
                    200 | 201 => return Ok(Progress::Item(answer.parse(PUT)?)),
                    202 if end < total => return Ok(Progress::Taken),
                    404 => {
                        return if end < total {
                            Err(lost())
                        } else {
                            Ok(Progress::Gone)
                        };
                    }
                    409 => return Ok(Progress::Conflict),
                    202 | 416 => {}
                    _ => return Err(answer.unexpected(PUT)),
                },
                Err(error) if passing(&error) => {
                    if let Some(wait) = waiting(&error)? {
                        tokio::time::sleep(wait).await;
                    }
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
            match self.expected(session).await? {
                None => {
                    return if end < total {
                        Err(lost())
                    } else {
                        Ok(Progress::Gone)
                    };
                }
                Some(next) if next >= end && end < total => return Ok(Progress::Taken),
                Some(next) if next >= end => return Ok(Progress::Gone),
                Some(next) if next >= start => at = next,
                Some(_) => return Err(lost()),
            }
        }
        Err(last.unwrap_or_else(lost))
    }

    /// The first byte the session still wants; `None` when there is no session any more.
    async fn expected(&self, session: &Url) -> Result<Option<u64>> {
        let answer = self
            .graph
            .ask_presigned(|| Ok(Request::get(PUT, session.clone())))
            .await?;
        match answer.status {
            200 => {
                let ranges = answer.value["nextExpectedRanges"].as_array();
                let first = ranges
                    .and_then(|ranges| ranges.first())
                    .and_then(|r| r.as_str());
                match first {
                    None => Ok(Some(u64::MAX)),
                    Some(range) => {
                        let start = range.split('-').next().and_then(|n| n.parse().ok());
                        let fault = PUT.fault(FaultKind::Protocol).because("not a range");
                        start.map(Some).ok_or(fault.into())
                    }
                }
            }
            404 | 410 => Ok(None),
            _ => Err(answer.unexpected(PUT)),
        }
    }

    /// Gives a session up. It would end by itself; until then it would hold the bytes.
    async fn cancel(&self, session: &Url) {
        let _ = self
            .graph
            .ask_presigned(|| Ok(Request::delete(PUT, session.clone())))
            .await;
    }

    /// After a lost answer or a conflict: ours if the item now holds our bytes.
    async fn settled(&self, slot: &Slot, ours: &Ours) -> Result<Sent> {
        let (now, before) = match slot {
            Slot::New(path) => (self.item_at(PUT, path).await?, None),
            Slot::Version(item) => (self.item(PUT, &item.id).await?, item.e_tag.clone()),
        };
        match now {
            Some(item) if ours.is(&item) => Ok(Sent {
                item,
                proven: true,
                created: false,
            }),
            Some(item) if before.is_none() || before != item.e_tag => {
                let fault = PUT.fault(FaultKind::Conflict);
                Err(fault.because("another content took this place").into())
            }
            _ => Err(lost()),
        }
    }

    fn target(&self, slot: &Slot, action: &str) -> (Vec<String>, Option<String>) {
        match slot {
            Slot::New(path) => (self.by_path(path, Some(action)), None),
            Slot::Version(item) => (self.by_id(&item.id, &[action]), item.e_tag.clone()),
        }
    }
}

/// Hash and length of what we have.
struct Ours {
    hash: String,
    length: u64,
}

impl Ours {
    fn is(&self, item: &Item) -> bool {
        item.size == self.length && item.hash() == Some(self.hash.as_str())
    }

    /// Compares what the library says it stored with what was sent.
    fn judge(&self, slot: &Slot, item: Item) -> Sent {
        let proven = self.is(&item);
        Sent {
            item,
            proven,
            created: matches!(slot, Slot::New(_)),
        }
    }
}

/// Content that the library already has makes no version; SHA-256 has the last word on whether it has.
fn unchanged(item: &Item) -> Sent {
    Sent {
        item: item.clone(),
        proven: false,
        created: false,
    }
}

/// What a fragment led to.
#[allow(
    clippy::large_enum_variant,
    reason = "one lives on the stack for one fragment"
)]
enum Progress {
    /// The file's name is taken.
    Conflict,
    /// The session is over; the file tells whether it was completed.
    Gone,
    /// The file is whole.
    Item(Item),
    /// More is wanted.
    Taken,
}

fn lost() -> Error {
    PUT.fault(FaultKind::Unavailable)
        .because("the upload session was lost")
        .into()
}

fn passing(error: &Error) -> bool {
    error.fault().is_some_and(|fault| fault.is_transient())
}

/// How long to wait before asking again; a wait too long for holding a stream open is the caller's.
fn waiting(error: &Error) -> Result<Option<std::time::Duration>> {
    match error.fault().map(|fault| fault.kind()) {
        Some(FaultKind::Throttled {
            retry_after: Some(wait),
        }) if wait > LONGEST_WAIT => Err(error.clone()),
        Some(FaultKind::Throttled { retry_after }) => Ok(retry_after),
        _ => Ok(None),
    }
}

const OCTETS: &str = "application/octet-stream";
/// Up to here one request; Microsoft recommends sessions above.
const SMALL: u64 = 4 * 1024 * 1024;
/// Fragments are multiples of 320 KiB; 5 to 10 MiB are recommended.
const FRAGMENT: usize = 16 * 327_680;
const ATTEMPTS: u32 = 6;
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);
