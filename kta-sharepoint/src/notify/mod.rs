//! Change notifications: hints that something changed, never a change.
//!
//! ```text
//!   POST ?validationToken=…  ──► the token back, as plain text
//!   POST {"value":[…]}       ──► 202 at once; known subscription and right secret? a hint : nothing
//!                                 hint ──► look (delta) · look from the start · renew · subscribe again
//! ```
//!
//! Whoever can reach the address can post to it, and may post again what was overheard. Nothing is believed
//! but that it may be worth looking: a replay is one more look, a forgery is none. There is at most one hint
//! of a kind for each subscription in a delivery, so that the work stays bounded.

#[cfg(feature = "rich-notifications")]
mod rich;
mod subscription;

#[cfg(feature = "rich-notifications")]
pub use rich::{Content, RichKeys, SigningKeys};
pub use subscription::{Kept, Watch, WatchRequest};

use chrono::{DateTime, Utc};
use kta_core::pii::Locator;
use kta_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use subtle::ConstantTimeEq as _;

/// The receiving end of subscriptions: a pure function from a post to an answer and hints.
///
/// ```
/// use kta_core::pii::Locator;
/// use kta_sharepoint::{Hint, Receiver};
/// let now = kta_core::time::Timestamp::from_timestamp(1_768_467_600, 0).unwrap();
/// let id = Locator::new("0f1e").unwrap();
/// let mut receiver = Receiver::new();
/// receiver.expect(id.clone(), "invented secret".into());
/// let post = br#"{"value":[{"subscriptionId":"0f1e","clientState":"invented secret"}]}"#;
/// let answer = receiver.answer("", post, now);
/// assert_eq!(answer.status, 202);
/// assert!(answer.hints.contains(&Hint::Look(id)));
/// ```
#[derive(Default)]
pub struct Receiver {
    expected: BTreeMap<Locator, SecretString>,
    #[cfg(feature = "rich-notifications")]
    rich: Option<(RichKeys, SigningKeys)>,
}

/// What to answer, and what to do afterwards.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status: 200 to a validation, 202 to a delivery, 400 or 413 to what is neither.
    pub status: u16,
    /// The body, to be sent as `text/plain; charset=utf-8` with `x-content-type-options: nosniff`.
    pub body: String,
    /// What is worth doing, without repetition.
    pub hints: BTreeSet<Hint>,
    /// How many notifications named no subscription of ours, had a wrong secret or were past their time.
    pub ignored: usize,
    /// What came along with notifications, opened and proved to be Graph's.
    #[cfg(feature = "rich-notifications")]
    pub contents: Vec<Content>,
}

/// What a notification suggests about a subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// Something changed: ask for the changes since the last cursor.
    Look(Locator),
    /// Notifications were lost: compare everything.
    Missed(Locator),
    /// The subscription wants to be authorised again, or it ends.
    Reauthorize(Locator),
    /// The subscription is gone: make another, and compare everything.
    Subscribe(Locator),
}

impl Receiver {
    /// A receiver that knows no subscription yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Believes notifications of this subscription that come with this secret, from now on.
    pub fn expect(&mut self, subscription: Locator, client_state: SecretString) {
        self.expected.insert(subscription, client_state);
    }

    /// Believes notifications of this subscription no more.
    pub fn forget(&mut self, subscription: &Locator) {
        self.expected.remove(subscription);
    }

    /// Opens what comes along with notifications, with these keys, where these keys signed for it.
    #[cfg(feature = "rich-notifications")]
    #[must_use]
    pub fn opening(mut self, keys: RichKeys, signers: SigningKeys) -> Self {
        self.rich = Some((keys, signers));
        self
    }

    /// Answers one post to the notification address. `query` is the address's part after `?`, as it came.
    #[must_use]
    pub fn answer(&self, query: &str, body: &[u8], now: Timestamp) -> Answer {
        let mut answer = Answer {
            status: 202,
            body: String::new(),
            hints: BTreeSet::new(),
            ignored: 0,
            #[cfg(feature = "rich-notifications")]
            contents: Vec::new(),
        };
        if let Some(token) = validation_token(query) {
            (answer.status, answer.body) = if token.len() <= LONGEST_TOKEN {
                (200, escaped(&token))
            } else {
                (400, String::new())
            };
            return answer;
        }
        if body.len() > LARGEST {
            answer.status = 413;
            return answer;
        }
        let Ok(delivery) = serde_json::from_slice::<Delivery>(body) else {
            answer.status = 400;
            return answer;
        };
        #[cfg(feature = "rich-notifications")]
        let opener = self
            .rich
            .as_ref()
            .filter(|(_, signers)| signers.vouch(&delivery.tokens, now))
            .map(|(keys, _)| keys);
        for each in &delivery.value {
            let Some(id) = self.believed(each, now) else {
                answer.ignored += 1;
                continue;
            };
            #[cfg(feature = "rich-notifications")]
            if let (Some(keys), Some(sealed)) = (opener, &each.encrypted_content) {
                match keys.open(id, sealed) {
                    Some(content) => answer.contents.push(content),
                    None => answer.ignored += 1,
                }
            }
            answer.hints.insert(match each.lifecycle_event.as_deref() {
                None => Hint::Look(id.clone()),
                Some("reauthorizationRequired") => Hint::Reauthorize(id.clone()),
                Some("subscriptionRemoved") => Hint::Subscribe(id.clone()),
                // `missed`, and whatever may come: comparing everything is never wrong.
                Some(_) => Hint::Missed(id.clone()),
            });
        }
        answer
    }

