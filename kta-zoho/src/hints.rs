//! Notifications: the vendor's word that something changed. It is not signed, may be late,
//! doubled, forged or missing, and is never believed: it only says when to ask.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use kta_core::id::Digest;
use kta_core::policy::{Act, Permit};
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::ZohoCrm;
use crate::coql::{instant, parse_instant};
use crate::error::protocol;
use crate::records::MODULE;

/// A subscription to the vendor's notifications about clients' records. It lives for a week at
/// most and ends without a word: [`is_due`](Self::is_due) says when to subscribe again.
#[derive(Clone)]
pub struct Subscription {
    channel: u64,
    notify: Url,
    token: SecretString,
}

impl Subscription {
    /// A subscription of this number, told to this address with this token.
    ///
    /// # Errors
    /// `NET-PLAIN` for an address that is not `https`; `NET-TOKEN-LEAK` for one with the token,
    /// a password or any query in it; `Misconfigured` for what is no address, or a token of less
    /// than 16 or more than 50 characters.
    pub fn new(channel: u64, notify: &str, token: SecretString) -> Result<Self> {
        let unfit = |why| SUBSCRIBE.fault(FaultKind::Misconfigured).because(why);
        let notify = Url::parse(notify).map_err(|_| unfit("not an address"))?;
        if notify.scheme() != "https" {
            return Err(Code::NetPlain.into());
        }
        let secret = token.expose_secret();
        if !(16..=50).contains(&secret.len()) || !secret.is_ascii() {
            return Err(unfit("a token has 16 to 50 characters").into());
        }
        let leaks = notify.as_str().contains(secret)
            || notify.query().is_some()
            || !notify.username().is_empty()
            || notify.password().is_some();
        if leaks {
            return Err(Code::NetTokenLeak.into());
        }
        Ok(Self {
            channel,
            notify,
            token,
        })
    }

    /// Whether one that ends at `expires` should be renewed at `now`: two days before.
    #[must_use]
    pub fn is_due(expires: Timestamp, now: Timestamp) -> bool {
        expires - now <= EARLY
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl ZohoCrm {
    /// Subscribes for a week, or renews for another; gives when it ends. The vendor is told to
    /// say what changed and never how: values would be people's data in a message that anybody
    /// who finds the address can send.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit is for another act; faults of the transport.
    pub async fn subscribe(
        &self,
        subscription: &Subscription,
        permit: &Permit<'_>,
    ) -> Result<Timestamp> {
        permit.require_act(&SUBSCRIBING)?;
        let body = json!({"watch": [{
            "channel_id": subscription.channel.to_string(),
            "events": [format!("{MODULE}.all")],
            "channel_expiry": instant(permit.now() + WEEK),
            "token": subscription.token.expose_secret(),
            "notify_url": subscription.notify.as_str(),
        }]});
        let request = || {
            let request = self.client.request(SUBSCRIBE, Method::POST, &WATCH)?;
            // Of one number there is one channel, however often it is asked for.
            Ok(request.repeatable().json(&body))
        };
        let details = self
            .client
            .answer(SUBSCRIBE, request)
            .await?
            .into_details(SUBSCRIBE, "watch")?;
        let ends = details["events"].as_array().into_iter().flatten();
        ends.filter_map(|event| parse_instant(&event["channel_expiry"]))
            .min()
            .ok_or_else(|| protocol(SUBSCRIBE, "the channel has no end"))
    }

    /// When the subscription ends, as the vendor says; `None` when there is none (any more).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn subscribed_until(
        &self,
        subscription: &Subscription,
        permit: &Permit<'_>,
    ) -> Result<Option<Timestamp>> {
        permit.require_act(&SUBSCRIBING)?;
        let channel = subscription.channel.to_string();
        let request = || {
            let request = self.client.request(SUBSCRIBE, Method::GET, &WATCH)?;
            Ok(request
                .query("module", MODULE)
                .query("channel_id", &channel))
        };
        let rows = self
            .client
            .answer(SUBSCRIBE, request)
            .await?
            .into_list(SUBSCRIBE, "watch")?;
        let ours = rows
            .iter()
            .filter(|row| row["channel_id"] == channel.as_str());
        Ok(ours
            .filter_map(|row| parse_instant(&row["channel_expiry"]))
            .min())
    }

    /// Ends a subscription; one that is over is no error.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(
        &self,
        subscription: &Subscription,
        permit: &Permit<'_>,
    ) -> Result<()> {
        permit.require_act(&SUBSCRIBING)?;
        let channel = subscription.channel.to_string();
        let request = || {
            let request = self.client.request(SUBSCRIBE, Method::DELETE, &WATCH)?;
            Ok(request.query("channel_ids", &channel))
        };
        let answer = self.client.answer(SUBSCRIBE, request).await;
        let gone = answer.and_then(|answer| answer.into_details(SUBSCRIBE, "watch"));
        crate::recycle_bin::unless_gone(gone).map(drop)
    }
}

