//! The mailbox as a channel: kits, faults, changes, notices, notifications.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/house.rs"]
mod house;
#[path = "support/letters.rs"]
mod letters;
#[path = "support/listener.rs"]
mod listener;
#[path = "support/mod.rs"]
mod support;

use async_trait::async_trait;
use chrono::TimeDelta;
use house::{code, config, fault, key};
use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::conformance::erase::{EraseBench, placement};
use kta_core::conformance::intake::{IntakeBench, Letter};
use kta_core::id::{DocumentId, SubjectId};
use kta_core::memory::{ManualClock, SeededEntropy};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, Locator, Pii, Placement, PlacementKind};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::{Delivery, Erase, Intake, Recipient};
use kta_core::{Code, FaultKind};
use kta_sharepoint::emulator::{Emulator, Fault, Options};
use kta_sharepoint::{Hint, Kept, Mailbox, Notice, Protection, Receiver, WatchRequest};
use std::sync::Arc;

struct Bench {
    emulator: Emulator,
}

async fn fresh() -> Bench {
    let emulator = Emulator::start(Options::default()).await.unwrap();
    emulator.set_now(Desk::opening_hour());
    Bench { emulator }
}

impl Bench {
    /// Another process: nothing of an earlier one is in its memory.
    async fn open(&self) -> Mailbox {
        Mailbox::open(
            &config(&self.emulator),
            self.emulator.mailbox(),
            Label::fixed("mail"),
            Arc::new(letters::reader()),
            Arc::new(ManualClock::at(self.emulator.now())),
            Arc::new(SeededEntropy::new(3)),
        )
        .await
        .unwrap()
    }

    fn send(&self, number: u8) -> String {
        let text = format!("invented paper {number}\n");
        let mime = letters::mime("a@client.example", "enclosed", ("p.txt", text.as_bytes()));
        self.emulator.advance(TimeDelta::seconds(1));
        self.emulator.deliver(mime)
    }
}

#[async_trait]
impl IntakeBench for Bench {
    async fn intake(&self) -> Arc<dyn Intake> {
        Arc::new(self.open().await)
    }

    async fn send(&self, letter: &Letter) {
        let (name, bytes) = &letter.attachment;
        self.emulator.advance(TimeDelta::seconds(1));
        self.emulator
            .deliver(letters::mime(&letter.sender, &letter.text, (name, bytes)));
    }

    async fn send_unreadable(&self) {
        self.emulator.advance(TimeDelta::seconds(1));
        self.emulator.deliver(letters::unreadable());
    }
}

#[async_trait]
impl EraseBench for Bench {
    async fn eraser(&self) -> Arc<dyn Erase> {
        Arc::new(self.open().await)
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let letter = ("x.txt", marked.as_bytes());
        let id = self
            .emulator
            .deliver(letters::mime("a@client.example", marked, letter));
        let document = CopyOf::Document(DocumentId::from_bytes([9; 16]));
        let system = (Label::fixed("mail"), PlacementKind::MailboxItem);
        let locator = Locator::new(id).unwrap();
        placement(desk, subject, system, (document, Category::Case), locator)
    }
}

mod intake {
    use super::fresh;
    kta_core::intake_conformance!(
        #[tokio::test]
        fresh
    );
}

mod erase {
    use super::fresh;
    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}

async fn oldest(mailbox: &Mailbox) -> kta_core::Result<Option<Delivery>> {
    let desk = Desk::new("mailbox");
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    mailbox.oldest(&permit).await
}

async fn acknowledge(mailbox: &Mailbox, delivery: &Delivery) -> kta_core::Result<()> {
    let desk = Desk::new("mailbox");
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    mailbox.acknowledge(delivery.id, &permit).await
}

#[tokio::test]
async fn an_acknowledged_message_lies_in_the_processed_folder_and_keeps_its_name() {
    let bench = fresh().await;
    let id = bench.send(1);
    let mailbox = bench.open().await;
    let given = oldest(&mailbox).await.unwrap().unwrap();
    assert_eq!(given.locator.as_str(), id);
    assert_eq!(bench.emulator.message_folder(&id).unwrap(), "inbox");
    acknowledge(&mailbox, &given).await.unwrap();
    let folder = bench.emulator.message_folder(&id).unwrap();
    assert!(
        !["inbox", "deleteditems"].contains(&folder.as_str()),
        "{folder}"
    );
    // A second process finds the folder that the first one made.
    let again = bench.open().await;
    assert!(oldest(&again).await.unwrap().is_none());
}

