//! The calls this adapter can make, all of them: what is not on the list is never sent. Emptying
//! the recycle bin, deleting or changing by a filter, merging, changing owners and running
//! several calls in one are not on it: each would take other people's records along.

use kta_http::Method;

use crate::coql::is_id;

/// Whether a call with this method may go to this path below `/crm/v8`, or `/crm/bulk/v8`.
pub(crate) fn admits(door: Door, method: &Method, path: &[&str]) -> bool {
    let list = match door {
        Door::Api => API,
        Door::Bulk => BULK,
    };
    list.iter().any(|(methods, template)| {
        let methods = methods.split(' ');
        methods.into_iter().any(|one| one == method.as_str()) && fits(template, path)
    })
}

/// Which of the vendor's two doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Api,
    Bulk,
}

/// `#` stands for an id: digits, and nothing that leads elsewhere.
fn fits(template: &str, path: &[&str]) -> bool {
    let wanted = template.split('/');
    wanted.clone().count() == path.len()
        && wanted.zip(path).all(|(wanted, given)| match wanted {
            "#" => is_id(given),
            _ => wanted == *given,
        })
}

const API: &[(&str, &str)] = &[
    ("DELETE GET POST", "actions/watch"),
    ("POST", "coql"),
    ("GET PUT", "Contacts"),
    ("DELETE GET PUT", "Contacts/#"),
    ("GET", "Contacts/#/__timeline"),
    ("GET POST", "Contacts/#/Attachments"),
    ("DELETE GET", "Contacts/#/Attachments/#"),
    ("GET POST", "Contacts/#/Locking_Information__s"),
    ("DELETE", "Contacts/#/Locking_Information__s/#"),
    ("GET POST", "Contacts/#/Notes"),
    ("POST", "Contacts/#/actions/add_tags"),
    ("POST", "Contacts/#/actions/remove_tags"),
    ("GET", "Contacts/#/actions/share"),
    ("GET", "Contacts/deleted"),
    ("GET", "Contacts/search"),
    ("POST", "Contacts/upsert"),
    ("DELETE PUT", "Notes/#"),
    ("GET POST", "settings/audit_log_export"),
    ("GET", "settings/audit_log_export/#"),
    ("GET", "settings/data_sharing"),
    ("GET", "settings/fields"),
    ("GET", "settings/profiles"),
    ("GET", "settings/profiles/#"),
    ("GET", "settings/recycle_bin"),
    ("DELETE GET", "settings/recycle_bin/#"),
    ("POST", "settings/recycle_bin/#/actions/restore"),
    ("GET", "settings/roles"),
    ("GET", "users"),
];
const BULK: &[(&str, &str)] = &[
    ("POST", "read"),
    ("GET", "read/#"),
    ("GET", "read/#/result"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a path is put together from, it passes here as it will be sent.
    #[test]
    fn what_takes_other_peoples_records_along_is_admitted_by_no_method() {
        let forbidden: [&[&str]; 21] = [
            &["settings", "recycle_bin", "actions", "empty"],
            &["settings", "recycle_bin", "actions", "restore"],
            &["settings", "recycle_bin", "empty"],
            &["settings", "recycle_bin", "1", "actions", "empty"],
            &[
                "settings",
                "recycle_bin",
                "..",
                "recycle_bin",
                "actions",
                "empty",
            ],
            &["settings", "recycle_bin", "1/actions/empty"],
            &["settings", "recycle_bin", "1%2F..%2Factions%2Fempty"],
            &["settings", "recycle_bin", ""],
            &["Contacts", "actions", "mass_delete"],
            &["Contacts", "actions", "mass_update"],
            &["Contacts", "actions", "change_owner"],
            &["Contacts", "1", "actions", "change_owner"],
            &["Contacts", "1", "actions", "merge"],
            &["Contacts", "1", "actions", "clone"],
            &["Notes"],
            &["Contacts", "1,2"],
            &["Contacts", "1?ids=2"],
            &["__composite_requests"],
            &["settings", "record_locking_configurations"],
            &["settings", "duplicate_check_preference"],
            &["Deals", "1"],
        ];
        for path in forbidden {
            for method in ["DELETE", "GET", "PATCH", "POST", "PUT"] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                for door in [Door::Api, Door::Bulk] {
                    assert!(!admits(door, &method, path), "{method} {path:?}");
                }
            }
        }
        let share = ["Contacts", "1", "actions", "share"];
        assert!(!admits(Door::Api, &Method::POST, &share));
        let bin = ["settings", "recycle_bin"];
        assert!(!admits(Door::Api, &Method::DELETE, &bin));
        assert!(!admits(Door::Api, &Method::POST, &bin));
        assert!(!admits(Door::Bulk, &Method::POST, &["write"]));
        assert!(!admits(Door::Api, &Method::DELETE, &["Contacts"]));
        assert!(!admits(Door::Api, &Method::POST, &["Contacts"]));
    }

    #[test]
    fn nothing_is_deleted_but_by_its_own_id_and_our_channel() {
        for (methods, template) in API.iter().chain(BULK) {
            if methods.split(' ').any(|method| method == "DELETE") {
                assert!(template.ends_with("/#") || *template == "actions/watch");
            }
        }
        assert!(admits(Door::Api, &Method::DELETE, &["Contacts", "123"]));
    }
}
