//! The emulator keeps the vendor's rules, above all the ones that hurt.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bins;
#[path = "../support/mod.rs"]
mod support;

use bytes::Bytes;
use chrono::TimeDelta;
use kta_sharepoint::emulator::{Emulator, Fault, Options};
use serde_json::{Value, json};
use support::{Answer, get, graph, graph_with, put, rest, rest_token, send};

const CANARY: &[u8] = b"CANARY-Testa-Probst";

async fn started() -> Emulator {
    Emulator::start(Options::default()).await.unwrap()
}

async fn item(emulator: &Emulator, method: &str, id: &str, tail: &str, body: Value) -> Answer {
    let path = format!("/drives/{}/items/{id}{tail}", emulator.drive());
    graph(emulator, method, &path, &body).await
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn every_spelling_of_an_address_names_the_same_item() {
    let emulator = started().await;
    let wanted = id(&put(&emulator, "a/b%20c.bin", b"x").await);
    let drive = emulator.drive().replace('!', "%21");
    let (plain, site) = (emulator.drive(), emulator.site().replace(',', "%2C"));
    let folder = get(&emulator, &format!("/drives/{plain}/root:/a")).await;
    let folder = id(&folder.json());
    for path in [
        format!("/drives/{plain}/items/{wanted}"),
        format!("/drives/{drive}/root:/a/b%20c.bin"),
        format!("/drives/{drive}/root:/a/b%20c.bin:"),
        format!("/drives/{drive}/root:/a/b%20c.bin:/"),
        format!("/drives/{drive}/items/root%3A%2Fa%2Fb%20c.bin%3A"),
        format!("/drives/{drive}/items/{folder}:/b%20c.bin"),
        format!("/sites/{site}/drives/{drive}/items/{wanted}"),
    ] {
        let answer = get(&emulator, &path).await;
        assert_eq!(
            (answer.status, id(&answer.json())),
            (200, wanted.clone()),
            "{path}"
        );
    }
    for host in [
        "kta-emulator.sharepoint.com",
        &emulator.sharepoint_url()["http://".len()..],
    ] {
        let path = format!("/sites/{host}:/sites/Matters");
        let answer = get(&emulator, &path).await;
        assert_eq!(answer.json()["id"], emulator.site());
    }
}

#[tokio::test]
async fn a_token_opens_its_own_resource_until_it_expires() {
    let emulator = started().await;
    let path = format!("/drives/{}/root", emulator.drive());
    assert_eq!(get(&emulator, &path).await.status, 200);
    let other = rest_token(&emulator).await;
    let url = format!("{}/v1.0{path}", emulator.graph_url());
    let bearer = format!("Bearer {other}");
    let answer = send("GET", &url, &[("authorization", bearer.as_str())], "")
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "InvalidAuthenticationToken")
    );
    assert_eq!(
        rest(&emulator, &other, "GET", "web/RecycleBin")
            .await
            .status,
        200
    );
    emulator.advance(TimeDelta::seconds(3600));
    assert_eq!(get(&emulator, &path).await.status, 401);
    assert_eq!(
        rest(&emulator, &other, "GET", "web/RecycleBin")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn an_upload_session_keeps_the_fragment_rules() {
    let emulator = started().await;
    let path = format!(
        "/drives/{}/root:/u/big.bin:/createUploadSession",
        emulator.drive()
    );
    let session = graph(&emulator, "POST", &path, &Value::Null).await.json();
    let url = session["uploadUrl"].as_str().unwrap().to_owned();
    let whole = Bytes::from(vec![7u8; 327_680 * 2 + 5]);
    let total = whole.len();
    let piece = |from: usize, to: usize| {
        let (url, bytes) = (url.clone(), whole.slice(from..to));
        async move {
            let range = format!("bytes {from}-{}/{total}", to - 1);
            send("PUT", &url, &[("content-range", range.as_str())], bytes)
                .await
                .unwrap()
        }
    };
    let refused = send("GET", &url, &[("authorization", "Bearer x")], "")
        .await
        .unwrap();
    assert_eq!(refused.status, 401);
    assert_eq!(piece(0, 1000).await.inner(), "invalidRange");
    assert_eq!(piece(327_680, 655_360).await.inner(), "fragmentOutOfOrder");
    assert_eq!(piece(0, 327_680).await.status, 202);
    let overlap = piece(0, 327_680).await;
    assert_eq!(
        (overlap.status, overlap.inner().as_str()),
        (416, "fragmentOverlap")
    );
    let status = send("GET", &url, &[], "").await.unwrap().json();
    assert_eq!(
        status["nextExpectedRanges"],
        json!([format!("327680-{}", total - 1)])
    );
    assert_eq!(piece(327_680, 655_360).await.status, 202);
    let done = piece(655_360, total).await;
    assert_eq!(
        (done.status, done.json()["size"].as_u64()),
        (201, Some(total as u64))
    );
    let again = piece(655_360, total).await;
    assert_eq!(again.json()["id"], done.json()["id"]);
    assert_eq!(emulator.holdings(&id(&done.json())).versions.len(), 0);

    let session = graph(&emulator, "POST", &path, &Value::Null).await.json();
    emulator.advance(TimeDelta::hours(2));
    let gone = send("GET", session["uploadUrl"].as_str().unwrap(), &[], "")
        .await
        .unwrap();
    assert_eq!(
        (gone.status, gone.inner().as_str()),
        (404, "uploadSessionNotFound")
    );
}

#[tokio::test]
async fn a_name_conflict_at_the_last_fragment_leaves_the_session_to_be_committed() {
    let emulator = started().await;
    let drive = emulator.drive();
    let path = format!("/drives/{drive}/root:/late.bin:/createUploadSession");
    let body = json!({ "item": { "@microsoft.graph.conflictBehavior": "fail" } });
    let session = graph(&emulator, "POST", &path, &body).await.json();
    let url = session["uploadUrl"].as_str().unwrap();
    put(&emulator, "late.bin", b"somebody was faster").await;
    let answer = send("PUT", url, &[("content-range", "bytes 0-3/4")], "mine")
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "nameAlreadyExists")
    );
    let body = json!({ "name": "mine.bin", "@microsoft.graph.sourceUrl": url });
    let path = format!("/drives/{drive}/root:/mine.bin");
    let answer = graph(&emulator, "PUT", &path, &body).await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        emulator.holdings(&id(&answer.json())).current.as_deref(),
        Some(&b"mine"[..])
    );
}

