//! The head of a web-form request, read strictly.

use kta_core::refusal::Code;

/// A request head: method, target and headers, as they came over the wire.
pub struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads the bytes of a request up to and with the empty line.
    ///
    /// # Errors
    /// `INT-SIZE` for more than `limit` bytes; `INT-MALFORMED` for what is not one HTTP/1.1
    /// head, and for a header twice on which the meaning of the request hangs.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, Code> {
        if bytes.len() > limit {
            return Err(Code::IntSize);
        }
        let mut slots = [httparse::EMPTY_HEADER; 96];
        let mut request = httparse::Request::new(&mut slots);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            _ => return Err(Code::IntMalformed),
        }
        let text = |bytes: &[u8]| core::str::from_utf8(bytes).map(str::to_owned);
        let mut headers = Vec::with_capacity(request.headers.len());
        for header in request.headers.iter() {
            let value = text(header.value).map_err(|_| Code::IntMalformed)?;
            headers.push((header.name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers,
        };
        let once = [
            "host",
            "content-type",
            "content-length",
            "origin",
            "referer",
            "cookie",
        ];
        if once.iter().any(|name| head.count(name) > 1) {
            return Err(Code::IntMalformed);
        }
        Ok(head)
    }

    /// The method, for example `POST`.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path without query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The only value of a header; `None` also when it stands there twice.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<&str> {
        self.header(name).filter(|_| self.count(name) == 1)
    }

    /// The value of a cookie; `None` also when two have the name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self
            .header("cookie")?
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(key, _)| key == name).count()
    }
}