/// What a message was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It rang: something may have changed.
    Rang,
    /// It was heard before, and changes nothing.
    Replayed,
    /// It is older than the freshness allows, or from the future, and changes nothing.
    Stale,
}

/// Hears notifications and says when the change feed should be asked.
///
/// However many messages come, [`due`](Self::due) is true at most once in an interval, and what
/// is kept of them is bounded: a flood costs the sender, not our credits.
pub struct Doorbell {
    token: [u8; 32],
    channel: String,
    interval: TimeDelta,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rang: bool,
    asked: Option<Timestamp>,
    heard: VecDeque<Digest>,
}

impl Doorbell {
    /// The bell of a subscription, which lets the feed be asked once in `interval` (at least a
    /// second).
    #[must_use]
    pub fn new(subscription: &Subscription, interval: TimeDelta) -> Self {
        Self {
            token: digest(subscription.token.expose_secret().as_bytes()),
            channel: subscription.channel.to_string(),
            interval: interval.max(TimeDelta::seconds(1)),
            state: Mutex::default(),
        }
    }

    /// Hears a message: the body of a request to the subscription's address, at `now`.
    ///
    /// # Errors
    /// `INT-SIZE` for more than 256 KiB, `INT-MALFORMED` for what is no notification,
    /// `ACL-DENY` for one without our token or about another channel. Nothing of the message
    /// stands in a refusal.
    pub fn hear(&self, body: &[u8], now: Timestamp) -> Result<Heard, Refusal> {
        if body.len() > LARGEST {
            return Err(Code::IntSize.into());
        }
        let message: Value = serde_json::from_slice(body).map_err(|_| Code::IntMalformed)?;
        // Compared as digests: neither the length nor the place of the first difference tells.
        let token = message["token"].as_str().unwrap_or_default();
        let ours = digest(token.as_bytes()).ct_eq(&self.token);
        let channel = match &message["channel_id"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        if !bool::from(ours) || channel != self.channel {
            return Err(Code::AclDeny.into());
        }
        let sent = message["server_time"]
            .as_i64()
            .and_then(Timestamp::from_timestamp_millis);
        let (Some(sent), Some(MODULE)) = (sent, message["module"].as_str()) else {
            return Err(Code::IntMalformed.into());
        };
        if (now - sent).abs() > FRESH {
            return Ok(Heard::Stale);
        }
        let mut state = self.state();
        let seen = Digest::of(body);
        if state.heard.contains(&seen) {
            return Ok(Heard::Replayed);
        }
        if state.heard.len() >= MOST_HEARD {
            state.heard.pop_front();
        }
        state.heard.push_back(seen);
        state.rang = true;
        Ok(Heard::Rang)
    }

    /// Whether the feed should be asked now. Asking this is having been told: it is false until
    /// it rings again, and for the interval at least.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        let rested = state.asked.is_none_or(|asked| now - asked >= self.interval);
        if !(state.rang && rested) {
            return false;
        }
        state.rang = false;
        state.asked = Some(now);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    *Digest::of(bytes).as_bytes()
}

const SUBSCRIBE: Call = Call::new(Port::Crm, "subscribe");
const SUBSCRIBING: [Act; 3] = [Act::Manage, Act::Process, Act::Transfer];
const WATCH: [&str; 2] = ["actions", "watch"];
const WEEK: TimeDelta = TimeDelta::days(7);
const EARLY: TimeDelta = TimeDelta::days(2);
/// How old or young a message may be; the vendor tells within a minute or two.
const FRESH: TimeDelta = TimeDelta::minutes(15);
const LARGEST: usize = 256 << 10;
const MOST_HEARD: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "canary-token-0123456789";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn bell() -> Doorbell {
        let address = "https://firm.example.com/crm";
        let subscription = Subscription::new(7, address, TOKEN.into()).unwrap();
        Doorbell::new(&subscription, TimeDelta::seconds(10))
    }

