//! Class names as exporters store them: as text of a Python dict or list, or JSON.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// Class names by class number; a class may have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassNames(BTreeMap<usize, Option<String>>);

impl ClassNames {
    /// One more than the highest class that is listed.
    #[must_use]
    pub fn places(&self) -> usize {
        self.0.keys().next_back().map_or(0, |last| last.saturating_add(1))
    }

    /// The classes that have a name.
    #[must_use]
    pub fn named(&self) -> usize {
        self.0.values().flatten().count()
    }

    /// A name for each of `classes` classes; in a list with gaps, the number of a class without a name. `None`
    /// when more are listed, or when a list without gaps has fewer: it is then not of this model's classes.
    #[must_use]
    pub fn for_classes(&self, classes: usize) -> Option<Vec<String>> {
        let has_gaps = self.named() < self.places();
        if self.places() > classes || (self.places() < classes && !has_gaps) {
            return None;
        }
        let name = |class: usize| self.0.get(&class).cloned().flatten();
        Some((0..classes).map(|class| name(class).unwrap_or(class.to_string())).collect())
    }

    /// Adds a class; `None` for a duplicate.
    fn insert(&mut self, class: usize, name: Option<String>) -> Option<()> {
        let name = name.filter(|name| !name.trim().is_empty());
        self.0.insert(class, name).is_none().then_some(())
    }
}

