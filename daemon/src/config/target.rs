//! What static resources and notifications name by a URL.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use restreamer_io::client::Target;
use restreamer_io::ingest::SourceError;

use super::reader::Field;

/// Where a static resource comes from.
#[derive(Clone, Debug)]
pub enum Document {
    /// A file of this machine.
    File(PathBuf),
    /// Another server.
    Remote(Target),
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Document::File(path) => path.display().fmt(f),
            Document::Remote(target) => target.fmt(f),
        }
    }
}

/// Reads an `http://` or `https://` URL.
pub(super) fn web(field: &Field<'_>) -> Option<Target> {
    parse(field, field.text()?, "http or https")
}

/// Reads the URL of a static resource.
pub(super) fn document(field: &Field<'_>) -> Option<Document> {
    let text = field.text()?;
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') || path.len() == 1 {
                return field.fails("names no file: write file:///path, with three slashes");
            }
            let path: Vec<u8> = percent_decode_str(path).collect();
            if path.contains(&0) {
                return field.fails("names no file: a zero byte has no place in a path");
            }
            Some(Document::File(OsString::from_vec(path).into()))
        }
        _ => parse(field, text, "file, http or https").map(Document::Remote),
    }
}

/// The errors do not repeat the URL, because nobody knows where in a mistyped one the password is.
fn parse(field: &Field<'_>, text: &str, schemes: &str) -> Option<Target> {
    match Target::parse(text) {
        Ok(target) => Some(target),
        Err(SourceError::NoScheme) => field.fails(format!("no scheme: expected {schemes}, followed by ://")),
        Err(SourceError::UnknownScheme(scheme)) => {
            field.fails(format!("unknown scheme {scheme:?}; expected {schemes}"))
        }
        Err(error) => field.fails(error.to_string()),
    }
}
