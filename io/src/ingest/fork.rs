//! `fork:///path/to/command?argument+argument`: what a command writes to its standard output.
//!
//! The command leads a process group of its own, and the group ends with the connection: it is asked to
//! (SIGTERM), and made to (SIGKILL) if it has not obeyed after [`GRACE`]. That happens on a thread of the runtime's
//! own for such work, which the runtime waits for when it ends: at a shutdown, too, a command has its time, and
//! nothing of it is left behind.

use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::{CONTROLS, utf8_percent_encode};
use restreamer_core::{CloseCause, CloseKind, Patience};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdout};

use super::{READ_BYTES, Sink};
use crate::url::{self, UrlError};

/// Time that a command has to end by itself, when asked to or when it has closed its standard output.
const GRACE: Duration = Duration::from_secs(2);
/// Time that the rest of its process group has after it.
const GROUP_GRACE: Duration = Duration::from_millis(200);
/// How often an ending command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of a line of standard error that are logged.
const LINE_BYTES_MAX: usize = 1024;
/// Lines of standard error that are logged per second; others are counted.
const LINES_PER_SECOND_MAX: u32 = 50;

#[derive(Clone)]
pub(super) struct Place {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Place {
    pub(super) fn parse(rest: &str) -> Result<Self, UrlError> {
        let (program, arguments) = take_apart(rest);
        if program.is_empty() {
            return Err(UrlError::NoCommand);
        }
        let decode = |text| Ok(OsString::from_vec(url::decode(text)?));
        Ok(Place {
            program: decode(program)?,
            arguments: arguments.map(decode).collect::<Result<_, UrlError>>()?,
        })
    }

    pub(super) fn missing(&self) -> Option<String> {
        let program = Path::new(&self.program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = match program.components().nth(1) {
            Some(_) => program.is_file(),
            None => std::env::split_paths(&path).any(|directory| directory.join(program).is_file()),
        };
        (!is_there).then(|| format!("there is no command {}", program.display()))
    }

    pub(super) async fn run(&self, label: &str, sink: &mut impl Sink) -> CloseCause {
        let (mut group, mut stdout, stderr) = match self.start() {
            Ok(started) => started,
            Err(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::NotFound => CloseKind::Unreachable,
                    io::ErrorKind::PermissionDenied => CloseKind::Refused,
                    _ => CloseKind::Io,
                };
                return CloseCause::new(kind, &format!("cannot run {}: {error}", self.program.display()));
            }
        };
        let mut log = Log { label, pid: group.pid, second: Instant::now(), logged: 0, left_out: 0 };
        let mut lines = Lines { stderr: Some(stderr), line: Vec::new(), rest: Rest::Keep };
        tracing::info!(
            module = "streaming",
            event = "command_started",
            remote = label,
            pid = log.pid,
            "runs"
        );
        sink.connected();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            tokio::select! {
                read = async {
                    // A pipe may hold less than comes during a rest.
                    sink.ready(Patience::Backlog).await;
                    stdout.read(&mut buffer).await
                } => match read {
                    Ok(0) => break,
                    Ok(n) => sink.data(&buffer[..n]),
                    Err(error) => return CloseCause::new(CloseKind::Io, &format!("cannot read: {error}")),
                },
                () = lines.read(&mut log) => {}
            }
        }
        drop(stdout);
        tokio::select! {
            exit = group.exit() => CloseCause::new(CloseKind::Ended, &exit),
            () = async { loop { lines.read(&mut log).await } } => unreachable!("it reads for ever"),
        }
    }

    fn start(&self) -> io::Result<(Group, ChildStdout, ChildStderr)> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let pid = libc::pid_t::try_from(child.id()).expect("the system gave it out as one");
        let group = Group { pid, child: Some(child) };
        match pipes {
            (Some(stdout), Some(stderr)) => {
                Ok((group, ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?))
            }
            _ => Err(io::Error::other("it has no standard output")),
        }
    }
}

/// The URL of a command without what its arguments hold of users and passwords.
pub(super) fn label(rest: &str) -> String {
    let (program, arguments) = take_apart(rest);
    let mut label = format!("fork://{program}");
    for (n, argument) in arguments.enumerate() {
        label.push(if n == 0 { '?' } else { '+' });
        let decoded = url::decode(argument).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded);
        match url::redact(&decoded) {
            clean if clean == decoded => label.push_str(argument),
            // Shown decoded: what is left out here would otherwise have to be found in the escaped form. But a line
            // break stays escaped.
            clean => label.extend(utf8_percent_encode(&clean, CONTROLS)),
        }
    }
    label
}

