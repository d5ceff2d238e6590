//! An emulator in a process of its own, and a client to it in this one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kta_core::Port;
use kta_core::conformance::Desk;
use kta_core::id::{RecordId, SubjectId};
use kta_core::memory::SeededEntropy;
use kta_core::pii::{Category, Locator};
use kta_core::policy::{Act, Permit, Role, Scope, Session};
use kta_core::ports::Cursor;
use kta_http::{Call, Credential, HttpClient, Origin, Request, TransportPolicy};
use kta_zoho::emulator::{Emulator, EmulatorOptions};
use kta_zoho::{Contents, Credentials, ZohoConfig, ZohoCrm};
use secrecy::SecretString;
use serde_json::{Value, json};

/// The word that makes this program the emulator.
pub(crate) const SERVE: &str = "serve-the-emulator";

/// How many of the contacts are changed.
pub(crate) const CHANGED: u32 = 1_000;

pub(crate) struct Office {
    pub(crate) crm: ZohoCrm,
    pub(crate) contacts: u32,
    desk: &'static Desk,
    http: HttpClient,
    api: Origin,
    token: SecretString,
    server: Child,
}

impl Office {
    pub(crate) async fn open(contacts: u32) -> Self {
        let desk: &'static Desk = Box::leak(Box::new(Desk::new("zoho bench")));
        let mut server = Command::new(std::env::current_exe().unwrap())
            .args([
                SERVE,
                &contacts.to_string(),
                &desk.beneficiary().to_string(),
            ])
            .arg(desk.matter().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let credentials = Credentials::new(
            text("client_id"),
            text("client_secret").into(),
            text("refresh_token").into(),
        );
        let config = ZohoConfig::at(&text("api_url"), &text("accounts_url"), credentials)
            .unwrap()
            .waits(Duration::from_millis(1), Duration::from_millis(20))
            .credits(1_000_000_000);
        let crm = ZohoCrm::new(config, Arc::new(SeededEntropy::new(1))).unwrap();
        let api = Origin::parse(&text("api_url"), Port::Crm).unwrap();
        let accounts = Origin::parse(&text("accounts_url"), Port::Crm).unwrap();
        let policy = TransportPolicy::to([api.clone(), accounts.clone()]);
        let http = HttpClient::new(policy, Port::Crm).unwrap();
        let request = Request::post(CALL, accounts.url(["oauth", "v2", "token"]).unwrap())
            .repeatable()
            .form(&[
                ("grant_type", "refresh_token"),
                ("client_id", &text("client_id")),
                ("client_secret", &text("client_secret")),
                ("refresh_token", &text("refresh_token")),
            ]);
        let answer: Value = http.send(request).await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned().into();
        let office = Self {
            crm,
            contacts,
            desk,
            http,
            api,
            token,
            server,
        };
        // The first token of the client is not part of what is measured.
        let firm = office.firm().await;
        office.crm.shape(&firm).await.unwrap();
        office
    }

    pub(crate) fn subject(&self) -> SubjectId {
        self.desk.beneficiary()
    }

    /// A permit over the one person to whom all these records belong.
    pub(crate) async fn permit(&self) -> Permit<'static> {
        let scope = Scope::over([self.subject()], [Category::Identity, Category::Case]);
        let session = self.session(Role::ServiceSync);
        let scope = scope.in_matter(self.desk.matter());
        session.permit(Act::Transfer, scope).await.unwrap()
    }

