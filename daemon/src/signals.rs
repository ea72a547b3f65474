//! What the process does on a signal.
//!
//! SIGTERM, SIGINT and SIGHUP ask it to end: the first one tells everybody who waits on [`Shutdown`], a second one ends the
//! process at once with the status that a shell expects (128 + the signal's number). SIGUSR1 reopens the log file and
//! never ends the process.
//!
//! Signals are waited for on a thread of their own, so that a busy runtime answers them all the same. They are
//! handled rather than blocked: child processes would inherit a blocked mask, and not end on SIGTERM.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::log::LogHandle;

/// How long the last lines may take on their way out at a second signal.
const LAST_LINES: Duration = Duration::from_millis(100);

/// Whether the process has been asked to end. Every clone sees the same.
#[derive(Clone, Debug)]
pub struct Shutdown {
    asked: watch::Receiver<bool>,
}

impl Shutdown {
    /// Waits until the process is asked to end; at once if it has been.
    pub async fn requested(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            // The thread that would have told us is gone, and with it every chance to be asked.
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has been asked.
    pub fn is_requested(&self) -> bool {
        *self.asked.borrow()
    }
}

/// Takes over SIGTERM, SIGINT, SIGHUP and SIGUSR1 for this process, before it returns. A SIGHUP that it was started to
/// ignore (`nohup`) it goes on to ignore.
pub fn handle(log: LogHandle) -> io::Result<Shutdown> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if is_ignored(SignalKind::hangup()) { None } else { Some(signal(SignalKind::hangup())?) },
            reopen: signal(SignalKind::user_defined1())?,
        }
    };
    let (tell, asked) = watch::channel(false);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(signals.obey(&log, &tell)))?;
    Ok(Shutdown { asked })
}

/// Whether this process ignores the signal (proc_pid_status(5)).
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
    reopen: Signal,
}

impl Signals {
    async fn obey(&mut self, log: &LogHandle, tell: &watch::Sender<bool>) {
        loop {
            let kind = tokio::select! {
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = received(&mut self.hangup) => SignalKind::hangup(),
                _ = self.reopen.recv() => {
                    if log.reopen() {
                        tracing::info!(module = "main", event = "log_reopened", "the log file was opened again");
                    } else {
                        tracing::info!(module = "main", event = "log_kept", "there is no log file to open again");
                    }
                    continue;
                }
            };
            let signal = kind.as_raw_value();
            if *tell.borrow() {
                tracing::warn!(module = "main", event = "killed", signal, "second signal, ending at once");
                log.flush(LAST_LINES);
                std::process::exit(128 + signal);
            }
            // Before anybody is told: the process may end in the next moment.
            tracing::info!(module = "main", event = "shutdown", signal, "ending");
            tell.send_replace(true);
        }
    }
}