#[tokio::test]
async fn every_broken_exchange_of_an_acknowledgement_loses_and_doubles_nothing() {
    for fault in [
        Fault::DropAfterEffect,
        Fault::DropBeforeEffect,
        Fault::TruncatedBody,
        Fault::status(500),
        Fault::status(503),
        Fault::throttled(0),
        Fault::status(401),
    ] {
        for path in [
            "*/mailFolders/inbox/messages",
            "*/$value",
            "*/move",
            "*/messages/*",
        ] {
            let bench = fresh().await;
            let (first, second) = (bench.send(1), bench.send(2));
            let mailbox = bench.open().await;
            bench.emulator.fail(1, "*", path, fault.clone());
            let mut order = Vec::new();
            for _ in 0..2 {
                let given = match oldest(&mailbox).await {
                    Err(_) => oldest(&mailbox).await,
                    given => given,
                };
                let given = given.unwrap().expect("two messages wait");
                order.push(given.locator.as_str().to_owned());
                if acknowledge(&mailbox, &given).await.is_err() {
                    acknowledge(&mailbox, &given).await.unwrap();
                }
            }
            assert_eq!(order, [first, second], "{fault:?} at {path}");
            assert!(
                oldest(&mailbox).await.unwrap().is_none(),
                "{fault:?} at {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_message_longer_than_allowed_is_refused_by_its_digest_and_stops_nothing() {
    let bench = fresh().await;
    let long = letters::mime("a@client.example", "long", ("l.txt", &[b'x'; 40_000]));
    bench.emulator.deliver(long.clone());
    bench.send(1);
    let mailbox = bench.open().await.within(20_000);
    let given = oldest(&mailbox).await.unwrap().unwrap();
    assert_eq!(letters::refused(&given), Some(Code::IntSize));
    let again = oldest(&mailbox).await.unwrap().unwrap();
    assert_eq!(again.id, given.id);
    acknowledge(&mailbox, &given).await.unwrap();
    assert!(oldest(&mailbox).await.unwrap().unwrap().refused.is_none());
}

#[tokio::test]
async fn a_message_taken_out_of_the_inbox_by_hand_is_told_as_astray() {
    let bench = fresh().await;
    let mailbox = bench.open().await;
    let desk = Desk::new("mailbox");
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let (kept, lost) = (bench.send(1), bench.send(2));
    let start = mailbox.changes(None, &permit).await.unwrap();
    assert_eq!(start.arrived.len(), 2);
    let given = oldest(&mailbox).await.unwrap().unwrap();
    acknowledge(&mailbox, &given).await.unwrap();
    let path = format!("/users/{}/messages/{lost}", bench.emulator.mailbox());
    let by_hand = support::graph(&bench.emulator, "DELETE", &path, &serde_json::Value::Null).await;
    assert_eq!(by_hand.status, 204);
    let step = mailbox.changes(Some(&start.next), &permit).await.unwrap();
    assert_eq!(step.processed, [Locator::new(kept).unwrap()]);
    assert_eq!(step.astray, [Locator::new(lost).unwrap()]);
    assert!(!step.restarted && !step.more);
    bench.send(3);
    bench.emulator.expire_mail_delta();
    let anew = mailbox.changes(Some(&step.next), &permit).await.unwrap();
    assert!(anew.restarted);
    assert_eq!(anew.arrived.len(), 1);
}

fn notice(subject: &str) -> Notice {
    Notice {
        to: Recipient::new("invented.client@client.example".into()).unwrap(),
        subject: subject.to_owned(),
        body: Pii::new("There is a new message for you in the portal.".to_owned()),
    }
}

#[tokio::test]
async fn a_notice_goes_out_once_marked_for_encryption_and_never_on_a_stale_statement() {
    let bench = fresh().await;
    let mailbox = bench.open().await;
    let desk = Desk::new("mailbox");
    let session = desk.session(Role::Paralegal);
    let scope = desk.whole(desk.beneficiary());
    let permit = session.permit(Act::Share, scope).await.unwrap();
    let seen = Protection::seen(permit.now());
    let news = notice("News of your matter");
    bench
        .emulator
        .fail(1, "POST", "*/sendMail", Fault::DropAfterEffect);
    let lost = mailbox.send(&news, &seen, key("n"), &permit).await;
    assert_eq!(fault(lost), FaultKind::OutcomeUnknown);
    assert!(!mailbox.send(&news, &seen, key("n"), &permit).await.unwrap());
    assert!(mailbox.send(&news, &seen, key("m"), &permit).await.unwrap());
    let sent = bench.emulator.sent_mail();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|mail| mail.contains("x-kta-protect")));
    let stale = Protection::seen(permit.now() - TimeDelta::days(31));
    let refused = mailbox.send(&news, &stale, key("o"), &permit).await;
    assert_eq!(code(refused), Code::CfgStale);
    for telling in [
        "A-Number 012345678",
        "for testa@client.example",
        "a\r\nBcc: x",
    ] {
        let refused = mailbox
            .send(&notice(telling), &seen, key(telling), &permit)
            .await;
        assert_eq!(code(refused), Code::DlpBlock, "{telling}");
    }
    assert_eq!(bench.emulator.sent_mail().len(), 2);
}

fn watch_request(address: &str) -> WatchRequest {
    WatchRequest {
        notify: address.to_owned(),
        lifecycle: address.to_owned(),
        client_state: "invented secret".to_owned().into(),
        lasts: TimeDelta::minutes(1_000),
        content_for: None,
    }
}

#[tokio::test]
async fn a_subscription_tells_of_mail_is_renewed_and_made_anew_when_it_is_gone() {
    let bench = fresh().await;
    let mailbox = bench.open().await;
    let listener = listener::Listener::start().await;
    let desk = Desk::new("mailbox");
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let request = watch_request(&listener.address);
    let watch = mailbox.watch(&request, &permit).await.unwrap();
    listener.expect(&watch.id, "invented secret");
    let id = bench.send(1);
    assert_eq!(listener.hint().await, Hint::Look(watch.id.clone()));
    let given = oldest(&mailbox).await.unwrap().unwrap();
    assert_eq!(given.locator.as_str(), id);

    let alive = mailbox.keep(&watch, &request, &permit).await.unwrap();
    assert!(matches!(alive, Kept::Alive(_)), "{alive:?}");
    let soon = WatchRequest {
        lasts: TimeDelta::minutes(9_000),
        ..watch_request(&listener.address)
    };
    let renewed = mailbox.keep(&watch, &soon, &permit).await.unwrap();
    assert!(matches!(&renewed, Kept::Renewed(w) if w.id == watch.id && w.until > watch.until));
    mailbox.reauthorize(&watch, &permit).await.unwrap();

    for (event, hint) in [
        ("missed", Hint::Missed(watch.id.clone())),
        (
            "reauthorizationRequired",
            Hint::Reauthorize(watch.id.clone()),
        ),
        ("subscriptionRemoved", Hint::Subscribe(watch.id.clone())),
    ] {
        bench.emulator.tell_lifecycle(event);
        assert_eq!(listener.hint().await, hint);
    }
    let anew = mailbox.keep(&watch, &request, &permit).await.unwrap();
    let Kept::Anew(anew) = anew else {
        panic!("{anew:?}")
    };
    assert_ne!(anew.id, watch.id);
    // Whatever the old one did not tell is in the next look all the same.
    bench.send(2);
    acknowledge(&mailbox, &given).await.unwrap();
    assert!(oldest(&mailbox).await.unwrap().is_some());
    mailbox.unwatch(&anew, &permit).await.unwrap();
    mailbox.unwatch(&anew, &permit).await.unwrap();
}

#[tokio::test]
async fn watching_again_brings_another_secret_and_leaves_one_subscription() {
    for one_each in [false, true] {
        let bench = fresh().await;
        bench.emulator.set_one_subscription_each(one_each);
        let mailbox = bench.open().await;
        let listener = listener::Listener::start().await;
        let desk = Desk::new("mailbox");
        let session = desk.session(Role::Intake);
        let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
        let request = watch_request(&listener.address);
        let first = mailbox.watch(&request, &permit).await.unwrap();
        let another = WatchRequest {
            client_state: "another invented secret".to_owned().into(),
            ..watch_request(&listener.address)
        };
        let second = mailbox.watch(&another, &permit).await.unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(bench.emulator.subscriptions(), [second.id.as_str()]);
        listener.expect(&second.id, "another invented secret");
        bench.send(1);
        assert_eq!(listener.hint().await, Hint::Look(second.id.clone()));
    }
}

#[tokio::test]
async fn an_address_that_does_not_echo_gets_no_subscription() {
    let bench = fresh().await;
    let mailbox = bench.open().await;
    let desk = Desk::new("mailbox");
    let session = desk.session(Role::Intake);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let request = watch_request("http://127.0.0.1:9/nobody");
    let refused = mailbox.watch(&request, &permit).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);
    let plain = watch_request("http://kta.example/notify");
    let refused = mailbox.watch(&plain, &permit).await;
    assert_eq!(code(refused), Code::NetPlain);
}

