//! Behind the API: what the emulator still holds, and what people do in the vendor's own user
//! interface.

use serde_json::{Map, Value, json};

use super::clock::EmulatorClock;
use super::notes::parent_of;
use super::people::EmulatedUser;
use super::reply::RowResult;
use super::rows;
use super::world::{Attachment, Content, Held, Row, World};
use super::{Shared, schema};

/// A look behind the API.
#[derive(Clone, Copy, Debug)]
pub struct Inspector<'a> {
    shared: &'a Shared,
}

/// Everything that is still held about one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The live record, as stored.
    pub record: Option<Value>,
    /// Whether it lies in the recycle bin.
    pub in_bin: bool,
    /// Live notes under it.
    pub notes: Vec<u64>,
    /// Live attachments under it.
    pub attachments: Vec<u64>,
    /// Notes and attachments of it that lie in the recycle bin.
    pub related_in_bin: Vec<u64>,
    /// How many timeline entries there are about it.
    pub timeline: usize,
    /// The name under which the deleted list remembers it.
    pub deleted_list: Option<String>,
    /// How many audit log lines name it.
    pub audit: usize,
}

impl<'a> Inspector<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared }
    }

    /// What is still held about `id`.
    #[must_use]
    pub fn holdings(&self, id: u64) -> Holdings {
        let world = self.shared.world();
        let text = id.to_string();
        let note_of = |row: &Row| row.module.api_name == "Notes" && parent_of(row) == Some(&text);
        Holdings {
            record: world
                .rows
                .get(&id)
                .map(|row| Value::Object(row.fields.clone())),
            in_bin: world.bin.contains_key(&id),
            notes: world
                .rows
                .values()
                .filter(|row| note_of(row))
                .map(|row| row.id)
                .collect(),
            attachments: world
                .attachments
                .values()
                .filter(|one| one.parent == id)
                .map(|one| one.id)
                .collect(),
            related_in_bin: world
                .bin
                .iter()
                .filter(|(_, one)| match &one.what {
                    Held::Attachment(attachment) => attachment.parent == id,
                    Held::Row(row) => note_of(row),
                })
                .map(|(binned, _)| *binned)
                .collect(),
            timeline: world
                .timeline
                .iter()
                .filter(|entry| entry.record == id)
                .count(),
            deleted_list: world
                .deleted
                .iter()
                .find(|line| line.id == id)
                .map(|line| line.display_name.clone()),
            audit: world.audit.iter().filter(|row| row.record == id).count(),
        }
    }

    /// Every place where `needle` still stands, as `place:id`. Letter case does not matter.
    #[must_use]
    pub fn places_of(&self, needle: &str) -> Vec<String> {
        let world = self.shared.world();
        let needle = needle.to_lowercase();
        let within = |text: &str| text.to_lowercase().contains(&needle);
        let in_value = |value: &Value| within(&value.to_string());
        let in_row = |row: &Row| row.fields.values().any(in_value);
        let in_attachment = |one: &Attachment| {
            within(&one.name)
                || match &one.content {
                    Content::File(bytes) => within(&String::from_utf8_lossy(bytes)),
                    Content::Link(link) => within(link),
                }
        };
        let mut places = Vec::new();
        for row in world.rows.values().filter(|row| in_row(row)) {
            places.push(format!("{}:{}", row.module.api_name, row.id));
        }
        for one in world.attachments.values().filter(|one| in_attachment(one)) {
            places.push(format!("Attachments:{}", one.id));
        }
        for (id, one) in &world.bin {
            let found = match &one.what {
                Held::Attachment(attachment) => in_attachment(attachment),
                Held::Row(row) => in_row(row),
            };
            if found {
                places.push(format!("recycle_bin:{id}"));
            }
        }
        for line in world
            .deleted
            .iter()
            .filter(|line| within(&line.display_name))
        {
            places.push(format!("deleted:{}", line.id));
        }
        for entry in &world.timeline {
            if entry
                .changes
                .iter()
                .any(|(_, old, new)| in_value(old) || in_value(new))
            {
                places.push(format!("timeline:{}:{}", entry.module, entry.record));
            }
        }
        for row in world.audit.iter().filter(|row| within(&row.record_name)) {
            places.push(format!("audit_log:{}", row.record));
        }
        places
    }

    /// The ids of the live records of a module, oldest first.
    #[must_use]
    pub fn ids(&self, module: &str) -> Vec<u64> {
        let world = self.shared.world();
        world
            .rows
            .values()
            .filter(|row| row.module.api_name == module)
            .map(|row| row.id)
            .collect()
    }

    /// How many rows were written with automations switched on.
    #[must_use]
    pub fn automations_run(&self) -> u64 {
        self.shared.world().automations
    }

    /// How many access tokens were handed out.
    #[must_use]
    pub fn tokens_handed_out(&self) -> u64 {
        self.shared.world().tokens.handed_out()
    }

    /// Makes every access token invalid at once.
    pub fn revoke_access_tokens(&self) {
        self.shared.world().tokens.forget_all();
    }

    /// Withholds a personal field from the API: it then reads as empty.
    pub fn restrict_field(&self, module: &str, api_name: &str) {
        self.shared
            .world()
            .restricted
            .insert((module.to_owned(), api_name.to_owned()));
    }

    /// Shows a restricted field again.
    pub fn release_field(&self, module: &str, api_name: &str) {
        self.shared
            .world()
            .restricted
            .remove(&(module.to_owned(), api_name.to_owned()));
    }

    /// Puts a record into a module at once, without the checks and traces of a call; gives its
    /// id. For filling an organisation of any size. `None` for an unknown module.
    pub fn plant(&self, module: &str, fields: Map<String, Value>) -> Option<u64> {
        let (now, lag) = (self.shared.clock.now(), self.shared.lag());
        let module = schema::module(module)?;
        let mut world = self.shared.world();
        let id = world.fresh_id();
        let row = Row {
            id,
            module,
            fields,
            created: now,
            modified: now,
            indexed: now + lag,
            owner: 0,
            stopped: false,
        };
        world.rows.insert(id, row);
        Some(id)
    }

    /// Somebody changes a record by hand. `false` when there is none, or a value does not fit.
    pub fn edit_by_hand(&self, id: u64, fields: Map<String, Value>) -> bool {
        let clock: &EmulatorClock = &self.shared.clock;
        let (now, lag) = (clock.now(), self.shared.lag());
        let mut world = self.shared.world();
        let done: Result<(), RowResult> = rows::change(&mut world, clock, id, 0, fields, now, lag);
        done.is_ok()
    }

    /// Somebody writes a note under a record by hand; gives its id.
    pub fn note_by_hand(&self, id: u64, title: &str, content: &str) -> Option<u64> {
        let (now, lag) = (self.shared.clock.now(), self.shared.lag());
        let mut world = self.shared.world();
        let parent = world.rows.get(&id)?.module.api_name;
        let fields = json!({
            "Note_Title": title, "Note_Content": content,
            "Parent_Id": {"id": id.to_string(), "module": {"api_name": parent}},
        });
        let (fields, clock) = (fields.as_object()?.clone(), &self.shared.clock);
        let notes = schema::module("Notes")?;
        rows::insert(&mut world, clock, notes, 0, fields, now, lag).ok()
    }

    /// Somebody attaches a file to a record by hand; gives its id.
    pub fn attach_by_hand(&self, id: u64, name: &str, content: &[u8]) -> Option<u64> {
        let now = self.shared.clock.now();
        let mut world = self.shared.world();
        let parent_module = world.rows.get(&id)?.module;
        let attachment = world.fresh_id();
        world.attachments.insert(
            attachment,
            Attachment {
                id: attachment,
                parent_module,
                parent: id,
                name: name.to_owned(),
                content_type: "application/octet-stream".to_owned(),
                content: Content::File(content.to_vec().into()),
                created: now,
            },
        );
        Some(attachment)
    }

    /// Lets the next jobs of bulk read end in failure.
    pub fn fail_jobs(&self, jobs: u32) {
        self.shared.world().failing_jobs = jobs;
    }

    /// Somebody stops the processing of a person's data in the privacy settings of the record.
    pub fn stop_processing(&self, id: u64) -> bool {
        self.shared
            .world()
            .rows
            .get_mut(&id)
            .map(|row| row.stopped = true)
            .is_some()
    }

    /// Somebody deletes a record, a note or an attachment by hand: it goes to the recycle bin.
    pub fn delete_by_hand(&self, id: u64) -> bool {
        let (mut world, now) = (self.shared.world(), self.shared.clock.now());
        world.bin_row(id, now) || world.bin_attachment(id, now)
    }

    /// Somebody gives a record to another user, by the user's number in the list. `false` when
    /// there is no such record or user.
    pub fn give_to(&self, id: u64, user: usize) -> bool {
        let mut world = self.shared.world();
        let known = user < world.users.len();
        match world.rows.get_mut(&id).filter(|_| known) {
            Some(row) => {
                row.owner = user;
                true
            }
            None => false,
        }
    }

    /// What the vendor would post to a channel's address about a change of `id`; `None` when the
    /// channel is over, or there never was one.
    #[must_use]
    pub fn notification(&self, channel: u64, id: u64, operation: &str) -> Option<Vec<u8>> {
        let now = self.shared.clock.now();
        let world = self.shared.world();
        let channel = channel.to_string();
        let channel = world
            .channels
            .iter()
            .find(|one| one.is_live(&channel, now))?;
        let module = world
            .rows
            .get(&id)
            .map_or("Contacts", |row| row.module.api_name);
        let body = json!({
            "server_time": now * 1_000, "query_params": {}, "module": module,
            "resource_uri": format!("{}/crm/v8/{module}", self.shared.api_domain()),
            "ids": [id.to_string()], "affected_fields": [], "affected_values": [],
            "operation": operation, "channel_id": channel.id(), "token": channel.token(),
        });
        Some(body.to_string().into_bytes())
    }

    /// Somebody merges `id` into another record as a duplicate: it is gone without a trace in
    /// the recycle bin or in the deleted list.
    pub fn merge_away(&self, id: u64) -> bool {
        self.shared.world().rows.remove(&id).is_some()
    }

    /// Every user of the organisation; the first is the one that every API call acts as.
    #[must_use]
    pub fn users(&self) -> Vec<EmulatedUser> {
        self.shared.world().users.clone()
    }

    /// Puts another user into the organisation.
    pub fn add_user(&self, user: EmulatedUser) {
        self.shared.world().users.push(user);
    }

    /// Somebody switches a permission of the profile `Standard` on.
    pub fn permit_standard(&self, permission: &str) {
        let profile = super::people::STANDARD_PROFILE.0;
        let mut world = self.shared.world();
        world.permitted.insert((profile, permission.to_owned()));
    }

    /// Somebody shares the records of a module this far, in the vendor's words. `false` for an
    /// unknown module.
    pub fn share_module(&self, module: &str, kind: &'static str) -> bool {
        let mut world = self.shared.world();
        match schema::module(module) {
            Some(module) => {
                world.sharing.insert(module.api_name, kind);
                true
            }
            None => false,
        }
    }

    /// Somebody shares one record with a user, by the user's number in the list, in the vendor's
    /// words. `false` when there is no such record or user.
    pub fn share_record(&self, id: u64, user: usize, permission: &'static str) -> bool {
        let mut world = self.shared.world();
        let known = user < world.users.len() && world.rows.contains_key(&id);
        if known {
            world.shares.entry(id).or_default().push((user, permission));
        }
        known
    }

    /// Takes rows out of the vendor's audit log: those from `from` until before `until`, in
    /// seconds since 1970-01-01T00:00:00Z. Gives how many.
    pub fn cut_audit_log(&self, from: i64, until: i64) -> usize {
        let mut world = self.shared.world();
        let before = world.audit.len();
        world.audit.retain(|row| !(from..until).contains(&row.at));
        before - world.audit.len()
    }

    /// Somebody else uses the refresh token until its ten tokens in ten minutes are spent.
    pub fn spend_tokens_elsewhere(&self) {
        let now = self.shared.clock.now();
        let most = self.shared.options.tokens_in_ten_minutes;
        self.shared.world().tokens.spend(now, most);
    }

    /// Somebody revokes the refresh token.
    pub fn revoke_refresh_token(&self) {
        self.shared.world().tokens.revoke();
    }

    /// Lets somebody leave: the user's account is switched off. `false` when there is none.
    pub fn deactivate_user(&self, id: u64) -> bool {
        let mut world: std::sync::MutexGuard<'_, World> = self.shared.world();
        match world.users.iter_mut().find(|user| user.id == id) {
            Some(user) => {
                user.active = false;
                true
            }
            None => false,
        }
    }

    /// The API names of the fields of a module; empty for an unknown module.
    #[must_use]
    pub fn field_names(&self, module: &str) -> Vec<&'static str> {
        schema::module(module)
            .map(|module| module.fields.iter().map(|field| field.api_name).collect())
            .unwrap_or_default()
    }
}
