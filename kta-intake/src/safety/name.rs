//! Names of attachments and of what is in archives, before they become anything's path.

use kta_core::refusal::Code;
use unicode_normalization::UnicodeNormalization as _;

/// Whether a file name can do no harm: one component, no drive, stream, device or hidden
/// direction in it, in any compatibility form of its characters.
///
/// # Errors
/// [`Code::IntPath`].
pub fn check_name(name: &str) -> Result<(), Code> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Code::IntPath);
    }
    let folded: String = name.nfkc().collect();
    if is_component(name) && is_component(&folded) {
        Ok(())
    } else {
        Err(Code::IntPath)
    }
}

/// Whether a path inside an archive stays inside it. `/` and `\` both separate, because both
/// do somewhere; a trailing separator marks a directory.
///
/// # Errors
/// [`Code::IntPath`].
pub fn check_path(path: &str) -> Result<(), Code> {
    if path.len() > LONGEST_PATH {
        return Err(Code::IntPath);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split(['/', '\\']).try_for_each(check_name)
}

/// The extension in lower case, without the dot.
pub(crate) fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty()).then(|| extension.to_ascii_lowercase())
}

fn is_component(name: &str) -> bool {
    !matches!(name, "." | "..")
        && !name.ends_with(['.', ' '])
        && !name.starts_with(' ')
        && !name.chars().any(is_dangerous)
        && !is_device(name)
}

/// Separators, drives and streams, wildcards of a shell that reads names again, control
/// characters, and the controls that make text run the other way (U+202A–202E, U+2066–2069).
/// The plain marks U+200E and U+200F stay: Hebrew file names use them and they hide nothing.
fn is_dangerous(c: char) -> bool {
    matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        || c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{fffd}' | '\u{2215}' | '\u{2044}' | '\u{29f5}')
}

/// Names that Windows takes for devices, whatever follows the first dot.
fn is_device(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$"
    ) {
        return true;
    }
    let numbered = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"));
    numbered.is_some_and(|number| {
        let mut digits = number.chars();
        matches!(
            (digits.next(), digits.next()),
            (Some('0'..='9' | '¹' | '²' | '³'), None)
        )
    })
}

const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_give_their_scans_pass() {
        for name in [
            "passport.pdf",
            "CV v1.2 (final).docx",
            "תעודת לידה.pdf",
            "תעודה\u{200f} 1.pdf",
            "résumé.pdf",
            "com-pany.pdf",
            "console.txt",
            "COM10.pdf",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_leave_their_place_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "../x.pdf",
            "..\\x.pdf",
            "/etc/passwd",
            "C:\\x.pdf",
            "c:x.pdf",
            "x.pdf:evil.exe",
            "x.pdf::$DATA",
            "nul",
            "NUL.pdf",
            "con .pdf",
            "COM1.txt",
            "COM¹.txt",
            "lpt9",
            "passport\u{202e}fdp.exe",
            "a\u{2066}b.pdf",
            "a\0b.pdf",
            "a\nb.pdf",
            "x.pdf.",
            "x.pdf ",
            "．．／x.pdf",
            "ｎｕｌ.pdf",
            "a／b.pdf",
            "a\u{fffd}.pdf",
        ] {
            assert_eq!(check_name(name), Err(Code::IntPath), "{name:?}");
        }
        assert_eq!(check_name(&"a".repeat(256)), Err(Code::IntPath));
    }

    #[test]
    fn archive_paths_stay_inside_the_archive() {
        for path in ["a.pdf", "scans/a.pdf", "scans/", "a\\b.pdf"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in [
            "/a.pdf",
            "a/../b.pdf",
            "..",
            "a//b.pdf",
            "\\\\host\\x.pdf",
            "C:/a.pdf",
            "",
            "/",
        ] {
            assert_eq!(check_path(path), Err(Code::IntPath), "{path:?}");
        }
    }
}
