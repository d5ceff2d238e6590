//! Users, roles and profiles of the emulated organisation.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::reply::ApiError;
use super::schema::{FIRST_ID, MODULES, ModuleSpec};

/// A user of the organisation. The people are invented.
#[derive(Clone, Debug)]
pub struct EmulatedUser {
    /// The user's id.
    pub id: u64,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Work e-mail.
    pub email: String,
    /// Whether the user may sign in.
    pub active: bool,
    /// Whether the user has accepted the invitation.
    pub confirmed: bool,
    /// The profile's number: 0 Administrator, 1 Standard.
    pub profile: usize,
    /// The role's number: 0 CEO, 1 Manager.
    pub role: usize,
}

impl EmulatedUser {
    pub(super) fn reference(&self) -> Value {
        json!({"name": self.full_name(), "id": self.id.to_string()})
    }

    pub(super) fn owner(&self) -> Value {
        json!({"name": self.full_name(), "id": self.id.to_string(), "email": self.email})
    }

    fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    fn row(&self, created: &str) -> Value {
        let profile = PROFILES[self.profile.min(PROFILES.len() - 1)];
        let role = ROLES[self.role.min(ROLES.len() - 1)];
        json!({
            "id": self.id.to_string(), "first_name": self.first_name,
            "last_name": self.last_name, "full_name": self.full_name(), "email": self.email,
            "alias": null, "zuid": (self.id % 1_000_000_000).to_string(),
            "status": if self.active { "active" } else { "disabled" },
            "confirm": self.confirmed, "type__s": "Regular User",
            "profile": {"name": profile.1, "id": profile.0.to_string()},
            "role": {"name": role.1, "id": role.0.to_string()},
            "created_by": {"name": self.full_name(), "id": self.id.to_string()},
            "created_time": created, "Modified_Time": created,
            "Modified_By": {"name": self.full_name(), "id": self.id.to_string()},
            "locale": "en_US", "language": "en_US", "country_locale": "en_US",
            "time_zone": "Asia/Jerusalem", "personal_account": false, "microsoft": false,
            "sandboxDeveloper": false, "imap_status": false,
        })
    }
}

pub(super) fn first_users() -> Vec<EmulatedUser> {
    let user = |number: u64, first: &str, last: &str, profile: usize, role: usize| EmulatedUser {
        id: FIRST_ID + 400_000 + number * 13,
        first_name: first.to_owned(),
        last_name: last.to_owned(),
        email: format!("{}@firm.example.com", first.to_ascii_lowercase()),
        active: true,
        confirmed: true,
        profile,
        role,
    };
    let mut users = vec![
        user(1, "Integration", "Account", 0, 0),
        user(2, "Paula", "Paralegal", 1, 1),
        user(3, "Ada", "Attorney", 1, 1),
        user(4, "Fern", "Formerly", 1, 1),
    ];
    users[3].active = false;
    users
}

/// `GET /users`
pub(super) async fn users(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let world = shared.world();
    let wanted = query.get("type").map_or("AllUsers", String::as_str);
    let created = shared.clock.text(world.opened);
    let rows: Vec<Value> = world
        .users
        .iter()
        .enumerate()
        .filter(|(position, user)| match wanted {
            "ActiveUsers" | "ActiveConfirmedUsers" => user.active,
            "AdminUsers" | "ActiveConfirmedAdmins" => user.active && user.profile == 0,
            "ConfirmedUsers" => user.confirmed,
            "CurrentUser" => *position == 0,
            "DeactiveUsers" => !user.active,
            "DeletedUsers" => false,
            "NotConfirmedUsers" => !user.confirmed,
            _ => true,
        })
        .map(|(_, user)| user.row(&created))
        .collect();
    let page: usize = query
        .get("page")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .max(1);
    let per_page: usize = query
        .get("per_page")
        .and_then(|text| text.parse().ok())
        .unwrap_or(200)
        .clamp(1, 200);
    let start = (page - 1).saturating_mul(per_page);
    let more = rows.len() > start.saturating_add(per_page);
    let rows: Vec<Value> = rows.into_iter().skip(start).take(per_page).collect();
    let info =
        json!({"per_page": per_page, "count": rows.len(), "page": page, "more_records": more});
    super::reply::list("users", rows, info)
}

