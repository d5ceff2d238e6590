//! Tokens: the three grants, one token for all workers, and what happens when it seems stolen.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{CANARY, Office, configuration};
use kta_core::memory::{MemoryPorts, SeededEntropy};
use kta_core::policy::Act;
use kta_core::ports::{AccessReview as _, ChangeFeed as _};
use kta_core::steward::incident::{self, IncidentKind};
use kta_core::{Code, Error, FaultKind};
use kta_zoho::emulator::{Emulator, EmulatorOptions, Failure};
use kta_zoho::{Credentials, Sign, ZohoConfig, ZohoCrm};

#[tokio::test]
async fn a_self_clients_code_is_exchanged_once_and_works_as_a_refresh_token_then() {
    let office = Office::open().await;
    let emulator = &office.emulator;
    let at = |code: &str| {
        let credentials = Credentials::grant_code(
            emulator.client_id().to_owned(),
            emulator.client_secret().to_owned().into(),
            code.to_owned().into(),
            None,
        );
        ZohoConfig::at(&emulator.api_url(), &emulator.accounts_url(), credentials).unwrap()
    };
    let entropy = || Arc::new(SeededEntropy::new(1));
    // A code is not yet a token.
    let early = ZohoCrm::new(at(emulator.grant_code()), entropy()).unwrap_err();
    assert_eq!(early.fault().unwrap().kind(), FaultKind::Misconfigured);
    let (config, kept) = at(emulator.grant_code()).exchange().await.unwrap();
    assert!(!format!("{config:?} {kept:?}").contains(emulator.refresh_token()));
    let crm = ZohoCrm::new(config.clone(), entropy()).unwrap();
    let permit = office.firm_permit(Act::Review).await;
    assert_eq!(crm.users(&permit).await.unwrap().len(), 3);
    for used in [emulator.grant_code(), CANARY] {
        let refused = at(used).exchange().await.unwrap_err();
        assert_eq!(refused.fault().unwrap().kind(), FaultKind::Misconfigured);
        assert!(!format!("{refused} {refused:?}").contains(used));
    }
    // A refresh token is no code.
    assert!(config.exchange().await.is_err());
}

#[tokio::test]
async fn a_client_that_gets_its_own_tokens_needs_no_refresh_token() {
    let office = Office::open().await;
    let emulator = &office.emulator;
    let permit = office.firm_permit(Act::Review).await;
    for (organisation, works) in [("ZohoCRM.700000000", true), ("elsewhere", false)] {
        let credentials = Credentials::client(
            emulator.client_id().to_owned(),
            emulator.client_secret().to_owned().into(),
            &["ZohoCRM.users.READ", "ZohoCRM.modules.ALL"],
            organisation.to_owned(),
        );
        let config =
            ZohoConfig::at(&emulator.api_url(), &emulator.accounts_url(), credentials).unwrap();
        let crm = ZohoCrm::new(config, Arc::new(SeededEntropy::new(1))).unwrap();
        assert_eq!(crm.users(&permit).await.is_ok(), works);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_workers_over_one_configuration_live_on_one_token_and_renew_it_once() {
    let office = Office::open().await;
    let config = configuration(&office.emulator, office.emulator.refresh_token());
    let permit = Arc::new(office.firm_permit(Act::Review).await);
    let workers = |config: ZohoConfig, permit: Arc<_>| async move {
        let work = (0..40_u64).map(|worker| {
            let (config, permit) = (config.clone(), Arc::clone(&permit));
            tokio::spawn(async move {
                let entropy = Arc::new(SeededEntropy::new(worker));
                let crm = ZohoCrm::new(config, entropy).unwrap();
                crm.users(&permit).await.map(drop)
            })
        });
        for worker in work.collect::<Vec<_>>() {
            worker.await.unwrap().unwrap();
        }
    };
    workers(config.clone(), Arc::clone(&permit)).await;
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 1);
    office.emulator.inspect().revoke_access_tokens();
    workers(config, permit).await;
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 2);
}

