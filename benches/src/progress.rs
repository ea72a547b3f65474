//! A line on standard error that says what is going on.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};

/// Shows progress, or nothing.
pub struct Progress {
    wanted: bool,
    terminal: bool,
    line_open: Cell<bool>,
}

impl Progress {
    /// Shows something only when it is wanted.
    pub fn new(wanted: bool) -> Progress {
        Progress { wanted, terminal: stderr().is_terminal(), line_open: Cell::new(false) }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        if self.wanted {
            self.end();
            eprintln!("{text}");
        }
    }

    /// A line that the next one overwrites; on something that is not a terminal, nothing.
    pub fn show(&self, text: &str) {
        if self.wanted && self.terminal {
            eprint!("\r\x1b[K{text}");
            // A terminal that is gone has nobody to tell.
            let _ = stderr().flush();
            self.line_open.set(true);
        }
    }

    /// Ends a line that was to be overwritten.
    pub fn end(&self) {
        if self.line_open.replace(false) {
            eprint!("\r\x1b[K");
        }
    }
}
