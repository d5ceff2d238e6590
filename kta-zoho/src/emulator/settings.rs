//! Metadata: modules, fields, related lists, the organisation.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::reply::ApiError;
use super::schema::{FIRST_ID, FieldSpec, Kind, MODULES, ModuleSpec, module};
use super::world::World;

/// `GET /settings/fields?module=`
pub(super) async fn fields(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(name) = query.get("module") else {
        return ApiError::missing_param("module").into_response();
    };
    let Some(module) = module(name) else {
        // The official client asks for the fields of these and is content with none.
        return match name.as_str() {
            "Attachments" | "Locking_Information__s" => StatusCode::NO_CONTENT.into_response(),
            _ => ApiError::bad(
                "INVALID_MODULE",
                "the module name given seems to be invalid",
            )
            .with(json!({"param_name": "module"}))
            .into_response(),
        };
    };
    let world = shared.world();
    let rows: Vec<Value> = module
        .fields
        .iter()
        .enumerate()
        .map(|(position, field)| {
            let id = FIRST_ID + (module.id - FIRST_ID) * 1_000 + position as u64;
            let display = field.api_name == module.display_field;
            field.metadata(id, display, private(&world, module, field))
        })
        .collect();
    Json(json!({"fields": rows})).into_response()
}

/// `GET /settings/modules`
pub(super) async fn modules() -> Response {
    let rows: Vec<Value> = MODULES
        .iter()
        .enumerate()
        .map(|(n, m)| m.metadata(n))
        .collect();
    Json(json!({"modules": rows})).into_response()
}

/// `GET /settings/modules/{name or id}`
pub(super) async fn one_module(Path(wanted): Path<String>) -> Response {
    let found = MODULES
        .iter()
        .enumerate()
        .find(|(_, module)| module.api_name == wanted || module.id.to_string() == wanted);
    match found {
        Some((position, module)) => {
            let mut row = module.metadata(position);
            if let Some(object) = row.as_object_mut() {
                object.remove("parent_module");
            }
            Json(json!({"modules": [row]})).into_response()
        }
        None => ApiError::invalid_module().into_response(),
    }
}

/// `GET /settings/related_lists?module=`
pub(super) async fn related_lists(Query(query): Query<HashMap<String, String>>) -> Response {
    let Some(name) = query.get("module") else {
        return ApiError::missing_param("module").into_response();
    };
    if module(name).is_none() {
        return ApiError::invalid_module().into_response();
    }
    let line = |number: u64, list: &str| {
        json!({
            "id": (FIRST_ID + 60_000 + number).to_string(), "sequence_number": number.to_string(),
            "display_label": list, "api_name": list, "name": list, "action": null,
            "module": {"api_name": list, "id": (FIRST_ID + 2_197 + number).to_string()},
            "href": format!("{name}/{{ENTITYID}}/{list}"), "type": "default",
            "customize_sort": true, "customize_fields": true, "customize_display_label": true,
            "status": "visible",
        })
    };
    Json(json!({"related_lists": [line(1, "Notes"), line(2, "Attachments")]})).into_response()
}

/// `GET /org`
pub(super) async fn org(State(shared): State<Arc<Shared>>) -> Response {
    let world = shared.world();
    Json(json!({"org": [{
        "id": (FIRST_ID + 1).to_string(), "zgid": "700000000", "country": "IL", "city": null,
        "type": "production", "created_time": shared.clock.text(world.opened),
        "company_name": "Example Immigration Law", "domain_name": "org700000000",
        "currency": "Israeli Shekel - ILS", "primary_email": "office@firm.example.com",
        "privacy_settings": true, "hipaa_compliance_enabled": false, "mc_status": false,
        "gapps_enabled": false, "translation_enabled": false, "iso_code": "ILS",
        "license_details": {
            "paid_expiry": null, "users_license_purchased": 5, "trial_type": null,
            "trial_expiry": null, "paid": true, "paid_type": "enterprise",
            "portal_users_license_purchased": 0,
        },
    }]}))
    .into_response()
}

/// The personal-data marking: names and contacts are `Low`, identity documents `High`.
fn private(world: &World, module: &ModuleSpec, field: &FieldSpec) -> Option<Value> {
    let restricted = world.is_restricted(module.api_name, field.api_name);
    let high = matches!(
        field.api_name,
        "Alien_Number" | "Case_Notes" | "National_ID" | "Passport_Number" | "Date_of_Birth"
    );
    let low = matches!(field.kind, Kind::Email | Kind::Phone)
        || matches!(field.api_name, "First_Name" | "Last_Name" | "Full_Name");
    (restricted || high || low).then(|| {
        json!({
            "restricted": restricted, "export": !restricted,
            "type": if high { "High" } else { "Low" },
        })
    })
}
