//! What was seen of our tokens: how many were asked for, which were refused, and the signs that
//! somebody else holds our credentials too. Kept by one process for itself, or by several
//! together in a [`SealedFile`], with the token that all of them use.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use kta_core::{FaultKind, Result};
use kta_http::{Call, Credential, FileMark, SealedFile, Token};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::{Zeroize as _, Zeroizing};

use crate::oauth::AUTHORIZE;

/// Why somebody else seems to hold our credentials. The first sign stops every call of this
/// adapter, and of every process that shares its tokens, until
/// [`ZohoCrm::resume`](crate::ZohoCrm::resume): whoever sees one opens an incident and has the
/// refresh token revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sign {
    /// The accounts server names an API that is not ours: a token would go to a stranger.
    OtherDomain,
    /// Three access tokens in an hour were refused long before their time: the vendor keeps some
    /// thirty for one refresh token, and somebody pushes ours out, or revokes them.
    PushedOut,
    /// The refresh token was good, and is not any more: revoked, or pushed out by a twenty-first.
    Revoked,
    /// The ten tokens in ten minutes are spent, and not by us.
    SpentElsewhere,
}

impl Sign {
    /// The sign as a label, for the incident and the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherDomain => "other_domain",
            Self::PushedOut => "pushed_out",
            Self::Revoked => "revoked",
            Self::SpentElsewhere => "spent_elsewhere",
        }
    }

    /// The fault of every call while the sign stands.
    pub(crate) fn stops(self, call: Call) -> kta_core::Error {
        let why = match self {
            Self::OtherDomain => "stopped: the accounts server names another host",
            Self::PushedOut => "stopped: access tokens end before their time",
            Self::Revoked => "stopped: the refresh token was revoked",
            Self::SpentElsewhere => "stopped: somebody else uses the refresh token",
        };
        call.fault(FaultKind::Misconfigured).because(why).into()
    }
}

/// The accounts server's ways to say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoToken {
    BadClient,
    BadGrant,
    TooMany,
}

/// What was seen, and the turn to change it.
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    turn: tokio::sync::Mutex<()>,
    shared: Option<Shared>,
    began: Instant,
}

struct Shared {
    file: SealedFile,
    /// The mark of the content that `seen` was read from.
    mark: Mutex<Option<FileMark>>,
    patience: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            shared: None,
            began: Instant::now(),
        }
    }
}

impl Watch {
    /// One that is kept in `file` by all the processes that are given it. `patience` is how long
    /// another one's turn is waited for.
    pub(crate) fn sharing(file: SealedFile, patience: Duration) -> Self {
        let shared = Shared {
            file,
            mark: Mutex::default(),
            patience,
        };
        Self {
            shared: Some(shared),
            ..Self::default()
        }
    }

    pub(crate) fn alarm(&self) -> Option<Sign> {
        // Where the file cannot be read no call is admitted either; what is known still stands.
        let _ = self.look(AUTHORIZE);
        held(&self.seen).alarm
    }

    /// Nothing is sent while an alarm stands, whichever process saw it.
    pub(crate) fn admit(&self, call: Call) -> Result<()> {
        self.look(call)?;
        match held(&self.seen).alarm {
            None => Ok(()),
            Some(sign) => Err(sign.stops(call)),
        }
    }

    /// The turn to change what was seen: one task's of one process.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>> {
        let mine = self.turn.lock().await;
        let file = match &self.shared {
            Some(shared) => Some(shared.file.turn(AUTHORIZE, shared.patience).await?),
            None => None,
        };
        let mut seen = held(&self.seen).clone();
        if let Some(content) = file.as_ref().map(|turn| turn.read()).transpose()?.flatten() {
            seen = Seen::read(&content)?;
        }
        Ok(Turn {
            watch: self,
            file,
            _mine: mine,
            seen,
        })
    }

    /// A token that should have been good was refused: to however many calls, it is one.
    pub(crate) async fn refused_early(&self, token: u64) -> Result<()> {
        let mut turn = self.turn().await?;
        let now = self.now();
        turn.seen.refused_early(token, now);
        turn.keep()
    }

    /// Forgets everything but the token, and that it was good.
    pub(crate) async fn clear(&self) -> Result<()> {
        let mut turn = self.turn().await?;
        let seen = &mut turn.seen;
        *seen = Seen {
            granted: seen.granted,
            last_refused: seen.last_refused,
            ends: seen.ends,
            kept: seen.kept.take(),
            ..Seen::default()
        };
        turn.keep()
    }

    /// Reads what other processes changed.
    fn look(&self, call: Call) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let now = shared.file.mark();
        if now.is_none() || *held(&shared.mark) == now {
            return Ok(());
        }
        if let Some(content) = shared.file.read(call)? {
            self.note(&Seen::read(&content)?, now);
        }
        Ok(())
    }

    /// Keeps in memory what was seen, without the token.
    fn note(&self, seen: &Seen, mark: Option<FileMark>) {
        *held(&self.seen) = Seen {
            kept: None,
            ..seen.clone()
        };
        if let Some(shared) = &self.shared {
            *held(&shared.mark) = mark;
        }
    }

    /// Milliseconds: since 1970 where others share them, otherwise since the beginning.
    fn now(&self) -> u64 {
        let since = match &self.shared {
            Some(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH),
            None => Ok(self.began.elapsed()),
        };
        since.map_or(0, milliseconds)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("shared", &self.shared.is_some())
            .finish_non_exhaustive()
    }
}

