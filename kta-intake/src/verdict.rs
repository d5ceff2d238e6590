//! The channel verdict: how far the way by which data came can be trusted.
//!
//! A pure function of facts, not a tick box: the same facts give the same verdict, and the
//! reasons say which fact spoke against it.

use serde::{Deserialize, Serialize};

/// What is known about the way of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailFacts {
    /// TLS of the hop into the firm's own gateway; `None` when the gateway's `Received` line is
    /// missing, so that nothing is known.
    pub arrival: Option<Tls>,
    /// Whether a hop before that one says it went over the net without TLS.
    pub earlier_plain: bool,
    /// DKIM as the gateway found it.
    pub dkim: Option<AuthResult>,
    /// DMARC as the gateway found it.
    pub dmarc: Option<AuthResult>,
    /// SPF as the gateway found it.
    pub spf: Option<AuthResult>,
    /// Whether somebody else's `Authentication-Results` came along; they were ignored.
    pub foreign_results: bool,
    /// Content encryption on top of the transport.
    pub envelope: Envelope,
}

/// What is known about the way of a web form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebFacts {
    /// TLS of the connection, told by the firm's own TLS end point.
    pub tls: Tls,
    /// Whether the site serves HSTS (RFC 6797), so that a browser never starts in the clear.
    pub hsts: bool,
    /// The form's one-time token.
    pub token: Token,
    /// Where the browser says the form came from.
    pub origin: Origin,
    /// Whether the form is the edition in force.
    pub form_current: bool,
}

/// Transport encryption of one hop, ordered from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tls {
    /// None.
    None,
    /// SSL, TLS 1.0 or TLS 1.1 (RFC 8996 forbids them).
    Old,
    /// TLS of a version that the hop does not state.
    Unstated,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl Tls {
    /// The version as nginx, Apache and OpenSSL write it, for example `TLSv1.3`; anything else
    /// is [`Tls::None`].
    #[must_use]
    pub fn read(text: &str) -> Self {
        match text {
            "TLSv1.3" => Self::V1_3,
            "TLSv1.2" => Self::V1_2,
            "TLSv1.1" | "TLSv1" | "TLSv1.0" | "SSLv3" | "SSLv2" => Self::Old,
            _ => Self::None,
        }
    }
}

/// One result of RFC 8601, ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthResult {
    /// The check passed.
    Pass,
    /// The domain makes no statement, or a weak one.
    Neutral,
    /// The check could not be made: a temporary or permanent error, or an unknown word.
    Error,
    /// SPF `softfail`.
    SoftFail,
    /// The check failed.
    Fail,
}

impl AuthResult {
    /// A result word; an unknown one reads as [`AuthResult::Error`].
    #[must_use]
    pub fn read(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "pass" => Self::Pass,
            "none" | "neutral" | "bestguesspass" => Self::Neutral,
            "softfail" => Self::SoftFail,
            "fail" | "hardfail" | "policy" => Self::Fail,
            _ => Self::Error,
        }
    }
}

/// Encryption of the content itself, as its media type declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Envelope {
    /// Nothing beyond the transport.
    #[default]
    None,
    /// Microsoft Purview Message Encryption (`message.rpmsg`).
    Purview,
    /// S/MIME enveloped data (RFC 8551).
    Smime,
}

/// The state of a form's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Issued by us for this form and this browser, and still valid.
    Valid,
    /// Ours, but too old.
    Expired,
    /// Missing, altered, or of another browser.
    Wrong,
}

/// What `Origin`, or else `Referer`, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Our own site.
    Own,
    /// Neither header was sent.
    Absent,
    /// Another site.
    Foreign,
}

/// How far the channel can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "reasons", rename_all = "lowercase")]
pub enum Verdict {
    /// Encrypted on the hop that we can see, and the sender's domain or our own form vouches.
    Secure,
    /// Usable, with these reservations.
    Degraded(Vec<Reason>),
    /// Readable on the way, or not from whom it says.
    Insecure(Vec<Reason>),
}

impl Verdict {
    /// The verdict in one word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Secure => "secure",
            Self::Degraded(_) => "degraded",
            Self::Insecure(_) => "insecure",
        }
    }

    /// What speaks against the channel, gravest first; empty when it is secure.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Secure => &[],
            Self::Degraded(reasons) | Self::Insecure(reasons) => reasons,
        }
    }

    fn of(mut reasons: Vec<Reason>) -> Self {
        reasons.sort();
        match reasons.first() {
            None => Self::Secure,
            Some(worst) if worst.is_grave() => Self::Insecure(reasons),
            Some(_) => Self::Degraded(reasons),
        }
    }
}

