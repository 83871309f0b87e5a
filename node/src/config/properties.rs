//! Java properties files, in UTF-8.

/// One key with its value and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key.
    pub key: String,
    /// The value; may be empty.
    pub value: String,
    /// Number of its first line, from 1.
    pub line: usize,
}

/// A line that is not of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PropertiesError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads a file's text. Comments start with `#` or `!`, a backslash at the end of a line continues it, keys end at `=`,
/// `:` or white space. A key that appears again replaces the former.
///
/// # Errors
/// The first line with a broken escape or without a key.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut properties: Vec<Property> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let line = index + 1;
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let property = Property {
            key: unescape(key, line)?,
            value: unescape(value, line)?,
            line,
        };
        if property.key.is_empty() {
            return Err(PropertiesError {
                line,
                reason: "a value without a key",
            });
        }
        properties.retain(|earlier| earlier.key != property.key);
        properties.push(property);
    }
    Ok(properties)
}

/// An odd number of backslashes at the end: the last one is not escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Key and value, both still escaped.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let is_end = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && c == '\\';
        is_end
    });
    let Some(end) = end else {
        return (logical, "");
    };
    let (key, rest) = logical.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    // Kafka trims no values, but nobody means the space at the end of a line.
    (key, rest.trim())
}

fn unescape(text: &str, line: usize) -> Result<String, PropertiesError> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4);
                let c = code.and_then(char::from_u32);
                plain.push(c.ok_or(PropertiesError {
                    line,
                    reason: "\\u wants four hexadecimal digits",
                })?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_properties(text)
            .unwrap()
            .into_iter()
            .map(|property| (property.key, property.value))
            .collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_end_at_equals_colon_or_space_and_comments_are_skipped() {
        let text = "# c\n! c\n\n  a=1\nb : 2\nc 3\nd\ne==f\n\tg =  x y  \r\n";
        let expected = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", ""),
            pair("e", "=f"),
            pair("g", "x y"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_backslash_continues_a_line_and_escapes_characters() {
        let text = "list = a,\\\n    b,\\\n    c\npath=c:\\\\logs\nodd\\ key=\\u00e4\\t!\nlast=\\";
        let expected = [
            pair("list", "a,b,c"),
            pair("path", "c:\\logs"),
            pair("odd key", "ä\t!"),
            pair("last", ""),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn the_last_of_equal_keys_holds_and_errors_name_their_line() {
        assert_eq!(pairs("a=1\na=2"), [pair("a", "2")]);
        assert_eq!(parse_properties("a=1\n\nb=\\u12").unwrap_err().line, 3);
        assert_eq!(parse_properties("=1").unwrap_err().line, 1);
    }
}