/// The turn: nobody else asks for a token meanwhile, in this process or another.
pub(crate) struct Turn<'a> {
    watch: &'a Watch,
    file: Option<kta_http::Turn<'a>>,
    _mine: tokio::sync::MutexGuard<'a, ()>,
    seen: Seen,
}

impl Turn<'_> {
    /// The token that another process got, when it is good for a while; an alarm is an error.
    pub(crate) fn token(&self) -> Result<Option<Token>> {
        if let Some(sign) = self.seen.alarm {
            return Err(sign.stops(AUTHORIZE));
        }
        let now = self.watch.now();
        let kept = self.seen.kept.as_ref();
        let good = kept.filter(|kept| {
            kept.number > self.seen.last_refused && kept.since <= now && now < kept.renew
        });
        Ok(good.map(|kept| {
            let lives = Duration::from_millis(kept.ends.saturating_sub(now));
            let secret = SecretString::from(kept.secret.as_str());
            Token::new(Credential::zoho(secret), lives).numbered(kept.number)
        }))
    }

    /// Notes that a token is asked for, before it is: a process that dies meanwhile has spent it.
    ///
    /// # Errors
    /// `Throttled` when the window's tokens are spent by ourselves.
    pub(crate) fn ask(&mut self) -> Result<()> {
        let now = self.watch.now();
        let asked = &mut self.seen.asked;
        forget(asked, now, WINDOW);
        if asked.len() >= TOKENS {
            let first = asked.front().copied().unwrap_or(now);
            let wait = Duration::from_millis((first + milliseconds(WINDOW)).saturating_sub(now));
            let fault = AUTHORIZE.fault(FaultKind::Throttled {
                retry_after: Some(wait),
            });
            return Err(fault.because("too many token refreshes").into());
        }
        asked.push_back(now);
        self.keep()
    }

    /// A token was given, and lives so long.
    pub(crate) fn granted(&mut self, secret: &SecretString, lives: Duration) -> Result<Token> {
        let now = self.watch.now();
        self.seen.granted += 1;
        self.seen.ends = now + milliseconds(lives);
        let number = self.seen.granted;
        if self.file.is_some() {
            self.seen.kept = Some(Kept {
                secret: secret.expose_secret().to_owned(),
                number,
                since: now,
                renew: now + milliseconds(lives - EARLY.min(lives / 2)),
                ends: now + milliseconds(lives),
            });
        }
        self.keep()?;
        Ok(Token::new(Credential::zoho(secret.clone()), lives).numbered(number))
    }

    /// What a refusal of the accounts server says about our credentials.
    pub(crate) fn judge(&mut self, answer: NoToken) -> Result<Option<Sign>> {
        let sign = self.seen.judge(answer);
        self.keep()?;
        Ok(sign)
    }

    pub(crate) fn raise(&mut self, sign: Sign) -> Result<()> {
        self.seen.alarm.get_or_insert(sign);
        self.keep()
    }

    fn keep(&mut self) -> Result<()> {
        let mut mark = None;
        // What is known here holds even when it cannot be written down.
        let written = match (&mut self.file, &self.watch.shared) {
            (Some(file), Some(shared)) => {
                let written = self.seen.write().and_then(|content| file.write(&content));
                mark = shared.file.mark().filter(|_| written.is_ok());
                written
            }
            _ => Ok(()),
        };
        self.watch.note(&self.seen, mark);
        written
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// How many tokens we were given: the first says that the refresh token was good.
    granted: u64,
    /// The last of them that was refused.
    last_refused: u64,
    /// When the last of them ends.
    ends: u64,
    /// When we asked for tokens, the last ten minutes.
    asked: VecDeque<u64>,
    /// When tokens were refused before their time, the last hour.
    refused: VecDeque<u64>,
    alarm: Option<Sign>,
    /// The token of all processes; one that is alone keeps it in its cache only.
    kept: Option<Kept>,
}

