//! The many spellings of an address: by id, by path, with `:`, `:/`, `%3A`, `delta()`.

use super::reply::Refused;
use super::state::State;

/// What a Graph path names.
#[derive(Debug)]
pub(crate) enum Route {
    Batch,
    Drive { drive: String },
    Drives,
    Group { tail: Vec<String> },
    Item(Place),
    List { drive: String, tail: Vec<String> },
    Lists,
    Security { tail: Vec<String> },
    Shares { token: String, tail: Vec<String> },
    Site,
    SitePermissions,
    Sites,
    Subscriptions { tail: Vec<String> },
    User { user: String, tail: Vec<String> },
}

/// An item's address and what is asked of it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) drive: String,
    /// The item the path starts from.
    pub(crate) base: String,
    /// Names below it; empty when the item is named by id.
    pub(crate) path: Vec<String>,
    /// The action and its arguments: `["versions", "2.0", "content"]`.
    pub(crate) tail: Vec<String>,
}

/// Reads a percent-decoded path, without `/v1.0`.
pub(crate) fn route(state: &State, path: &str) -> Result<Route, Refused> {
    let path = path.trim_matches('/');
    let (head, rest) = path.split_once('/').unwrap_or((path, ""));
    match head {
        "$batch" if rest.is_empty() => Ok(Route::Batch),
        "drives" => {
            let (drive, rest) = rest.split_once('/').unwrap_or((rest, ""));
            in_drive(state, drive, rest)
        }
        "groups" => Ok(Route::Group {
            tail: segments(rest),
        }),
        "security" => Ok(Route::Security {
            tail: segments(rest),
        }),
        "shares" => {
            let mut tail = segments(rest);
            if tail.is_empty() {
                return Err(Refused::not_found());
            }
            let token = tail.remove(0);
            Ok(Route::Shares { token, tail })
        }
        "sites" if rest.is_empty() => Ok(Route::Sites),
        "sites" => in_site(state, rest),
        "subscriptions" => Ok(Route::Subscriptions {
            tail: segments(rest),
        }),
        "users" => {
            let mut tail = segments(rest);
            if tail.is_empty() {
                return Err(Refused::not_found());
            }
            let user = tail.remove(0);
            Ok(Route::User { user, tail })
        }
        _ => Err(Refused::new(
            400,
            "BadRequest",
            "Resource not found for the segment.",
        )),
    }
}

fn in_site(state: &State, rest: &str) -> Result<Route, Refused> {
    let site = &state.site;
    let tail = match rest.split_once(":/") {
        Some((host, path)) if !host.contains('/') => {
            let (path, tail) = path.split_once(':').unwrap_or((path, ""));
            let same_host = host.eq_ignore_ascii_case(&site.hostname)
                || state.settings.sharepoint.ends_with(&format!("//{host}"));
            let wanted = site.path.trim_matches('/');
            if !same_host || !path.trim_matches('/').eq_ignore_ascii_case(wanted) {
                return Err(Refused::not_found());
            }
            tail
        }
        _ => {
            let (id, tail) = rest.split_once('/').unwrap_or((rest, ""));
            let short = site.id.split_once(',').map(|(_, guids)| guids);
            if id != site.id && id != "root" && Some(id) != short && id != site.hostname {
                return Err(Refused::not_found());
            }
            tail
        }
    };
    let tail = tail.trim_matches('/');
    let (head, rest) = tail.split_once('/').unwrap_or((tail, ""));
    match head {
        "" => Ok(Route::Site),
        "drive" => in_drive(state, &default_drive(state)?, rest),
        "drives" if rest.is_empty() => Ok(Route::Drives),
        "drives" => {
            let (drive, rest) = rest.split_once('/').unwrap_or((rest, ""));
            in_drive(state, drive, rest)
        }
        "lists" if rest.is_empty() => Ok(Route::Lists),
        "lists" => {
            let (list, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let drive = state
                .drives
                .values()
                .find(|drive| drive.list == list || drive.title.eq_ignore_ascii_case(list))
                .ok_or_else(Refused::not_found)?;
            match rest.strip_prefix("drive") {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    in_drive(state, &drive.id, rest.trim_matches('/'))
                }
                _ => Ok(Route::List {
                    drive: drive.id.clone(),
                    tail: segments(rest),
                }),
            }
        }
        "permissions" if rest.is_empty() => Ok(Route::SitePermissions),
        _ => Err(Refused::new(
            400,
            "BadRequest",
            "Resource not found for the segment.",
        )),
    }
}