/// The command and its arguments, both still escaped: `+` is between arguments, `%20` within one.
fn take_apart(rest: &str) -> (&str, impl Iterator<Item = &str>) {
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (program, query) = rest.split_once('?').unwrap_or((rest, ""));
    (program, query.split('+').filter(move |_| !query.is_empty()))
}

/// A running command and what it started. Ends all of it when dropped.
struct Group {
    pid: libc::pid_t,
    child: Option<Child>,
}

impl Group {
    /// Waits until the command has exited, for at most [`GRACE`]; what became of it, in words.
    async fn exit(&mut self) -> String {
        match exited_within(self.pid, GRACE).await {
            Some(exit) => exit.to_string(),
            None => "the command closed its standard output and went on running".to_owned(),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let ending = Ending { pid: self.pid, child };
        ending.signal(libc::SIGTERM);
        // Without a runtime there is no thread to wait on: dropping `ending` kills at once.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(|| ending.finish());
        }
    }
}

/// A group that has been asked to end. Killed when dropped, and its leader waited for.
///
/// As long as the command has not been waited for, its number, which is the group's, belongs to nobody else.
struct Ending {
    pid: libc::pid_t,
    child: Child,
}

impl Ending {
    fn finish(self) {
        let until = Instant::now() + GRACE;
        while exit_of(self.pid).is_none() && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
        if exit_of(self.pid).is_some() {
            thread::sleep(GROUP_GRACE);
        }
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: no memory is involved. The group is ours: its leader has not been waited for.
        unsafe { libc::kill(-self.pid, signal) };
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        // Nothing is left to be done about an error.
        let _ = self.child.wait();
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Exit {
    Status(libc::c_int),
    Signal(libc::c_int),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "the command exited with status {status}"),
            Exit::Signal(signal) => write!(f, "the command was ended by signal {signal}"),
        }
    }
}