/// What comes along with a notification.
mod content {
    use super::certificate::certificate;
    use super::*;
    use kta_sharepoint::{RichKeys, SigningKeys};

    async fn signers(emulator: &Emulator, application: &str) -> SigningKeys {
        let url = format!("{}/common/discovery/v2.0/keys", emulator.login_url());
        let set = support::send("GET", &url, &[], "").await.unwrap();
        let (tenant, login) = (emulator.tenant(), emulator.login_url());
        SigningKeys::new(&set.body, application, tenant, login).unwrap()
    }

    #[tokio::test]
    async fn a_subscription_is_kept_only_for_the_certificate_that_is_wanted() {
        let bench = fresh().await;
        let mailbox = bench.open().await;
        let listener = listener::Listener::start().await;
        let desk = Desk::new("mailbox");
        let session = desk.session(Role::Intake);
        let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
        let sealed = |name: &str| WatchRequest {
            content_for: Some((name.to_owned(), certificate().1)),
            ..watch_request(&listener.address)
        };
        let bare = watch_request(&listener.address);
        let mut watch = mailbox.watch(&bare, &permit).await.unwrap();
        for request in [sealed("cert-1"), sealed("cert-2"), bare] {
            let kept = mailbox.keep(&watch, &request, &permit).await.unwrap();
            let Kept::Anew(anew) = kept else {
                panic!("{kept:?}")
            };
            assert_eq!(bench.emulator.subscriptions(), [anew.id.as_str()]);
            let kept = mailbox.keep(&anew, &request, &permit).await.unwrap();
            assert_eq!(kept, Kept::Alive(anew.clone()));
            watch = anew;
        }
    }

