//! Attachments under a record: bytes in a store of their own. The firm's documents belong into
//! its library; what people attach by hand is found, fetched, and taken away with the record.

use kta_core::id::{IdempotencyKey, SubjectId};
use kta_core::pii::{Category, Content, ContentStream, Locator, Pii};
use kta_core::policy::{Act, Permit};
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::ZohoCrm;
use crate::client::Client;
use crate::coql::{is_id, text_id};
use crate::error::protocol;
use crate::marker;
use crate::records::{MODULE, READING, locator};
use crate::recycle_bin::{self, one_row, unless_gone};

/// A line of a record's attachments.
#[derive(Debug)]
pub struct Attached {
    /// The CRM's id.
    pub locator: Locator,
    /// The name, which may say anything.
    pub name: Pii<String>,
    /// Bytes, as the CRM says.
    pub size: u64,
    /// Whether it is a link to somewhere else, which cannot be fetched.
    pub link: bool,
}

impl ZohoCrm {
    /// The attachments of a record.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, or the record is somebody else's;
    /// faults of the transport.
    pub async fn attachments(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Attached>> {
        let call = Call::new(Port::Crm, "attachments");
        permit.require(&READING, subject, Category::Case)?;
        self.row(call, subject, at, permit).await?;
        let path = [MODULE, at.as_str(), "Attachments"];
        let mut attached = Vec::new();
        for page in 1..=MOST_ROUNDS {
            let page = page.to_string();
            let request = || {
                let request = self.client.request(call, Method::GET, &path)?;
                let request = request.query("fields", "id,File_Name,Size,$type");
                Ok(request.query("per_page", "200").query("page", &page))
            };
            let answer = self.client.answer(call, request).await?;
            let more = answer.has_more();
            for mut row in answer.into_list(call, "data")? {
                let size = row["Size"].as_str().and_then(|text| text.parse().ok());
                let name = match row["File_Name"].take() {
                    Value::String(name) => name,
                    _ => String::new(),
                };
                attached.push(Attached {
                    locator: locator(call, &text_id(call, &row)?)?,
                    name: Pii::new(name),
                    size: size.or(row["Size"].as_u64()).unwrap_or_default(),
                    link: row["$type"] == "Link URL",
                });
            }
            if !more {
                return Ok(attached);
            }
        }
        Err(protocol(call, "the pages do not end"))
    }

    /// The bytes of an attachment, as they come; at most 20 MiB, the vendor's limit.
    ///
    /// # Errors
    /// As [`attachments`](Self::attachments); `NotFound` when there is none.
    pub async fn attachment(
        &self,
        subject: SubjectId,
        at: &Locator,
        attachment: &Locator,
        permit: &Permit<'_>,
    ) -> Result<ContentStream> {
        let call = Call::new(Port::Crm, "attachment");
        permit.require(&READING, subject, Category::Case)?;
        self.row(call, subject, at, permit).await?;
        self.bytes_of(call, at, attachment).await
    }

    pub(crate) async fn bytes_of(
        &self,
        call: Call,
        at: &Locator,
        attachment: &Locator,
    ) -> Result<ContentStream> {
        let missing = || call.fault(FaultKind::NotFound).into();
        if !is_id(attachment.as_str()) {
            return Err(missing());
        }
        let path = [MODULE, at.as_str(), "Attachments", attachment.as_str()];
        let request = || self.client.request(call, Method::GET, &path);
        let stream = self.client.stream(call, LARGEST, request).await?;
        stream.ok_or_else(missing)
    }

    /// Attaches content to a record, streamed, under a name that comes from `key` and says
    /// nothing; gives the CRM's id of it. The same key twice is one attachment.
    ///
    /// # Errors
    /// As [`attachments`](Self::attachments); `CRM-WRONG-STORE` for content of a special
    /// category, which belongs into the library; `Protocol` for more than
    /// 20 MiB. When the answer is lost it is `OutcomeUnknown`: the same call again finds what is
    /// there.
    pub async fn attach(
        &self,
        subject: SubjectId,
        at: &Locator,
        content: Content,
        category: Category,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Locator> {
        let call = Call::new(Port::Crm, "attach");
        permit.require(&ATTACHING, subject, category)?;
        if category.is_special() {
            return Err(Refusal::new(Code::CrmWrongStore)
                .about("subject", subject)
                .into());
        }
        if content.length() > LARGEST {
            let fault = call.fault(FaultKind::Protocol);
            return Err(fault.because("the CRM takes 20 MiB at most").into());
        }
        self.row(call, subject, at, permit).await?;
        let name = format!("{key}.bin");
        let path = [MODULE, at.as_str(), "Attachments"];
        let request = || {
            let request = self.client.request(call, Method::GET, &path)?;
            Ok(request
                .query("fields", "id,File_Name")
                .query("per_page", "200"))
        };
        let there = self.client.answer(call, request).await?;
        for row in there.into_list(call, "data")? {
            if row["File_Name"] == name.as_str() {
                return locator(call, &text_id(call, &row)?);
            }
        }
        let (length, media) = (content.length(), content.media().clone());
        let request = self.client.request(call, Method::POST, &path)?.file(
            "file",
            &name,
            content.into_stream(permit),
            length,
            &media,
        );
        let answer = self.client.answer_once(call, request).await;
        let details = one_row(call, answer, "data")?;
        locator(call, &text_id(call, &details)?)
    }
}

/// Deletes and purges every attachment under a live record, a few at a time whose ids the record says
/// meanwhile; gives how many there were.
pub(crate) async fn erase_all(client: &Client, call: Call, record: &str) -> Result<u32> {
    let mut erased = 0;
    for _ in 0..MOST_ROUNDS {
        // Gone with its record means that somebody else is erasing at the same time.
        let ids = unless_gone(list(client, call, record).await)?.unwrap_or_default();
        if ids.is_empty() {
            return Ok(erased);
        }
        for ids in ids.chunks(marker::AT_ONCE) {
            marker::write(client, call, record, ids).await?;
            for id in ids {
                let path = [MODULE, record, "Attachments", id];
                let request = || client.request(call, Method::DELETE, &path);
                unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
                recycle_bin::purge(client, call, id).await?;
                erased += 1;
            }
        }
    }
    Err(protocol(call, "attachments do not go away"))
}

/// A page of the ids of a record's attachments.
pub(crate) async fn list(client: &Client, call: Call, record: &str) -> Result<Vec<String>> {
    let path = [MODULE, record, "Attachments"];
    let request = || {
        let request = client.request(call, Method::GET, &path)?;
        Ok(request.query("fields", "id").query("per_page", "200"))
    };
    let rows = client
        .answer(call, request)
        .await?
        .into_list(call, "data")?;
    rows.iter().map(|row| text_id(call, row)).collect()
}

/// The vendor's limit for one file.
pub(crate) const LARGEST: u64 = 20 << 20;
const ATTACHING: [Act; 3] = [Act::Amend, Act::Enter, Act::Process];
/// Each round takes up to 200 attachments away.
const MOST_ROUNDS: u32 = 500;
