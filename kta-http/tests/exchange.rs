//! What becomes of an exchange: sent or not, answered or not, repeatable or not.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use common::{client, ok, plain, read_request, serve, serve_answers, status};
use futures_util::StreamExt as _;
use kta_core::pii::{ContentStream, MediaType};
use kta_core::{Code, Error, Fault, FaultKind, Port, Result};
use kta_http::{Call, Credential, HttpClient, Origin, Request, Token, TokenCache, TokenSource};
use tokio::io::AsyncWriteExt as _;

const CALL: Call = Call::new(Port::Crm, "enter");

fn kind(outcome: Result<impl std::fmt::Debug>) -> FaultKind {
    outcome.unwrap_err().fault().expect("a fault").kind()
}

/// The kinds of fault that a read, a repeatable and an unrepeatable request end in.
async fn kinds(http: &HttpClient, origin: &Origin) -> [FaultKind; 3] {
    let url = || origin.url(["x"]).unwrap();
    let body = serde_json::json!({ "a": 1 });
    [
        kind(http.send(Request::get(CALL, url())).await),
        kind(http.send(Request::put(CALL, url()).json(&body)).await),
        kind(http.send(Request::post(CALL, url()).json(&body)).await),
    ]
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_and_had_no_effect() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = plain(listener.local_addr().unwrap().port());
    drop(listener);
    assert_eq!(
        kinds(&client([origin.clone()]), &origin).await,
        [FaultKind::Unavailable; 3]
    );
}

#[tokio::test]
async fn silence_after_sending_is_an_unknown_outcome_unless_repeating_is_harmless() {
    let origin = plain(
        serve(|mut stream| async move {
            read_request(&mut stream).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
        })
        .await,
    );
    let expected = [
        FaultKind::Timeout,
        FaultKind::Unavailable,
        FaultKind::OutcomeUnknown,
    ];
    assert_eq!(kinds(&client([origin.clone()]), &origin).await, expected);
}

#[tokio::test]
async fn a_connection_cut_after_sending_is_an_unknown_outcome_unless_repeating_is_harmless() {
    let origin =
        plain(serve(|mut stream| async move { drop(read_request(&mut stream).await) }).await);
    let expected = [
        FaultKind::Unavailable,
        FaultKind::Unavailable,
        FaultKind::OutcomeUnknown,
    ];
    assert_eq!(kinds(&client([origin.clone()]), &origin).await, expected);
}

#[tokio::test]
async fn garbage_instead_of_an_answer_is_a_protocol_fault_or_an_unknown_outcome() {
    let origin = plain(
        serve(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(b"\x00\x01 not http\r\n\r\n").await;
        })
        .await,
    );
    let expected = [
        FaultKind::Protocol,
        FaultKind::Protocol,
        FaultKind::OutcomeUnknown,
    ];
    assert_eq!(kinds(&client([origin.clone()]), &origin).await, expected);
}

