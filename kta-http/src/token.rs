//! Access tokens: kept, shared, renewed early, and by one caller at a time.

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kta_core::{Error, FaultKind, Result};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::budget::RateBudget;
use crate::call::Call;

/// A secret that goes into an `Authorization` header, and nowhere else.
#[derive(Clone)]
pub struct Credential {
    scheme: &'static str,
    secret: SecretString,
}

impl Credential {
    /// `Authorization: Bearer …` (RFC 6750).
    #[must_use]
    pub const fn bearer(secret: SecretString) -> Self {
        Self {
            scheme: "Bearer",
            secret,
        }
    }

    /// `Authorization: Zoho-oauthtoken …`, as Zoho CRM wants it.
    #[must_use]
    pub const fn zoho(secret: SecretString) -> Self {
        Self {
            scheme: "Zoho-oauthtoken",
            secret,
        }
    }

    /// `Authorization: AWS4-HMAC-SHA256 …`: the signature of one AWS request, made by the adapter.
    #[must_use]
    pub const fn aws(signature: SecretString) -> Self {
        Self {
            scheme: "AWS4-HMAC-SHA256",
            secret: signature,
        }
    }

    /// The header's value, marked so that no library shows it; `None` when the secret has
    /// characters that a header cannot hold.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("{} {}", self.scheme, self.secret.expose_secret()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether the secret stands in this address, plain or percent-encoded.
    pub(crate) fn stands_in(&self, url: &Url) -> bool {
        let secret = self.secret.expose_secret();
        !secret.is_empty()
            && (url.as_str().contains(secret)
                || url
                    .query_pairs()
                    .any(|(name, value)| name.contains(secret) || value.contains(secret)))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} ..)", self.scheme)
    }
}

/// An access token and how long it lives.
#[derive(Clone, Debug)]
pub struct Token {
    credential: Credential,
    lives: Duration,
    number: u64,
}

impl Token {
    /// A token that was issued just now and lives this long.
    #[must_use]
    pub const fn new(credential: Credential, lives: Duration) -> Self {
        Self {
            credential,
            lives,
            number: 0,
        }
    }

    /// The same with the number by which its source knows it, for saying later which token was
    /// refused.
    #[must_use]
    pub const fn numbered(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// The credential.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// Where tokens come from: one OAuth exchange.
///
/// # Behavior
/// - Each call asks the vendor for a token; nothing is kept.
/// - Neither errors nor `Debug` contain a secret.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// Asks for a token.
    async fn fetch(&self) -> Result<Token>;
}

/// Keeps the present token of one [`TokenSource`]. Clones share it.
///
/// One caller renews while the others wait for the result, good or bad: a vendor that is down
/// is asked once, not once for each waiting request.
#[derive(Clone)]
pub struct TokenCache {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn TokenSource>,
    call: Call,
    early: Duration,
    budget: Option<RateBudget>,
    /// How many attempts to fetch have ended.
    ended: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    serial: u64,
    current: Option<(Lease, Instant)>,
    failure: Option<Error>,
}

/// A token in use, as [`TokenCache::token`] hands it out.
#[derive(Clone, Debug)]
pub struct Lease {
    token: Arc<Token>,
    serial: u64,
}

impl Lease {
    /// The credential.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.token.credential
    }

    /// The number that the source gave the token; 0 where it gave none.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.token.number
    }
}

impl TokenCache {
    /// A cache over `source`; faults of its own are faults of `call`.
    #[must_use]
    pub fn new(source: impl TokenSource + 'static, call: Call) -> Self {
        Self {
            shared: Arc::new(Shared {
                source: Box::new(source),
                call,
                early: Duration::from_secs(120),
                budget: None,
                ended: AtomicU64::new(0),
                held: Mutex::default(),
            }),
        }
    }

    /// The same with room for `count` fetches in any window of `per`. Zoho gives ten access
    /// tokens per refresh token in ten minutes, and then none for a while.
    #[must_use]
    pub fn limited(self, count: usize, per: Duration) -> Self {
        self.amend(|shared| shared.budget = Some(RateBudget::new(count, per)))
    }