async fn exited_within(pid: libc::pid_t, limit: Duration) -> Option<Exit> {
    let until = Instant::now() + limit;
    loop {
        let exit = exit_of(pid);
        if exit.is_some() || Instant::now() >= until {
            return exit;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How a child ended, if it has, and without waiting for it.
fn exit_of(pid: libc::pid_t) -> Option<Exit> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: zeroes are a valid siginfo_t; the call fills it in for a child that ended and leaves its process
    // number at zero otherwise; only what is set for a child's end is read.
    unsafe {
        let mut info: libc::siginfo_t = mem::zeroed();
        let found =
            libc::waitid(libc::P_PID, pid.unsigned_abs(), &mut info, flags) == 0 && info.si_pid() == pid;
        found.then(|| match info.si_code {
            libc::CLD_EXITED => Exit::Status(info.si_status()),
            _ => Exit::Signal(info.si_status()),
        })
    }
}

/// Cuts standard error into lines; a carriage return ends one too, as progress displays use it.
struct Lines {
    /// `None` when it has ended.
    stderr: Option<ChildStderr>,
    line: Vec<u8>,
    rest: Rest,
}

/// What to do with the bytes until the next end of a line.
enum Rest {
    Keep,
    /// The line has been too long.
    Skip,
}

impl Lines {
    /// Waits for some bytes and logs the lines that they complete. Never returns when there are none left.
    async fn read(&mut self, log: &mut Log<'_>) {
        let Some(stderr) = &mut self.stderr else { return std::future::pending().await };
        let mut bytes = [0; LINE_BYTES_MAX];
        match stderr.read(&mut bytes).await {
            Ok(n) if n > 0 => self.take(&bytes[..n], log),
            _ => {
                self.stderr = None;
                self.take(b"\n", log);
                log.left_out();
            }
        }
    }

    fn take(&mut self, bytes: &[u8], log: &mut Log<'_>) {
        for &byte in bytes {
            match (byte, &self.rest) {
                (b'\n' | b'\r', _) => {
                    if !self.line.is_empty() {
                        log.line(&self.line);
                    }
                    self.line.clear();
                    self.rest = Rest::Keep;
                }
                (_, Rest::Keep) if self.line.len() < LINE_BYTES_MAX => self.line.push(byte),
                _ => self.rest = Rest::Skip,
            }
        }
    }
}

/// Writes lines to the log, a limited number per second.
struct Log<'a> {
    label: &'a str,
    pid: libc::pid_t,
    second: Instant,
    logged: u32,
    left_out: u64,
}

impl Log<'_> {
    fn line(&mut self, line: &[u8]) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.left_out();
            self.second = Instant::now();
            self.logged = 0;
        }
        if self.logged == LINES_PER_SECOND_MAX {
            self.left_out += 1;
            return;
        }
        self.logged += 1;
        let line = String::from_utf8_lossy(line);
        let (pid, line) = (self.pid, url::redact(&line));
        tracing::info!(module = "streaming", event = "command_output", url = self.label, pid, "{line}");
    }

    fn left_out(&mut self) {
        let (url, pid, lines) = (self.label, self.pid, mem::take(&mut self.left_out));
        if lines > 0 {
            let message = "the command writes too much to its standard error, lines were left out";
            tracing::warn!(module = "streaming", event = "command_output", url, pid, lines, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    fn parse(rest: &str) -> Vec<String> {
        let place = Place::parse(rest).unwrap();
        let all = [place.program].into_iter().chain(place.arguments);
        all.map(|text| text.into_string().unwrap()).collect()
    }

    #[test]
    fn arguments_are_split_before_they_are_decoded() {
        for (rest, command) in [
            ("/bin/cat", &["/bin/cat"][..]),
            ("cat?", &["cat"]),
            ("/a%20b/c?-i+x%20y+%2B+a%26b=c", &["/a b/c", "-i", "x y", "+", "a&b=c"]),
            ("cat?a++b", &["cat", "a", "", "b"]),
            ("cat?http://h/?q#f", &["cat", "http://h/?q"]),
        ] {
            assert_eq!(parse(rest), command, "{rest}");
        }
        assert_eq!(Place::parse("?x").err(), Some(UrlError::NoCommand));
        assert_eq!(Place::parse("cat?%2").err(), Some(UrlError::BadEscape));
    }

    #[test]
    fn a_label_keeps_the_arguments_but_not_their_secrets() {
        for (rest, shown) in [
            ("/bin/ffmpeg?-i+udp://@239.0.0.1:1+a%20b", "fork:///bin/ffmpeg?-i+udp://@239.0.0.1:1+a%20b"),
            ("ffmpeg?-i+rtsp://u:pass@cam/1+-", "fork://ffmpeg?-i+rtsp://cam/1+-"),
            ("ffmpeg?rtsp%3A%2F%2Fu%3Apass%40cam%2F1+%2B", "fork://ffmpeg?rtsp://cam/1+%2B"),
        ] {
            assert_eq!(label(rest), shown);
        }
    }

    #[test]
    fn lines_end_at_line_feeds_and_carriage_returns_and_are_bounded() {
        let mut log = Log { label: "", pid: 0, second: Instant::now(), logged: 0, left_out: 0 };
        let mut lines = Lines { stderr: None, line: Vec::new(), rest: Rest::Keep };
        lines.take(b"one\r\ntwo\rthr", &mut log);
        assert_eq!((log.logged, &lines.line[..]), (2, &b"thr"[..]));
        lines.take(&[b'x'; 3 * LINE_BYTES_MAX], &mut log);
        assert_eq!((log.logged, lines.line.len()), (2, LINE_BYTES_MAX));
        lines.take(b"\nfour\n", &mut log);
        assert_eq!(log.logged, 4);
    }

    #[test]
    fn a_line_becomes_a_log_line_without_its_secrets() {
        let lines = Collected::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let mut log = Log { label: "", pid: 0, second: Instant::now(), logged: 0, left_out: 0 };
            log.line(b"Input #0 from 'rtsp://user:secret@cam/1'");
        });
        assert_eq!(*lines.0.lock().unwrap(), ["Input #0 from 'rtsp://cam/1'"]);
    }

    /// The messages of all events, in order.
    #[derive(Clone, Default)]
    struct Collected(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Collected {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    impl Visit for Collected {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    #[test]
    fn a_flood_of_lines_is_counted_and_not_logged() {
        let mut log = Log { label: "", pid: 0, second: Instant::now(), logged: 0, left_out: 0 };
        for _ in 0..2 * LINES_PER_SECOND_MAX {
            log.line(b"x");
        }
        assert_eq!((log.logged, log.left_out), (LINES_PER_SECOND_MAX, u64::from(LINES_PER_SECOND_MAX)));
    }
}
