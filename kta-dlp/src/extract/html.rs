//! Text of a page as somebody reads it, and what its attributes and comments carry besides.

/// Tags become blanks or line breaks, cells tabs; references are resolved. Values of attributes
/// that hold text or addresses, and comments, follow at the end.
pub(super) fn strip(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut hidden = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        resolve(&rest[..open], &mut text);
        rest = &rest[open..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            let end = comment.find("-->").unwrap_or(comment.len());
            resolve(&comment[..end], &mut hidden);
            hidden.push('\n');
            rest = comment.get(end + 3..).unwrap_or_default();
            continue;
        }
        let Some(close) = tag_end(rest) else { break };
        let tag = &rest[1..close];
        rest = &rest[close + 1..];
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .take(16)
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        if name.is_empty() && !tag.starts_with(['!', '/', '?']) {
            // Not a tag, only a sign: `a < b`.
            text.push('<');
            text.push_str(tag);
            text.push('>');
            continue;
        }
        match name.as_str() {
            "script" | "style" if !tag.starts_with('/') => {
                let end = rest
                    .char_indices()
                    .find(|(at, letter)| {
                        *letter == '<' && rest.as_bytes().get(at + 1) == Some(&b'/')
                    })
                    .map_or(rest.len(), |(at, _)| at);
                resolve(&rest[..end], &mut hidden);
                hidden.push('\n');
                rest = &rest[end..];
            }
            "td" | "th" if !tag.starts_with('/') => text.push('\t'),
            "a" | "b" | "i" | "u" | "em" | "strong" | "span" | "font" | "small" | "sub" | "sup"
            | "wbr" => {}
            _ => text.push('\n'),
        }
        attributes(tag, &mut hidden);
    }
    resolve(rest, &mut text);
    if !hidden.trim().is_empty() {
        text.push('\n');
        text.push_str(&hidden);
    }
    text
}

/// The `>` that ends a tag, outside of quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    tag.bytes().position(|byte| {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            (None, b'>') => return true,
            _ => {}
        }
        false
    })
}

/// Values of attributes, quoted or not, one a line, the attribute's name before it.
fn attributes(tag: &str, hidden: &mut String) {
    let mut rest = tag;
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals]
            .trim_end()
            .rsplit(|letter: char| letter.is_whitespace())
            .next()
            .unwrap_or_default();
        let value = rest[equals + 1..].trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let body = &value[1..];
                body.split_once(quote).unwrap_or((body, ""))
            }
            _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        let layout = ["width", "height", "rel", "type", "lang", "xmlns"];
        if !layout.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            hidden.push_str(name);
            hidden.push_str(": ");
            resolve(value, hidden);
            hidden.push('\n');
        }
        rest = after;
    }
}

/// Copies text, character references resolved.
fn resolve(text: &str, into: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        into.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        match end.and_then(|end| reference(&rest[1..end]).map(|letter| (letter, end))) {
            Some((letter, end)) => {
                into.push(letter);
                rest = &rest[end + 1..];
            }
            None => {
                into.push('&');
                rest = &rest[1..];
            }
        }
    }
    into.push_str(rest);
}

pub(super) fn reference(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{A0}',
        "shy" => '\u{AD}',
        "ndash" => '–',
        "mdash" => '—',
        "commat" => '@',
        "period" => '.',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_split_by_tags_and_references_is_whole_again() {
        assert_eq!(strip("<p>123-<b>45</b>-6789</p>").trim(), "123-45-6789");
        assert_eq!(strip("&#49;23&#x2D;45-6789"), "123-45-6789");
    }

    #[test]
    fn attributes_comments_and_scripts_are_not_overlooked() {
        let text = strip(
            "<a href=\"mailto:testa@example.com\">mail</a><!-- ssn 123-45-6789 --><script>var x='canary'</script>",
        );
        assert!(
            text.contains("testa@example.com")
                && text.contains("123-45-6789")
                && text.contains("canary")
        );
    }

    #[test]
    fn attributes_are_read_without_quotes_too_and_those_of_pictures() {
        for page in [
            "<input name=ssn value=123-45-6789>",
            "<input value = 123-45-6789 name=ssn>",
            "<input VALUE=123-45-6789/>",
            "<img src=\"https://x.example/?ssn=123-45-6789\">",
            "<img alt='' src=https://x.example/?ssn=123-45-6789&amp;a=1>",
            "<p id='123-45-6789' class=\"b\">",
            "<a title='a=b' href=//x.example/123-45-6789>",
        ] {
            let text = strip(page);
            let whole = text.split(|sign: char| !(sign.is_ascii_digit() || sign == '-'));
            assert!(
                whole.into_iter().any(|word| word == "123-45-6789"),
                "{text}"
            );
        }
        assert_eq!(strip("<td width=\"123\" height=45>x</td>").trim(), "x");
    }

    #[test]
    fn cells_stay_apart() {
        assert_eq!(
            strip("<tr><td>a</td><td>b</td></tr>")
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_it_panic(page in "[<>/!\\-=\"'&;# a-z\u{5D0}]{0,200}") {
            let _ = strip(&page);
        }
    }
}