/// One reservation about a channel, gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// DMARC fails: the domain in `From` disowns the message.
    DmarcFail,
    /// The message or form came in the clear.
    PlainArrival,
    /// The connection used a TLS version that must not be used.
    OldTls,
    /// The gateway's `Received` line is missing: nothing about the way is proved.
    UnknownArrival,
    /// The form's token is missing, altered or of another browser.
    TokenWrong,
    /// The form was sent from another site.
    OriginForeign,
    /// The gateway says TLS, but not which version.
    TlsVersionUnstated,
    /// A hop before ours says it was in the clear.
    EarlierHopPlain,
    /// The gateway gives no DMARC verdict, or the domain has no policy.
    DmarcMissing,
    /// DKIM did not pass.
    DkimNotPassed,
    /// SPF did not pass.
    SpfNotPassed,
    /// The form's token had expired.
    TokenExpired,
    /// Neither `Origin` nor `Referer` was sent.
    OriginAbsent,
    /// The site does not send HSTS.
    NoHsts,
    /// The form is not the edition in force.
    FormOutdated,
}

impl Reason {
    /// Whether this reason alone makes the channel insecure.
    #[must_use]
    pub const fn is_grave(self) -> bool {
        matches!(
            self,
            Self::DmarcFail
                | Self::PlainArrival
                | Self::OldTls
                | Self::UnknownArrival
                | Self::TokenWrong
                | Self::OriginForeign
        )
    }

    /// The reason's name in logs and receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DmarcFail => "dmarc-fail",
            Self::PlainArrival => "plain-arrival",
            Self::OldTls => "old-tls",
            Self::UnknownArrival => "unknown-arrival",
            Self::TokenWrong => "token-wrong",
            Self::OriginForeign => "origin-foreign",
            Self::TlsVersionUnstated => "tls-version-unstated",
            Self::EarlierHopPlain => "earlier-hop-plain",
            Self::DmarcMissing => "dmarc-missing",
            Self::DkimNotPassed => "dkim-not-passed",
            Self::SpfNotPassed => "spf-not-passed",
            Self::TokenExpired => "token-expired",
            Self::OriginAbsent => "origin-absent",
            Self::NoHsts => "no-hsts",
            Self::FormOutdated => "form-outdated",
        }
    }
}

/// The verdict on a message.
///
/// Content encryption ([`Envelope`]) makes up for transport that could be read on the way, but
/// never for a sender whom his domain disowns. DMARC decides about the sender; DKIM and SPF
/// without DMARC are reservations, because each alone can pass for somebody else's domain.
#[must_use]
pub fn judge_mail(facts: &MailFacts) -> Verdict {
    let mut reasons = Vec::new();
    let sealed = facts.envelope != Envelope::None;
    match facts.arrival {
        None => reasons.push(Reason::UnknownArrival),
        Some(Tls::None) if !sealed => reasons.push(Reason::PlainArrival),
        Some(Tls::Old) if !sealed => reasons.push(Reason::OldTls),
        Some(Tls::Unstated) if !sealed => reasons.push(Reason::TlsVersionUnstated),
        Some(_) => {}
    }
    if facts.earlier_plain && !sealed {
        reasons.push(Reason::EarlierHopPlain);
    }
    match facts.dmarc {
        Some(AuthResult::Pass) => {}
        Some(AuthResult::Fail | AuthResult::SoftFail) => reasons.push(Reason::DmarcFail),
        Some(AuthResult::Neutral | AuthResult::Error) | None => reasons.push(Reason::DmarcMissing),
    }
    // With DMARC passed, one of the two carried it; a failed other one is normal for forwarded
    // mail (SPF) or mailing lists (DKIM), and worth a note only when it failed outright.
    let passed = facts.dmarc == Some(AuthResult::Pass);
    let note = |result: Option<AuthResult>| match result {
        Some(AuthResult::Pass) => false,
        Some(AuthResult::Fail | AuthResult::SoftFail) => true,
        Some(AuthResult::Neutral | AuthResult::Error) | None => !passed,
    };
    if note(facts.dkim) {
        reasons.push(Reason::DkimNotPassed);
    }
    if note(facts.spf) {
        reasons.push(Reason::SpfNotPassed);
    }
    Verdict::of(reasons)
}

/// The verdict on a web-form post.
#[must_use]
pub fn judge_web(facts: &WebFacts) -> Verdict {
    let mut reasons = Vec::new();
    match facts.tls {
        Tls::None => reasons.push(Reason::PlainArrival),
        Tls::Old => reasons.push(Reason::OldTls),
        Tls::Unstated => reasons.push(Reason::TlsVersionUnstated),
        Tls::V1_2 | Tls::V1_3 => {}
    }
    match facts.token {
        Token::Valid => {}
        Token::Expired => reasons.push(Reason::TokenExpired),
        Token::Wrong => reasons.push(Reason::TokenWrong),
    }
    match facts.origin {
        Origin::Own => {}
        Origin::Absent => reasons.push(Reason::OriginAbsent),
        Origin::Foreign => reasons.push(Reason::OriginForeign),
    }
    if !facts.hsts {
        reasons.push(Reason::NoHsts);
    }
    if !facts.form_current {
        reasons.push(Reason::FormOutdated);
    }
    Verdict::of(reasons)
}
