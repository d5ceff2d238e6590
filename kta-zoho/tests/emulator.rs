//! The emulator keeps the vendor's habits that an adapter must survive.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use kta_zoho::emulator::{Emulator, EmulatorOptions, Failure};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn token_failures_come_with_status_200_and_the_eleventh_token_is_refused() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let bad = caller.token("1000.somebody-elses").await;
    assert_eq!(bad.status(), StatusCode::OK);
    assert_eq!(
        bad.json::<Value>().await.unwrap(),
        json!({"error": "invalid_code"})
    );
    let refresh = caller.emulator.refresh_token().to_owned();
    for _ in 1..10 {
        assert!(
            caller.token(&refresh).await.json::<Value>().await.unwrap()["access_token"].is_string()
        );
    }
    let refused = caller.token(&refresh).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        refused.json::<Value>().await.unwrap()["error"],
        "Access Denied"
    );
    caller.emulator.clock().advance(Duration::from_secs(601));
    assert!(
        caller.token(&refresh).await.json::<Value>().await.unwrap()["access_token"].is_string()
    );
}

#[tokio::test]
async fn an_access_token_stops_being_good_when_its_time_is_over() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    assert_eq!(caller.get("/crm/v8/org").await.status(), StatusCode::OK);
    caller.emulator.clock().advance(Duration::from_secs(3_600));
    let late = caller.get("/crm/v8/org").await;
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(late.json::<Value>().await.unwrap()["code"], "INVALID_TOKEN");
}

#[tokio::test]
async fn the_api_takes_its_own_scheme_and_not_bearer() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let url = format!("{}/crm/v8/org", caller.emulator.api_url());
    let reply = caller
        .client
        .get(url)
        .bearer_auth(&caller.access)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nothing_found_is_204_without_a_body() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let coql = json!({"select_query": "select id from Contacts where KTA_Key = 'x'"});
    let replies = [
        caller.get("/crm/v8/Contacts?fields=id").await,
        caller.get("/crm/v8/Contacts/5").await,
        caller.get("/crm/v8/Contacts/search?word=nobody").await,
        caller.send(Method::POST, "/crm/v8/coql", Some(coql)).await,
        caller.get("/crm/v8/settings/recycle_bin").await,
    ];
    for reply in replies {
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
        assert!(reply.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn rows_of_one_write_succeed_and_fail_each_for_itself() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let rows = json!({"data": [contact("k1"), {"First_Name": "Nameless"}, contact("k1")]});
    let reply = caller
        .send(Method::POST, "/crm/v8/Contacts", Some(rows))
        .await;
    assert_eq!(reply.status(), StatusCode::MULTI_STATUS);
    let body: Value = reply.json().await.unwrap();
    let codes: Vec<_> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["code"])
        .collect();
    assert_eq!(codes, ["SUCCESS", "MANDATORY_NOT_FOUND", "DUPLICATE_DATA"]);
    assert_eq!(
        body["data"][2]["details"]["duplicate_record"]["id"],
        body["data"][0]["details"]["id"]
    );
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_412_and_changes_nothing() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let id = caller.create(contact("k1")).await;
    let change = json!({"data": [{"First_Name": "Second"}], "trigger": []});
    let path = format!("/crm/v8/Contacts/{id}");
    let late = caller
        .request(Method::PUT, &path)
        .header("If-Unmodified-Since", "2020-01-15T07:00:00+00:00")
        .json(&change)
        .send()
        .await
        .unwrap();
    assert_eq!(late.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        late.json::<Value>().await.unwrap()["data"][0]["code"],
        "ALREADY_MODIFIED"
    );
    assert_eq!(
        caller.emulator.inspect().holdings(id).record.unwrap()["First_Name"],
        "Sam"
    );
}

#[tokio::test]
async fn an_upsert_without_its_own_key_merges_siblings_who_share_an_address() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let sibling = |first: &str, key: &str| json!({"Last_Name": "Sample", "First_Name": first, "Email": "family@example.org", "KTA_Key": key});
    for (first, key) in [("Sam", "k1"), ("Sue", "k2")] {
        let body = json!({"data": [sibling(first, key)], "trigger": []});
        caller
            .send(Method::POST, "/crm/v8/Contacts/upsert", Some(body))
            .await;
    }
    assert_eq!(caller.emulator.inspect().ids("Contacts").len(), 1);
    for (first, key) in [("Sam", "k1"), ("Sue", "k2")] {
        let body = json!({"data": [sibling(first, key)], "trigger": [], "duplicate_check_fields": ["KTA_Key"]});
        caller
            .send(Method::POST, "/crm/v8/Contacts/upsert", Some(body))
            .await;
    }
    assert_eq!(caller.emulator.inspect().ids("Contacts").len(), 2);
}

#[tokio::test]
async fn leaving_trigger_out_runs_the_automations() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    caller
        .send(
            Method::POST,
            "/crm/v8/Contacts",
            Some(json!({"data": [contact("k1")], "trigger": []})),
        )
        .await;
    assert_eq!(caller.emulator.inspect().automations_run(), 0);
    caller
        .send(
            Method::POST,
            "/crm/v8/Contacts",
            Some(json!({"data": [contact("k2")]})),
        )
        .await;
    assert_eq!(caller.emulator.inspect().automations_run(), 1);
}