    /// The same, renewing a token this long before it ends (two minutes unless told; at most
    /// half of its life).
    #[must_use]
    pub fn early(self, early: Duration) -> Self {
        self.amend(|shared| shared.early = early)
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// The source's error; `Throttled` when the window's fetches are spent.
    pub async fn token(&self) -> Result<Lease> {
        let shared = &*self.shared;
        let ended_before = shared.ended.load(Ordering::Acquire);
        let mut held = shared.held.lock().await;
        if let Some((lease, until)) = &held.current
            && Instant::now() < *until
        {
            return Ok(lease.clone());
        }
        // Somebody else tried and failed while this call waited: share that answer.
        if shared.ended.load(Ordering::Acquire) > ended_before
            && let Some(failure) = &held.failure
        {
            return Err(failure.clone());
        }
        if let Some(budget) = &shared.budget
            && let Err(wait) = budget.try_spend()
        {
            let throttled = FaultKind::Throttled {
                retry_after: Some(wait),
            };
            return Err(shared
                .call
                .fault(throttled)
                .because("too many token refreshes")
                .into());
        }
        held.current = None;
        let asked = Instant::now();
        let fetched = shared.source.fetch().await;
        shared.ended.fetch_add(1, Ordering::AcqRel);
        match fetched {
            Ok(token) => {
                let early = shared.early.min(token.lives / 2);
                let until = asked + token.lives.saturating_sub(early);
                held.serial += 1;
                let lease = Lease {
                    token: Arc::new(token),
                    serial: held.serial,
                };
                held.current = Some((lease.clone(), until));
                held.failure = None;
                Ok(lease)
            }
            Err(error) => {
                held.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Drops a token that a server refused, unless it was already replaced: many requests
    /// refused with one token make one renewal.
    pub async fn refused(&self, lease: &Lease) {
        let mut held = self.shared.held.lock().await;
        if held
            .current
            .as_ref()
            .is_some_and(|(current, _)| current.serial == lease.serial)
        {
            held.current = None;
        }
    }

    fn amend(mut self, amend: impl FnOnce(&mut Shared)) -> Self {
        // Settings come before the first clone; afterwards they are shared and stay as they are.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            amend(shared);
        }
        self
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("source", &self.shared.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use kta_core::Port;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Issuer {
        fetched: Arc<AtomicUsize>,
        broken: bool,
    }

    #[async_trait]
    impl TokenSource for Issuer {
        async fn fetch(&self) -> Result<Token> {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let number = self.fetched.fetch_add(1, Ordering::SeqCst);
            if self.broken {
                return Err(CALL.fault(FaultKind::Unavailable).into());
            }
            let secret = SecretString::from(format!("canary-token-{number}"));
            Ok(Token::new(
                Credential::bearer(secret),
                Duration::from_secs(3600),
            ))
        }
    }

    const CALL: Call = Call::new(Port::Crm, "authorize");

    async fn crowd(cache: &TokenCache) -> Vec<Result<Lease>> {
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn({
                    let cache = cache.clone();
                    async move { cache.token().await }
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_callers_make_one_fetch() {
        let issuer = Issuer::default();
        let cache = TokenCache::new(issuer.clone(), CALL);
        assert!(crowd(&cache).await.iter().all(Result::is_ok));
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_by_those_who_waited_and_asked_anew_later() {
        let issuer = Issuer {
            broken: true,
            ..Issuer::default()
        };
        let cache = TokenCache::new(issuer.clone(), CALL);
        assert!(crowd(&cache).await.iter().all(Result::is_err));
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1);
        assert!(cache.token().await.is_err());
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends() {
        let issuer = Issuer::default();
        let cache = TokenCache::new(issuer.clone(), CALL).early(Duration::from_secs(60));
        cache.token().await.unwrap();
        tokio::time::advance(Duration::from_secs(3500)).await;
        cache.token().await.unwrap();
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        cache.token().await.unwrap();
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_token_is_dropped_once_however_many_report_it() {
        let issuer = Issuer::default();
        let cache = TokenCache::new(issuer.clone(), CALL);
        let first = cache.token().await.unwrap();
        for _ in 0..5 {
            cache.refused(&first).await;
            cache.token().await.unwrap();
        }
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn fetches_are_limited_in_each_window() {
        let issuer = Issuer::default();
        let cache = TokenCache::new(issuer.clone(), CALL).limited(10, Duration::from_secs(600));
        for _ in 0..10 {
            let lease = cache.token().await.unwrap();
            cache.refused(&lease).await;
        }
        let error = cache.token().await.unwrap_err();
        assert!(matches!(
            error.fault().unwrap().kind(),
            FaultKind::Throttled {
                retry_after: Some(_)
            }
        ));
        tokio::time::advance(Duration::from_secs(600)).await;
        cache.token().await.unwrap();
        assert_eq!(issuer.fetched.load(Ordering::SeqCst), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_leaves_the_cache_usable() {
        let cache = TokenCache::new(Issuer::default(), CALL);
        let impatient = tokio::time::timeout(Duration::from_millis(1), cache.token()).await;
        assert!(impatient.is_err());
        assert!(cache.token().await.is_ok());
    }

    #[test]
    fn debug_shows_no_token() {
        let token = Token::new(
            Credential::zoho("canary-token".to_owned().into()),
            Duration::from_secs(1),
        );
        assert!(!format!("{token:?}").contains("canary"));
        assert!(token.credential.header().unwrap().is_sensitive());
        assert!(
            Credential::bearer("two\nlines".to_owned().into())
                .header()
                .is_none()
        );
    }
}
