//! Finds personal values in JSON lines: `{"id","text"}` on standard input, one
//! `{"id","start","end","type","confidence"}` per finding on standard output.
//!
//! Offsets count UTF-8 bytes of the text, the end is exclusive; confidence is 0 to 1. Other keys
//! of the input are ignored. A line that is not such an object is named by its number on standard
//! error, the others are still done, and the exit code is 1.

use kta_dlp::Scan;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{BufRead as _, BufWriter, Write as _};
use std::process::ExitCode;

#[derive(Deserialize)]
struct Document<'a> {
    id: serde_json::Value,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

fn main() -> std::io::Result<ExitCode> {
    let mut input = std::io::stdin().lock();
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut scan = Scan::new();
    let mut line = Vec::new();
    let mut number = 0u64;
    let mut malformed = false;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Ok(document) = serde_json::from_slice::<Document<'_>>(&line) else {
            malformed = true;
            writeln!(
                std::io::stderr(),
                "line {number}: not an object with id and text"
            )?;
            continue;
        };
        for finding in scan.text(&document.text) {
            writeln!(
                output,
                r#"{{"id":{},"start":{},"end":{},"type":"{}","confidence":{:.2}}}"#,
                document.id,
                finding.start,
                finding.end,
                finding.kind.name(),
                f64::from(finding.confidence) / 100.0,
            )?;
        }
    }
    output.flush()?;
    Ok(if malformed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
