//! Log lines: one JSON object each, on standard output or in a file, never in the way of streaming.
//!
//! # How events are written
//! Every event of this workspace names its module and itself by fields, and says the rest in fields too:
//! ```
//! # let (serve, peer, bytes) = ("/news.ts", "192.0.2.1:4711", 188_u64);
//! tracing::info!(module = "streaming", event = "left", stream = serve, remote = peer, bytes, "viewer left");
//! ```
//! becomes, with its keys in alphabetical order,
//! ```json
//! {"bytes":188,"event":"left","level":"info","message":"viewer left","module":"streaming","remote":"192.0.2.1:4711","stream":"/news.ts","time":"2026-01-02T15:04:05Z"}
//! ```
//! - `module` is one of `main`, `streaming`, `api`, `auth`, `event`, `metrics`, `protocol`; without the field it is
//!   derived from the crate path. `event` is a word or two in snake case that somebody can search for; without the
//!   field it is the level.
//! - The message is lower case and constant; what changes goes into fields, so that lines can be counted.
//! - A duration is in nanoseconds, in a field `duration`. `time` and `level` are set here; fields of these names
//!   are overwritten.
//! - Spans are not written. Secrets are not logged: [`Secret`](crate::config::Secret),
//!   sources and targets print without them.
//! - Text from outside may be put into a field as it is: control characters are escaped, and a value longer than
//!   [`VALUE_BYTES_MAX`] is cut.
//!
//! # How they are kept out of the way
//! An event is formatted by the thread that has it and put into a queue of [`QUEUE_BYTES_MAX`]; a thread of its own
//! writes. When the sink stalls and the queue is full, or a write fails, lines are dropped and counted, and a line
//! says how many when the sink takes lines again. Only one lock is taken, for the length of a push.

mod layer;
mod queue;
mod sink;
mod stamp;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use layer::{JsonLayer, VALUE_BYTES_MAX};
pub use queue::QUEUE_BYTES_MAX;

use crate::config::LogTarget;
use queue::Queue;
use sink::Sink;

/// The longest that the end of the program waits for a sink that does not take the last lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The log of this process; lines that are queued when it is dropped are still written, within a second.
#[derive(Debug)]
pub struct Log {
    handle: LogHandle,
}

/// What other parts do with the log, beside writing events.
#[derive(Clone, Debug)]
pub struct LogHandle {
    queue: Arc<Queue>,
    is_file: bool,
}

impl Log {
    /// Opens the target and starts the thread that writes to it.
    pub fn open(target: &LogTarget) -> io::Result<Log> {
        let mut sink = Sink::open(target)?;
        let queue = Arc::new(Queue::default());
        let handle = LogHandle { queue: Arc::clone(&queue), is_file: *target != LogTarget::Stdout };
        thread::Builder::new().name("log".to_owned()).spawn(move || sink.drain(&queue))?;
        Ok(Log { handle })
    }

    /// Makes this log the one that every event of the process goes to, from `RUST_LOG`'s level on (`info` when it
    /// is not set or wrong).
    ///
    /// # Errors
    /// When the process has a subscriber already.
    pub fn install(&self) -> Result<(), tracing_subscriber::util::TryInitError> {
        let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
        let (filter, wrong) = match EnvFilter::builder().parse(&wanted) {
            Ok(filter) if !wanted.is_empty() => (filter, None),
            Ok(_) => (EnvFilter::new("info"), None),
            Err(error) => (EnvFilter::new("info"), Some(error)),
        };
        tracing_subscriber::registry().with(filter).with(self.layer()).try_init()?;
        if let Some(error) = wrong {
            tracing::warn!(module = "main", event = "bad_rust_log", %error, "RUST_LOG is not used");
        }
        Ok(())
    }

    /// The layer that turns events into lines of this log.
    pub fn layer(&self) -> JsonLayer {
        JsonLayer::new(Arc::clone(&self.handle.queue))
    }

    /// A handle for the parts that reopen the log or count what it lost.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.handle.flush(FLUSH_LIMIT);
    }
}

impl LogHandle {
    /// Opens the log file again, under its name: lines that are queued by now go to the old file, later ones to the
    /// new. Nothing happens on standard output. Whether there is a file.
    pub fn reopen(&self) -> bool {
        if self.is_file {
            self.queue.reopen();
        }
        self.is_file
    }

    /// Lines lost since the start, because the sink stalled or failed.
    pub fn lines_dropped(&self) -> u64 {
        self.queue.lines_dropped()
    }

    /// Waits until what is queued now has been written, but not longer than `limit`. Whether it has.
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.flush(limit)
    }
}

#[cfg(test)]
mod tests;