    fn message(token: &str, seconds: i64, id: &str) -> Vec<u8> {
        json!({
            "server_time": at(seconds).timestamp_millis(), "query_params": {},
            "module": "Contacts", "resource_uri": "https://www.zohoapis.com/crm/v8/Contacts",
            "ids": [id], "affected_fields": [], "operation": "update", "channel_id": "7",
            "token": token,
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_forged_message_rings_nothing_and_a_replayed_one_rings_once() {
        let bell = bell();
        for forged in ["", "canary", "canary-token-0123456788"] {
            let refused = bell.hear(&message(forged, 0, "1"), at(0)).unwrap_err();
            assert_eq!(refused.code(), Code::AclDeny);
        }
        assert!(!bell.due(at(0)));
        let true_one = message(TOKEN, 0, "1");
        assert_eq!(bell.hear(&true_one, at(0)), Ok(Heard::Rang));
        assert!(bell.due(at(0)));
        for _ in 0..1_000 {
            assert_eq!(bell.hear(&true_one, at(60)), Ok(Heard::Replayed));
        }
        assert!(!bell.due(at(60)));
        assert_eq!(
            bell.hear(&message(TOKEN, 0, "2"), at(3_600)),
            Ok(Heard::Stale)
        );
        assert_eq!(
            bell.hear(&message(TOKEN, 3_600, "2"), at(0)),
            Ok(Heard::Stale)
        );
        assert!(!bell.due(at(3_600)));
    }

    #[test]
    fn a_flood_lets_the_feed_be_asked_once_in_an_interval_and_keeps_little() {
        let bell = bell();
        let mut asked = 0;
        for number in 0..10_000_i64 {
            // A hundred a second for a hundred seconds.
            let now = number / 100;
            let heard = bell.hear(&message(TOKEN, now, &number.to_string()), at(now));
            assert_eq!(heard, Ok(Heard::Rang));
            asked += u32::from(bell.due(at(now)));
        }
        assert_eq!(asked, 10);
        assert!(bell.state().heard.len() <= MOST_HEARD);
    }

    #[test]
    fn what_is_no_notification_is_refused_and_not_repeated() {
        let bell = bell();
        for bad in [
            b"".to_vec(),
            b"canary".to_vec(),
            b"[]".to_vec(),
            vec![b'['; 10_000],
            json!({"token": TOKEN, "channel_id": 7})
                .to_string()
                .into_bytes(),
            vec![b' '; LARGEST + 1],
        ] {
            let refused = bell.hear(&bad, at(0)).unwrap_err();
            assert!(!format!("{refused} {refused:?} {bell:?}").contains("canary"));
        }
    }

    #[test]
    fn a_token_stands_in_no_address_and_an_address_is_encrypted() {
        let long = "x".repeat(51);
        for (address, token) in [
            ("http://firm.example.com/", TOKEN),
            ("https://firm.example.com/?a=b", TOKEN),
            ("https://firm.example.com/canary-token-0123456789", TOKEN),
            ("https://u:p@firm.example.com/", TOKEN),
            ("nonsense", TOKEN),
            ("https://firm.example.com/", "short"),
            ("https://firm.example.com/", &long),
        ] {
            assert!(
                Subscription::new(1, address, token.into()).is_err(),
                "{address}"
            );
        }
    }
}
