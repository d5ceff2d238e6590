//! Which fields of a record are sealed as one value.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::FieldName;

/// The fields that one sealed value of a record holds: one, or several that are handled alike.
///
/// It is written as their names in ascending order with `+` between them, which no name has; one
/// field is written as its name. At most [`LONGEST`](Self::LONGEST) bytes. Sealed as the place of
/// the value, so that a group opens as the fields that went in, and as no others.
#[derive(Clone)]
pub struct FieldGroup(Names);

#[derive(Clone)]
enum Names {
    One(FieldName),
    Several(Arc<Several>),
}

struct Several {
    text: String,
    names: Vec<FieldName>,
}

/// Text or names that are no [`FieldGroup`]. Holds no part of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a group of fields")]
pub struct BadFieldGroup;

impl FieldGroup {
    /// The most bytes that a group is written with.
    pub const LONGEST: usize = 1024;

    /// The group of these fields.
    ///
    /// # Errors
    /// [`BadFieldGroup`] for none, for too many, and for names that do not ascend.
    pub fn of(mut names: Vec<FieldName>) -> Result<Self, BadFieldGroup> {
        if names.windows(2).any(|two| two[0] >= two[1]) {
            return Err(BadFieldGroup);
        }
        let last = names.pop().ok_or(BadFieldGroup)?;
        if names.is_empty() {
            return Ok(last.into());
        }
        names.push(last);
        let texts: Vec<_> = names.iter().map(FieldName::as_str).collect();
        let text = texts.join(BETWEEN);
        if text.len() > Self::LONGEST {
            return Err(BadFieldGroup);
        }
        Ok(Self(Names::Several(Arc::new(Several { text, names }))))
    }

    /// The group that is written so.
    ///
    /// # Errors
    /// [`BadFieldGroup`] for what no group is written as.
    pub fn parse(text: &str) -> Result<Self, BadFieldGroup> {
        if text.len() > Self::LONGEST {
            return Err(BadFieldGroup);
        }
        let names = text.split(BETWEEN).map(FieldName::new);
        Self::of(names.collect::<Result<_, _>>().map_err(|_| BadFieldGroup)?)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Names::One(name) => name.as_str(),
            Names::Several(several) => &several.text,
        }
    }

    /// Its fields, in ascending order; at least one.
    #[must_use]
    pub fn names(&self) -> &[FieldName] {
        match &self.0 {
            Names::One(name) => core::slice::from_ref(name),
            Names::Several(several) => &several.names,
        }
    }
}

/// What stands between two names.
const BETWEEN: &str = "+";

impl From<FieldName> for FieldGroup {
    fn from(name: FieldName) -> Self {
        Self(Names::One(name))
    }
}

impl Borrow<str> for FieldGroup {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for FieldGroup {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for FieldGroup {}

impl PartialOrd for FieldGroup {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FieldGroup {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for FieldGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for FieldGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FieldGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FieldGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_written_and_read_in_one_way() {
        for (text, many) in [("email", 1), ("email+phone", 2), ("a+b+c", 3)] {
            let group = FieldGroup::parse(text).unwrap();
            assert_eq!((group.as_str(), group.names().len()), (text, many));
            assert_eq!(FieldGroup::of(group.names().to_vec()).unwrap(), group);
            let json = serde_json::to_string(&group).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<FieldGroup>(&json).unwrap(), group);
        }
        let bad = [
            "",
            "+",
            "email+",
            "+email",
            "a++b",
            "phone+email",
            "a+a",
            "Email",
            "a b",
            "a+B",
        ];
        for text in bad {
            assert_eq!(FieldGroup::parse(text), Err(BadFieldGroup), "{text:?}");
        }
        assert_eq!(FieldGroup::of(Vec::new()), Err(BadFieldGroup));
        let many =
            |count| (0..count).map(|number| FieldName::new(&format!("f{number:06}")).unwrap());
        let longest = FieldGroup::of(many(128).collect()).unwrap();
        assert_eq!(longest.as_str().len(), FieldGroup::LONGEST - 1);
        assert_eq!(FieldGroup::of(many(129).collect()), Err(BadFieldGroup));
        let longer = format!("{longest}+g1");
        assert_eq!(FieldGroup::parse(&longer), Err(BadFieldGroup));
    }

    #[test]
    fn a_group_is_found_by_what_is_written() {
        let groups = ["a", "a+b", "b"].map(|text| FieldGroup::parse(text).unwrap());
        let map: std::collections::BTreeMap<_, _> = groups.into_iter().zip(0..).collect();
        assert_eq!((map.get("a+b"), map.get("c")), (Some(&1), None));
    }
}