#[tokio::test]
async fn statuses_become_the_faults_that_tell_what_to_do_next() {
    let origin = plain(
        serve_answers(|head, _| {
            let code = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let wait = if code == 429 || code == 503 {
                "Retry-After: 9\r\n"
            } else {
                ""
            };
            status(code, wait, "secret details")
        })
        .await,
    );
    let http = client([origin.clone()]);
    let ask = async |code: u16, request: fn(Call, kta_http::Url) -> Request| {
        let url = origin.url([code.to_string()]).unwrap();
        let fault = *http
            .send(request(CALL, url))
            .await
            .unwrap()
            .success()
            .unwrap_err()
            .fault()
            .unwrap();
        assert_eq!(fault.status(), Some(code));
        fault.kind()
    };
    let throttled = FaultKind::Throttled {
        retry_after: Some(Duration::from_secs(9)),
    };
    for (code, expected) in [
        (400, FaultKind::Protocol),
        (401, FaultKind::Misconfigured),
        (403, FaultKind::Misconfigured),
        (404, FaultKind::NotFound),
        (409, FaultKind::Conflict),
        (412, FaultKind::Conflict),
        (423, FaultKind::Conflict),
        (429, throttled),
        (503, throttled),
        (507, FaultKind::Unavailable),
    ] {
        assert_eq!(ask(code, Request::post).await, expected, "{code}");
    }
    for code in [500, 502, 504] {
        assert_eq!(
            ask(code, Request::post).await,
            FaultKind::OutcomeUnknown,
            "{code}"
        );
        assert_eq!(
            ask(code, Request::get).await,
            FaultKind::Unavailable,
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_slow_loris_is_cut_off_in_head_and_body() {
    async fn drip(mut stream: tokio::net::TcpStream, start: &'static [u8]) {
        read_request(&mut stream).await;
        let _ = stream.write_all(start).await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let head = plain(serve(|stream| drip(stream, b"HTTP/1.1 200 OK\r\nX-Drip: ")).await);
    let body = plain(
        serve(|stream| drip(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")).await,
    );
    let http = client([head.clone(), body.clone()]);

    let start = Instant::now();
    assert_eq!(
        kind(
            http.send(Request::get(CALL, head.url(["x"]).unwrap()))
                .await
        ),
        FaultKind::Timeout
    );
    let reply = http
        .send(Request::get(CALL, body.url(["x"]).unwrap()))
        .await
        .unwrap();
    assert_eq!(
        kind(reply.bytes(900).await),
        FaultKind::Timeout,
        "each byte comes in time, the whole does not"
    );
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_stops_is_cut_off() {
    let origin = plain(
        serve(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                .await;
            tokio::time::sleep(Duration::from_secs(30)).await;
        })
        .await,
    );
    let http = client([origin.clone()]);
    let reply = http
        .send(Request::get(CALL, origin.url(["x"]).unwrap()))
        .await
        .unwrap();
    assert_eq!(kind(reply.bytes(900).await), FaultKind::Timeout);
}

#[tokio::test]
async fn an_oversize_body_is_refused_announced_or_not() {
    let announced = plain(serve_answers(|_, _| ok(&"x".repeat(2000))).await);
    let chunked = plain(
        serve(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            while stream.write_all(b"4\r\nxxxx\r\n").await.is_ok() {}
        })
        .await,
    );
    let http = client([announced.clone(), chunked.clone()]);
    for origin in [announced, chunked] {
        let get = || http.send(Request::get(CALL, origin.url(["x"]).unwrap()));
        assert_eq!(
            kind(get().await.unwrap().json::<String>().await),
            FaultKind::Protocol
        );
        assert_eq!(
            kind(get().await.unwrap().bytes(1999).await),
            FaultKind::Protocol
        );
        let streamed = match get().await.unwrap().stream(1999) {
            Ok(mut stream) => loop {
                match stream.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            },
            Err(error) => Some(error),
        };
        assert_eq!(
            streamed.and_then(|error| error.fault().map(Fault::kind)),
            Some(FaultKind::Protocol)
        );
    }
}

#[tokio::test]
async fn a_compressed_body_is_never_unpacked() {
    let origin = plain(
        serve_answers(|head, _| {
            assert!(
                !head.to_ascii_lowercase().contains("accept-encoding"),
                "nothing compressed is asked for"
            );
            status(200, "Content-Encoding: gzip\r\n", "bomb")
        })
        .await,
    );
    let reply = client([origin.clone()])
        .send(Request::get(CALL, origin.url(["x"]).unwrap()))
        .await
        .unwrap();
    assert_eq!(kind(reply.bytes(100).await), FaultKind::Protocol);
}

#[tokio::test]
async fn a_redirect_off_the_list_is_refused_and_one_on_it_is_only_shown() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let elsewhere = plain(
        serve_answers(move |head, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            assert!(
                !head.to_ascii_lowercase().contains("authorization"),
                "no credential to another host"
            );
            ok("there")
        })
        .await,
    );
    let target = elsewhere.url(["there"]).unwrap();
    let location = format!("Location: {target}\r\n");
    let origin = plain(serve_answers(move |_, _| status(302, &location, "")).await);
    let token = Credential::bearer("token".to_owned().into());
    let get = || Request::get(CALL, origin.url(["x"]).unwrap()).credential(&token);

    let narrow = client([origin.clone()]);
    assert_eq!(
        narrow.send(get()).await.unwrap_err(),
        Code::NetRedirect.into()
    );

    let wide = client([origin.clone(), elsewhere]);
    let reply = wide.send(get()).await.unwrap();
    assert_eq!((reply.status(), reply.redirect()), (302, Some(&target)));
    assert_eq!(hits.load(Ordering::SeqCst), 0, "nothing follows by itself");
    let follow = Request::get(CALL, reply.redirect().unwrap().clone()).presigned();
    assert_eq!(
        &*wide.send(follow).await.unwrap().bytes(9).await.unwrap(),
        b"there"
    );
    let leak = Request::get(CALL, target).presigned().credential(&token);
    assert_eq!(
        wide.send(leak).await.unwrap_err(),
        Code::NetTokenLeak.into()
    );
}

#[tokio::test]
async fn a_credential_in_an_address_or_a_free_header_is_never_sent() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let origin = plain(
        serve_answers(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            ok("")
        })
        .await,
    );
    let http = client([origin.clone()]);
    let get = || Request::get(CALL, origin.url(["x"]).unwrap());
    let token = Credential::zoho("1000.canary/+=".to_owned().into());
    for leaking in [
        get().query("access_token", "x"),
        get().query("Client_Secret", "x"),
        get().query("sig", "x"),
        get().query("q", "Bearer abc"),
        get().query("q", "1000.canary/+=").credential(&token),
        get().header("authorization", "Bearer x"),
        get().header("Cookie", "a=b"),
    ] {
        assert_eq!(
            http.send(leaking).await.unwrap_err(),
            Code::NetTokenLeak.into()
        );
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0);
    assert!(
        http.send(get().query("page_token", "x").credential(&token))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn bodies_arrive_as_they_were_given() {
    let origin = plain(
        serve_answers(|head, body| {
            let head = head.to_ascii_lowercase();
            let kind = head
                .lines()
                .find_map(|line| line.strip_prefix("content-type: "))
                .unwrap()
                .to_owned();
            let boundary = kind.split("boundary=").nth(1).unwrap_or("none").to_owned();
            let text = String::from_utf8_lossy(body)
                .to_lowercase()
                .replace(&boundary, "B");
            let kind = kind.replace(&boundary, "B");
            ok(&serde_json::json!([kind, text]).to_string())
        })
        .await,
    );
    let http = client([origin.clone()]);
    let post = || Request::post(CALL, origin.url(["x"]).unwrap());
    let chunks = || -> ContentStream {
        Box::pin(futures_util::stream::iter([
            Ok(Bytes::from("one ")),
            Ok(Bytes::from("two")),
        ]))
    };
    let echo = async |request: Request| -> [String; 2] {
        http.send(request)
            .await
            .unwrap()
            .success()
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    assert_eq!(
        echo(post().form(&[("a", "b c&"), ("d", "ß")])).await,
        ["application/x-www-form-urlencoded", "a=b+c%26&d=%c3%9f"]
    );
    assert_eq!(
        echo(post().json(&[1, 2])).await,
        ["application/json", "[1,2]"]
    );
    assert_eq!(
        echo(post().stream(chunks(), 7, &MediaType::pdf())).await,
        ["application/pdf", "one two"]
    );
    let [kind, body] = echo(post().file("file", "doc_1", chunks(), 7, &MediaType::pdf())).await;
    assert_eq!(kind, "multipart/form-data; boundary=B");
    assert!(body.contains("name=\"file\"; filename=\"doc_1\"\r\ncontent-type: application/pdf\r\n\r\none two\r\n--B--"), "{body}");
}

#[tokio::test]
async fn an_uploads_own_error_is_what_the_caller_sees() {
    let origin = plain(serve_answers(|_, _| ok("")).await);
    let corrupt = Error::from(Fault::new(FaultKind::Corrupt, Port::Blobs, "read content"));
    let error = corrupt.clone();
    let broken: ContentStream = Box::pin(futures_util::stream::iter([
        Ok(Bytes::from("one")),
        Err(error),
    ]));
    let put =
        Request::put(CALL, origin.url(["x"]).unwrap()).stream(broken, 9, &MediaType::octets());
    assert_eq!(client([origin]).send(put).await.unwrap_err(), corrupt);
}

#[tokio::test]
async fn a_slow_but_moving_upload_is_not_cut_off() {
    let origin = plain(serve_answers(|_, body| ok(&body.len().to_string())).await);
    let slow: ContentStream = Box::pin(futures_util::stream::unfold(0, |sent| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        (sent < 6).then(|| (Ok(Bytes::from("x")), sent + 1))
    }));
    let put = Request::put(CALL, origin.url(["x"]).unwrap()).stream(slow, 6, &MediaType::octets());
    let reply = client([origin]).send(put).await.unwrap();
    assert_eq!(&*reply.bytes(9).await.unwrap(), b"6");
}

#[derive(Debug, Default)]
struct Numbered(AtomicUsize);

#[async_trait]
impl TokenSource for Numbered {
    async fn fetch(&self) -> Result<Token> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let secret = format!("token-{number}").into();
        Ok(Token::new(
            Credential::zoho(secret),
            Duration::from_secs(3600),
        ))
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_request_sent_once_more() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let origin = plain(
        serve_answers(move |head, body| {
            counted.fetch_add(1, Ordering::SeqCst);
            assert_eq!(body, b"[1]", "the second request is whole");
            if head.contains("Zoho-oauthtoken token-0") {
                status(401, "", "")
            } else {
                ok("")
            }
        })
        .await,
    );
    let http = client([origin.clone()]);
    let tokens = TokenCache::new(Numbered::default(), CALL);
    let post = || Request::post(CALL, origin.url(["x"]).unwrap()).json(&[1]);
    assert_eq!(http.send_as(post(), &tokens).await.unwrap().status(), 200);
    assert_eq!(hits.load(Ordering::SeqCst), 2);
    assert_eq!(http.send_as(post(), &tokens).await.unwrap().status(), 200);
    assert_eq!(hits.load(Ordering::SeqCst), 3, "the new token is kept");
}

#[tokio::test]
async fn a_server_that_refuses_every_token_is_asked_twice_and_no_more() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let origin = plain(
        serve_answers(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            status(401, "", "")
        })
        .await,
    );
    let tokens = TokenCache::new(Numbered::default(), CALL);
    let reply = client([origin.clone()])
        .send_as(Request::get(CALL, origin.url(["x"]).unwrap()), &tokens)
        .await;
    assert_eq!(kind(reply.unwrap().success()), FaultKind::Misconfigured);
    assert_eq!(hits.load(Ordering::SeqCst), 2);
}