/// Reads class names from the text of a Python dict such as `{0: 'person', 2: "dog's bowl"}`, of a list
/// such as `['person', 'bicycle']`, or of JSON's objects and arrays, as found under `names` in an export.
///
/// Names may be numbers or booleans, whose text is the name; `None` and `null` are no names. Returns `None`
/// for any other text, and for a dict whose keys are not distinct integers.
#[must_use]
pub fn parse_names(text: &str) -> Option<ClassNames> {
    let mut reader = Reader { chars: text.chars().peekable() };
    let names = match reader.next_token()? {
        '{' => reader.dict()?,
        '[' => reader.list(']')?,
        '(' => reader.list(')')?,
        _ => return None,
    };
    reader.skip_spaces();
    (reader.chars.next().is_none() && names.named() > 0).then_some(names)
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

    /// Consumes `wanted` if it is next.
    fn accept(&mut self, wanted: char) -> Option<char> {
        self.skip_spaces();
        self.chars.next_if_eq(&wanted)
    }

    fn dict(&mut self) -> Option<ClassNames> {
        let mut names = ClassNames::default();
        while self.accept('}').is_none() {
            let key = self.integer()?;
            self.accept(':')?;
            let name = self.name()?;
            names.insert(key, name)?;
            self.separator('}')?;
        }
        Some(names)
    }

    fn list(&mut self, closing: char) -> Option<ClassNames> {
        let mut names = ClassNames::default();
        while self.accept(closing).is_none() {
            let name = self.name()?;
            names.insert(names.places(), name)?;
            self.separator(closing)?;
        }
        Some(names)
    }

    /// Consumes a comma; a closing bracket is not consumed.
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

    /// A name, or `Some(None)` for `None` and `null`.
    fn name(&mut self) -> Option<Option<String>> {
        self.skip_spaces();
        if self.chars.peek().is_some_and(|c| matches!(c, '\'' | '"')) {
            return self.string().map(Some);
        }
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || "+-.".contains(*c)) {
            word.push(c);
        }
        match word.as_str() {
            "None" | "null" => Some(None),
            "True" | "False" | "true" | "false" => Some(Some(word)),
            _ => word.parse::<f64>().is_ok().then_some(Some(word)),
        }
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

    /// The escapes of Python's `repr` and of JSON.
    fn escape(&mut self) -> Option<char> {
        match self.chars.next()? {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'x' => char::from_u32(self.code_point(2)?),
            'u' => self.utf16(),
            'U' => char::from_u32(self.code_point(8)?),
            c @ ('\\' | '\'' | '"' | '/') => Some(c),
            _ => None,
        }
    }

    /// A character of four hexadecimal digits, or a surrogate pair of two such escapes.
    fn utf16(&mut self) -> Option<char> {
        let first = self.code_point(4)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.chars.next_if_eq(&'\\')?;
        self.chars.next_if_eq(&'u')?;
        let second = self.code_point(4)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10 | second))
    }

    fn code_point(&mut self, digits: usize) -> Option<u32> {
        let mut value: u32 = 0;
        for _ in 0..digits {
            value = value.checked_mul(16)? + self.chars.next()?.to_digit(16)?;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(text: &str, classes: usize) -> Option<Vec<String>> {
        parse_names(text).unwrap_or_else(|| panic!("{text} is readable")).for_classes(classes)
    }

    #[test]
    fn python_and_json_texts_are_read() {
        let cases: [(&str, &[&str]); 19] = [
            ("{0: 'person', 1: 'bicycle'}", &["person", "bicycle"]),
            ("{1: 'b', 0: 'a',}", &["a", "b"]),
            (r#"{0: "dog's bowl"}"#, &["dog's bowl"]),
            (r"{0: 'dog\'s', 1: 'a\\b', 2: '\xe9\u20ac'}", &["dog's", r"a\b", "é€"]),
            ("{0: 'a, b: {c}'}", &["a, b: {c}"]),
            (" [ 'a' , \"b\" ] ", &["a", "b"]),
            ("('a', 'b',)", &["a", "b"]),
            (r#"{"0": "a", "1": "b"}"#, &["a", "b"]),
            ("{\n  \"0\": \"a\",\n  \"1\": \"b\"\n}\n", &["a", "b"]),
            (r#"["a", "b"]"#, &["a", "b"]),
            (r#"["\"a\"", "and\/or", "\u00e9", "\b\f"]"#, &["\"a\"", "and/or", "é", "\u{8}\u{c}"]),
            (r#"{"0": "\ud83d\udc31", "1": "🐶"}"#, &["🐱", "🐶"]),
            (r"{0: '\U0001f431'}", &["🐱"]),
            ("{0: '猫'}", &["猫"]),
            ("{0: 0, 1: 1, 2: 2.5, 3: -1}", &["0", "1", "2.5", "-1"]),
            ("[True, False]", &["True", "False"]),
            ("{0: None, 1: 'b'}", &["0", "b"]),
            (r#"["a", null, ""]"#, &["a", "1", "2"]),
            (
                r#"{"10": "k", "9": "j", "8": "i", "7": "h", "6": "g", "5": "f", "4": "e", "3": "d", "2": "c",
                "1": "b", "0": "a"}"#,
                &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(names_of(text, expected.len()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_class_without_a_name_gets_its_number() {
        let cases: [(&str, &[&str]); 5] = [
            ("{0: 'a', 2: 'c'}", &["a", "1", "c"]),
            ("{1: 'b'}", &["0", "b"]),
            ("{0: 'a', 2: 'c'}", &["a", "1", "c", "3", "4"]),
            (r#"{"3": "d"}"#, &["0", "1", "2", "d"]),
            ("['a', None]", &["a", "1", "2"]),
        ];
        for (text, expected) in cases {
            assert_eq!(names_of(text, expected.len()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn names_of_another_number_of_classes_are_not_taken() {
        for (text, classes) in [
            ("{0: 'a', 1: 'b'}", 3),
            ("['a', 'b']", 3),
            ("['a', 'b']", 1),
            ("{0: 'a', 9: 'b'}", 9),
            ("{0: 'a', 18446744073709551615: 'b'}", 80),
        ] {
            assert_eq!(names_of(text, classes), None, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_list_of_names() {
        let cases = [
            "",
            "{}",
            "[]",
            "[null]",
            "{0: ''}",
            "person",
            "person, bicycle",
            "0: person\n1: bicycle\n",
            "{0: 'a'",
            "{0: 'a', 1:",
            "{0: 'a' 1: 'b'}",
            "{0: 'a', 0: 'b'}",
            "{0: 'a', 0: None}",
            "{0: a}",
            "{0: ['a']}",
            "['a')",
            "{0: 'a'} x",
            r"{0: '\q'}",
            r#"["\ud83d"]"#,
            r#"["\ud83dA"]"#,
            "{0: 'a\\",
            "{-1: 'a'}",
            "{99999999999999999999: 'a'}",
            "{18446744073709551616: 'a'}",
            "{0: None, 0: 'a'}",
        ];
        for text in cases {
            assert_eq!(parse_names(text), None, "{text}");
        }
    }
}
