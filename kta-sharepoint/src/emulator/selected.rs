//! `Sites.Selected`: an application that reaches the site by its grant alone, as far as the grant goes.

use super::address::Route;
use super::reply::{Call, Refused};
use super::state::State;
use serde_json::{Value, json};

/// Grants an application the site.
pub(crate) fn grant(state: &mut State, client: &str, role: &str) {
    let permission = json!({
        "id": state.ids.guid(),
        "roles": [role],
        "grantedToIdentitiesV2": [{ "application": { "id": client, "displayName": "granted" } }],
    });
    state.site.permissions.push(permission);
}

/// Whether this application may ask Graph for this.
pub(crate) fn admit(
    state: &State,
    client: &str,
    route: &Route,
    call: &Call,
) -> Result<(), Refused> {
    let reads = call.method == "GET";
    let needed = match route {
        Route::Drive { .. } | Route::Drives | Route::List { .. } | Route::Lists | Route::Site => {
            if reads {
                READ
            } else {
                WRITE
            }
        }
        // Permanent deletion wants a right over every site of the tenant.
        Route::Item(place) if place.tail == ["permanentDelete"] => NEVER,
        Route::Item(_) | Route::Shares { .. } => {
            if reads {
                READ
            } else {
                WRITE
            }
        }
        Route::SitePermissions => FULL_CONTROL,
        // Rights of their own: mail, directory, audit log; a batch is judged part by part.
        Route::Batch
        | Route::Group { .. }
        | Route::Security { .. }
        | Route::Sites
        | Route::Subscriptions { .. }
        | Route::User { .. } => return Ok(()),
    };
    suffice(state, client, needed)
}

/// Whether this application may ask SharePoint REST for this: the bins and who gets in are an
/// administrator's of the site.
pub(crate) fn admit_rest(
    state: &State,
    client: &str,
    path: &str,
    reads: bool,
) -> Result<(), Refused> {
    let path = path.to_lowercase();
    let administers = ["recyclebin", "roleassignments", "breakroleinheritance"];
    let needed = if administers.iter().any(|part| path.contains(part)) {
        FULL_CONTROL
    } else if reads {
        READ
    } else {
        WRITE
    };
    suffice(state, client, needed)
}

fn suffice(state: &State, client: &str, needed: u8) -> Result<(), Refused> {
    if !state.selected.contains(client) || granted(state, client) >= needed {
        return Ok(());
    }
    Err(Refused::new(403, "accessDenied", "Access denied"))
}

/// How far the grants of an application go.
fn granted(state: &State, client: &str) -> u8 {
    let names = |permission: &Value| {
        ["grantedToIdentitiesV2", "grantedToIdentities"]
            .iter()
            .filter_map(|key| permission[*key].as_array())
            .flatten()
            .any(|each| each["application"]["id"].as_str() == Some(client))
    };
    let to_this = state.site.permissions.iter().filter(|each| names(each));
    let roles = to_this
        .filter_map(|each| each["roles"].as_array())
        .flatten();
    let steps = roles.map(|role| match role.as_str() {
        Some("read") => READ,
        Some("write") => WRITE,
        Some("owner" | "fullcontrol") => FULL_CONTROL,
        _ => 0,
    });
    steps.max().unwrap_or(0)
}

const READ: u8 = 1;
const WRITE: u8 = 2;
const FULL_CONTROL: u8 = 3;
const NEVER: u8 = 4;
