//! Making subscriptions, and keeping them alive.

use crate::client::{Client, json_get};
use crate::{Mailbox, SharePoint};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

/// What to tell Graph when asking to be notified.
pub struct WatchRequest {
    /// Where to post notifications; `https`, or plain `http` to this machine for an emulator.
    pub notify: String,
    /// Where to post what happens to the subscription itself; may be the same.
    pub lifecycle: String,
    /// The secret that comes with every notification; at most 128 characters.
    pub client_state: SecretString,
    /// How long from now; a library at most 42 300 minutes, an inbox 10 080, with content 1 440.
    pub lasts: TimeDelta,
    /// To have the changed thing come along: the id and the DER bytes of the certificate to seal it for.
    /// An inbox only.
    pub content_for: Option<(String, Vec<u8>)>,
}

/// A subscription that Graph has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its id.
    pub id: Locator,
    /// When it ends.
    pub until: Timestamp,
}

/// What became of a subscription that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It had enough time left.
    Alive(Watch),
    /// It was gone, or sealed for another certificate, and is another one now: what happened meanwhile was
    /// told to nobody.
    Anew(Watch),
    /// It was given more time.
    Renewed(Watch),
}

impl SharePoint {
    /// Asks to be told of changes in the library. Asked again for the same address it is another
    /// subscription, with this secret and this certificate, and the one before ends.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to manage; `NET-PLAIN` for an address without TLS that is not on this
    /// machine; a `Misconfigured` fault when Graph does not get its validation echoed, refuses the length, or is asked to send a library's content along.
    pub async fn watch(&self, request: &WatchRequest, permit: &Permit<'_>) -> Result<Watch> {
        permit.require_act(WATCH_ACTS)?;
        if request.content_for.is_some() {
            let fault = WATCH.fault(FaultKind::Misconfigured);
            return Err(fault
                .because("a library's notifications bring no content")
                .into());
        }
        watch(
            &self.graph,
            &self.resource(),
            "updated",
            request,
            permit.now(),
        )
        .await
    }

    /// Gives a subscription more time when less than a third of it is left, and makes another when it is
    /// gone or seals for another certificate. Its secret stays as it is: another one takes
    /// [`watch`](Self::watch).
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub async fn keep(
        &self,
        watch: &Watch,
        request: &WatchRequest,
        permit: &Permit<'_>,
    ) -> Result<Kept> {
        permit.require_act(WATCH_ACTS)?;
        keep(
            &self.graph,
            watch,
            &self.resource(),
            "updated",
            request,
            permit.now(),
        )
        .await
    }

    /// Answers Graph's wish to have the subscription authorised again.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to manage; faults.
    pub async fn reauthorize(&self, watch: &Watch, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(WATCH_ACTS)?;
        reauthorize(&self.graph, watch).await
    }

    /// Ends a subscription; one that is gone is no error.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to manage; faults.
    pub async fn unwatch(&self, watch: &Watch, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(WATCH_ACTS)?;
        unwatch(&self.graph, watch).await
    }

    fn resource(&self) -> String {
        format!("drives/{}/root", self.drive)
    }
}

impl Mailbox {
    /// Asks to be told of messages that arrive. Asked again for the same address it is another
    /// subscription, with this secret and this certificate, and the one before ends.
    ///
    /// # Errors
    /// As [`SharePoint::watch`]; the permit is one to receive.
    pub async fn watch(&self, request: &WatchRequest, permit: &Permit<'_>) -> Result<Watch> {
        permit.require_act(&[Act::Receive])?;
        watch(
            self.graph(),
            &self.resource(),
            "created",
            request,
            permit.now(),
        )
        .await
    }

    /// As [`SharePoint::keep`]; the permit is one to receive.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub async fn keep(
        &self,
        watch: &Watch,
        request: &WatchRequest,
        permit: &Permit<'_>,
    ) -> Result<Kept> {
        permit.require_act(&[Act::Receive])?;
        let graph = self.graph();
        keep(
            graph,
            watch,
            &self.resource(),
            "created",
            request,
            permit.now(),
        )
        .await
    }

    /// As [`SharePoint::reauthorize`]; the permit is one to receive.
    ///
    /// # Errors
    /// `ACL-DENY`; faults.
    pub async fn reauthorize(&self, watch: &Watch, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Receive])?;
        reauthorize(self.graph(), watch).await
    }

    /// Ends a subscription; one that is gone is no error.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to receive; faults.
    pub async fn unwatch(&self, watch: &Watch, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Receive])?;
        unwatch(self.graph(), watch).await
    }
}

