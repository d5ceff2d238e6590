//! What the headers prove about the way a message came: its last hop and the gateway's verdicts.
//!
//! ```text
//!   Authentication-Results: mx.kta.example; …     ◄─ counts: above the gateway's own Received
//!   Received: from sender by mx.kta.example …     ◄─ the gateway's line: this hop is a fact
//!   ─────────────────────────────────────────────
//!   Authentication-Results: mx.kta.example; …     ◄─ arrived with the message: a forgery, ignored
//!   Authentication-Results: elsewhere; …          ◄─ somebody else's word: ignored
//!   Received: from … by sender …                  ◄─ the sender's claim: a hint at most
//! ```

use mail_parser::{HeaderName, HeaderValue, Message, Protocol, Received, TlsVersion};

use crate::verdict::{AuthResult, MailFacts, Tls};

/// The firm's mail gateway: the only host whose word about a message counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The authserv-id of its `Authentication-Results` (RFC 8601), for example `mx.kta.example`.
    pub authserv_id: String,
    /// The host name it writes after `by` in `Received`.
    pub host: String,
}

impl Gateway {
    /// A gateway that uses its host name as authserv-id, as most do.
    #[must_use]
    pub fn named(host: impl Into<String>) -> Self {
        let host = host.into();
        Self {
            authserv_id: host.clone(),
            host,
        }
    }
}

/// The facts about a message's way, from its parsed headers. Pure; never fails: what the headers
/// do not prove is simply absent.
#[must_use]
pub fn facts(message: &Message<'_>, gateway: &Gateway) -> MailFacts {
    let headers = message.headers();
    let mut facts = MailFacts::default();
    let line = arrival_line(message, gateway);
    facts.foreign_results = headers[line.unwrap_or(0)..]
        .iter()
        .any(|header| is_authentication_results(&header.name));
    let Some(line) = line else { return facts };

    facts.arrival = received(&headers[line].value).map(hop_tls);
    facts.earlier_plain = headers[line + 1..]
        .iter()
        .filter_map(|h| received(&h.value))
        .any(|hop| {
            let local = hop.from_ip.is_some_and(|ip| ip.is_loopback());
            !local && hop_tls(hop) == Tls::None && hop.with.is_some_and(crosses_the_net)
        });

    for header in &headers[..line] {
        if !is_authentication_results(&header.name) {
            continue;
        }
        let raw = message
            .raw_message
            .get(header.offset_start as usize..header.offset_end as usize)
            .unwrap_or_default();
        let Some(results) = results(&String::from_utf8_lossy(raw), &gateway.authserv_id) else {
            facts.foreign_results = true;
            continue;
        };
        {
            for (method, result) in results {
                let slot = match method {
                    Method::Dkim => &mut facts.dkim,
                    Method::Dmarc => &mut facts.dmarc,
                    Method::Spf => &mut facts.spf,
                };
                *slot = Some(match (*slot, method) {
                    // One good signature among several is what DKIM asks for (RFC 6376 §4.2).
                    (Some(AuthResult::Pass), Method::Dkim) => AuthResult::Pass,
                    // Elsewhere two answers mean the worse one.
                    (Some(before), Method::Dmarc | Method::Spf) => before.max(result),
                    _ => result,
                });
            }
        }
    }
    facts
}

/// When the gateway took the message in, in seconds since 1970.
pub(crate) fn received_at(message: &Message<'_>, gateway: &Gateway) -> Option<i64> {
    let line = arrival_line(message, gateway)?;
    received(&message.headers()[line].value)?
        .date
        .as_ref()
        .map(|date| date.to_timestamp())
}

/// The topmost `Received` that names the gateway as receiver.
fn arrival_line(message: &Message<'_>, gateway: &Gateway) -> Option<usize> {
    message.headers().iter().position(|header| {
        received(&header.value).is_some_and(|hop| {
            host(hop.by.as_ref()).is_some_and(|by| by.eq_ignore_ascii_case(&gateway.host))
        })
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Dkim,
    Dmarc,
    Spf,
}

/// The results of an `Authentication-Results` field, if its authserv-id is `trusted`.
fn results(field: &str, trusted: &str) -> Option<Vec<(Method, AuthResult)>> {
    let field = uncommented(field)?;
    let mut clauses = field.split(';');
    // authserv-id, then perhaps a version, which must be 1 (RFC 8601 §2.2)
    let mut head = clauses.next()?.split_whitespace();
    if !head.next()?.eq_ignore_ascii_case(trusted) || head.next().is_some_and(|v| v != "1") {
        return None;
    }
    let mut found = Vec::new();
    for clause in clauses {
        let Some((method, rest)) = clause.split_once('=') else {
            continue;
        };
        let method = match method.split('/').next().map(str::trim) {
            Some(m) if m.eq_ignore_ascii_case("dkim") => Method::Dkim,
            Some(m) if m.eq_ignore_ascii_case("dmarc") => Method::Dmarc,
            Some(m) if m.eq_ignore_ascii_case("spf") => Method::Spf,
            _ => continue,
        };
        let word = rest.split_whitespace().next().unwrap_or_default();
        found.push((method, AuthResult::read(word)));
    }
    Some(found)
}

/// The field without comments and with quoted strings emptied, so that neither can smuggle a
/// `;` or `=`. `None` when a comment or string does not end, or comments nest deeper than 8.
fn uncommented(field: &str) -> Option<String> {
    let mut out = String::with_capacity(field.len());
    let (mut depth, mut quoted) = (0_u8, false);
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted || depth > 0 => {
                chars.next()?;
            }
            '"' if depth == 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => {
                depth += 1;
                if depth > 8 {
                    return None;
                }
            }
            ')' if depth > 0 => {
                depth -= 1;
                out.push(' ');
            }
            _ if depth > 0 => {}
            _ => out.push(c),
        }
    }
    (depth == 0 && !quoted).then_some(out)
}

fn is_authentication_results(name: &HeaderName<'_>) -> bool {
    name.as_str().eq_ignore_ascii_case("Authentication-Results")
}

fn received<'a, 'x>(value: &'a HeaderValue<'x>) -> Option<&'a Received<'x>> {
    match value {
        HeaderValue::Received(hop) => Some(hop),
        _ => None,
    }
}

fn host<'a>(host: Option<&'a mail_parser::Host<'_>>) -> Option<&'a str> {
    match host? {
        mail_parser::Host::Name(name) => Some(name),
        mail_parser::Host::IpAddr(_) => None,
    }
}

fn hop_tls(hop: &Received<'_>) -> Tls {
    match hop.tls_version {
        Some(TlsVersion::TLSv1_3) => Tls::V1_3,
        Some(TlsVersion::TLSv1_2) => Tls::V1_2,
        Some(_) => Tls::Old,
        None if hop.with.is_some_and(says_tls) => Tls::Unstated,
        None => Tls::None,
    }
}

/// Transmission types that name TLS (RFC 3848, RFC 6531).
fn says_tls(with: Protocol) -> bool {
    use Protocol as P;
    matches!(
        with,
        P::ESMTPS
            | P::ESMTPSA
            | P::LMTPS
            | P::LMTPSA
            | P::UTF8SMTPS
            | P::UTF8SMTPSA
            | P::UTF8LMTPS
            | P::UTF8LMTPSA
            | P::HTTPS
    )
}

/// Transmission types that cross a network; a local pipe or mailbox does not count as a hop.
fn crosses_the_net(with: Protocol) -> bool {
    use Protocol as P;
    matches!(
        with,
        P::SMTP | P::ESMTP | P::ESMTPA | P::UTF8SMTP | P::UTF8SMTPA | P::HTTP
    )
}