#[tokio::test]
async fn notes_attachments_and_the_name_outlive_a_record_that_is_deleted_for_good() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let id = caller
        .create(json!({"Last_Name": "Zebulonsample", "KTA_Key": "k1"}))
        .await;
    let note = json!({"data": [{"Note_Title": "Call", "Note_Content": "about zebulonsample"}]});
    caller
        .send(
            Method::POST,
            &format!("/crm/v8/Contacts/{id}/Notes"),
            Some(note),
        )
        .await;
    let file = reqwest::multipart::Part::bytes(b"zebulonsample".as_slice()).file_name("letter.txt");
    let form = reqwest::multipart::Form::new().part("file", file);
    let path = format!("/crm/v8/Contacts/{id}/Attachments");
    let reply = caller
        .request(Method::POST, &path)
        .multipart(form)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    caller
        .send(Method::DELETE, &format!("/crm/v8/Contacts/{id}"), None)
        .await;
    caller
        .send(
            Method::DELETE,
            &format!("/crm/v8/settings/recycle_bin/{id}"),
            None,
        )
        .await;
    let holdings = caller.emulator.inspect().holdings(id);
    assert_eq!((holdings.record, holdings.in_bin), (None, false));
    assert_eq!((holdings.notes.len(), holdings.attachments.len()), (1, 1));
    assert_eq!(holdings.deleted_list.as_deref(), Some("Zebulonsample"));
    let places = caller.emulator.inspect().places_of("zebulonsample");
    assert!(
        places.iter().any(|place| place.starts_with("deleted:")),
        "{places:?}"
    );
    assert!(
        places.iter().any(|place| place.starts_with("Attachments:")),
        "{places:?}"
    );
}

#[tokio::test]
async fn a_record_does_not_come_back_beside_another_one_with_its_unique_value() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let first = caller.create(contact("k1")).await;
    caller.emulator.inspect().delete_by_hand(first);
    let second = caller.create(contact("k1")).await;
    let path = format!("/crm/v8/settings/recycle_bin/{first}/actions/restore");
    let refused = caller.send(Method::POST, &path, None).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(caller.emulator.inspect().holdings(first).in_bin);
    caller.emulator.inspect().delete_by_hand(second);
    let restored = caller.send(Method::POST, &path, None).await;
    assert_eq!(restored.status(), StatusCode::OK);
}

#[tokio::test]
async fn pages_beyond_two_thousand_need_a_token_that_is_bound_and_expires() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    for n in 0..3 {
        caller.create(contact(&format!("k{n}"))).await;
    }
    let far = caller.get("/crm/v8/Contacts?fields=id&page=11").await;
    assert_eq!(code(far).await, "DISCRETE_PAGINATION_LIMIT_EXCEEDED");
    let first: Value = caller
        .get("/crm/v8/Contacts?fields=id&per_page=2")
        .await
        .json()
        .await
        .unwrap();
    let token = first["info"]["next_page_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let rest = format!("/crm/v8/Contacts?fields=id&per_page=2&page_token={token}");
    let second: Value = caller.get(&rest).await.json().await.unwrap();
    assert_eq!(
        (
            second["info"]["count"].as_u64(),
            &second["info"]["more_records"]
        ),
        (Some(1), &json!(false))
    );
    let other = format!("/crm/v8/Contacts?fields=Email&per_page=2&page_token={token}");
    assert_eq!(
        code(caller.get(&other).await).await,
        "TOKEN_BOUND_DATA_MISMATCH"
    );
    caller.emulator.clock().advance(Duration::from_secs(86_400));
    let access: Value = caller
        .token(caller.emulator.refresh_token())
        .await
        .json()
        .await
        .unwrap();
    let caller = Caller {
        access: access["access_token"].as_str().unwrap().to_owned(),
        ..caller
    };
    assert_eq!(code(caller.get(&rest).await).await, "EXPIRED_VALUE");
}

