//! The forecast as a picture: one SVG file, no script, nothing fetched.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use chrono::{Datelike as _, Months, NaiveDate};
use kta_core::audit::Label;

use super::forecast::{Forecast, Month, Tally};
use super::table::Text;
use super::words::Words;

/// Draws what becomes eligible for destruction in each month, in a column of one colour a class,
/// from the month of the forecast on for `months` months (12 to 180); a line shows what would
/// become eligible if nothing were changed.
#[must_use]
pub fn picture(forecast: &Forecast, words: &Words<'_>, months: u32) -> String {
    let months = months.clamp(12, 180);
    let first = forecast.today.with_day(1).unwrap_or(forecast.today);
    let spans: Vec<_> = (0..months)
        .filter_map(|ahead| first.checked_add_months(Months::new(ahead)))
        .collect();
    let picture = Picture {
        forecast,
        words,
        bands: bands(forecast, &spans),
        spans,
        svg: String::with_capacity(64 << 10),
    };
    picture.draw()
}

struct Picture<'f> {
    forecast: &'f Forecast,
    words: &'f Words<'f>,
    /// The classes with a colour of their own, the fullest first; none stands for the others.
    bands: Vec<Option<&'f Label>>,
    /// First days of the months shown.
    spans: Vec<NaiveDate>,
    svg: String,
}

