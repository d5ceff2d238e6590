//! Notes under a record: a store of their own, which outlives it.

use kta_core::id::{IdempotencyKey, SubjectId};
use kta_core::pii::{Category, Locator, Pii};
use kta_core::policy::{Act, Permit};
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::ZohoCrm;
use crate::client::Client;
use crate::coql::{query, text_id};
use crate::marker;
use crate::records::{MODULE, READING, locator};
use crate::recycle_bin::{self, one_row, unless_gone};
use crate::value::{Row, Write};

/// Empties, deletes and purges every note under a live record; gives how many there were.
///
/// A note is emptied first: its title would stand in the list of deleted things for ever, and a
/// process killed between the two deletions would leave its text in the recycle bin, where no
/// question finds it by its record.
pub(crate) async fn erase_all(client: &Client, call: Call, record: &str) -> Result<u32> {
    let mut erased = 0;
    for _ in 0..MOST_ROUNDS {
        let path = [MODULE, record, "Notes"];
        let request = || {
            let request = client.request(call, Method::GET, &path)?;
            Ok(request.query("fields", "id"))
        };
        // Gone with its record means that somebody else is erasing at the same time.
        let Some(answer) = unless_gone(client.answer(call, request).await)? else {
            return Ok(erased);
        };
        let rows = answer.into_list(call, "data")?;
        if rows.is_empty() {
            return Ok(erased);
        }
        let ids: Result<Vec<String>> = rows.iter().map(|row| text_id(call, row)).collect();
        for ids in ids?.chunks(marker::AT_ONCE) {
            marker::write(client, call, record, ids).await?;
            for id in ids {
                erase(client, call, id).await?;
                erased += 1;
            }
        }
    }
    Err(crate::error::protocol(call, "notes do not go away"))
}

/// How many notes the CRM still has for the record, asked by another way than the record's own
/// list.
pub(crate) async fn count(client: &Client, call: Call, record: &str) -> Result<usize> {
    let text = format!("select id from Notes where Parent_Id = '{record}' limit 0, 200");
    Ok(query(client, call, &text)
        .await?
        .into_list(call, "data")?
        .len())
}

/// A note under a record.
#[derive(Debug)]
pub struct Note {
    /// The CRM's id.
    pub locator: Locator,
    /// The title, which may say anything; that of a note of ours is a key and says nothing.
    pub title: Pii<String>,
    /// The text.
    pub content: Pii<String>,
}

