//! Why one connection to a source ended.

use alloc::boxed::Box;
use core::fmt;

/// Bytes of [`CloseCause::detail`] that are kept; what is longer is cut at a character.
pub const DETAIL_BYTES_MAX: usize = 300;

/// What ended a connection, by what can be done about it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CloseKind {
    /// The source said that it is finished: end of file, end of the body, the command exited.
    Ended,
    /// The source is there, and the answer was no: a status that is not 2xx, a missing permission, a
    /// certificate that is not believed.
    Refused,
    /// Nobody is there: no address, no route, no listener, no such file or command.
    Unreachable,
    /// It took longer to connect than the configured timeout.
    Timeout,
    /// The source delivers something that cannot be a transport stream, such as an HTML page.
    NotAStream,
    /// The connection broke while it was in use.
    Io,
    /// The operator's configuration cannot work here: an unknown interface, an address that is taken.
    Config,
}

impl CloseKind {
    /// The kind as one lower-case word, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseKind::Ended => "ended",
            CloseKind::Refused => "refused",
            CloseKind::Unreachable => "unreachable",
            CloseKind::Timeout => "timeout",
            CloseKind::NotAStream => "not_a_stream",
            CloseKind::Io => "io",
            CloseKind::Config => "config",
        }
    }
}

impl fmt::Display for CloseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one connection to a source ended, for the operator and for the choice of what to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloseCause {
    /// What can be done about it.
    pub kind: CloseKind,
    /// One line for the log, lower case, without credentials; at most [`DETAIL_BYTES_MAX`] bytes if
    /// made by [`CloseCause::new`].
    pub detail: Box<str>,
}

impl CloseCause {
    /// A cause with the given line for the log, cut to [`DETAIL_BYTES_MAX`] bytes.
    pub fn new(kind: CloseKind, detail: &str) -> Self {
        let mut end = detail.len().min(DETAIL_BYTES_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        CloseCause { kind, detail: Box::from(&detail[..end]) }
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { f.write_str(self.kind.as_str()) } else { f.write_str(&self.detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let long = "é".repeat(DETAIL_BYTES_MAX);
        let cause = CloseCause::new(CloseKind::Io, &long[..DETAIL_BYTES_MAX + 2]);
        assert_eq!(cause.detail.len(), DETAIL_BYTES_MAX);
        let odd = alloc::format!("x{long}");
        assert_eq!(CloseCause::new(CloseKind::Io, &odd).detail.len(), DETAIL_BYTES_MAX - 1);
    }

    #[test]
    fn a_cause_without_detail_shows_its_kind() {
        assert_eq!(CloseCause::new(CloseKind::NotAStream, "").to_string(), "not_a_stream");
        assert_eq!(CloseCause::new(CloseKind::Ended, "end of file").to_string(), "end of file");
    }
}
