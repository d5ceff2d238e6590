//! What only a test can do: the clock, faults, people and groups, what somebody does by hand, and a look at
//! everything that the tenant still holds.

use super::faults::Scripted;
use super::state::{Hold, LabelRule};
use super::{
    Emulator, Exchange, Fault, Holdings, MAILBOX, Recorded, directory, inspect, mail, permissions,
    selected, serve, subscriptions,
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

impl Emulator {
    /// The tenant's present moment.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.state().now()
    }

    /// Sets the tenant's clock, which then runs on from there.
    pub fn set_now(&self, now: DateTime<Utc>) {
        let mut state = self.shared.state();
        state.clock.set(now);
        state.sweep();
    }

    /// Moves the tenant's clock.
    pub fn advance(&self, by: TimeDelta) {
        let mut state = self.shared.state();
        state.clock.advance(by);
        state.sweep();
    }

    /// Scripts a fault: the next `times` requests with this method (`*` for any) whose decoded path
    /// starts with `path` (in which `*` stands for any run of characters) get it. Paths are host-less:
    /// `/v1.0/…`, `/upload/…`, `/download/…`, `/sites/Matters/_api/…`, `/{tenant}/oauth2/…`.
    pub fn fail(&self, times: u32, method: &str, path: &str, fault: Fault) {
        if times > 0 {
            self.shared.state().faults.push(Scripted {
                method: method.to_owned(),
                pattern: path.to_owned(),
                left: times,
                fault,
            });
        }
    }

    /// Forgets scripts that have not struck.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Puts the site under a retention hold, or releases it. After release the kept copies stay for
    /// 37 days, then 93 more in the second-stage bin.
    pub fn set_hold(&self, on: bool) {
        let mut state = self.shared.state();
        state.hold = match (on, &state.hold) {
            (true, _) => Hold::On,
            (false, Hold::On) => Hold::Released(state.now()),
            (false, _) => Hold::Off,
        };
    }

    /// Defines a retention label; `behavior` is `doNotRetain`, `retain`, `retainAsRecord` …
    pub fn define_label(&self, name: &str, behavior: &str, delete_allowed: bool) {
        let rule = LabelRule {
            behavior: behavior.to_owned(),
            delete_allowed,
        };
        self.shared.state().labels.insert(name.to_owned(), rule);
    }

    /// Locks an item as co-authoring or a check-out does: writes are answered 423.
    pub fn set_locked(&self, item: &str, locked: bool) {
        if let Some(item) = self.shared.state().items.get_mut(item) {
            item.locked = locked;
        }
    }

    /// Switches versioning of a library on or off.
    pub fn set_versioning(&self, drive: &str, on: bool) {
        if let Some(drive) = self.shared.state().drives.get_mut(drive) {
            drive.versioning = on;
        }
    }

    /// Makes every delta token given out so far answer 410.
    pub fn expire_delta_tokens(&self) {
        self.shared.state().delta_era += 1;
    }

    /// Ends every access token given out so far.
    pub fn expire_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Everything the tenant still holds of an item.
    pub fn holdings(&self, item: &str) -> Holdings {
        inspect::holdings(&self.shared.state(), item)
    }

    /// Every place that still contains these bytes, in words; empty when there is none.
    pub fn places_of(&self, needle: &[u8]) -> Vec<String> {
        inspect::places_of(&self.shared.state(), needle)
    }

    /// Ids of the live files of a library.
    pub fn files(&self, drive: &str) -> Vec<String> {
        let state = self.shared.state();
        let files = state
            .items
            .values()
            .filter(|item| item.drive == drive && !item.is_folder());
        files.map(|item| item.id.clone()).collect()
    }

    /// Paths of the live files of a library, as its visitors see them.
    pub fn paths(&self, drive: &str) -> Vec<String> {
        let state = self.shared.state();
        let files = state
            .items
            .values()
            .filter(|item| item.drive == drive && !item.is_folder());
        files
            .map(|item| format!("{}/{}", state.directory(&item.id), item.name))
            .collect()
    }

    /// The address of the ready-made shared mailbox.
    pub fn mailbox(&self) -> &str {
        MAILBOX
    }

    /// Delivers a message, as MIME, to the inbox of the ready-made mailbox; gives its immutable id.
    pub fn deliver(&self, mime: impl Into<Bytes>) -> String {
        let mut state = self.shared.state();
        let id = mail::arrive(&mut state, mime.into());
        serve::post_outbox(&mut state);
        id
    }

    /// Posts an event of its life to every subscription: `missed`, `reauthorizationRequired`, or
    /// `subscriptionRemoved`, which also ends it.
    pub fn tell_lifecycle(&self, event: &str) {
        let mut state = self.shared.state();
        subscriptions::tell_lifecycle(&mut state, event);
        serve::post_outbox(&mut state);
    }

    /// Refuses a second subscription with the resource and change type of another, as Graph does for some
    /// resources.
    pub fn set_one_subscription_each(&self, on: bool) {
        self.shared.state().one_subscription_each = on;
    }

    /// Ids of the subscriptions there are.
    pub fn subscriptions(&self) -> Vec<String> {
        let state = self.shared.state();
        state.subscriptions.keys().cloned().collect()
    }

    /// Ends every subscription without telling anybody.
    pub fn drop_subscriptions(&self) {
        self.shared.state().subscriptions.clear();
    }

    /// Enters somebody into the directory and gives the object id.
    pub fn add_person(&self, sign_in_name: &str, guest: bool) -> String {
        let mut state = self.shared.state();
        let name = sign_in_name.to_lowercase();
        let known = state.people.get(&name).cloned();
        let id = known.unwrap_or_else(|| state.ids.guid());
        state.people.insert(name.clone(), id.clone());
        state.directory.people.insert(id.clone(), (name, guest));
        id
    }

    /// Makes a group of the directory with these members, people or groups, and gives its object id.
    pub fn add_group(&self, name: &str, members: &[&str]) -> String {
        let mut state = self.shared.state();
        let id = state.ids.guid();
        let members = members.iter().map(|id| (*id).to_owned()).collect();
        let group = (name.to_owned(), members);
        state.directory.groups.insert(id.clone(), group);
        id
    }

    /// Puts a person or group of the directory into a group of the directory.
    pub fn join_group(&self, group: &str, member: &str) {
        if let Some((_, members)) = self.shared.state().directory.groups.get_mut(group) {
            members.push(member.to_owned());
        }
    }

    /// Puts a sign-in name, as SharePoint writes it, into a group of the site, such as
    /// `Matters Members`.
    pub fn join_site_group(&self, name: &str, login: &str) {
        let number = directory::site_group_number(name);
        let mut state = self.shared.state();
        let logins = state.directory.site_groups.entry(number).or_default();
        logins.push(login.to_owned());
    }

    /// Puts a link for anyone on an item, as somebody does in the browser; gives the permission's id.
    pub fn link_anyone(&self, item: &str) -> Option<String> {
        permissions::link_anyone(&mut self.shared.state(), item)
    }

    /// Takes every permission off an item's own list, and lets it inherit or not.
    pub fn strip_permissions(&self, item: &str, inherits: bool) {
        if let Some(item) = self.shared.state().items.get_mut(item) {
            item.permissions.clear();
            item.inherits = inherits;
        }
    }

    /// Makes a library look like somebody's personal OneDrive.
    pub fn set_personal(&self, drive: &str) {
        if let Some(drive) = self.shared.state().drives.get_mut(drive) {
            drive.personal = true;
        }
    }

    /// How often an audit query is looked at before it has succeeded; two unless set.
    pub fn set_audit_looks(&self, looks: u32) {
        self.shared.state().audit.looks = looks;
    }

    /// Registers a certificate, in DER, as the applications': from now on an assertion must be signed by a
    /// registered one's key.
    pub fn register_certificate(&self, der: &[u8]) {
        self.shared.state().certificates.push(der.to_vec());
    }

    /// Registers another application, with the first one's secret.
    pub fn add_application(&self, client_id: &str) {
        let mut state = self.shared.state();
        state.applications.insert(client_id.to_owned());
    }

    /// Takes from an application every right over sites but `Sites.Selected`: it reaches the site by what
    /// [`grant_site`](Self::grant_site) gives it, or `POST /sites/{id}/permissions`.
    pub fn select_sites(&self, client_id: &str) {
        let mut state = self.shared.state();
        state.selected.insert(client_id.to_owned());
    }

    /// Grants an application the ready-made site: `read`, `write`, `owner` or `fullcontrol`.
    pub fn grant_site(&self, client_id: &str, role: &str) {
        selected::grant(&mut self.shared.state(), client_id, role);
    }

    /// Where a message of the mailbox lies: a folder's id, `purges` while single-item recovery keeps
    /// it, `None` when it is gone.
    pub fn message_folder(&self, id: &str) -> Option<String> {
        let state = self.shared.state();
        let purged = state
            .mail
            .purged
            .iter()
            .any(|(message, _)| message.id == id);
        let live = state.mail.messages.get(id);
        live.map(|message| message.folder.clone())
            .or_else(|| purged.then(|| "purges".to_owned()))
    }

    /// Every message handed to `sendMail`, oldest first, as JSON text; one that came as MIME has it in
    /// `mime`.
    pub fn sent_mail(&self) -> Vec<String> {
        let state = self.shared.state();
        state.sent.iter().map(ToString::to_string).collect()
    }

    /// Makes every mail delta token given out so far answer 410.
    pub fn expire_mail_delta(&self) {
        self.shared.state().mail.era += 1;
    }

    /// Whole exchanges so far, oldest first; empty unless [`Options::record`](super::Options::record) is set.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.state().recorded.clone()
    }

    /// The requests served so far, oldest first; at most the last 100 000.
    pub fn journal(&self) -> Vec<Exchange> {
        self.shared.state().journal.clone()
    }
}
