//! Where this house may connect to, and how long it waits there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use kta_core::{Code, Error, FaultKind, Port, Refusal, Result};
use url::{Host, Url};

use crate::call::Call;
use crate::tls::Roots;

/// What a connection must be like. TLS 1.2 is the floor and is not configurable.
///
/// ```
/// # use kta_http::{Origin, TransportPolicy};
/// # use kta_core::{Code, Port};
/// let crm = Origin::parse("https://www.zohoapis.com", Port::Crm)?;
/// let policy = TransportPolicy::to([crm.clone()]);
/// assert!(policy.admit(&crm.url(["crm", "v8", "Leads"])?).is_ok());
/// let elsewhere = "https://www.zohoapis.com.example/crm".parse().unwrap();
/// assert_eq!(policy.admit(&elsewhere).unwrap_err().code(), Code::NetHost);
/// # Ok::<(), kta_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransportPolicy {
    origins: BTreeSet<String>,
    pub(crate) roots: Roots,
    pub(crate) pins: BTreeSet<kta_core::id::Digest>,
    pub(crate) limits: Limits,
}

impl TransportPolicy {
    /// Connections to exactly these origins, trusting the machine's roots, with the default
    /// [`Limits`].
    #[must_use]
    pub fn to(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self {
            origins: origins
                .into_iter()
                .map(|origin| key(&origin.root))
                .collect(),
            roots: Roots::System,
            pins: BTreeSet::new(),
            limits: Limits::default(),
        }
    }

    /// The same, trusting these roots.
    #[must_use]
    pub fn trusting(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// The same, and besides being valid a server's certificate must have one of these SHA-256
    /// digests (of its DER form). Give the present and the next one, so that a renewal does not
    /// stop the house.
    #[must_use]
    pub fn pinned(mut self, certificates: impl IntoIterator<Item = kta_core::id::Digest>) -> Self {
        self.pins = certificates.into_iter().collect();
        self
    }

    /// The same with these limits.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether a request may go to `url`.
    ///
    /// # Errors
    /// [`Code::NetTokenLeak`] for a user name or password in it, [`Code::NetPlain`] for anything
    /// but `https` (or `http` to this machine itself), [`Code::NetHost`] for scheme, host and
    /// port that are not on the list.
    pub fn admit(&self, url: &Url) -> Result<(), Refusal> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Code::NetTokenLeak.into());
        }
        if !is_encrypted_or_loopback(url) {
            return Err(Code::NetPlain.into());
        }
        if !self.origins.contains(&key(url)) {
            return Err(Code::NetHost.into());
        }
        Ok(())
    }

    /// The address a server points to with `location`, when we may go there from `url`.
    ///
    /// # Errors
    /// [`Code::NetRedirect`] for an address that [`admit`](Self::admit) refuses, for a step from
    /// `https` down to `http`, and for what is no address.
    pub(crate) fn redirect(&self, url: &Url, location: &str) -> Result<Url, Refusal> {
        let refused = || Refusal::from(Code::NetRedirect);
        let target = url.join(location).map_err(|_| refused())?;
        let downgrade = url.scheme() == "https" && target.scheme() != "https";
        if downgrade || self.admit(&target).is_err() {
            Err(refused())
        } else {
            Ok(target)
        }
    }
}

/// Scheme, host and port of a server; no path, no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    root: Url,
    port: Port,
}

impl Origin {
    /// Reads `https://host[:port]`, or `http://` to this machine, for the adapter of `port`.
    ///
    /// # Errors
    /// [`Code::NetTokenLeak`] for a user name or password in it, [`Code::NetPlain`] for `http`
    /// to another machine, a `Misconfigured` fault for a path, a query or no URL at all.
    pub fn parse(text: &str, port: Port) -> Result<Self> {
        let call = Call::new(port, "configure");
        let malformed = || {
            Error::from(
                call.fault(FaultKind::Misconfigured)
                    .because("an origin is scheme, host and port"),
            )
        };
        let root = Url::parse(text).map_err(|_| malformed())?;
        if !root.username().is_empty() || root.password().is_some() {
            return Err(Code::NetTokenLeak.into());
        }
        if !root.has_host()
            || root.path() != "/"
            || root.query().is_some()
            || root.fragment().is_some()
        {
            return Err(malformed());
        }
        if !is_encrypted_or_loopback(&root) {
            return Err(Code::NetPlain.into());
        }
        Ok(Self { root, port })
    }

    /// The address below this origin with these path segments, each percent-encoded.
    ///
    /// # Errors
    /// A `Misconfigured` fault for the segments `.` and `..` (plain or encoded), which would
    /// name something else, and for an empty segment that is not the last.
    pub fn url<S: AsRef<str>>(&self, segments: impl IntoIterator<Item = S>) -> Result<Url> {
        let fault = Call::new(self.port, "address").fault(FaultKind::Misconfigured);
        let mut url = self.root.clone();
        let segments: Vec<S> = segments.into_iter().collect();
        let mut path = url.path_segments_mut().map_err(|()| fault)?;
        path.clear();
        for (index, segment) in segments.iter().enumerate() {
            let segment = segment.as_ref();
            let lower = segment.to_ascii_lowercase().replace("%2e", ".");
            let empty_inside = segment.is_empty() && index + 1 < segments.len();
            if lower == "." || lower == ".." || empty_inside {
                return Err(fault.because("not a path segment").into());
            }
            path.push(segment);
        }
        drop(path);
        Ok(url)
    }

