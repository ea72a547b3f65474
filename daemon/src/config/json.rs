//! JSON text to a [`Value`] that loses nothing the forgiving reader looks at: the order of keys, and repeated keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One JSON value; an object keeps its pairs as they stand, repeated keys included.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    /// Any number without a fraction, however it is written (`10`, `10.0`, `1e1`).
    Integer(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// The first value of a text, and the line on which something else follows it.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) trailing_line: Option<usize>,
}

/// Where the text stops being JSON. Lines and columns count from 1; columns count characters.
#[derive(Debug, PartialEq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: String,
}

/// Reads the first JSON value of `text`; whatever follows it is reported, not read.
pub(super) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => {
            let end = values.byte_offset();
            let rest = &text[end..];
            let blank = rest.len() - rest.trim_start().len();
            let trailing_line = (blank < rest.len()).then(|| 1 + text[..end + blank].matches('\n').count());
            Ok(Document { value, trailing_line })
        }
        Some(Err(error)) => Err(locate(text, &error)),
        None => Err(SyntaxError { line: 1, column: 1, what: "the file is empty".to_owned() }),
    }
}

impl Value {
    /// What the value is, for "expected …, found …"; never the value itself, which may be a secret.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Flag(_) => "true or false",
            Value::Integer(_) | Value::Fraction(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        // Beyond 2^53 a double no longer tells neighbouring integers apart; no key takes such a number.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
            return Ok(Value::Integer(number as i128));
        }
        Ok(Value::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut object = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            object.push(pair);
        }
        Ok(Value::Object(object))
    }
}

fn locate(text: &str, error: &serde_json::Error) -> SyntaxError {
    let line = error.line().max(1);
    let bytes = error.column();
    let column = text
        .lines()
        .nth(line - 1)
        .map_or(bytes, |content| content.char_indices().take_while(|(offset, _)| *offset < bytes).count());
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or(&message);
    let what = match what.strip_prefix("EOF while parsing ") {
        Some(inside) => format!("the file ends inside {inside}"),
        None => what.to_owned(),
    };
    SyntaxError { line, column: column.max(1), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_its_repeated_keys() {
        let document = parse(r#"{"b": 1, "": "note", "a": null, "": "note", "b": [true, "x"]}"#).unwrap();
        let pairs = [
            ("b", Value::Integer(1)),
            ("", Value::Text("note".into())),
            ("a", Value::Null),
            ("", Value::Text("note".into())),
            ("b", Value::List(vec![Value::Flag(true), Value::Text("x".into())])),
        ];
        assert_eq!(document.value, Value::Object(pairs.map(|(key, value)| (key.to_owned(), value)).to_vec()));
        assert_eq!(document.trailing_line, None);
    }

    #[test]
    fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
        let table = [
            ("0", Value::Integer(0)),
            ("-7", Value::Integer(-7)),
            ("1e3", Value::Integer(1000)),
            ("10.0", Value::Integer(10)),
            ("18446744073709551615", Value::Integer(18_446_744_073_709_551_615)),
            ("2.5", Value::Fraction(2.5)),
            ("1e300", Value::Fraction(1e300)),
        ];
        for (text, value) in table {
            assert_eq!(parse(text).unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn text_after_the_first_value_is_pointed_at() {
        assert_eq!(parse("{}\n \n").unwrap().trailing_line, None);
        assert_eq!(parse("{}\n\n  }").unwrap().trailing_line, Some(3));
        assert_eq!(parse("{} {\"listen\": 1").unwrap().trailing_line, Some(1));
    }

    #[test]
    fn a_syntax_error_has_a_line_a_column_and_a_cause() {
        let table = [
            ("{\n  \"a\": 1\n  \"b\": 2\n}", 3, 3, "expected `,` or `}`"),
            ("{\"ä\": x}", 1, 7, "expected value"),
            ("{\"a\": [1, 2", 1, 11, "the file ends inside a list"),
            ("{\"a\": 1,}", 1, 9, "trailing comma"),
            ("{'a': 1}", 1, 2, "key must be a string"),
            ("", 1, 1, "the file is empty"),
        ];
        for (text, line, column, what) in table {
            let expected = SyntaxError { line, column, what: what.to_owned() };
            assert_eq!(parse(text).unwrap_err(), expected, "{text:?}");
        }
    }
}