#[tokio::test]
async fn a_stale_tag_is_412_and_a_bare_one_malformed() {
    let emulator = started().await;
    let first = put(&emulator, "t.bin", b"1").await;
    put(&emulator, "t.bin", b"2").await;
    let path = format!("/drives/{}/items/{}", emulator.drive(), id(&first));
    let try_tag = async |tag: &str| {
        graph_with(
            &emulator,
            "PATCH",
            &path,
            &[("if-match", tag)],
            &json!({"name": "n"}),
        )
        .await
    };
    let stale = try_tag(first["eTag"].as_str().unwrap()).await;
    assert_eq!(
        (stale.status, stale.inner().as_str()),
        (412, "entityTagDoesNotMatch")
    );
    let bare = try_tag("bare").await;
    assert_eq!(
        (bare.status, bare.inner().as_str()),
        (400, "malformedEntityTag")
    );
    assert_eq!(try_tag("*").await.status, 200);
    let renamed = get(&emulator, &path).await.json();
    assert_ne!(renamed["eTag"], renamed["cTag"]);
}

#[tokio::test]
async fn an_existing_link_keeps_its_old_expiry() {
    let emulator = started().await;
    let in_days = |days| (emulator.now() + TimeDelta::days(days)).to_rfc3339();
    let link = async |days| {
        let body = json!({ "type": "view", "scope": "users", "expirationDateTime": in_days(days) });
        item(&emulator, "POST", emulator.item(), "/createLink", body).await
    };
    let first = link(2).await;
    let second = link(30).await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(
        first.json()["expirationDateTime"],
        second.json()["expirationDateTime"]
    );
    assert_eq!(link(-1).await.status, 400);
}