    /// The address below this origin with this path (and query), already percent-encoded.
    ///
    /// # Errors
    /// A `Misconfigured` fault when it would leave this origin.
    pub fn join(&self, path_and_query: &str) -> Result<Url> {
        let fault = Call::new(self.port, "address").fault(FaultKind::Misconfigured);
        let url = self.root.join(path_and_query).map_err(|_| fault)?;
        if path_and_query.starts_with('/') && key(&url) == key(&self.root) {
            Ok(url)
        } else {
            Err(fault.because("the path leaves the origin").into())
        }
    }

    /// The origin as text, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.root.as_str().trim_end_matches('/')
    }
}

/// How long to wait and how much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To open a connection, TLS included. 10 s unless told.
    pub connect: Duration,
    /// Between two signs of life: from the last byte sent to the head of the answer, and
    /// between two chunks of its body. 30 s unless told.
    pub idle: Duration,
    /// For one exchange from beginning to end. 5 min unless told; a request may ask for more.
    pub total: Duration,
    /// Bytes of an answer that is read into memory. 8 MiB unless told.
    pub document: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(300),
            document: 8 << 20,
        }
    }
}

fn is_encrypted_or_loopback(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // The client resolves this name to the loopback addresses itself, whatever the
        // machine's resolver says.
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn key(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text, Port::Crm).unwrap()
    }

    fn code(result: Result<(), Refusal>) -> Option<Code> {
        result.err().map(|refusal| refusal.code())
    }

    #[test]
    fn only_listed_origins_are_admitted() {
        let policy = TransportPolicy::to([
            origin("https://api.example.com"),
            origin("http://127.0.0.1:8080"),
        ]);
        let ask = |text: &str| code(policy.admit(&text.parse().unwrap()));
        assert_eq!(ask("https://api.example.com/a?b=c"), None);
        assert_eq!(ask("https://API.EXAMPLE.COM:443/"), None);
        assert_eq!(ask("http://127.0.0.1:8080/"), None);
        for other in [
            "https://api.example.com:8443/",
            "https://api.example.com.evil.example/",
            "https://xapi.example.com/",
            "https://api.example.com./",
            "http://127.0.0.1:8081/",
            "https://127.0.0.1:8080/",
        ] {
            assert_eq!(ask(other), Some(Code::NetHost), "{other}");
        }
    }

    #[test]
    fn plain_http_is_refused_except_to_this_machine() {
        let policy = TransportPolicy::to([origin("https://api.example.com")]);
        for plain in [
            "http://api.example.com/",
            "http://10.0.0.1/",
            "ftp://api.example.com/",
            "http://localhost.example.com/",
        ] {
            assert_eq!(
                code(policy.admit(&plain.parse().unwrap())),
                Some(Code::NetPlain),
                "{plain}"
            );
        }
        for plain in ["http://localhost:1", "http://127.8.8.8", "http://[::1]:80"] {
            assert!(Origin::parse(plain, Port::Crm).is_ok(), "{plain}");
        }
        assert_eq!(
            Origin::parse("http://api.example.com", Port::Crm),
            Err(Code::NetPlain.into())
        );
    }

    #[test]
    fn credentials_before_the_host_are_refused() {
        let policy = TransportPolicy::to([origin("https://api.example.com")]);
        let url = "https://user:secret@api.example.com/".parse().unwrap();
        assert_eq!(code(policy.admit(&url)), Some(Code::NetTokenLeak));
        assert_eq!(
            Origin::parse("https://u:p@api.example.com", Port::Crm),
            Err(Code::NetTokenLeak.into())
        );
    }

    #[test]
    fn a_redirect_off_the_list_or_down_to_http_is_refused() {
        let policy = TransportPolicy::to([
            origin("https://a.example.com"),
            origin("http://127.0.0.1:1"),
        ]);
        let from: Url = "https://a.example.com/x/y".parse().unwrap();
        assert_eq!(
            policy.redirect(&from, "../z").unwrap().as_str(),
            "https://a.example.com/z"
        );
        for to in [
            "https://b.example.com/",
            "http://a.example.com/",
            "http://127.0.0.1:1/",
            "//evil.example/",
            "javascript:1",
            "http://[",
        ] {
            assert_eq!(
                policy.redirect(&from, to).unwrap_err().code(),
                Code::NetRedirect,
                "{to}"
            );
        }
    }

    #[test]
    fn path_segments_cannot_climb_or_break_out() {
        let root = origin("https://a.example.com");
        assert_eq!(
            root.url(["x", "a/b ?#%", "Ω"]).unwrap().as_str(),
            "https://a.example.com/x/a%2Fb%20%3F%23%25/%CE%A9"
        );
        for climbing in ["..", ".", "%2e%2E", ".%2e", ""] {
            assert!(root.url(["x", climbing, "y"]).is_err(), "{climbing}");
        }
        assert!(root.join("/a/b?c=d").is_ok());
        for leaving in [
            "//evil.example/",
            "https://evil.example/",
            "a",
            "/\\evil.example",
        ] {
            assert!(
                root.join(leaving).is_err()
                    || root.join(leaving).unwrap().host_str() == Some("a.example.com"),
                "{leaving}"
            );
        }
        assert!(root.join("//evil.example/").is_err());
    }

    #[test]
    fn an_origin_with_a_path_or_query_is_misconfigured() {
        for text in [
            "https://a.example.com/crm",
            "https://a.example.com?x",
            "nonsense",
            "https://",
            "",
        ] {
            assert!(
                Origin::parse(text, Port::Crm)
                    .unwrap_err()
                    .fault()
                    .is_some(),
                "{text}"
            );
        }
    }
}