impl Seen {
    fn read(content: &[u8]) -> Result<Self> {
        serde_json::from_slice(content).map_err(|_| {
            let fault = AUTHORIZE.fault(FaultKind::Misconfigured);
            fault
                .because("the shared tokens are of another form")
                .into()
        })
    }

    fn write(&self) -> Result<Zeroizing<Vec<u8>>> {
        // Room for all of it, so that no copy is left behind by growing.
        let mut content = Zeroizing::new(Vec::with_capacity(MOST_CONTENT));
        serde_json::to_writer(&mut *content, self)
            .map_err(|_| kta_core::Error::from(AUTHORIZE.fault(FaultKind::Unavailable)))?;
        Ok(content)
    }

    fn refused_early(&mut self, token: u64, now: u64) {
        if token <= self.last_refused {
            return;
        }
        self.last_refused = token;
        self.kept.take_if(|kept| kept.number <= token);
        if token == self.granted && now >= self.ends {
            // Its time was over: a clock that stood still, or a slow call.
            return;
        }
        self.refused.push_back(now);
        forget(&mut self.refused, now, HOUR);
        if self.refused.len() >= MOST_REFUSED {
            self.alarm.get_or_insert(Sign::PushedOut);
        }
    }

    fn judge(&mut self, answer: NoToken) -> Option<Sign> {
        let sign = match answer {
            NoToken::BadGrant if self.granted > 0 => Sign::Revoked,
            // Ours included, ten are allowed; the one that was just refused is one more.
            NoToken::TooMany if self.granted > 0 && self.asked.len() <= TOKENS => {
                Sign::SpentElsewhere
            }
            _ => return None,
        };
        Some(*self.alarm.get_or_insert(sign))
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    secret: String,
    number: u64,
    since: u64,
    renew: u64,
    ends: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Forgets what is older than this, and what a wrong clock put far ahead.
fn forget(times: &mut VecDeque<u64>, now: u64, window: Duration) {
    times.retain(|at| at.abs_diff(now) < milliseconds(window));
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ten access tokens for one refresh token in ten minutes, says the vendor.
const TOKENS: usize = 10;
pub(crate) const WINDOW: Duration = Duration::from_secs(600);
/// So long before its end a token is renewed; at most half of its life.
const EARLY: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3_600);
const MOST_REFUSED: usize = 3;
const MOST_CONTENT: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_never_was_good_is_a_misconfiguration_and_no_alarm() {
        let mut seen = Seen::default();
        seen.asked.push_back(0);
        assert_eq!(seen.judge(NoToken::BadGrant), None);
        assert_eq!(seen.judge(NoToken::TooMany), None);
        seen.granted += 1;
        assert_eq!(seen.judge(NoToken::BadClient), None);
        assert_eq!(seen.judge(NoToken::BadGrant), Some(Sign::Revoked));
        // The first sign is the one that stands.
        assert_eq!(seen.judge(NoToken::TooMany), Some(Sign::Revoked));
    }

    #[tokio::test(start_paused = true)]
    async fn an_eleventh_token_is_not_asked_for_until_the_first_is_ten_minutes_old() {
        let watch = Watch::default();
        let mut turn = watch.turn().await.unwrap();
        turn.seen.granted = 1;
        for _ in 0..TOKENS {
            turn.ask().unwrap();
        }
        let refused = turn.ask().unwrap_err();
        let kind = refused.fault().unwrap().kind();
        assert_eq!(
            kind,
            FaultKind::Throttled {
                retry_after: Some(WINDOW)
            }
        );
        tokio::time::advance(WINDOW).await;
        turn.ask().unwrap();
        // Only one of ours stands in the window: the others that the vendor counted are not ours.
        assert_eq!(
            turn.judge(NoToken::TooMany).unwrap(),
            Some(Sign::SpentElsewhere)
        );
        drop(turn);
        assert!(watch.admit(AUTHORIZE).is_err());
        watch.clear().await.unwrap();
        assert!(watch.admit(AUTHORIZE).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn three_tokens_refused_in_an_hour_are_an_alarm_and_one_a_day_is_none() {
        let watch = Watch::default();
        for token in 1..=5 {
            watch.refused_early(token).await.unwrap();
            tokio::time::advance(HOUR + Duration::from_secs(1)).await;
        }
        assert_eq!(watch.alarm(), None);
        for token in 6..8 {
            // Refused to forty calls at once it is one token.
            for _ in 0..40 {
                watch.refused_early(token).await.unwrap();
            }
        }
        assert_eq!(watch.alarm(), None);
        watch.refused_early(8).await.unwrap();
        assert_eq!(watch.alarm(), Some(Sign::PushedOut));
    }
}
