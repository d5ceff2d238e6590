//! A firm keeps in step with its Zoho CRM: initial load, changes, notifications as hints,
//! reconciliation, access review and the vendor's log, against an emulator of its own.
//!
//! ```text
//! cargo run --release --example zoho_sync                       a hundred contacts
//! cargo run --release --example zoho_sync -- --contacts 100000  as many as you like
//! ```
//!
//! It prints what was done and how many calls it took, and nothing about anybody. It exits with 0
//! only when everything that was changed in the CRM was also found.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::TimeDelta;
use kta_core::conformance::Desk;
use kta_core::id::{RecordId, SubjectId};
use kta_core::memory::{MemoryPorts, SeededEntropy};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::ChangeFeed as _;
use kta_core::steward::incident::{self, IncidentKind};
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal};
use kta_zoho::emulator::{Emulator, EmulatorOptions};
use kta_zoho::{
    AuditChain, Contents, Credentials, Doorbell, Heard, Known, Sign, Subscription, ZohoConfig,
    ZohoCrm,
};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let contacts = match contacts(std::env::args().skip(1)) {
        Ok(contacts) => contacts,
        Err(complaint) => {
            say(&format!("{complaint}\nusage: zoho_sync [--contacts N]"));
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(synchronise(contacts)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn synchronise(contacts: u32) -> Outcome<()> {
    let zoho = Emulator::start(EmulatorOptions::default()).await?;
    let credentials = Credentials::new(
        zoho.client_id().to_owned(),
        zoho.client_secret().to_owned().into(),
        zoho.refresh_token().to_owned().into(),
    );
    let config = ZohoConfig::at(&zoho.api_url(), &zoho.accounts_url(), credentials)?;
    let waits = std::time::Duration::from_millis(20);
    let config = config.waits(waits, waits * 50);
    let crm = ZohoCrm::new(config, Arc::new(SeededEntropy::new(1)))?;
    let desk = Desk::new("zoho sync");
    // Both sides live in the desk's time.
    zoho.clock().freeze_at(desk.now().timestamp());
    let auditor = desk.session(Role::Auditor);
    let permit = auditor.permit(Act::Review, Scope::firm()).await?;
    let began = Timestamp::from_timestamp(zoho.clock().now(), 0).ok_or("no time")?;
    let chain = &mut AuditChain::begin(began - TimeDelta::minutes(1));
    fill(&zoho, &desk, contacts)?;
    // They have been there for an hour.
    zoho.clock().advance(std::time::Duration::from_secs(3_600));

    // The initial load: everybody, in memory that does not grow with their number.
    let mut register = BTreeMap::new();
    let mut load = crm.load(None, Contents::Index, &permit).await?;
    let cursor = loop {
        let page = load.page(1_000, &permit).await?;
        for loaded in page.records {
            if let (Some(record), Some(subject), Some(matter)) =
                (loaded.record, loaded.subject, loaded.matter)
            {
                let known = Known {
                    record,
                    locator: loaded.locator,
                    subject,
                    matter,
                    owner: loaded.owner,
                    modified: loaded.modified,
                };
                register.insert(record, known);
            }
        }
        if !page.more {
            break page.next;
        }
    };
    let calls = zoho.requests();
    say(&format!(
        "loaded {} of {contacts} contacts in {calls} calls",
        register.len()
    ));
    require(
        register.len() == contacts as usize,
        "not everybody was loaded",
    )?;

    // Somebody works in the CRM: a change, a deletion, a merge that leaves no event.
    let known: Vec<&Known> = register.values().collect();
    let [changed, deleted, merged] = [0, 1, 2].map(|at: usize| known[at].locator.as_str());
    let number = |text: &str| text.parse::<u64>();
    let inspect = zoho.inspect();
    zoho.clock().advance(std::time::Duration::from_secs(3));
    let fields = [("Occupation".to_owned(), "another".into())];
    require(
        inspect.edit_by_hand(number(changed)?, fields.into_iter().collect())
            && inspect.delete_by_hand(number(deleted)?)
            && inspect.merge_away(number(merged)?),
        "the emulator does not know its own records",
    )?;

    // A notification says when to ask, and nothing else.
    let officer = desk.session(Role::Ciso);
    let managing = officer.permit(Act::Manage, Scope::firm()).await?;
    let token = "a-token-of-the-firm-0001";
    let subscription = Subscription::new(7_001, "https://firm.example.com/bell", token.into())?;
    let ends = crm.subscribe(&subscription, &managing).await?;
    let bell = Doorbell::new(&subscription, TimeDelta::seconds(10));
    let now = Timestamp::from_timestamp(zoho.clock().now(), 0).ok_or("no time")?;
    let message = inspect.notification(7_001, number(changed)?, "update");
    if let Some(message) = message {
        require(bell.hear(&message, now)? == Heard::Rang, "the bell is deaf")?;
    }
    require(bell.due(now), "nothing rang")?;
    say(&format!("subscribed until {}", ends.to_rfc3339()));

    let before = zoho.requests();
    let (mut cursor, mut heard) = (cursor, Vec::new());
    loop {
        let page = crm.changes(Some(&cursor), 2_000, &permit).await?;
        heard.extend(page.changes);
        cursor = page.next;
        if !page.more {
            break;
        }
    }
    let told = |id: &str, gone: bool| {
        let mut changes = heard.iter();
        changes.any(|one| one.locator.as_str() == id && one.deleted == gone)
    };
    require(
        told(changed, false) && told(deleted, true),
        "a change was lost",
    )?;
    say(&format!(
        "{} changes in {} calls",
        heard.len(),
        zoho.requests() - before
    ));

    // What no event tells, both sides of the window do.
    let before = zoho.requests();
    let found = crm
        .reconcile(register.values().cloned(), None, &permit)
        .await?;
    let codes: Vec<Code> = found.findings.iter().map(Refusal::code).collect();
    say(&format!(
        "reconciled: ours {} {}, theirs {} {}, {} calls, findings {codes:?}",
        found.ours.count,
        found.ours.root,
        found.theirs.count,
        found.theirs.root,
        zoho.requests() - before
    ));
    require(
        codes == [Code::CrmVanished],
        "the merge was not seen, or more than it",
    )?;

    let access = crm.access(&permit).await?;
    say(&format!(
        "access of {} users: {}",
        access.users.len(),
        access.digest()
    ));
    let until = now + TimeDelta::minutes(1);
    let taken = crm
        .continue_audit(chain, until, TimeDelta::hours(1), &permit)
        .await?;
    say(&format!(
        "{} rows of the vendor's log behind head {}, {} findings",
        taken.new.len(),
        taken.head,
        taken.findings.len()
    ));
    say(&format!("{:?}", crm.credits()));

    // Somebody else uses the refresh token: everything stands still, and there is an incident.
    inspect.revoke_access_tokens();
    inspect.spend_tokens_elsewhere();
    require(
        crm.access(&permit).await.is_err(),
        "a stolen token was not noticed",
    )?;
    require(
        crm.alarm() == Some(Sign::SpentElsewhere),
        "the sign is another",
    )?;
    let house = MemoryPorts::new(1, desk.now()).open().await?;
    let incident = incident::report(&house, None, IncidentKind::UnauthorisedRequest, None).await?;
    say(&format!(
        "stopped: {:?}, incident {}",
        crm.alarm(),
        incident.id
    ));
    crm.revoke(&managing).await?;
    Ok(())
}

fn fill(zoho: &Emulator, desk: &Desk, contacts: u32) -> Outcome<()> {
    for number in 0..contacts {
        let number = number.to_be_bytes();
        let fields = json!({
            "Last_Name": "Sample", "First_Name": "Testa",
            "KTA_Key": RecordId::derived(&[b"sync", &number]).to_string(),
            "Subject_Key": SubjectId::derived(&[b"sync", &number]).to_string(),
            "Matter_Key": desk.matter().to_string(), "Data_Processing_Basis": "Contract",
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        zoho.inspect()
            .plant("Contacts", fields)
            .ok_or("no module")?;
    }
    Ok(())
}

fn require(holds: bool, otherwise: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn contacts(mut arguments: impl Iterator<Item = String>) -> Result<u32, &'static str> {
    match (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) {
        (None, ..) => Ok(100),
        (Some("--contacts"), Some(number), None) => number
            .parse()
            .ok()
            .filter(|number| *number >= 3)
            .ok_or("at least three contacts are needed"),
        _ => Err("unknown arguments"),
    }
}

fn say(text: &str) {
    // There is nobody left to tell when even this cannot be written.
    let _ = writeln!(std::io::stdout(), "{text}");
}
