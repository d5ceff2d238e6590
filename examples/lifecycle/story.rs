//! The story: progress on the screen, and a readable account that is told from the audit log
//! itself, so that it cannot say what the log does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kta_core::audit::{Entry, Outcome};
use kta_core::id::{ActorId, SubjectId};
use kta_core::pipeline::House;
use kta_core::{Error, Result};

use crate::cast::Cast;

#[derive(Debug)]
pub(crate) struct Story {
    actors: BTreeMap<ActorId, &'static str>,
    people: BTreeMap<SubjectId, String>,
    text: String,
    told: u64,
    step: u32,
    refusals: Vec<(String, String)>,
}

impl Story {
    pub(crate) fn begin(cast: &Cast) -> Self {
        let people = cast
            .people
            .iter()
            .map(|(name, id)| (*id, format!("[{name}]")))
            .collect();
        let mut story = Self {
            actors: cast.names(),
            people,
            text: String::from(
                "# One family, from the first mail to the certificate of destruction\n",
            ),
            told: 0,
            step: 0,
            refusals: Vec::new(),
        };
        story.line("Everybody in this story is invented. What follows is told from the audit log: who did what,");
        story.line("as what, why it was allowed, and every no with its code. Persons appear as the file's own");
        story.line("short names in brackets; the log itself knows random ids only.");
        story
    }

    /// A new chapter.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.step += 1;
        let heading = format!("{:>2}. {title}", self.step);
        say(&format!("\n{heading}"));
        let _ = write!(self.text, "\n## {heading}\n\n");
    }

    /// A sentence of the narrator.
    pub(crate) fn line(&mut self, text: &str) {
        say(&format!("    {text}"));
        let _ = writeln!(self.text, "{text}");
    }

    /// Tells what the log has gained since the last time.
    pub(crate) async fn tell(&mut self, house: &House) -> Result<()> {
        loop {
            let entries = house
                .doors
                .ledger
                .entries(house.tenant(), self.told, 256)
                .await?;
            if entries.is_empty() {
                return Ok(());
            }
            for bytes in &entries {
                let entry = Entry::parse(bytes)?;
                self.entry(&entry);
            }
            self.told += entries.len() as u64;
        }
    }

    /// Expects a lawful no with this code, and tells it for what it is.
    pub(crate) fn refused<T>(
        &mut self,
        what: &str,
        result: Result<T>,
        code: kta_core::Code,
    ) -> Result<()> {
        match result {
            Err(Error::Refused(refusal)) if refusal.code() == code => {
                self.line(&format!("REFUSED  {what}: {refusal}"));
                self.refusals.push((what.to_owned(), refusal.to_string()));
                Ok(())
            }
            Err(other) => Err(other),
            Ok(_) => {
                let fault = kta_core::Fault::new(
                    kta_core::FaultKind::Protocol,
                    kta_core::Port::Policy,
                    "refuse",
                );
                Err(fault
                    .because("something was allowed that must not be")
                    .into())
            }
        }
    }

    pub(crate) fn refusals(&self) -> usize {
        self.refusals.len()
    }

    pub(crate) fn into_text(mut self) -> String {
        let refusals = std::mem::take(&mut self.refusals);
        let _ = write!(self.text, "\n## The refusals on the way\n\n");
        for (what, refusal) in refusals {
            let _ = writeln!(self.text, "- {what}: `{refusal}`");
        }
        self.text
    }

    fn entry(&mut self, entry: &Entry) {
        let event = &entry.event;
        let who = self
            .actors
            .get(&event.actor)
            .copied()
            .unwrap_or("the founder");
        let role = event.role.map(|role| role.as_str()).unwrap_or("founding");
        let of = event
            .subject
            .and_then(|id| self.people.get(&id))
            .map(|name| format!(" for {name}"));
        let of = of.unwrap_or_default();
        let outcome = match event.outcome {
            Outcome::Admitted => "was admitted to",
            Outcome::Done => "did",
            Outcome::Intended => "is about to",
            Outcome::Refused => "was refused to",
        };
        let why = match (&event.code, event.purpose) {
            (Some(code), _) => format!("{code}: {}", code.meaning()),
            (None, Some(purpose)) => {
                let basis = event
                    .basis
                    .map(|basis| format!(" ({})", basis.as_str()))
                    .unwrap_or_default();
                let rules: Vec<_> = event.reasons.iter().map(|rule| rule.as_str()).collect();
                let rules = if rules.is_empty() {
                    String::new()
                } else {
                    format!(", by {}", rules.join(", "))
                };
                format!("for {}{basis}{rules}", purpose.as_str())
            }
            (None, None) => String::new(),
        };
        let facts: Vec<_> = event
            .facts
            .iter()
            .map(|(name, fact)| format!("{name} {fact}"))
            .collect();
        let facts = if facts.is_empty() {
            String::new()
        } else {
            format!(" — {}", facts.join(", "))
        };
        let _ = writeln!(
            self.text,
            "- `{:>4}` {who} ({role}) {outcome} **{}**{of}; {why}{facts}",
            entry.seq, event.act
        );
    }
}

/// Prints a line; when nobody listens any more, the work goes on all the same.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}
