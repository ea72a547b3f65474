//! Where reports go.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Writes what `content` makes to `file`, if one is wanted; the error is a sentence.
pub(crate) fn write(
    file: Option<&Path>,
    content: impl FnOnce() -> serde_json::Result<String>,
) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    let content = content().map_err(|error| format!("cannot make {}: {error}", file.display()))?;
    std::fs::write(file, content).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Says what went wrong.
pub(crate) fn failed(error: String) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(2)
}

/// Shows how far it is, where somebody looks.
pub(crate) fn progress(done: usize, all: usize) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let end = if done + 1 >= all { "\r\x1b[K" } else { "" };
        // Nobody is hurt when this cannot be shown.
        let _ = write!(terminal, "\r{:3} %{end}", done * 100 / all.max(1));
        let _ = terminal.flush();
    }
}