#[tokio::test]
async fn the_search_index_lags_while_coql_does_not() {
    let options = EmulatorOptions {
        search_lag: Duration::from_secs(60),
        ..EmulatorOptions::default()
    };
    let caller = Caller::start(options).await;
    caller.create(contact("k1")).await;
    let search = "/crm/v8/Contacts/search?criteria=(KTA_Key:equals:k1)";
    assert_eq!(caller.get(search).await.status(), StatusCode::NO_CONTENT);
    let coql = json!({"select_query": "select id from Contacts where KTA_Key = 'k1'"});
    assert_eq!(
        caller
            .send(Method::POST, "/crm/v8/coql", Some(coql))
            .await
            .status(),
        StatusCode::OK
    );
    caller.emulator.clock().advance(Duration::from_secs(61));
    assert_eq!(caller.get(search).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn broken_queries_are_answered_and_not_panicked_over() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let deep = "(".repeat(5_000);
    for query in [
        "",
        "select",
        "select id from Contacts where id = 'x",
        "select id from Contacts where ((((",
        "\u{0}",
        &deep,
        "select id from Contacts where a=1 and b=2 and c=3",
        "select id from Contacts where id in () limit 1",
    ] {
        let reply = caller
            .send(
                Method::POST,
                "/crm/v8/coql",
                Some(json!({"select_query": query})),
            )
            .await;
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{query:.40}");
    }
    for criteria in [
        "(",
        "()",
        "(a)",
        "(a:b)",
        "(a:equals:x",
        "((a:equals:x)and",
        "(Email:equals:x\\",
        ")(",
    ] {
        let url = format!("/crm/v8/Contacts/search?criteria={criteria}");
        assert_eq!(
            caller.get(&url).await.status(),
            StatusCode::BAD_REQUEST,
            "{criteria}"
        );
    }
    for body in [
        "",
        "[]",
        "{",
        "{\"data\":7}",
        "{\"data\":[7]}",
        "{\"data\":[]}",
    ] {
        let reply = caller
            .request(Method::POST, "/crm/v8/Contacts")
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn scripted_failures_happen_as_often_as_asked_and_where_asked() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    let faults = caller.emulator.faults();
    faults.next(1, "GET", "/crm/v8/org", Failure::ServerError);
    faults.next(1, "GET", "/crm/v8/org", Failure::TooManyRequests);
    faults.next(1, "POST", "/crm/v8/Contacts", Failure::DropAfterEffect);
    faults.next(1, "PUT", "/crm/v8/Contacts", Failure::DropBeforeEffect);
    faults.next(1, "GET", "/crm/v8/users", Failure::TruncatedBody);
    faults.next(1, "GET", "/crm/v8/users", Failure::WrongContentType);
    faults.next(
        1,
        "GET",
        "/crm/v8/users",
        Failure::Redirect("http://192.0.2.1/".into()),
    );
    assert_eq!(
        caller.get("/crm/v8/settings/modules").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        caller.get("/crm/v8/org").await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let throttled = caller.get("/crm/v8/org").await;
    assert_eq!(throttled.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(throttled.headers().get("retry-after").is_none());
    assert_eq!(caller.get("/crm/v8/org").await.status(), StatusCode::OK);
    let body = json!({"data": [contact("k1")], "trigger": []});
    assert!(
        caller
            .request(Method::POST, "/crm/v8/Contacts")
            .json(&body)
            .send()
            .await
            .is_err()
    );
    assert_eq!(caller.emulator.inspect().ids("Contacts").len(), 1);
    assert!(
        caller
            .request(Method::PUT, "/crm/v8/Contacts")
            .json(&body)
            .send()
            .await
            .is_err()
    );
    assert!(caller.get("/crm/v8/users").await.bytes().await.is_err());
    let page = caller.get("/crm/v8/users").await;
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(
        caller.get("/crm/v8/users").await.status(),
        StatusCode::FOUND
    );
    assert_eq!(faults.pending(), 0);
}

#[tokio::test]
async fn the_journal_holds_what_was_asked_and_no_secret() {
    let caller = Caller::start(EmulatorOptions::default()).await;
    caller.get("/crm/v8/Contacts?fields=id&page=1").await;
    let journal = caller.emulator.journal();
    let last = journal.last().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.as_str()),
        ("GET", "/crm/v8/Contacts")
    );
    assert_eq!(
        (last.query.as_str(), last.status),
        ("fields=id&page=1", Some(204))
    );
    let all = format!("{journal:?}");
    for secret in [
        caller.emulator.client_secret(),
        caller.emulator.refresh_token(),
        &caller.access,
    ] {
        assert!(!all.contains(secret));
    }
}

struct Caller {
    emulator: Emulator,
    client: reqwest::Client,
    access: String,
}

impl Caller {
    async fn start(options: EmulatorOptions) -> Self {
        // Another test of this binary may have been first; either way one is installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let emulator = Emulator::start(options).await.unwrap();
        let mut caller = Self {
            emulator,
            client,
            access: String::new(),
        };
        let reply: Value = caller
            .token(caller.emulator.refresh_token())
            .await
            .json()
            .await
            .unwrap();
        caller.access = reply["access_token"].as_str().unwrap().to_owned();
        caller
    }

    async fn token(&self, refresh_token: &str) -> Response {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.emulator.client_id()),
            ("client_secret", self.emulator.client_secret()),
            ("refresh_token", refresh_token),
        ];
        let url = format!("{}/oauth/v2/token", self.emulator.accounts_url());
        self.client.post(url).form(&form).send().await.unwrap()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.emulator.api_url()))
            .header("Authorization", format!("Zoho-oauthtoken {}", self.access))
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn create(&self, row: Value) -> u64 {
        let body = json!({"data": [row], "trigger": []});
        let reply = self
            .send(Method::POST, "/crm/v8/Contacts", Some(body))
            .await;
        let reply: Value = reply.json().await.unwrap();
        reply["data"][0]["details"]["id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }
}

async fn code(reply: Response) -> String {
    let body: Value = reply.json().await.unwrap();
    body["data"][0]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn contact(key: &str) -> Value {
    json!({"Last_Name": "Sample", "First_Name": "Sam", "KTA_Key": key})
}