    /// The subscription, if it is one of ours, the secret is right, and it has not ended.
    fn believed(&self, each: &Notification, now: Timestamp) -> Option<&Locator> {
        let named = Locator::new(each.subscription_id.as_str()).ok()?;
        let (id, wanted) = self.expected.get_key_value(&named)?;
        let given = each.client_state.as_deref().unwrap_or_default();
        let same: bool = wanted
            .expose_secret()
            .as_bytes()
            .ct_eq(given.as_bytes())
            .into();
        let ended = each
            .subscription_expiration_date_time
            .is_some_and(|at| at <= now);
        (same && !ended).then_some(id)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("subscriptions", &self.expected.len())
            .finish_non_exhaustive()
    }
}

/// The decoded `validationToken` of a query, if there is one.
fn validation_token(query: &str) -> Option<String> {
    let pairs = query.trim_start_matches('?');
    url::form_urlencoded::parse(pairs.as_bytes())
        .find(|(name, _)| name == "validationToken")
        .map(|(_, token)| token.into_owned())
}

/// What a browser could take for markup is made harmless; Graph's own tokens hold nothing of it.
fn escaped(token: &str) -> String {
    let mut text = String::with_capacity(token.len());
    for c in token.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

#[derive(Deserialize)]
struct Delivery {
    value: Vec<Notification>,
    #[cfg(feature = "rich-notifications")]
    #[serde(default, rename = "validationTokens")]
    tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    subscription_id: String,
    #[serde(default)]
    client_state: Option<String>,
    #[serde(default)]
    subscription_expiration_date_time: Option<DateTime<Utc>>,
    #[serde(default)]
    lifecycle_event: Option<String>,
    #[cfg(feature = "rich-notifications")]
    #[serde(default)]
    encrypted_content: Option<rich::Sealed>,
}

/// A delivery has at most 1000 notifications of some hundred bytes; with content, a megabyte.
const LARGEST: usize = 4 << 20;
const LONGEST_TOKEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> (Receiver, Locator) {
        let id = Locator::new("0f1e").unwrap();
        let mut receiver = Receiver::new();
        receiver.expect(id.clone(), "invented secret".to_owned().into());
        (receiver, id)
    }

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_768_467_600, 0).unwrap()
    }

    fn post(state: &str, more: &str) -> Vec<u8> {
        let one = format!(r#"{{"subscriptionId":"0f1e","clientState":"{state}"{more}}}"#);
        format!(r#"{{"value":[{one}]}}"#).into_bytes()
    }

    #[test]
    fn a_validation_is_echoed_decoded_and_harmless() {
        let (receiver, _) = receiver();
        let answer = receiver.answer("validationToken=Validation%3A+a%20b", b"", now());
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "Validation: a b")
        );
        let hostile = receiver.answer("x=1&validationToken=%3Cscript%3E", b"", now());
        assert_eq!(hostile.body, "&lt;script&gt;");
    }

    #[test]
    fn a_wrong_secret_another_subscription_and_an_ended_one_give_no_hint() {
        let (receiver, _) = receiver();
        let ended = r#","subscriptionExpirationDateTime":"2020-01-01T00:00:00Z""#;
        let stranger = br#"{"value":[{"subscriptionId":"beef","clientState":"invented secret"}]}"#;
        for body in [
            post("guess", ""),
            post("", ""),
            post("invented secret", ended),
            stranger.to_vec(),
        ] {
            let answer = receiver.answer("", &body, now());
            assert_eq!((answer.status, answer.ignored), (202, 1));
            assert!(answer.hints.is_empty());
        }
    }

    #[test]
    fn a_replay_is_one_more_look_and_a_flood_is_one_hint() {
        let (receiver, id) = receiver();
        let one = r#"{"subscriptionId":"0f1e","clientState":"invented secret"}"#;
        let flood = format!(r#"{{"value":[{}]}}"#, [one; 1000].join(","));
        for _ in 0..1000 {
            let answer = receiver.answer("", &post("invented secret", ""), now());
            assert_eq!(answer.hints, BTreeSet::from([Hint::Look(id.clone())]));
        }
        let answer = receiver.answer("", flood.as_bytes(), now());
        assert_eq!(answer.hints, BTreeSet::from([Hint::Look(id)]));
    }

    #[test]
    fn every_event_of_a_subscriptions_life_has_its_hint() {
        let (receiver, id) = receiver();
        let hint = |event: &str| {
            let more = format!(r#","lifecycleEvent":"{event}""#);
            let answer = receiver.answer("", &post("invented secret", &more), now());
            answer.hints.into_iter().next().unwrap()
        };
        assert_eq!(
            hint("reauthorizationRequired"),
            Hint::Reauthorize(id.clone())
        );
        assert_eq!(hint("subscriptionRemoved"), Hint::Subscribe(id.clone()));
        assert_eq!(hint("missed"), Hint::Missed(id));
    }

    #[test]
    fn what_is_no_delivery_is_refused_and_too_much_is_not_read() {
        let (receiver, _) = receiver();
        for body in [
            &b"{"[..],
            b"",
            b"[]",
            br#"{"value":[{"subscriptionId":7}]}"#,
        ] {
            assert_eq!(receiver.answer("", body, now()).status, 400);
        }
        assert_eq!(
            receiver.answer("", &vec![b' '; LARGEST + 1], now()).status,
            413
        );
        assert!(!format!("{receiver:?}").contains("invented"));
    }
}