#[tokio::test]
async fn the_first_share_strips_inheritance_when_it_does_not_say_otherwise() {
    let emulator = started().await;
    let invite = json!({ "recipients": [{ "email": "invented.reader@example.test" }],
        "roles": ["read"], "requireSignIn": true, "retainInheritedPermissions": false });
    let inherited = async |id: &str| {
        let all = item(&emulator, "GET", id, "/permissions", Value::Null)
            .await
            .json();
        let all = all["value"].as_array().unwrap().clone();
        all.into_iter()
            .filter(|each| each.get("inheritedFrom").is_some())
            .collect::<Vec<_>>()
    };
    let before = inherited(emulator.item()).await;
    let refused = format!("/permissions/{}", id(&before[0]));
    assert_eq!(
        item(&emulator, "DELETE", emulator.item(), &refused, Value::Null)
            .await
            .status,
        403
    );
    assert_eq!(
        item(&emulator, "POST", emulator.item(), "/invite", invite)
            .await
            .status,
        200
    );
    assert!(inherited(emulator.item()).await.is_empty());
}

#[tokio::test]
async fn a_record_label_stands_in_the_way_of_deletion() {
    let emulator = started().await;
    let label = async |method: &str, body: Value| {
        item(&emulator, method, emulator.item(), "/retentionLabel", body).await
    };
    assert_eq!(label("GET", Value::Null).await.status, 404);
    assert_eq!(
        label("PATCH", json!({ "name": "no such label" }))
            .await
            .status,
        400
    );
    assert_eq!(
        label("PATCH", json!({ "name": "7 years" })).await.status,
        201
    );
    assert_eq!(
        label("PATCH", json!({ "name": "Client record" }))
            .await
            .status,
        200
    );
    assert_eq!(label("DELETE", Value::Null).await.status, 403);
    let deleted = item(&emulator, "DELETE", emulator.item(), "", Value::Null).await;
    assert_eq!(
        (deleted.status, deleted.code().as_str()),
        (403, "accessDenied")
    );
}

