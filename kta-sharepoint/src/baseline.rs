//! The tenant's settings against what the firm wants them to be.
//!
//! An administrator exports the settings (`Get-SPOTenant`, `Get-AdminAuditLogConfig`, DLP and mail-flow rules) as
//! one JSON object; the baseline that ships is data, `baseline.json`. Nothing is asked of the tenant here:
//! reading these settings wants rights that this application should not have.

use chrono::TimeDelta;
use kta_core::time::Timestamp;
use kta_core::{Code, Fault, FaultKind, Port, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What the settings should be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Its name, which reports carry.
    pub name: String,
    /// How old an export may be, in days.
    days: i64,
    rules: Vec<Rule>,
}

/// The tenant's settings as they were exported.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When.
    pub taken: Timestamp,
    /// By the names that Microsoft's administration shells give them.
    pub settings: Map<String, Value>,
}

/// One way in which the tenant is not as the baseline has it. Settings' names and the firm's reasons, no
/// values: an export may hold addresses and domains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// A setting has another value.
    Differs {
        /// The setting.
        setting: String,
        /// Why it matters.
        why: String,
    },
    /// The export lacks a setting that the baseline has a rule for.
    Missing {
        /// The setting.
        setting: String,
        /// Why it matters.
        why: String,
    },
    /// The baseline has no rule for a setting: somebody should look, and then there is one.
    Unruled {
        /// The setting.
        setting: String,
    },
}

impl Baseline {
    /// The baseline that ships.
    ///
    /// # Errors
    /// None in practice: a test reads it.
    pub fn shipped() -> Result<Self> {
        Self::parse(include_str!("baseline.json"))
    }

    /// A firm's own baseline, in the form of the one that ships.
    ///
    /// # Errors
    /// A `Misconfigured` fault for another form, a rule without a condition, and two rules for one setting.
    pub fn parse(json: &str) -> Result<Self> {
        let refused = || {
            Fault::new(FaultKind::Misconfigured, Port::Policy, "baseline").because("not a baseline")
        };
        let baseline: Self = serde_json::from_str(json).map_err(|_| refused())?;
        let mut names: Vec<&str> = baseline
            .rules
            .iter()
            .map(|rule| rule.setting.as_str())
            .collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        let empty =
            |rule: &Rule| rule.one_of.is_empty() && rule.from.is_none() && rule.to.is_none();
        if twice || baseline.rules.iter().any(empty) {
            return Err(refused().into());
        }
        Ok(baseline)
    }

    /// How the tenant differs, in a fixed order; a setting that the baseline does not know is told too.
    ///
    /// # Errors
    /// `CFG-STALE` for an export that is too old, or from the future.
    pub fn drift(&self, settings: &Settings, now: Timestamp) -> Result<Vec<Drift>> {
        let age = now - settings.taken;
        if age > TimeDelta::days(self.days) || age < TimeDelta::hours(-1) {
            return Err(Code::CfgStale.into());
        }
        let mut drift = Vec::new();
        for rule in &self.rules {
            let (setting, why) = (rule.setting.clone(), rule.why.clone());
            match settings.settings.get(&setting) {
                None => drift.push(Drift::Missing { setting, why }),
                Some(value) if !rule.holds(value) => drift.push(Drift::Differs { setting, why }),
                Some(_) => {}
            }
        }
        let ruled = |name: &String| self.rules.iter().any(|rule| rule.setting == *name);
        let unruled = settings.settings.keys().filter(|name| !ruled(name));
        drift.extend(unruled.map(|name| Drift::Unruled {
            setting: name.clone(),
        }));
        drift.sort();
        Ok(drift)
    }
}

impl Settings {
    /// Reads an export: `{"taken": instant, "settings": {…}}`.
    ///
    /// # Errors
    /// A `Protocol` fault for anything else.
    pub fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|_| {
            Fault::new(FaultKind::Protocol, Port::Policy, "baseline")
                .because("not an export of settings")
                .into()
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    setting: String,
    #[serde(default)]
    one_of: Vec<Value>,
    #[serde(default)]
    from: Option<i64>,
    #[serde(default)]
    to: Option<i64>,
    why: String,
}

impl Rule {
    fn holds(&self, value: &Value) -> bool {
        if !self.one_of.is_empty() {
            return self.one_of.contains(value);
        }
        value.as_i64().is_some_and(|number| {
            self.from.is_none_or(|from| number >= from) && self.to.is_none_or(|to| number <= to)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_768_467_600, 0).unwrap()
    }

    /// An export in which every rule of the baseline holds.
    fn good(baseline: &Baseline) -> Settings {
        let value = |rule: &Rule| match rule.one_of.first() {
            Some(value) => value.clone(),
            None => json!(rule.from.or(rule.to)),
        };
        let settings = baseline.rules.iter();
        Settings {
            taken: now(),
            settings: settings
                .map(|rule| (rule.setting.clone(), value(rule)))
                .collect(),
        }
    }

    #[test]
    fn every_rule_passes_when_kept_and_is_the_one_that_drifts_when_broken() {
        let baseline = Baseline::shipped().unwrap();
        assert_eq!(baseline.drift(&good(&baseline), now()).unwrap(), []);
        for rule in &baseline.rules {
            let wrong = [
                json!("NoSuchValue"),
                json!(null),
                json!(rule.to.map_or(-1, |to| to + 1)),
            ];
            for value in wrong {
                let mut settings = good(&baseline);
                settings.settings.insert(rule.setting.clone(), value);
                let drift = baseline.drift(&settings, now()).unwrap();
                let (setting, why) = (rule.setting.clone(), rule.why.clone());
                assert_eq!(drift, [Drift::Differs { setting, why }]);
            }
            let mut settings = good(&baseline);
            settings.settings.remove(&rule.setting);
            let drift = baseline.drift(&settings, now()).unwrap();
            assert!(
                matches!(&drift[..], [Drift::Missing { setting, .. }] if *setting == rule.setting)
            );
        }
    }

    #[test]
    fn an_unknown_setting_is_told_and_its_value_is_not() {
        let baseline = Baseline::shipped().unwrap();
        let mut settings = good(&baseline);
        let value = json!("testa@firm.example");
        settings.settings.insert("NewSetting".to_owned(), value);
        let drift = baseline.drift(&settings, now()).unwrap();
        let setting = "NewSetting".to_owned();
        assert_eq!(drift, [Drift::Unruled { setting }]);
        assert!(!format!("{drift:?}").contains("testa"));
    }

    #[test]
    fn an_old_export_and_one_from_the_future_are_stale() {
        let baseline = Baseline::shipped().unwrap();
        for days in [31, -1] {
            let mut settings = good(&baseline);
            settings.taken = now() - TimeDelta::days(days);
            let refused = baseline.drift(&settings, now()).unwrap_err();
            assert_eq!(refused.refusal().unwrap().code(), Code::CfgStale);
        }
    }

    #[test]
    fn what_is_no_baseline_and_no_export_is_refused() {
        for json in [
            "{}",
            r#"{"name":"x","days":1,"rules":[{"setting":"A","why":""}]}"#,
            r#"{"name":"x","days":1,"rules":[{"setting":"A","one_of":[1],"why":""},
                {"setting":"A","one_of":[2],"why":""}]}"#,
        ] {
            assert!(Baseline::parse(json).is_err(), "{json}");
        }
        assert!(Settings::parse(b"[]").is_err());
        let read = Settings::parse(br#"{"taken":"2026-01-15T09:00:00Z","settings":{"A":1}}"#);
        assert_eq!(read.unwrap().settings.len(), 1);
    }
}
