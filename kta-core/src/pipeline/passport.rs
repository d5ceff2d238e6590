//! The machine readable zone of a passport against what its holder declared (ICAO Doc 9303).
//!
//! A check digit is a filter, not proof, and names have none: what decides is the comparison.

use crate::error::Result;
use crate::id::SubjectId;
use crate::pii::Fields;
use crate::pii::identifier::{Mrz, PersonName};
use crate::pipeline::house::House;
use crate::pipeline::receive::{QUARANTINE, Received};
use crate::pipeline::verify::{Sorted, find};
use crate::policy::{Act, Permit, Scope, Session};
use crate::refusal::{Code, Refusal};

/// Reads the zone of a passport that is still in quarantine.
///
/// # Errors
/// [`Code::RevIncomplete`] when the file has no text in which a right zone stands.
pub(crate) async fn read(
    house: &House,
    clerk: &Session<'_>,
    received: &[Received],
    sorted: &Sorted,
    longest: u64,
) -> Result<Mrz> {
    let (delivery, part) = find(received, sorted)?;
    let permit = clerk
        .permit(Act::Release, Scope::of(delivery.quarantine(), QUARANTINE))
        .await?;
    let bytes = delivery
        .content(house, sorted.part, &permit)
        .await?
        .collect(longest, &permit)
        .await?;
    let text = house.doors.reader.text(&part.media, &bytes, &permit)?;
    let unreadable = || {
        Refusal::new(Code::RevIncomplete)
            .about("item", "mrz")
            .about("subject", sorted.subject)
    };
    let text = text.ok_or_else(unreadable)?;
    zone(text.expose(&permit)).ok_or_else(|| unreadable().into())
}

/// The first right zone in a text: two or three neighbouring lines of the same length.
fn zone(text: &str) -> Option<Mrz> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| (30..=44).contains(&line.len()))
        .collect();
    let windows = |count: usize| lines.windows(count).map(|window| window.join("\n"));
    windows(2)
        .chain(windows(3))
        .find_map(|candidate| Mrz::parse(&candidate).ok())
}

/// Compares the zone with what the person it was sorted to declared.
///
/// # Errors
/// [`Code::RevWrongPerson`] when it is the passport of another party, or of nobody in the
/// matter; [`Code::RevInconsistent`] when it is the person's, but a field differs.
pub(crate) fn compare(
    zone: &Mrz,
    sorted: &Sorted,
    persons: &[(SubjectId, Fields)],
    permit: &Permit<'_>,
) -> Result<(), Refusal> {
    let holder = persons
        .iter()
        .find(|(_, fields)| belongs(zone, fields, permit))
        .map(|(subject, _)| *subject);
    if holder != Some(sorted.subject) {
        let refusal = Refusal::new(Code::RevWrongPerson)
            .about("subject", sorted.subject)
            .about("document", "passport");
        return Err(match holder {
            Some(other) => refusal.about("belongs_to", other),
            None => refusal.about("belongs_to", "nobody-here"),
        });
    }
    let fields = persons
        .iter()
        .find(|(subject, _)| *subject == sorted.subject)
        .map(|(_, fields)| fields);
    for (name, agrees) in fields
        .into_iter()
        .flat_map(|fields| comparisons(zone, fields, permit))
    {
        if agrees == Some(false) {
            return Err(Refusal::new(Code::RevInconsistent)
                .about("subject", sorted.subject)
                .about("field", name));
        }
    }
    Ok(())
}

/// Whether the zone is this person's: number or birth date agree, and the family name does not
/// speak against it. One typing error does not turn a passport into somebody else's.
fn belongs(zone: &Mrz, fields: &Fields, permit: &Permit<'_>) -> bool {
    let agrees = |wanted: &str| {
        comparisons(zone, fields, permit)
            .into_iter()
            .any(|(name, agrees)| name == wanted && agrees == Some(true))
    };
    agrees("passport_number")
        || (agrees("birth_date") && agrees("family_name") && agrees("given_names"))
}

/// What the zone says of each field: agrees, differs, or nothing to compare.
fn comparisons(
    zone: &Mrz,
    fields: &Fields,
    permit: &Permit<'_>,
) -> [(&'static str, Option<bool>); 6] {
    let value = |name| {
        fields
            .field(name)
            .map(|value| value.expose(permit).as_str())
    };
    let date = |name, of_zone: crate::pii::identifier::MrzDate| {
        let date: chrono::NaiveDate = value(name)?.parse().ok()?;
        use chrono::Datelike as _;
        let year = u8::try_from(date.year().rem_euclid(100)).ok()?;
        Some(
            of_zone.year() == year
                && of_zone
                    .month()
                    .is_none_or(|month| u32::from(month) == date.month())
                && of_zone.day().is_none_or(|day| u32::from(day) == date.day()),
        )
    };
    let name = |field, of_zone: &str| {
        let folded = PersonName::parse(value(field)?).ok()?.to_mrz().ok()?;
        let folded = folded.replace('<', " ");
        Some(folded == of_zone || (zone.names_may_be_cut() && folded.starts_with(of_zone)))
    };
    [
        (
            "passport_number",
            value("passport_number").map(|number| number == zone.number()),
        ),
        ("birth_date", date("birth_date", zone.birth())),
        ("passport_expiry", date("passport_expiry", zone.expiry())),
        ("family_name", name("family_name", zone.surname())),
        ("given_names", name("given_names", zone.given_names())),
        (
            "nationality",
            value("nationality").map(|code| code == zone.nationality()),
        ),
    ]
}
