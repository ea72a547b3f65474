//! Turns events into lines.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::queue::{Line, Queue};
use super::stamp::rfc3339;

/// Bytes of one text value that are written; what is longer is cut and ends in `…`.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Formats every event as one JSON object and queues it.
#[derive(Debug)]
pub struct JsonLayer {
    queue: Arc<Queue>,
}

/// The fields of one line, in alphabetical order.
struct Fields(BTreeMap<&'static str, Value>);

impl JsonLayer {
    pub(super) fn new(queue: Arc<Queue>) -> JsonLayer {
        JsonLayer { queue }
    }
}

impl<S: Subscriber> Layer<S> for JsonLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.queue.push(fields.into_line(event.metadata()));
    }
}

impl Fields {
    fn into_line(mut self, metadata: &Metadata<'_>) -> Line {
        let time = rfc3339(SystemTime::now());
        let level = metadata.level().as_str().to_ascii_lowercase();
        self.0.entry("module").or_insert_with(|| module_of(metadata.target()).into());
        self.0.entry("event").or_insert_with(|| level.clone().into());
        self.0.entry("message").or_insert_with(|| "".into());
        self.0.insert("level", level.into());
        self.0.insert("time", time.clone().into());
        Line { json: json(&self.0), time }
    }

    fn insert_text(&mut self, field: &Field, text: &str) {
        let value = if text.len() <= VALUE_BYTES_MAX {
            text.into()
        } else {
            let cut = (0..=VALUE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            format!("{}…", &text[..cut]).into()
        };
        self.0.insert(field.name(), value);
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.insert_text(field, &value.to_string()),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.insert_text(field, &value.to_string()),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert_text(field, &format!("{value:?}"));
    }
}

/// The line that says that lines were lost.
pub(super) fn line_of_loss(lines: u64) -> Line {
    let time = rfc3339(SystemTime::now());
    let fields: BTreeMap<&str, Value> = BTreeMap::from([
        ("event", "log_lines_dropped".into()),
        ("level", "warn".into()),
        ("lines", lines.into()),
        ("message", "the log could not be written for a while".into()),
        ("module", "main".into()),
        ("time", time.clone().into()),
    ]);
    Line { json: json(&fields), time }
}

fn json(fields: &BTreeMap<&str, Value>) -> String {
    let json = serde_json::to_string(fields).expect("a map of strings and numbers is always JSON");
    if !json.contains(char::is_control) {
        return json;
    }
    // JSON lets DEL and the C1 controls stand; a terminal would act on them. They occur inside strings only.
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if c.is_control() {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// The module of an event that does not name it.
fn module_of(target: &str) -> &str {
    const BY_PATH: [(&str, &str); 8] = [
        ("restreamer_io::ingest", "protocol"),
        ("restreamer_io::notify", "event"),
        ("restreamer_io::gate", "auth"),
        ("restreamer_io::server", "api"),
        ("restreamer_io::proxy", "api"),
        ("restreamer_io", "streaming"),
        ("restreamer::metrics", "metrics"),
        ("restreamer", "main"),
    ];
    BY_PATH
        .into_iter()
        .find(|(path, _)| {
            target.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
        .map_or_else(|| target.split("::").next().unwrap_or(target), |(_, module)| module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_a_module_gets_it_from_its_path() {
        let table = [
            ("restreamer", "main"),
            ("restreamer::config", "main"),
            ("restreamer_io::ingest::http", "protocol"),
            ("restreamer_io::fanout", "streaming"),
            ("hyper::proto", "hyper"),
        ];
        for (target, module) in table {
            assert_eq!(module_of(target), module, "{target}");
        }
    }
}
