//! Reads a [`Value`] key by key and collects everything that is wrong with it.
//!
//! A [`Section`] is an object; the keys that are asked of it are the keys it knows, so that what is left over at its
//! end is unknown. A [`Field`] is a value with the path that leads to it. Reading never stops at an error: the method
//! reports it and answers `None`, and the caller goes on with the default.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::json::Value;
use super::report::{Problem, Report, nearest};

/// One object of the file.
pub(super) struct Section<'r> {
    path: String,
    pairs: Vec<(String, Value)>,
    asked: Vec<&'static str>,
    report: &'r RefCell<Report>,
}

/// One value of the file, and where it stands.
pub(super) struct Field<'r> {
    path: String,
    value: Value,
    report: &'r RefCell<Report>,
}

impl<'r> Section<'r> {
    /// Takes the value of `key` out; of several the last, `None` when there is none or it is `null`.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'r>> {
        self.asked.push(key);
        let mut last = None;
        let mut times = 0;
        self.pairs.retain_mut(|(name, value)| {
            let found = name.eq_ignore_ascii_case(key);
            if found {
                times += 1;
                last = Some(std::mem::replace(value, Value::Null));
            }
            !found
        });
        let field = Field { path: self.path_of(key), value: last?, report: self.report };
        if times > 1 {
            field.note(format!("given {times} times; the last one counts"));
        }
        if field.value == Value::Null { None } else { Some(field) }
    }

    /// Text; the empty string counts as not given.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.take(key)?.text().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, key: &'static str) -> Option<u32> {
        self.take(key)?.count(0..=u32::MAX)
    }

    /// Whole seconds.
    pub(super) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        self.count(key).map(|seconds| Duration::from_secs(u64::from(seconds)))
    }

    /// Whole milliseconds.
    pub(super) fn milliseconds(&mut self, key: &'static str) -> Option<Duration> {
        self.count(key).map(|milliseconds| Duration::from_millis(u64::from(milliseconds)))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.take(key)?.flag()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.take(key)?.choice(words)
    }

    /// An object below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'r>> {
        self.take(key)?.section()
    }

    /// The elements of a list; empty when there is no such key.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Field<'r>> {
        self.take(key).map(Field::list).unwrap_or_default()
    }

    /// The path of a key of this object, as findings name it.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reports that a key of this object is wrong.
    pub(super) fn error(&self, key: &str, text: impl Into<String>) {
        self.report.borrow_mut().errors.push(Problem::new(self.path_of(key), text));
    }

    /// Reports that a key of this object will probably not do what was meant.
    pub(super) fn warning(&self, key: &str, text: impl Into<String>) {
        self.report.borrow_mut().warnings.push(Problem::new(self.path_of(key), text));
    }

    /// Ends an object in which only the keys that were asked for mean anything.
    pub(super) fn finish(self) {
        self.finish_beside(&[]);
    }

    /// Ends an object: what was not asked for is unknown, unless it is one of the keys that have their place
    /// `elsewhere`, with what is said of them here.
    pub(super) fn finish_beside(self, elsewhere: &[(&[&'static str], &str)]) {
        let mut report = self.report.borrow_mut();
        for (name, _) in &self.pairs {
            if name.is_empty() {
                continue;
            }
            let displaced =
                |(keys, _): &&(&[&str], &str)| keys.iter().any(|key| name.eq_ignore_ascii_case(key));
            let text = if let Some((_, text)) = elsewhere.iter().find(displaced) {
                (*text).to_owned()
            } else if let Some(meant) = nearest(name, self.asked.iter().copied()) {
                format!("did you mean {meant}? (unknown key, ignored)")
            } else {
                "unknown key, ignored".to_owned()
            };
            report.warnings.push(Problem::new(join(&self.path, &name.escape_debug().to_string()), text));
        }
    }

    /// The pairs of an object whose keys are names that the operator chose; a repeated name counts once, with its
    /// last value, `null` and the empty name not at all.
    pub(super) fn named(self) -> Vec<(String, Field<'r>)> {
        let mut named: Vec<(String, Field<'r>)> = Vec::new();
        for (name, value) in self.pairs {
            named.retain(|(earlier, _)| *earlier != name);
            if !name.is_empty() && value != Value::Null {
                let path = join(&self.path, &name);
                named.push((name, Field { path, value, report: self.report }));
            }
        }
        named
    }
}

impl<'r> Field<'r> {
    /// The value of a whole file.
    pub(super) fn root(value: Value, report: &'r RefCell<Report>) -> Field<'r> {
        Field { path: String::new(), value, report }
    }

    pub(super) fn section(self) -> Option<Section<'r>> {
        match self.value {
            Value::Object(pairs) => {
                Some(Section { path: self.path, pairs, asked: Vec::new(), report: self.report })
            }
            _ => self.wrong_type("an object"),
        }
    }

    pub(super) fn list(self) -> Vec<Field<'r>> {
        match self.value {
            Value::List(values) => values
                .into_iter()
                .enumerate()
                .map(|(index, value)| Field {
                    path: format!("{}[{index}]", self.path),
                    value,
                    report: self.report,
                })
                .collect(),
            _ => self.wrong_type("a list").unwrap_or_default(),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => self.wrong_type("a string"),
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            Value::Flag(flag) => Some(flag),
            _ => self.wrong_type("true or false"),
        }
    }

    /// A whole number within `range`.
    pub(super) fn count(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let Value::Integer(number) = self.value else {
            if let Value::Fraction(number) = self.value {
                return self.fails(format!("expected a whole number, found {number}"));
            }
            return self.wrong_type("a number");
        };
        match u32::try_from(number) {
            Ok(count) if range.contains(&count) => Some(count),
            _ if number < 0 && *range.start() == 0 => {
                self.fails(format!("{number} is negative; 0 is the least"))
            }
            _ => self.fails(format!("{number} is not between {} and {}", range.start(), range.end())),
        }
    }

    /// One of a few words; anything else is an error that lists them.
    pub(super) fn choice<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let Value::Text(text) = &self.value else { return self.wrong_type("a string") };
        if let Some((_, choice)) = words.iter().find(|(word, _)| word == text) {
            return Some(*choice);
        }
        let text = unknown_word(text, words.iter().map(|(word, _)| *word));
        self.fails(text)
    }

    /// What the value is; for keys that accept several types.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reports that the value is of the wrong type, and answers `None`.
    pub(super) fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        self.fails(format!("expected {expected}, found {}", self.value.kind()))
    }

    /// Reports an error, and answers `None`.
    pub(super) fn fails<T>(&self, text: impl Into<String>) -> Option<T> {
        self.report.borrow_mut().errors.push(Problem::new(self.path.clone(), text));
        None
    }

    pub(super) fn warning(&self, text: impl Into<String>) {
        self.report.borrow_mut().warnings.push(Problem::new(self.path.clone(), text));
    }

    fn note(&self, text: impl Into<String>) {
        self.report.borrow_mut().notes.push(Problem::new(self.path.clone(), text));
    }
}

/// Says that `found` is none of `words`, and which it may have been meant to be.
fn unknown_word(found: &str, words: impl Iterator<Item = &'static str> + Clone) -> String {
    if found.is_empty() {
        return format!("missing; expected {}", listed(words));
    }
    match nearest(found, words.clone()) {
        Some(meant) => format!("unknown {found:?}: did you mean {meant}?"),
        None => format!("unknown {found:?}; expected {}", listed(words)),
    }
}

/// `a, b or c`.
fn listed(words: impl Iterator<Item = &'static str>) -> String {
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", _) => key.to_owned(),
        (_, "") => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