impl Picture<'_> {
    fn draw(mut self) -> String {
        let bands = self.bands.len();
        let height = TOP + PLOT + BELOW + LEGEND * bands.div_ceil(COLUMNS) as f64;
        let title = "What becomes eligible for destruction, by month and class";
        self.add(format_args!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="t d" font-family="system-ui,'Segoe UI','DejaVu Sans',sans-serif"><title id="t">{title}</title><rect width="100%" height="100%" fill="#fff"/><text x="{LEFT}" y="38" font-size="21" font-weight="600" fill="#1b2430">{title}</text>"##
        ));
        self.subtitle();
        self.cards();
        let most = self.most();
        self.axes(most);
        self.columns(most);
        self.line(most);
        self.legend();
        self.svg.push_str("</svg>\n");
        self.svg
    }

    fn subtitle(&mut self) {
        let total = self.forecast.total();
        let change = if self.forecast.before == self.forecast.after {
            "The schedules in force".to_owned()
        } else {
            format!(
                "If the schedules are changed: {} records earlier, {} later than now",
                grouped(total.earlier),
                grouped(total.later)
            )
        };
        let (today, records) = (self.forecast.today, grouped(total.records));
        self.add(format_args!(
            r##"<desc id="d">{change}. Simulated on {today} over {records} records.</desc><text x="{LEFT}" y="60" font-size="13" fill="#5b6776">{change}. Simulated on {today} over {records} records.</text>"##
        ));
    }

    /// What a column cannot show: where the records stand today, and what comes after the last.
    fn cards(&mut self) {
        let total = self.forecast.total();
        let last = self.spans.last().copied().unwrap_or(self.forecast.today);
        let beyond = |count: fn(&Month) -> u64| -> u64 {
            let after = total.months.iter().filter(|(month, _)| **month > last);
            after.map(|(_, month)| count(month)).sum()
        };
        let cards = [
            (
                "eligible already",
                total.before.eligible,
                total.after.eligible,
            ),
            (
                "sealed from use",
                total.before.restricted,
                total.after.restricted,
            ),
            ("under a legal hold", total.before.held, total.after.held),
            (
                "wait for a date",
                total.before.undetermined,
                total.after.undetermined,
            ),
            (
                "still go on, or owner's",
                total.before.open + total.before.offered,
                total.after.open + total.after.offered,
            ),
            (
                "without any rule",
                total.before.unclassed,
                total.after.unclassed,
            ),
            (
                "after the last column",
                beyond(|month| month.before),
                beyond(|month| month.after),
            ),
        ];
        let width = (WIDTH - LEFT - RIGHT) / cards.len() as f64;
        for (place, (what, before, after)) in cards.into_iter().enumerate() {
            let x = LEFT + place as f64 * width;
            let was = if before == after {
                String::new()
            } else {
                format!(
                    r##"<tspan font-size="11.5" font-weight="400" fill="#9a3412"> was {}</tspan>"##,
                    grouped(before)
                )
            };
            self.add(format_args!(
                r##"<line x1="{x:.1}" x2="{x:.1}" y1="82" y2="118" stroke="#d5dbe2" stroke-width="2"/><text x="{:.1}" y="97" font-size="17" font-weight="600" fill="#1b2430">{}{was}</text><text x="{:.1}" y="115" font-size="11.5" fill="#5b6776">{what}</text>"##,
                x + 9.0, grouped(after), x + 9.0
            ));
        }
    }

    fn axes(&mut self, most: u64) {
        let step = (most / 4).max(1);
        for tick in 0..=most / step {
            let count = tick * step;
            let y = height_of(count, most);
            self.add(format_args!(
                r##"<line x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}" stroke="{}" stroke-width="1"/><text x="{:.1}" y="{:.1}" font-size="11.5" text-anchor="end" fill="#5b6776">{}</text>"##,
                WIDTH - RIGHT, if count == 0 { "#1b2430" } else { "#e3e7ec" }, LEFT - 8.0, y + 4.0, grouped(count)
            ));
        }
        self.add(format_args!(
            r##"<text x="{LEFT}" y="{:.1}" font-size="11.5" fill="#5b6776">records a month</text>"##,
            TOP - 12.0
        ));
        let wide = self.column_width();
        let spans = self.spans.clone();
        for (place, month) in spans.iter().enumerate() {
            if month.month() != 1 && place != 0 {
                continue;
            }
            let x = LEFT + place as f64 * wide;
            let base = TOP + PLOT;
            // The first label gives way to a January that follows closely.
            let room = place > 0 || spans.iter().take(4).skip(1).all(|next| next.month() != 1);
            let label = match (place, room) {
                (_, false) => String::new(),
                (0, _) if month.month() != 1 => month.format("%b %Y").to_string(),
                _ => month.year().to_string(),
            };
            self.add(format_args!(
                r##"<line x1="{x:.1}" x2="{x:.1}" y1="{base}" y2="{:.1}" stroke="#1b2430"/><text x="{:.1}" y="{:.1}" font-size="11.5" fill="#5b6776">{label}</text>"##,
                base + 5.0, x + 2.0, base + 18.0
            ));
        }
    }

    fn columns(&mut self, most: u64) {
        let wide = self.column_width();
        let (spans, bands) = (self.spans.clone(), self.bands.clone());
        for (place, month) in spans.into_iter().enumerate() {
            let x = LEFT + place as f64 * wide + wide * 0.09;
            let mut below = 0;
            let mut said = month.format("%B %Y").to_string();
            let mut drawn = String::new();
            for (band, class) in bands.iter().enumerate() {
                let count = self.count(*class, &bands, month).after;
                if count == 0 {
                    continue;
                }
                let (bottom, top) = (height_of(below, most), height_of(below + count, most));
                // Proof: writing to a string cannot fail.
                let _ = write!(
                    drawn,
                    r##"<rect x="{x:.1}" y="{top:.2}" width="{:.1}" height="{:.2}" fill="{}"/>"##,
                    wide * 0.82,
                    bottom - top,
                    COLOURS[band % COLOURS.len()]
                );
                let _ = write!(said, "\n{} {}", grouped(count), Text(&self.named(*class)));
                below += count;
            }
            if !drawn.is_empty() {
                self.add(format_args!("<g><title>{said}</title>{drawn}</g>"));
            }
        }
    }

    /// What would become eligible if nothing were changed.
    fn line(&mut self, most: u64) {
        if self.forecast.before == self.forecast.after {
            return;
        }
        let wide = self.column_width();
        let total = self.forecast.total();
        let mut path = String::new();
        for (place, month) in self.spans.iter().enumerate() {
            let count = total.months.get(month).map_or(0, |month| month.before);
            let (x, y) = (LEFT + place as f64 * wide, height_of(count, most));
            let verb = if place == 0 { 'M' } else { 'L' };
            // Proof: writing to a string cannot fail.
            let _ = write!(path, "{verb}{x:.1} {y:.1}H{:.1}", x + wide);
        }
        self.add(format_args!(
            r##"<path d="{path}" fill="none" stroke="#fff" stroke-width="3.6" stroke-linejoin="round" opacity=".8"/><path d="{path}" fill="none" stroke="#1b2430" stroke-width="1.4" stroke-linejoin="round"/>"##
        ));
    }

    fn legend(&mut self) {
        let mut entries: Vec<_> = self
            .bands
            .iter()
            .enumerate()
            .map(|(band, class)| {
                let shown = self.spans.iter();
                let count: u64 = shown
                    .map(|month| self.count(*class, &self.bands, *month).after)
                    .sum();
                (
                    Some(COLOURS[band % COLOURS.len()]),
                    format!("{} ({})", self.named(*class), grouped(count)),
                )
            })
            .collect();
        if self.forecast.before != self.forecast.after {
            entries.push((None, "if nothing is changed".to_owned()));
        }
        let wide = (WIDTH - LEFT - RIGHT) / COLUMNS as f64;
        for (place, (colour, text)) in entries.into_iter().enumerate() {
            let x = LEFT + (place % COLUMNS) as f64 * wide;
            let y = TOP + PLOT + 44.0 + (place / COLUMNS) as f64 * LEGEND;
            let mark = colour.map_or_else(
                || format!(r##"<line x1="{x:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}" stroke="#1b2430" stroke-width="1.6"/>"##, x + 13.0, y - 4.5, y - 4.5),
                |colour| format!(r##"<rect x="{x:.1}" y="{:.1}" width="13" height="11" fill="{colour}"/>"##, y - 10.0),
            );
            self.add(format_args!(
                r##"{mark}<text x="{:.1}" y="{y:.1}" font-size="12" fill="#1b2430">{}</text>"##,
                x + 19.0,
                Text(&text)
            ));
        }
    }

    fn count(&self, class: Option<&Label>, bands: &[Option<&Label>], month: NaiveDate) -> Month {
        let of = |tally: &Tally| tally.months.get(&month).copied().unwrap_or_default();
        match class {
            Some(class) => self.forecast.classes.get(class).map(of).unwrap_or_default(),
            None => {
                let others = self.forecast.classes.iter();
                let others = others.filter(|(class, _)| !bands.contains(&Some(class)));
                others
                    .map(|(_, tally)| of(tally))
                    .fold(Month::default(), |sum, one| Month {
                        before: sum.before + one.before,
                        after: sum.after + one.after,
                    })
            }
        }
    }

    fn named(&self, class: Option<&Label>) -> String {
        class.map_or_else(|| "Other classes".to_owned(), |class| self.words.say(class))
    }

    /// The top of the scale: a round number that no column reaches over.
    fn most(&self) -> u64 {
        let total = self.forecast.total();
        let shown = self
            .spans
            .iter()
            .filter_map(|month| total.months.get(month));
        let most = shown.map(|month| month.before.max(month.after)).max();
        let most = most.unwrap_or(0).max(4);
        let mut unit = 1_u64;
        loop {
            for round in [4, 6, 8, 10, 12, 16, 20, 24, 32] {
                if let Some(top) = unit.checked_mul(round)
                    && top >= most
                {
                    return top;
                }
            }
            match unit.checked_mul(10) {
                Some(next) => unit = next,
                None => return most,
            }
        }
    }

    fn column_width(&self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.spans.len().max(1) as f64
    }

    fn add(&mut self, what: core::fmt::Arguments<'_>) {
        // Proof: writing to a string cannot fail.
        let _ = self.svg.write_fmt(what);
    }
}

/// The classes in the order in which they are stacked.
fn bands<'f>(forecast: &'f Forecast, spans: &[NaiveDate]) -> Vec<Option<&'f Label>> {
    let mut sums = BTreeMap::new();
    for (class, tally) in &forecast.classes {
        let shown = spans.iter().filter_map(|month| tally.months.get(month));
        let sum: u64 = shown.map(|month| month.after).sum();
        if sum > 0 {
            sums.insert(class, sum);
        }
    }
    let mut sorted: Vec<_> = sums.into_iter().collect();
    sorted.sort_by_key(|(class, sum)| (core::cmp::Reverse(*sum), *class));
    let others = sorted.len() > COLOURS.len();
    let own = if others {
        COLOURS.len() - 1
    } else {
        sorted.len()
    };
    let mut bands: Vec<_> = sorted
        .into_iter()
        .take(own)
        .map(|(class, _)| Some(class))
        .collect();
    if others {
        bands.push(None);
    }
    bands
}

fn height_of(count: u64, most: u64) -> f64 {
    TOP + PLOT * (1.0 - count as f64 / most as f64)
}

/// `12345` as `12 345`, with a space that does not break.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

const WIDTH: f64 = 1160.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 160.0;
const PLOT: f64 = 330.0;
const BELOW: f64 = 60.0;
const LEGEND: f64 = 21.0;
const COLUMNS: usize = 3;
/// Okabe and Ito's colours, which people who do not see red and green apart can tell from each
/// other.
const COLOURS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#8a949e",
];
