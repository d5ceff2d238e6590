//! From what the network libraries say to what this house says. Their errors hold addresses,
//! so none of them is kept.

use std::error::Error as StdError;

use kta_core::{Code, Error, FaultKind};

use crate::call::Call;
use crate::request::Repeat;

/// What a failed exchange means, when `sent` says whether the server may have seen the request.
pub(crate) fn failed(error: &reqwest::Error, call: Call, repeat: Repeat, sent: bool) -> Error {
    let traits = Traits::of(error);
    if let Some(code) = traits.refusal {
        return code.into();
    }
    let sent = sent && !error.is_connect();
    let kind = match repeat {
        Repeat::Never if sent => FaultKind::OutcomeUnknown,
        _ if traits.malformed => FaultKind::Protocol,
        Repeat::Same if sent => FaultKind::Unavailable,
        _ if error.is_timeout() => FaultKind::Timeout,
        _ => FaultKind::Unavailable,
    };
    let fault = call.fault(kind);
    Error::from(match (sent, traits.malformed) {
        (_, true) => fault.because("the server does not speak this protocol"),
        (false, _) => fault.because("no connection"),
        (true, _) => fault.because("the connection broke"),
    })
}

/// What it means that time ran out.
pub(crate) fn timed_out(call: Call, repeat: Repeat, sent: bool) -> Error {
    let kind = match repeat {
        Repeat::Never if sent => FaultKind::OutcomeUnknown,
        Repeat::Same if sent => FaultKind::Unavailable,
        _ => FaultKind::Timeout,
    };
    call.fault(kind).because("no answer in time").into()
}

struct Traits {
    refusal: Option<Code>,
    malformed: bool,
}

impl Traits {
    fn of(error: &reqwest::Error) -> Self {
        let mut traits = Self {
            refusal: None,
            malformed: false,
        };
        traits.look_below(error);
        traits
    }

    fn look_below(&mut self, error: &(dyn StdError + 'static)) {
        // An `io::Error` hides the error that it carries from `source`.
        let carried = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let carried = carried.map(|inner| -> &(dyn StdError + 'static) { inner });
        if let Some(cause) = carried.or_else(|| error.source()) {
            self.look_at(cause);
            self.look_below(cause);
        }
    }

    fn look_at(&mut self, cause: &(dyn StdError + 'static)) {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            match error {
                rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType => self.refusal = Some(Code::NetCert),
                rustls::Error::PeerIncompatible(_)
                | rustls::Error::AlertReceived(
                    rustls::AlertDescription::ProtocolVersion
                    | rustls::AlertDescription::InsufficientSecurity,
                ) => self.refusal = Some(Code::NetVersion),
                rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::InappropriateHandshakeMessage { .. }
                | rustls::Error::PeerMisbehaved(_) => self.malformed = true,
                _ => {}
            }
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            self.malformed |= error.is_parse();
        }
    }
}