/// `GET /{module}/{id}/actions/share`
pub(super) async fn shares(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
) -> Response {
    let (module, record) = match shared.live_parent(&module, &id) {
        Ok(parent) => parent,
        Err(error) => return error.into_response(),
    };
    let world = shared.world();
    let by = world.caller();
    let row = |(user, permission): &(usize, &'static str)| {
        let with = world.users.get(*user)?;
        Some(json!({
            "shared_with": {"name": with.full_name(), "id": with.id.to_string(), "type": "users"},
            "share_related_records": false, "permission": permission, "type": "private",
            "shared_through": {
                "module": {"name": module.api_name, "id": module.id.to_string()}, "id": id,
            },
            "shared_time": shared.clock.text(shared.clock.now()),
            "shared_by": {
                "name": by.full_name(), "id": by.id.to_string(), "zuid": by.id.to_string(),
            },
        }))
    };
    let rows: Vec<Value> = world
        .shares
        .get(&record)
        .into_iter()
        .flatten()
        .filter_map(row)
        .collect();
    match rows.is_empty() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => Json(json!({"share": rows})).into_response(),
    }
}

/// `GET /users/{id}`
pub(super) async fn user(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let world = shared.world();
    let created = shared.clock.text(world.opened);
    let found = id
        .parse()
        .ok()
        .and_then(|id: u64| world.users.iter().find(|user| user.id == id));
    match found {
        Some(user) => Json(json!({"users": [user.row(&created)]})).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// `GET /settings/roles`
pub(super) async fn roles() -> Response {
    let rows: Vec<Value> = ROLES
        .iter()
        .enumerate()
        .map(|(position, (id, name))| {
            let above =
                (position > 0).then(|| json!({"id": ROLES[0].0.to_string(), "name": ROLES[0].1}));
            json!({
                "display_label": name, "forecast_manager": null, "reporting_to": above,
                "api_name": name.replace(' ', "_"), "share_with_peers": true,
                "id": id.to_string(), "name": name, "description": null, "created_by__s": null,
                "modified_by__s": null, "modified_time__s": null, "created_time__s": null,
            })
        })
        .collect();
    Json(json!({"roles": rows})).into_response()
}

/// `GET /settings/profiles`
pub(super) async fn profiles() -> Response {
    let rows: Vec<Value> = PROFILES
        .iter()
        .map(|profile| profile_row(*profile, false))
        .collect();
    Json(json!({"profiles": rows})).into_response()
}

/// `GET /settings/data_sharing`
pub(super) async fn sharing(State(shared): State<Arc<Shared>>) -> Response {
    let world = shared.world();
    let row = |module: &ModuleSpec| {
        let kind = world
            .sharing
            .get(module.api_name)
            .copied()
            .unwrap_or("private");
        json!({
            "share_type": kind, "public_in_portals": false, "rule_computation_running": false,
            "module": {"api_name": module.api_name, "id": module.id.to_string()},
        })
    };
    let rows: Vec<Value> = MODULES.iter().map(row).collect();
    Json(json!({"data_sharing": rows})).into_response()
}

/// `GET /settings/profiles/{id}`
pub(super) async fn profile(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match PROFILES.iter().find(|profile| profile.0.to_string() == id) {
        Some(profile) => {
            let mut row = profile_row(*profile, true);
            let world = shared.world();
            let details = row["permissions_details"]
                .as_array_mut()
                .into_iter()
                .flatten();
            for permission in details {
                let name = permission["name"].as_str().unwrap_or_default().to_owned();
                if world.permitted.contains(&(profile.0, name)) {
                    permission["enabled"] = true.into();
                }
            }
            Json(json!({"profiles": [row]})).into_response()
        }
        None => ApiError::bad("INVALID_DATA", "the id given seems to be invalid")
            .with(json!({"resource_path_index": 2}))
            .into_response(),
    }
}

fn profile_row((id, name): (u64, &str), with_permissions: bool) -> Value {
    let mut row = json!({
        "api_name": name, "id": id.to_string(), "created_time": null, "modified_time": null,
        "name": name, "display_label": name, "modified_by": null, "created_by": null,
        "custom": false, "type": "normal_profile",
    });
    if with_permissions {
        let administrator = id == ADMINISTRATOR_PROFILE.0;
        let permission = |number: u64, label: &str, enabled: bool| {
            json!({
                "display_label": label, "module": null, "name": label.replace(' ', "_"),
                "customizable": true, "id": (FIRST_ID + 9_000 + number).to_string(),
                "enabled": enabled, "parent_permissions": [],
            })
        };
        row["permissions_details"] = json!([
            permission(1, "View Contacts", true),
            permission(2, "Delete Contacts", administrator),
            permission(3, "Export Contacts", administrator),
            permission(4, "Manage Users", administrator),
        ]);
    }
    row
}

pub(super) const ADMINISTRATOR_PROFILE: (u64, &str) = (FIRST_ID + 26_011, "Administrator");
pub(super) const STANDARD_PROFILE: (u64, &str) = (FIRST_ID + 26_014, "Standard");
const PROFILES: [(u64, &str); 2] = [ADMINISTRATOR_PROFILE, STANDARD_PROFILE];
const ROLES: [(u64, &str); 2] = [(FIRST_ID + 26_005, "CEO"), (FIRST_ID + 26_008, "Manager")];