impl ZohoCrm {
    /// The notes of a record, ours and those that people wrote.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, or the record is somebody else's;
    /// faults of the transport.
    pub async fn notes(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Note>> {
        let call = Call::new(Port::Crm, "notes");
        permit.require(&READING, subject, Category::Case)?;
        self.row(call, subject, at, permit).await?;
        all(&self.client, call, at.as_str()).await
    }

    /// Writes a note under a record, titled with `key`; gives the CRM's id of it. The same key
    /// twice is one note.
    ///
    /// # Errors
    /// As [`notes`](Self::notes); `CRM-WRONG-STORE` for a text of a special category, which
    /// belongs into the library; `Protocol` for one that is empty or too long. When the answer is
    /// lost it is `OutcomeUnknown`: the same call again finds what is there.
    pub async fn write_note(
        &self,
        subject: SubjectId,
        at: &Locator,
        content: &Pii<String>,
        category: Category,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Locator> {
        let call = Call::new(Port::Crm, "write note");
        permit.require(&NOTING, subject, category)?;
        let content = fitting(call, subject, content.expose(permit), category)?;
        self.row(call, subject, at, permit).await?;
        let title = key.to_string();
        for note in all(&self.client, call, at.as_str()).await? {
            if *note.title.expose(permit) == title {
                return Ok(note.locator);
            }
        }
        let row = Row::of([("Note_Title", title.as_str()), ("Note_Content", content)]);
        let write = Write::without_trigger(row);
        let path = [MODULE, at.as_str(), "Notes"];
        let request = || Ok(self.client.request(call, Method::POST, &path)?.json(&write));
        let answer = self.client.answer(call, request).await;
        let details = one_row(call, answer, "data")?;
        locator(call, &text_id(call, &details)?)
    }

    /// Puts another text into a note of this record. The vendor documents no condition for it:
    /// of two who write at once the last one wins.
    ///
    /// # Errors
    /// As [`write_note`](Self::write_note); `NotFound` when the record has no such note.
    pub async fn amend_note(
        &self,
        subject: SubjectId,
        at: &Locator,
        note: &Locator,
        content: &Pii<String>,
        category: Category,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let call = Call::new(Port::Crm, "amend note");
        permit.require(&NOTING, subject, category)?;
        let content = fitting(call, subject, content.expose(permit), category)?;
        if !self.has_note(call, subject, at, note, permit).await? {
            return Err(call.fault(FaultKind::NotFound).into());
        }
        let write = Write::without_trigger(Row::of([("Note_Content", content)]));
        let path = ["Notes", note.as_str()];
        let request = || Ok(self.client.request(call, Method::PUT, &path)?.json(&write));
        one_row(call, self.client.answer(call, request).await, "data").map(drop)
    }

    /// Empties a note of this record, deletes it and purges it from the recycle bin; one that is
    /// not there is no error.
    ///
    /// # Errors
    /// As [`notes`](Self::notes).
    pub async fn remove_note(
        &self,
        subject: SubjectId,
        at: &Locator,
        note: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let call = Call::new(Port::Crm, "remove note");
        permit.require(&NOTING, subject, Category::Case)?;
        match self.has_note(call, subject, at, note, permit).await? {
            true => erase(&self.client, call, note.as_str()).await,
            // Perhaps our own first attempt, which did not come to its end.
            false => Ok(()),
        }
    }

    /// Whether the note stands under this person's record: a note's own address says nothing of
    /// whose it is.
    async fn has_note(
        &self,
        call: Call,
        subject: SubjectId,
        at: &Locator,
        note: &Locator,
        permit: &Permit<'_>,
    ) -> Result<bool> {
        self.row(call, subject, at, permit).await?;
        let notes = all(&self.client, call, at.as_str()).await?;
        Ok(notes.iter().any(|one| one.locator == *note))
    }
}

/// A text that may stand in a note.
fn fitting(call: Call, subject: SubjectId, text: &str, category: Category) -> Result<&str> {
    if category.is_special() {
        let refusal = Refusal::new(Code::CrmWrongStore);
        return Err(refusal.about("subject", subject).into());
    }
    match (1..=LONGEST).contains(&text.encode_utf16().count()) {
        true => Ok(text),
        false => Err(crate::error::protocol(call, "no text for a note")),
    }
}

/// Every note under a live record.
pub(crate) async fn all(client: &Client, call: Call, record: &str) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    for page in 1..=MOST_ROUNDS {
        let (path, page) = ([MODULE, record, "Notes"], page.to_string());
        let request = || {
            let request = client.request(call, Method::GET, &path)?;
            let request = request.query("fields", "id,Note_Title,Note_Content");
            Ok(request.query("page", &page))
        };
        let answer = client.answer(call, request).await?;
        let more = answer.has_more();
        for mut row in answer.into_list(call, "data")? {
            let mut text = |name: &str| match row[name].take() {
                Value::String(text) => Pii::new(text),
                _ => Pii::new(String::new()),
            };
            notes.push(Note {
                title: text("Note_Title"),
                content: text("Note_Content"),
                locator: locator(call, &text_id(call, &row)?)?,
            });
        }
        if !more {
            return Ok(notes);
        }
    }
    Err(crate::error::protocol(call, "the pages do not end"))
}

async fn erase(client: &Client, call: Call, note: &str) -> Result<()> {
    let path = ["Notes", note];
    let empty = [("Note_Title", ERASED), ("Note_Content", ERASED)];
    let write = Write::without_trigger(Row::of(empty));
    let request = || Ok(client.request(call, Method::PUT, &path)?.json(&write));
    unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
    let request = || client.request(call, Method::DELETE, &path);
    unless_gone(one_row(call, client.answer(call, request).await, "data"))?;
    recycle_bin::purge(client, call, note).await.map(drop)
}

/// What stands in place of a name or text that is about to go.
pub(crate) const ERASED: &str = "Erased";

/// Characters of a note, says the vendor.
const LONGEST: usize = 32_000;
const NOTING: [Act; 3] = [Act::Amend, Act::Enter, Act::Process];
/// Each round takes up to 200 notes away.
const MOST_ROUNDS: u32 = 500;