#[tokio::test]
async fn an_eleventh_token_in_ten_minutes_is_not_even_asked_for() {
    let office = Office::with(EmulatorOptions {
        tokens_in_ten_minutes: 1_000,
        token_lifetime: Duration::ZERO,
        ..EmulatorOptions::default()
    })
    .await;
    let permit = office.firm_permit(Act::Review).await;
    let mut last = None;
    for _ in 0..14 {
        last = office.crm.users(&permit).await.err();
    }
    assert!(last.is_some());
    assert!(office.emulator.inspect().tokens_handed_out() <= 10);
}

#[tokio::test]
async fn signs_of_a_stolen_token_stop_everything_until_somebody_lets_it_go_on() {
    type Theft = fn(&Emulator);
    let thefts: [(Sign, Theft); 3] = [
        (Sign::SpentElsewhere, |emulator| {
            emulator.inspect().revoke_access_tokens();
            emulator.inspect().spend_tokens_elsewhere();
        }),
        (Sign::Revoked, |emulator| {
            emulator.inspect().revoke_refresh_token()
        }),
        (Sign::PushedOut, |emulator| {
            emulator
                .faults()
                .next(3, "GET", "/crm/v8/users", Failure::InvalidToken);
        }),
    ];
    for (sign, theft) in thefts {
        let office = Office::open().await;
        let permit = office.firm_permit(Act::Review).await;
        office.crm.users(&permit).await.unwrap();
        assert_eq!(office.crm.alarm(), None);
        theft(&office.emulator);
        for _ in 0..3 {
            if office.crm.alarm().is_none() {
                let _ = office.crm.users(&permit).await;
            }
        }
        assert_eq!(office.crm.alarm(), Some(sign));
        // Nothing is sent any more, by any port, and what is told is no transient thing.
        let before = office.emulator.requests();
        let refused = office.crm.changes(None, 10, &permit).await.unwrap_err();
        let fault = refused.fault().unwrap();
        assert_eq!(fault.kind(), FaultKind::Misconfigured);
        assert!(!fault.is_transient());
        assert!(office.enter("theft").await.is_err());
        assert_eq!(office.emulator.requests(), before);
        assert!(office.emulator.inspect().ids("Contacts").is_empty());
        // Who sees the sign opens an incident.
        let ports = MemoryPorts::new(5, office.desk.now());
        let house = ports.open().await.unwrap();
        let opened = incident::report(&house, None, IncidentKind::UnauthorisedRequest, None)
            .await
            .unwrap();
        assert_eq!(opened.closed, None);
        // Only somebody who manages lets it go on.
        let denied: Error = office.crm.resume(&permit).await.unwrap_err();
        assert_eq!(denied.refusal().unwrap().code(), Code::AclDeny);
        let managing = office.firm_permit(Act::Manage).await;
        office.crm.resume(&managing).await.unwrap();
        office.emulator.clock().advance(Duration::from_secs(601));
        let outcome = office.crm.users(&permit).await;
        assert_eq!(outcome.is_ok(), sign != Sign::Revoked, "{sign:?}");
    }
}

#[tokio::test]
async fn revoking_ends_every_token_and_an_answer_for_another_host_is_an_alarm() {
    let office = Office::open().await;
    let permit = office.firm_permit(Act::Review).await;
    office.crm.users(&permit).await.unwrap();
    assert!(office.crm.revoke(&permit).await.is_err());
    let managing = office.firm_permit(Act::Manage).await;
    office.crm.revoke(&managing).await.unwrap();
    assert!(office.crm.users(&permit).await.is_err());
    // Revoked is revoked.
    office.crm.revoke(&managing).await.unwrap();

    let office = Office::with(EmulatorOptions {
        api_domain: Some("https://www.zohoapis.example".to_owned()),
        ..EmulatorOptions::default()
    })
    .await;
    let permit = office.firm_permit(Act::Review).await;
    let refused = office.crm.users(&permit).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::NetHost);
    assert_eq!(office.crm.alarm(), Some(Sign::OtherDomain));
}
