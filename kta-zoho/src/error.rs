//! Reading the vendor's errors: one shape that may stand bare, in a row, or in a list.

use kta_core::audit::Label;
use kta_core::{Code, Error, FaultKind, Refusal};
use kta_http::Call;
use serde_json::Value;

/// What the vendor says went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) code: String,
    /// The field it is about, if it names one.
    pub(crate) api_name: Option<String>,
}

impl Complaint {
    /// The complaint in a whole body: bare, or the first failed row of its only list.
    pub(crate) fn in_body(body: &Value) -> Option<Self> {
        Self::in_row(body).or_else(|| {
            let lists = body.as_object()?.values().filter_map(Value::as_array);
            lists.flatten().find_map(Self::in_row)
        })
    }

    /// The complaint in one row; nested ones are looked into.
    pub(crate) fn in_row(row: &Value) -> Option<Self> {
        if row.get("status")?.as_str()? != "error" {
            return None;
        }
        let code = row.get("code")?.as_str()?;
        if code == "MULTIPLE_OR_MULTI_ERRORS" {
            let nested = row.get("details").and_then(|details| details.get("errors"));
            let first = nested
                .and_then(Value::as_array)
                .and_then(|list| list.first());
            if let Some(complaint) = first.and_then(Self::in_nested) {
                return Some(complaint);
            }
        }
        Some(Self {
            code: code.to_owned(),
            api_name: api_name(row),
        })
    }

    /// Whether a new token would help.
    pub(crate) fn is_about_the_token(&self) -> bool {
        matches!(
            self.code.as_str(),
            "INVALID_TOKEN" | "AUTHENTICATION_FAILURE"
        )
    }

    /// What it means here. Nothing of the vendor's text is passed on: it may quote a value.
    pub(crate) fn into_error(self, call: Call, status: u16) -> Error {
        let field = self.api_name.as_deref();
        let fault = |kind| call.fault(kind).with_status(status);
        match self.code.as_str() {
            "ALREADY_MODIFIED" | "DUPLICATE_DATA" => fault(FaultKind::Conflict).into(),
            "MANDATORY_NOT_FOUND" => about_field(Code::RevIncomplete, field),
            "RECORD_LOCKED" | "RECORD_IN_BLUEPRINT" | "NOT_APPROVED" => Code::SynLocked.into(),
            "NOT_SUBSCRIBED" | "RESOURCE_NOT_FOUND" => fault(FaultKind::NotFound).into(),
            "INVALID_DATA" if field.is_none_or(|name| name == "id") => {
                fault(FaultKind::NotFound).into()
            }
            "INVALID_DATA" | "PATTERN_NOT_MATCHED" | "LIMIT_EXCEEDED" => fault(FaultKind::Protocol)
                .because("the CRM does not take a value")
                .into(),
            "TOO_MANY_REQUESTS" | "RATE_LIMIT_EXCEEDED" => {
                fault(FaultKind::Throttled { retry_after: None }).into()
            }
            "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" => fault(FaultKind::Misconfigured)
                .because("the CRM does not take the token")
                .into(),
            "OAUTH_SCOPE_MISMATCH" => fault(FaultKind::Misconfigured)
                .because("the token lacks a scope")
                .into(),
            "NO_PERMISSION" | "AUTHORIZATION_FAILED" | "NOT_ALLOWED" => {
                fault(FaultKind::Misconfigured)
                    .because("the CRM user lacks a permission")
                    .into()
            }
            "INVALID_MODULE" | "INVALID_URL_PATTERN" | "INVALID_REQUEST_METHOD" => {
                fault(FaultKind::Misconfigured)
                    .because("the CRM has no such module or path")
                    .into()
            }
            "INTERNAL_ERROR"
            | "INTERNAL_SERVER_ERROR"
            | "DEPENDENT_SERVICE_ERROR"
            | "SERVICE_UNAVAILABLE" => fault(FaultKind::Unavailable).into(),
            _ => from_status(call, status),
        }
    }

    fn in_nested(row: &Value) -> Option<Self> {
        let code = row.get("code")?.as_str()?.to_owned();
        Some(Self {
            code,
            api_name: api_name(row),
        })
    }
}

/// What a status means when the body says nothing that can be read.
pub(crate) fn from_status(call: Call, status: u16) -> Error {
    let kind = match status {
        401 | 403 => FaultKind::Misconfigured,
        404 => FaultKind::NotFound,
        412 => FaultKind::Conflict,
        429 => FaultKind::Throttled { retry_after: None },
        500..=599 => FaultKind::Unavailable,
        _ => FaultKind::Protocol,
    };
    call.fault(kind).with_status(status).into()
}

/// A refusal about a field of the CRM, by its API name.
pub(crate) fn about_field(code: Code, api_name: Option<&str>) -> Error {
    let refusal = Refusal::new(code);
    match api_name.and_then(|name| Label::new(name).ok()) {
        Some(name) => refusal.about("field", name).into(),
        None => refusal.into(),
    }
}

/// The other side spoke in a way that cannot be right.
pub(crate) fn protocol(call: Call, why: &'static str) -> Error {
    call.fault(FaultKind::Protocol).because(why).into()
}

fn api_name(row: &Value) -> Option<String> {
    row.get("details")?
        .get("api_name")?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kta_core::Port;
    use serde_json::json;

    const ENTER: Call = Call::new(Port::Crm, "enter");

    #[test]
    fn a_complaint_is_found_bare_in_a_row_and_in_any_list() {
        let bare =
            json!({"code": "INVALID_TOKEN", "details": {}, "message": "m", "status": "error"});
        for body in [
            bare.clone(),
            json!({"data": [bare]}),
            json!({"recycle_bin": [bare]}),
        ] {
            assert_eq!(Complaint::in_body(&body).unwrap().code, "INVALID_TOKEN");
        }
        let nested = json!({"data": [{
            "code": "MULTIPLE_OR_MULTI_ERRORS", "status": "error", "message": "m",
            "details": {"errors": [{"code": "MANDATORY_NOT_FOUND", "details": {"api_name": "Last_Name"}}]},
        }]});
        let found = Complaint::in_body(&nested).unwrap();
        assert_eq!(
            (found.code.as_str(), found.api_name.as_deref()),
            ("MANDATORY_NOT_FOUND", Some("Last_Name"))
        );
    }

    #[test]
    fn a_success_or_rubbish_is_no_complaint() {
        for body in [
            json!({"data": [{"code": "SUCCESS", "status": "success"}]}),
            json!(null),
            json!([1]),
            json!({"data": 7}),
        ] {
            assert_eq!(Complaint::in_body(&body), None);
        }
    }

    #[test]
    fn what_the_vendor_says_about_a_value_is_not_repeated() {
        let row = json!({"code": "INVALID_DATA", "status": "error", "message": "ZZCANARY is wrong", "details": {"api_name": "Email", "value": "ZZCANARY"}});
        let error = Complaint::in_row(&row).unwrap().into_error(ENTER, 400);
        assert!(!format!("{error} {error:?}").contains("ZZCANARY"));
    }

    #[test]
    fn an_unknown_code_falls_back_to_the_status() {
        let unknown = Complaint {
            code: "SOMETHING_NEW".into(),
            api_name: None,
        };
        assert!(
            unknown
                .clone()
                .into_error(ENTER, 503)
                .fault()
                .unwrap()
                .is_transient()
        );
        assert!(
            !unknown
                .into_error(ENTER, 400)
                .fault()
                .unwrap()
                .is_transient()
        );
    }
}