async fn watch(
    graph: &Client,
    resource: &str,
    kind: &str,
    request: &WatchRequest,
    now: Timestamp,
) -> Result<Watch> {
    for address in [&request.notify, &request.lifecycle] {
        // https, or plain http to this machine: what Graph posts is read on the way otherwise.
        let url = kta_http::Url::parse(address);
        let url = url.map_err(|_| {
            WATCH
                .fault(FaultKind::Misconfigured)
                .because("not an address")
        })?;
        kta_http::Origin::parse(&url.origin().ascii_serialization(), Port::Documents)?;
    }
    let until = now + request.lasts;
    // Earlier ones, and those whose making was not heard of. Which secret they have cannot be read, and
    // it cannot be changed, so that none of them is taken over.
    let url = graph.url(&["subscriptions"])?;
    let all: Option<Vec<Listed>> = graph.list(WATCH, url.clone(), MOST).await?;
    let mut before = all.unwrap_or_default();
    before.retain(|each| {
        let watched = each.resource.split('?').next().unwrap_or_default();
        watched.trim_start_matches('/') == resource && each.notification_url == request.notify
    });
    let mut body = json!({
        "changeType": kind,
        "notificationUrl": request.notify,
        "lifecycleNotificationUrl": request.lifecycle,
        "resource": resource,
        "expirationDateTime": until.to_rfc3339_opts(SecondsFormat::Secs, true),
        "clientState": request.client_state.expose_secret(),
    });
    if let Some((id, certificate)) = &request.content_for {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        body["includeResourceData"] = Value::Bool(true);
        // What comes along is only what is selected: ids and a time, while the text is fetched by us.
        body["resource"] = json!(format!(
            "{resource}?$select=id,receivedDateTime,internetMessageId"
        ));
        body["encryptionCertificate"] = json!(STANDARD.encode(certificate));
        body["encryptionCertificateId"] = json!(id);
    }
    let make = || Ok(Request::post(WATCH, url.clone()).json(&body));
    let mut answer = graph.ask(make).await?;
    if answer.status == 409 && !before.is_empty() {
        // For some resources there is one at a time.
        for one in before.drain(..) {
            end(graph, &one.id).await?;
        }
        answer = graph.ask(make).await?;
    }
    match answer.status {
        200 | 201 => {
            let made = answer.parse::<Listed>(WATCH)?.read()?;
            for one in before {
                end(graph, &one.id).await?;
            }
            Ok(made)
        }
        400 => {
            let fault = WATCH.fault(FaultKind::Misconfigured).with_status(400);
            Err(fault
                .because("Graph did not get its validation echoed, or refuses the request")
                .into())
        }
        _ => Err(answer.unexpected(WATCH)),
    }
}

async fn keep(
    graph: &Client,
    kept: &Watch,
    resource: &str,
    kind: &str,
    request: &WatchRequest,
    now: Timestamp,
) -> Result<Kept> {
    let url = graph.url(&["subscriptions", kept.id.as_str()])?;
    let known: Option<Listed> = {
        let answer = graph.ask(|| Ok(json_get(WATCH, url.clone()))).await?;
        match answer.status {
            200 => Some(answer.parse(WATCH)?),
            404 => None,
            _ => return Err(answer.unexpected(WATCH)),
        }
    };
    let wanted = request.content_for.as_ref().map(|(id, _)| id.as_str());
    // One that seals for another certificate, or for none, is of no more use.
    if let Some(known) = known.filter(|known| known.sealed_for() == wanted) {
        let watch = known.read()?;
        if watch.until - now > request.lasts / 3 {
            return Ok(Kept::Alive(watch));
        }
        if let Some(renewed) = renew(graph, watch.id.as_str(), now + request.lasts).await? {
            return Ok(Kept::Renewed(renewed));
        }
    }
    let anew = watch(graph, resource, kind, request, now).await?;
    Ok(Kept::Anew(anew))
}

/// Sets the end of a subscription; `None` when there is none.
async fn renew(graph: &Client, id: &str, until: Timestamp) -> Result<Option<Watch>> {
    let url = graph.url(&["subscriptions", id])?;
    let body = json!({ "expirationDateTime": until.to_rfc3339_opts(SecondsFormat::Secs, true) });
    let make = || Ok(Request::patch(WATCH, url.clone()).json(&body).repeatable());
    let answer = graph.ask(make).await?;
    match answer.status {
        200 => answer.parse::<Listed>(WATCH)?.read().map(Some),
        404 => Ok(None),
        _ => Err(answer.unexpected(WATCH)),
    }
}

async fn reauthorize(graph: &Client, watch: &Watch) -> Result<()> {
    let url = graph.url(&["subscriptions", watch.id.as_str(), "reauthorize"])?;
    let answer = graph
        .ask(|| Ok(Request::post(WATCH, url.clone()).repeatable()))
        .await?;
    match answer.status {
        200 | 202 | 204 => Ok(()),
        _ => Err(answer.unexpected(WATCH)),
    }
}

async fn unwatch(graph: &Client, watch: &Watch) -> Result<()> {
    end(graph, watch.id.as_str()).await
}

async fn end(graph: &Client, id: &str) -> Result<()> {
    let url = graph.url(&["subscriptions", id])?;
    let answer = graph
        .ask(|| Ok(Request::delete(WATCH, url.clone())))
        .await?;
    match answer.status {
        200 | 204 | 404 => Ok(()),
        _ => Err(answer.unexpected(WATCH)),
    }
}

impl fmt::Debug for WatchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchRequest")
            .field("lasts", &self.lasts)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    notification_url: String,
    expiration_date_time: DateTime<Utc>,
    #[serde(default)]
    include_resource_data: Option<bool>,
    #[serde(default)]
    encryption_certificate_id: Option<String>,
}

impl Listed {
    /// The certificate that what comes along is sealed for; `None` when nothing comes along.
    fn sealed_for(&self) -> Option<&str> {
        match self.include_resource_data {
            Some(true) => Some(
                self.encryption_certificate_id
                    .as_deref()
                    .unwrap_or_default(),
            ),
            _ => None,
        }
    }

    fn read(self) -> Result<Watch> {
        let id = Locator::new(self.id)
            .map_err(|_| WATCH.fault(FaultKind::Protocol).because("not an id"))?;
        Ok(Watch {
            id,
            until: self.expiration_date_time,
        })
    }
}

const WATCH: Call = Call::new(Port::Documents, "watch");
const WATCH_ACTS: &[Act] = &[Act::Manage, Act::Process, Act::Review];
/// No application has more subscriptions than this on one thing.
const MOST: usize = 10_000;