    #[tokio::test]
    async fn what_graph_sealed_for_us_is_opened_and_nothing_else() {
        let bench = fresh().await;
        let mailbox = bench.open().await;
        let listener = listener::Listener::start().await;
        let desk = Desk::new("mailbox");
        let session = desk.session(Role::Intake);
        let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
        let (key, certificate) = certificate();
        let request = WatchRequest {
            content_for: Some(("cert-1".to_owned(), certificate)),
            ..watch_request(&listener.address)
        };
        let watch = mailbox.watch(&request, &permit).await.unwrap();
        let id = bench.send(1);
        let post = listener.post().await;
        let now = bench.emulator.now();
        let receiver = |keys: RichKeys, signers: SigningKeys| {
            let mut receiver = Receiver::new().opening(keys, signers);
            receiver.expect(watch.id.clone(), "invented secret".to_owned().into());
            receiver
        };
        let client = bench.emulator.client_id();
        let keys = || RichKeys::new().with("cert-1", &key).unwrap();
        let good = receiver(keys(), signers(&bench.emulator, client).await);
        let answer = good.answer("", &post, now);
        assert_eq!((answer.contents.len(), answer.ignored), (1, 0));
        let resource = answer.contents[0].resource.expose(&permit);
        let resource: serde_json::Value = serde_json::from_slice(resource).unwrap();
        assert_eq!(resource["id"], id.as_str());
        assert!(!format!("{answer:?}").contains(&id));

        // Another application's token, an expired one, no token, another key, a changed byte.
        let other = receiver(keys(), signers(&bench.emulator, "another").await);
        assert!(other.answer("", &post, now).contents.is_empty());
        let late = now + TimeDelta::hours(2);
        assert!(good.answer("", &post, late).contents.is_empty());
        let text = String::from_utf8(post.clone()).unwrap();
        let unsigned = text.replace("validationTokens", "noTokens");
        assert!(
            good.answer("", unsigned.as_bytes(), now)
                .contents
                .is_empty()
        );
        let (stranger, _) = super::certificate::certificate();
        let strange = RichKeys::new().with("cert-1", &stranger).unwrap();
        let strange = receiver(strange, signers(&bench.emulator, client).await);
        assert!(strange.answer("", &post, now).contents.is_empty());
        let mut value: serde_json::Value = serde_json::from_slice(&post).unwrap();
        for field in ["data", "dataKey", "dataSignature"] {
            let whole = value["value"][0]["encryptedContent"][field].clone();
            let changed = whole.as_str().unwrap();
            let first = if changed.starts_with('A') { 'B' } else { 'A' };
            value["value"][0]["encryptedContent"][field] =
                format!("{first}{}", &changed[1..]).into();
            let answer = good.answer("", value.to_string().as_bytes(), now);
            assert!(answer.contents.is_empty(), "{field}");
            assert_eq!(answer.ignored, 1, "{field}");
            value["value"][0]["encryptedContent"][field] = whole;
        }
        // The hint stands all the same: it is no more than a reason to look.
        assert_eq!(good.answer("", unsigned.as_bytes(), now).hints.len(), 1);
    }
}