#[tokio::test]
async fn delta_gives_every_change_in_pages_and_410_for_an_old_token() {
    let emulator = started().await;
    for n in 0..5 {
        put(&emulator, &format!("f{n}.bin"), b"x").await;
    }
    let path = format!("/drives/{}/root/delta?$top=2", emulator.drive());
    let mut page = get(&emulator, &path).await.json();
    let mut seen = std::collections::BTreeSet::new();
    let follow = async |url: &Value| {
        let path = url
            .as_str()
            .unwrap()
            .strip_prefix(emulator.graph_url())
            .unwrap();
        get(&emulator, path.strip_prefix("/v1.0").unwrap()).await
    };
    loop {
        seen.extend(page["value"].as_array().unwrap().iter().map(id));
        if page.get("@odata.nextLink").is_none() {
            break;
        }
        page = follow(&page["@odata.nextLink"]).await.json();
    }
    assert_eq!(seen.len(), 7, "five files, the ready one and the root");
    let token = page["@odata.deltaLink"].clone();
    assert!(
        follow(&token).await.json()["value"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    item(&emulator, "DELETE", emulator.item(), "", Value::Null).await;
    let changes = follow(&token).await.json();
    assert_eq!(changes["value"][0]["deleted"]["state"], "softdeleted");
    emulator.expire_delta_tokens();
    let gone = follow(&token).await;
    assert_eq!(
        (gone.status, gone.inner().as_str()),
        (410, "resyncChangesApplyDifferences")
    );
    assert!(gone.headers["location"].starts_with(emulator.graph_url()));
}

#[tokio::test]
async fn a_batch_answers_in_any_order_and_stops_what_depends_on_a_failure() {
    let emulator = started().await;
    let base = format!("/drives/{}", emulator.drive());
    let body = json!({ "requests": [
        { "id": "1", "method": "GET", "url": format!("{base}/items/nothing") },
        { "id": "2", "method": "GET", "url": format!("{base}/root"), "dependsOn": ["1"] },
        { "id": "3", "method": "PUT", "url": format!("{base}/root:/b.bin:/content"),
          "headers": { "Content-Type": "application/octet-stream" }, "body": "aGk=" },
    ]});
    let answer = graph(&emulator, "POST", "/$batch", &body).await;
    let all = answer.json()["responses"].as_array().unwrap().clone();
    let status = |id: &str| all.iter().find(|r| r["id"] == id).unwrap()["status"].as_u64();
    assert_eq!(
        (status("1"), status("2"), status("3")),
        (Some(404), Some(424), Some(201))
    );
    assert_eq!(all[0]["id"], "3");
    let many: Vec<Value> = (0..21)
        .map(|n| json!({ "id": n.to_string(), "method": "GET", "url": "/" }))
        .collect();
    let answer = graph(&emulator, "POST", "/$batch", &json!({ "requests": many })).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn columns_must_exist_before_a_field_takes_a_value() {
    let emulator = started().await;
    let list = json!({ "displayName": "Cases", "list": { "template": "documentLibrary" },
        "columns": [{ "name": "KtaDocument", "text": {}, "indexed": true }] });
    let path = format!("/sites/{}/lists", emulator.site());
    assert_eq!(graph(&emulator, "POST", &path, &list).await.status, 201);
    assert_eq!(graph(&emulator, "POST", &path, &list).await.status, 409);
    let drive = get(&emulator, &format!("{path}/Cases/drive")).await.json();
    let drive = id(&drive);
    let folder = json!({ "name": "M-1", "folder": {} });
    let path = format!("/drives/{drive}/root/children");
    let folder = id(&graph(&emulator, "POST", &path, &folder).await.json());
    let path = format!("/drives/{drive}/items/{folder}/listItem/fields");
    let patch = async |body| graph(&emulator, "PATCH", &path, &body).await.status;
    assert_eq!(patch(json!({ "KtaDocument": "doc_1" })).await, 200);
    assert_eq!(patch(json!({ "Surname": "x" })).await, 400);
}

#[tokio::test]
async fn a_subscription_wants_its_address_validated_and_then_tells_of_changes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let emulator = started().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, mut told) = tokio::sync::mpsc::channel::<String>(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0u8; 8192];
            let mut size = 0;
            while let Ok(n) = stream.read(&mut buffer[size..]).await {
                size += n;
                let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
                if n == 0
                    || text.contains("\r\n\r\n") && !text.ends_with("\r\n\r\n")
                    || text.contains("validationToken")
                {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            let echo = text.split_once("validationToken=").map(|(_, rest)| {
                let word = rest.split(' ').next().unwrap_or_default();
                percent_encoding::percent_decode_str(word)
                    .decode_utf8_lossy()
                    .into_owned()
            });
            let (status, body) = echo.map_or((202, String::new()), |echo| (200, echo));
            let answer = format!(
                "HTTP/1.1 {status} OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            if status == 202 {
                tell.send(text).await.unwrap();
            }
        }
    });
    let body = |url: &str| {
        json!({ "changeType": "updated", "notificationUrl": url, "clientState": "shared word",
            "resource": format!("/drives/{}/root", emulator.drive()),
            "expirationDateTime": (emulator.now() + TimeDelta::days(2)).to_rfc3339() })
    };
    let deaf = graph(
        &emulator,
        "POST",
        "/subscriptions",
        &body("http://127.0.0.1:9/x"),
    )
    .await;
    assert_eq!(deaf.status, 400);
    let made = graph(&emulator, "POST", "/subscriptions", &body(&url)).await;
    assert_eq!(made.status, 201, "{made:?}");
    put(&emulator, "new.bin", b"x").await;
    let heard = tokio::time::timeout(std::time::Duration::from_secs(5), told.recv()).await;
    let heard = heard.unwrap().unwrap();
    assert!(
        heard.contains("shared word") && !heard.contains("new.bin"),
        "{heard}"
    );
    let path = format!("/subscriptions/{}", id(&made.json()));
    let late = json!({ "expirationDateTime": (emulator.now() + TimeDelta::days(31)).to_rfc3339() });
    assert_eq!(graph(&emulator, "PATCH", &path, &late).await.status, 400);
    assert_eq!(
        graph(&emulator, "DELETE", &path, &Value::Null).await.status,
        204
    );
}

