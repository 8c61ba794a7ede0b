//! Class names as Ultralytics stores them: the text of a Python dict.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// Reads class names from the text of a Python dict such as `{0: 'person', 1: "dog's bowl"}`, or of
/// a list such as `['person', 'bicycle']`, as found under `names` in an Ultralytics export.
///
/// Returns `None` unless the text is one of the two and a dict's keys are 0, 1, 2 … in any order.
#[must_use]
pub fn parse_names(text: &str) -> Option<Vec<String>> {
    let mut reader = Reader { chars: text.chars().peekable() };
    let names = match reader.next_token()? {
        '{' => reader.dict()?,
        '[' => reader.list()?,
        _ => return None,
    };
    reader.skip_spaces();
    (reader.chars.next().is_none() && !names.is_empty()).then_some(names)
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn next_token(&mut self) -> Option<char> {
        self.skip_spaces();
        self.chars.next()
    }

    /// Takes `wanted` if it comes next.
    fn accept(&mut self, wanted: char) -> Option<char> {
        self.skip_spaces();
        self.chars.next_if_eq(&wanted)
    }

    fn dict(&mut self) -> Option<Vec<String>> {
        let mut names = BTreeMap::new();
        while self.accept('}').is_none() {
            let key = self.integer()?;
            self.accept(':')?;
            if names.insert(key, self.string()?).is_some() {
                return None;
            }
            self.separator('}')?;
        }
        // Keys are distinct and sorted, so they are 0..n exactly when the last one is n - 1.
        let last = *names.keys().next_back()?;
        (last == names.len() - 1).then(|| names.into_values().collect())
    }

    fn list(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        while self.accept(']').is_none() {
            names.push(self.string()?);
            self.separator(']')?;
        }
        Some(names)
    }

    /// A comma, or the closing bracket, which is left where it is.
    fn separator(&mut self, closing: char) -> Option<()> {
        if self.accept(',').is_some() {
            return Some(());
        }
        (self.chars.peek() == Some(&closing)).then_some(())
    }

    fn integer(&mut self) -> Option<usize> {
        self.skip_spaces();
        // JSON has its keys in quotes.
        let quoted = self.chars.next_if(|c| matches!(c, '\'' | '"'));
        let mut digits = String::new();
        while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if let Some(quote) = quoted {
            self.chars.next_if_eq(&quote)?;
        }
        digits.parse().ok()
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.next_token().filter(|c| matches!(c, '\'' | '"'))?;
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                c if c == quote => return Some(text),
                '\\' => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        match self.chars.next()? {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'x' => self.code_point(2),
            'u' => self.code_point(4),
            'U' => self.code_point(8),
            c @ ('\\' | '\'' | '"') => Some(c),
            _ => None,
        }
    }

    fn code_point(&mut self, digits: usize) -> Option<char> {
        let mut value = 0;
        for _ in 0..digits {
            value = value * 16 + self.chars.next()?.to_digit(16)?;
        }
        char::from_u32(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_and_json_texts_are_read() {
        let cases: [(&str, &[&str]); 8] = [
            ("{0: 'person', 1: 'bicycle'}", &["person", "bicycle"]),
            ("{1: 'b', 0: 'a',}", &["a", "b"]),
            (r#"{0: "dog's bowl"}"#, &["dog's bowl"]),
            (r"{0: 'dog\'s', 1: 'a\\b', 2: '\xe9\u20ac'}", &["dog's", r"a\b", "é€"]),
            ("{0: 'a, b: {c}'}", &["a, b: {c}"]),
            (" [ 'a' , \"b\" ] ", &["a", "b"]),
            (r#"{"0": "a", "1": "b"}"#, &["a", "b"]),
            ("{0: '猫'}", &["猫"]),
        ];
        for (text, expected) in cases {
            let names = parse_names(text).unwrap_or_else(|| panic!("{text} is readable"));
            assert_eq!(names, expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_list_of_names() {
        let cases = [
            "",
            "{}",
            "[]",
            "person",
            "{0: 'a'",
            "{0: 'a', 2: 'c'}",
            "{1: 'a'}",
            "{0: 'a' 1: 'b'}",
            "{0: 'a', 0: 'b'}",
            "{0: a}",
            "{0: 'a'} x",
            r"{0: '\q'}",
            "{0: 'a\\",
            "{-1: 'a'}",
            "{99999999999999999999: 'a'}",
            "{18446744073709551615: 'a'}",
        ];
        for text in cases {
            assert_eq!(parse_names(text), None, "{text}");
        }
    }
}
