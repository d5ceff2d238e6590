//! The chart: for each persona how many operations a second, ours beside the baselines'.

use core::fmt::Write as _;

/// One persona with one mix.
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    /// Operations a second: ours, SQLite indexed, SQLite without indexes.
    pub(crate) rates: [f64; 3],
    /// Ours ÷ SQLite indexed.
    pub(crate) ratio: f64,
}

/// Draws the bars, on a logarithmic scale.
pub(crate) fn draw(bars: &[Bar], records: u32, void: bool) -> String {
    let height = TOP + bars.len() * GROUP + 70;
    let mut svg = String::new();
    let mut put = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">"
    ));
    put(format!(
        "<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    ));
    let title = if void {
        "VOID: an answer was wrong"
    } else {
        "Personas of GDPRbench, a workalike"
    };
    put(format!(
        "<text x=\"20\" y=\"30\" font-size=\"18\" font-weight=\"bold\">{title}</text>"
    ));
    put(format!(
        "<text x=\"20\" y=\"50\" fill=\"#444444\">Operations a second on {} records, logarithmic. Ours with admission, sealing and an audit entry for each.</text>",
        whole(f64::from(records))
    ));
    let (low, high) = decades(bars);
    let bottom = TOP + bars.len() * GROUP;
    for decade in low..=high {
        let x = place(10_f64.powi(decade), low, high);
        put(format!(
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>",
            TOP - 8
        ));
        put(format!(
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">{}</text>",
            bottom + 18,
            power(decade)
        ));
    }
    for (number, bar) in bars.iter().enumerate() {
        let top = TOP + number * GROUP;
        put(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 12,
            top + 30,
            bar.name
        ));
        put(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#444444\" font-size=\"12\">× {:.2} of indexed</text>",
            LEFT - 12,
            top + 47,
            bar.ratio
        ));
        for (at, rate) in bar.rates.iter().enumerate() {
            let (y, width) = (top + 4 + at * 19, place(*rate, low, high) - LEFT as f64);
            put(format!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"16\" fill=\"{}\"/>",
                width.max(1.0),
                COLOURS[at]
            ));
            put(format!(
                "<text x=\"{:.1}\" y=\"{}\" font-size=\"12\">{}</text>",
                LEFT as f64 + width + 6.0,
                y + 13,
                whole(*rate)
            ));
        }
    }
    let names = ["ours", "SQLite, nine indexes", "SQLite, no index"];
    for (at, name) in names.into_iter().enumerate() {
        let x = LEFT + at * 190;
        put(format!(
            "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"14\" fill=\"{}\"/>",
            bottom + 38,
            COLOURS[at]
        ));
        put(format!(
            "<text x=\"{}\" y=\"{}\">{name}</text>",
            x + 20,
            bottom + 50
        ));
    }
    put("</svg>".to_owned());
    svg
}

fn decades(bars: &[Bar]) -> (i32, i32) {
    let rates = bars
        .iter()
        .flat_map(|bar| bar.rates)
        .filter(|rate| *rate > 0.0);
    let (least, most) = rates.fold((f64::MAX, 1.0_f64), |(least, most), rate| {
        (least.min(rate), most.max(rate))
    });
    (least.log10().floor() as i32, most.log10().ceil() as i32)
}

fn place(rate: f64, low: i32, high: i32) -> f64 {
    let share = (rate.log10() - f64::from(low)) / f64::from((high - low).max(1));
    LEFT as f64 + share.clamp(0.0, 1.0) * (WIDTH - LEFT - 90) as f64
}

fn power(decade: i32) -> String {
    whole(10_f64.powi(decade))
}

/// A number of three leading digits, with thousands apart.
fn whole(rate: f64) -> String {
    if rate < 10.0 {
        return format!("{rate:.1}");
    }
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            let _ = write!(text, "\u{202f}");
        }
        text.push(digit);
    }
    text
}

const WIDTH: usize = 860;
const LEFT: usize = 200;
const TOP: usize = 80;
const GROUP: usize = 72;
const COLOURS: [&str; 3] = ["#1b6ca8", "#e08e2b", "#b9b9b9"];