fn in_drive(state: &State, drive: &str, rest: &str) -> Result<Route, Refused> {
    let known = state.drive(drive)?;
    let drive = known.id.clone();
    if rest.is_empty() {
        return Ok(Route::Drive { drive });
    }
    if rest == "list" {
        return Ok(Route::List {
            drive,
            tail: Vec::new(),
        });
    }
    let (base, rest) = if let Some(rest) = rest.strip_prefix("items/") {
        let end = rest.find(['/', ':']).unwrap_or(rest.len());
        let (id, rest) = rest.split_at(end);
        (
            if id == "root" {
                known.root.clone()
            } else {
                id.to_owned()
            },
            rest,
        )
    } else if let Some(rest) = rest.strip_prefix("root") {
        (known.root.clone(), rest)
    } else {
        return Err(Refused::new(
            400,
            "BadRequest",
            "Resource not found for the segment.",
        ));
    };
    let (path, tail) = match rest.strip_prefix(':') {
        Some(rest) => rest.split_once(':').unwrap_or((rest, "")),
        None if rest.is_empty() || rest.starts_with('/') => ("", rest),
        None => return Err(Refused::bad("malformed item address")),
    };
    if !path.is_empty() && !path.starts_with('/') {
        return Err(Refused::bad("a path address starts with a slash"));
    }
    let tail = segments(tail)
        .into_iter()
        .map(|part| {
            part.strip_prefix("microsoft.graph.")
                .map(str::to_owned)
                .unwrap_or(part)
        })
        .collect();
    Ok(Route::Item(Place {
        drive,
        base,
        path: segments(path),
        tail,
    }))
}

impl Place {
    /// The item that is there.
    pub(crate) fn item(&self, state: &State) -> Result<String, Refused> {
        let mut at = self.start(state)?;
        for name in &self.path {
            at = state
                .child(&at, name)
                .ok_or_else(Refused::not_found)?
                .id
                .clone();
        }
        Ok(at)
    }

    /// The folder and name to write to, making missing folders on the way as Graph does.
    pub(crate) fn slot(&self, state: &mut State) -> Result<(String, String), Refused> {
        let mut at = self.start(state)?;
        let Some((name, folders)) = self.path.split_last() else {
            return Err(Refused::bad("the address names no file"));
        };
        for name in self.path.iter() {
            check_name(name)?;
        }
        if self
            .path
            .iter()
            .map(|name| name.chars().count() + 1)
            .sum::<usize>()
            > 400
        {
            return Err(Refused::bad("the path is too long").inner("pathTooLong"));
        }
        for folder in folders {
            at = match state.child(&at, folder) {
                Some(item) if item.is_folder() => item.id.clone(),
                Some(_) => return Err(Refused::conflict()),
                None => state.add(&self.drive, Some(at), folder, None),
            };
        }
        Ok((at, name.clone()))
    }

    fn start(&self, state: &State) -> Result<String, Refused> {
        let item = state.item(&self.base)?;
        if item.drive != self.drive {
            return Err(Refused::not_found());
        }
        Ok(item.id.clone())
    }
}

/// Refuses what SharePoint refuses in a name.
pub(crate) fn check_name(name: &str) -> Result<(), Refused> {
    let stem = name.split('.').next().unwrap_or("").to_ascii_uppercase();
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    let bad = name.is_empty()
        || name.chars().count() > 255
        || name
            .chars()
            .any(|c| "\"*:<>?/\\|".contains(c) || c.is_control())
        || name.starts_with(' ')
        || name.ends_with([' ', '.'])
        || name.starts_with("~$")
        || name.contains("_vti_")
        || matches!(
            name.to_ascii_lowercase().as_str(),
            ".lock" | "desktop.ini" | "." | ".."
        )
        || device;
    if bad {
        return Err(
            Refused::bad("The provided name cannot contain these characters.")
                .inner("invalidResourceId"),
        );
    }
    Ok(())
}

fn default_drive(state: &State) -> Result<String, Refused> {
    let first = state.drives.values().min_by_key(|drive| drive.number);
    first
        .map(|drive| drive.id.clone())
        .ok_or_else(Refused::not_found)
}

fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}