    pub(crate) async fn firm(&self) -> Permit<'static> {
        let session = self.session(Role::Auditor);
        session.permit(Act::Review, Scope::firm()).await.unwrap()
    }

    fn session(&self, role: Role) -> &'static Session<'static> {
        Box::leak(Box::new(self.desk.session(role)))
    }

    /// A cursor behind the filling and before the changes: see [`serve`].
    pub(crate) fn before_the_changes(&self) -> Cursor {
        let at = "2030-01-01T01:00:00+00:00";
        Cursor(format!("z1/{at}/-/-/{at}"))
    }

    /// How many requests the emulator had, this one counted.
    pub(crate) async fn requests(&self) -> u64 {
        let reply = self.get(&["crm", "v8", "org"]).await;
        let count = reply.header("x-emulator-requests").unwrap().parse();
        count.unwrap()
    }

    /// How many there were since such a look, the two looks not counted.
    pub(crate) async fn calls_since(&self, look: u64) -> u64 {
        self.requests().await - look - 1
    }

    /// Lets the minute of the ten downloads pass.
    pub(crate) async fn rest(&self) {
        self.tell("minute").await;
    }

    /// The same job as a load's, by hand, its file thrown away: how long that takes.
    pub(crate) async fn whole_result(&self) -> Duration {
        let began = Instant::now();
        let lines = kta_zoho::FieldMap::person();
        let mut fields: Vec<&str> = lines
            .fields()
            .iter()
            .map(|one| one.api_name.as_str())
            .collect();
        fields.extend([
            "KTA_Key",
            "Subject_Key",
            "Matter_Key",
            "Data_Processing_Basis",
            "Owner",
            "Modified_Time",
        ]);
        let body = json!({"query": {"module": {"api_name": "Contacts"}, "fields": fields, "page": 1}, "file_type": "csv"});
        let url = self.api.url(["crm", "bulk", "v8", "read"]).unwrap();
        let request = Request::post(CALL, url).repeatable().json(&body);
        let answer: Value = self.send(request).await.json().await.unwrap();
        let id = answer["data"][0]["details"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        loop {
            let reply = self.get(&["crm", "bulk", "v8", "read", &id]).await;
            let answer: Value = reply.json().await.unwrap();
            if answer["data"][0]["state"] == "COMPLETED" {
                break;
            }
        }
        let reply = self
            .get(&["crm", "bulk", "v8", "read", &id, "result"])
            .await;
        let mut stream = reply.stream(1 << 30).unwrap();
        while let Some(piece) = stream.next().await {
            piece.unwrap();
        }
        began.elapsed()
    }

    pub(crate) async fn some_ids(&self, count: usize, permit: &Permit<'_>) -> Vec<Locator> {
        let mut load = self.crm.load(None, Contents::Index, permit).await.unwrap();
        let page = load.page(count, permit).await.unwrap();
        page.records.into_iter().map(|one| one.locator).collect()
    }

    /// The two calls of a fetch, their answers thrown away.
    pub(crate) async fn plain_get(&self, id: &Locator) {
        let reply = self.get(&["crm", "v8", "Contacts", id.as_str()]).await;
        reply.bytes(1 << 20).await.unwrap();
        let url = self.api.url(["crm", "v8", "settings", "fields"]).unwrap();
        let request = Request::get(CALL, url).query("module", "Contacts");
        self.send(request).await.bytes(1 << 20).await.unwrap();
    }

    async fn get(&self, path: &[&str]) -> kta_http::Reply {
        self.send(Request::get(CALL, self.api.url(path).unwrap()))
            .await
    }

    async fn send(&self, request: Request) -> kta_http::Reply {
        let credential = Credential::zoho(self.token.clone());
        let reply = self
            .http
            .send(request.credential(&credential))
            .await
            .unwrap();
        assert!(reply.is_success(), "{}", reply.status());
        reply
    }

    async fn tell(&self, word: &str) {
        let mut input = self.server.stdin.as_ref().unwrap();
        writeln!(input, "{word}").unwrap();
        // The word is heard long before the next request is answered.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The emulator's side: fills an organisation, changes a thousand records two hours later, says
/// where it is, and serves until its input ends.
pub(crate) fn serve() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip_while(|word| word != SERVE).collect();
    let contacts: u32 = words[1].parse().unwrap();
    let (subject, matter) = (&words[2], &words[3]);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let emulator = Emulator::start(EmulatorOptions {
            tokens_in_ten_minutes: 1_000_000,
            token_lifetime: Duration::from_secs(86_400),
            ..EmulatorOptions::default()
        })
        .await?;
        let new_year = 1_893_456_000;
        emulator.clock().freeze_at(new_year);
        let inspect = emulator.inspect();
        let mut ids = Vec::new();
        for number in 0..contacts {
            let fields = json!({
                "Last_Name": format!("Sample{number}"), "First_Name": "Testa",
                "Email": format!("testa{number}@example.org"), "Nationality": "Utopian",
                "KTA_Key": RecordId::derived(&[&number.to_be_bytes()]).to_string(),
                "Subject_Key": subject, "Matter_Key": matter, "Data_Processing_Basis": "Contract",
            });
            ids.extend(inspect.plant("Contacts", fields.as_object().unwrap().clone()));
        }
        emulator.clock().advance(Duration::from_secs(7_200));
        for id in ids.iter().take(CHANGED as usize) {
            let fields = [("Nationality".to_owned(), "Erewhonian".into())];
            assert!(inspect.edit_by_hand(*id, fields.into_iter().collect()));
        }
        emulator.clock().advance(Duration::from_secs(60));
        let line = json!({
            "api_url": emulator.api_url(), "accounts_url": emulator.accounts_url(),
            "client_id": emulator.client_id(), "client_secret": emulator.client_secret(),
            "refresh_token": emulator.refresh_token(),
        });
        println!("{line}");
        std::io::stdout().flush()?;
        // A word is a minute; the end is the end.
        tokio::task::block_in_place(|| {
            let mut bytes = std::io::stdin().lock();
            let mut word = [0; 7];
            while bytes.read_exact(&mut word).is_ok() {
                emulator.clock().advance(Duration::from_secs(61));
            }
        });
        Ok(())
    })
}

const CALL: Call = Call::new(Port::Crm, "bench");
