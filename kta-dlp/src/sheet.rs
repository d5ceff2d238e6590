//! Spreadsheet cells that are no formulas.

use std::borrow::Cow;

/// The cell so that no spreadsheet runs it: an apostrophe goes before a text that begins with
/// `=`, `+`, `-`, `@`, their full-width forms, a tab or a line break. Plain numbers stay numbers.
#[must_use]
pub fn neutralise(cell: &str) -> Cow<'_, str> {
    let visible = cell.trim_start_matches([' ', '\u{FEFF}', '\u{200B}', '\u{A0}', '"', '\'']);
    let first = |text: &str| {
        text.chars()
            .next()
            .is_some_and(|character| STARTERS.contains(&character))
    };
    if (first(visible) || first(cell)) && !cell.starts_with('\'') && !is_number(cell) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// One record of a CSV file (RFC 4180) with its line end, every cell neutralised.
#[must_use]
pub fn csv_record<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut record = String::new();
    for (place, cell) in cells.into_iter().enumerate() {
        if place > 0 {
            record.push(',');
        }
        let cell = neutralise(cell);
        if cell.contains([',', '"', '\r', '\n', ';', '\t']) {
            record.push('"');
            record.push_str(&cell.replace('"', "\"\""));
            record.push('"');
        } else {
            record.push_str(&cell);
        }
    }
    record.push_str("\r\n");
    record
}

/// `-12.5` and `+972501234567` are numbers, which run nothing.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all(whole) && all(fraction)
}

const STARTERS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_would_run_is_made_text() {
        for cell in [
            "=1+1",
            "+cmd|' /C calc'!A0",
            "-2+3",
            "@SUM(A1)",
            "\t=1",
            "  =1",
            "＝1+1",
            "\u{FEFF}=1",
            "\"=1",
        ] {
            assert!(neutralise(cell).starts_with('\''), "{cell}");
        }
        for cell in ["Anna", "-12.5", "+972501234567", "a=b", "", "'=1"] {
            assert_eq!(neutralise(cell), cell);
        }
    }

    #[test]
    fn a_record_quotes_what_would_break_it() {
        assert_eq!(
            csv_record(["a", "b,c", "say \"x\"", "=1,2"]),
            "a,\"b,c\",\"say \"\"x\"\"\",\"'=1,2\"\r\n"
        );
    }
}