#[tokio::test]
async fn scripted_faults_strike_before_or_after_the_effect() {
    let emulator = started().await;
    let url = format!(
        "{}/v1.0/drives/{}/root:/f.bin:/content",
        emulator.graph_url(),
        emulator.drive()
    );
    let bearer = format!("Bearer {}", emulator.token());
    let put = async |body: &'static [u8]| {
        send("PUT", &url, &[("authorization", bearer.as_str())], body).await
    };
    let files = || emulator.files(emulator.drive()).len();
    emulator.fail(1, "PUT", "/v1.0/drives/", Fault::throttled(7));
    let throttled = put(b"x").await.unwrap();
    assert_eq!(
        (throttled.status, throttled.headers["retry-after"].as_str()),
        (429, "7")
    );
    emulator.fail(1, "PUT", "/v1.0/*/content", Fault::DropBeforeEffect);
    assert!(put(b"x").await.is_none());
    assert_eq!(files(), 1);
    emulator.fail(1, "PUT", "/v1.0/*/content", Fault::DropAfterEffect);
    assert!(put(b"x").await.is_none());
    assert_eq!(files(), 2);
    emulator.fail(1, "PUT", "/v1.0/*/content", Fault::TruncatedBody);
    assert!(put(b"y").await.is_none());
    emulator.fail(1, "*", "/v1.0/", Fault::status(503));
    let broken = put(b"z").await.unwrap();
    assert!(
        broken.status == 503 && broken.json().is_null(),
        "HTML, not JSON"
    );
    let statuses: Vec<u16> = emulator.journal().iter().map(|each| each.status).collect();
    assert_eq!(statuses, [429, 0, 0, 200, 503]);
}

#[tokio::test]
async fn names_that_sharepoint_forbids_are_refused() {
    let emulator = started().await;
    for name in [
        "a*b", "a|b", "~$x", "CON", "com1.txt", "x_vti_y", " x", "x ", "x.",
    ] {
        let body = json!({ "name": name, "folder": {} });
        let path = format!("/drives/{}/root/children", emulator.drive());
        assert_eq!(
            graph(&emulator, "POST", &path, &body).await.status,
            400,
            "{name}"
        );
    }
}

#[tokio::test]
async fn inspection_finds_a_value_wherever_it_lies() {
    let emulator = started().await;
    let file = id(&put(&emulator, "i.bin", CANARY).await);
    put(&emulator, "i.bin", b"clean").await;
    let path = format!(
        "/drives/{}/root:/u.bin:/createUploadSession",
        emulator.drive()
    );
    let session = graph(&emulator, "POST", &path, &Value::Null).await.json();
    let mut part = vec![0u8; 327_680];
    part[100..100 + CANARY.len()].copy_from_slice(CANARY);
    let url = session["uploadUrl"].as_str().unwrap();
    send(
        "PUT",
        url,
        &[("content-range", "bytes 0-327679/400000")],
        part,
    )
    .await
    .unwrap();
    let found = emulator.places_of(CANARY);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|place| place.contains(&file)));
    let journal = emulator.journal();
    assert!(journal.iter().any(|each| each.target == "/upload/[secret]"));
}
