//! CPU profiles of the running process, on a listener of their own.
//!
//! [`Profiles`] is a thread with a runtime of its own, so that no stream waits while a profile is put together.
//! Samples are taken by the `pprof` crate at 99 Hz of processor time; while nobody asks for a
//! profile there is neither a timer nor a signal. A profile holds names of functions, source files and threads,
//! and never anything of the configuration or of a request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pprof::protos::Message;
use pprof::{Frames, ProfilerGuard, Report};
use restreamer_io::engine::{self, Door, ListenError, Place, Share};
use restreamer_io::net::TokioNet;
use restreamer_io::server::Listener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Samples for every second of processor time; no divisor of a round number, so as not to beat with timers.
const SAMPLES_PER_SECOND: i32 = 99;
/// Seconds that a profile covers when the request does not say.
const SECONDS_DEFAULT: u64 = 30;
/// Seconds that a profile covers at most.
const SECONDS_MAX: u64 = 300;
/// Connections that are served at the same time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 8;
/// A request head has to be complete this long after the connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Time that a connection has in all: the longest profile, and to be sent.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(SECONDS_MAX + 60);
/// Pause after an `accept` that failed. It is not logged: the listeners of the streams tell of the same want.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const INDEX: &str = "\
<!DOCTYPE html>
<title>restreamer: profiles</title>
<h1>Profiles</h1>
<ul>
<li><a href=\"/debug/pprof/profile?seconds=30\">/debug/pprof/profile?seconds=30</a>
processor time for <code>go tool pprof</code>
<li><a href=\"/debug/pprof/flamegraph?seconds=30\">/debug/pprof/flamegraph?seconds=30</a>
the same as a flame graph (SVG)
</ul>
<p>seconds: 1 to 300, 30 when it is left out. One profile at a time. The answer comes when the time is over.
";

/// A flame graph of nothing, which the library would answer with no bytes at all.
const FLAMEGRAPH_EMPTY: &str = "\
<?xml version=\"1.0\" standalone=\"no\"?>
<svg version=\"1.1\" width=\"600\" height=\"40\" xmlns=\"http://www.w3.org/2000/svg\">\
<text x=\"10\" y=\"25\">No samples: the process used no processor time.</text></svg>
";

/// The listener and the thread behind it.
#[derive(Debug)]
pub struct Profiles {
    thread: JoinHandle<()>,
}

impl Profiles {
    /// Listens at `places` and serves in a thread until `end`.
    pub fn serve(places: Vec<Place>, end: CancellationToken) -> Result<Self, ListenError> {
        let no_runtime = |error| ListenError { place: None, error };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
        let mut doors = places.into_iter().map(|place| Door { place, identity: None }).collect();
        let listeners = runtime.block_on(engine::open(&mut doors, Share { worker: 0, of: 1 }))?;
        for Door { place, .. } in &doors {
            tracing::info!(module = "main", event = "profiling", address = %place, "profiles are served");
        }
        let serve = move || {
            runtime.block_on(end.run_until_cancelled(accept_all(listeners)));
            // A profile that is being put together is not waited for.
            runtime.shutdown_background();
            for Door { place, .. } in doors {
                if let Place::Unix(path) = place {
                    let _ = std::fs::remove_file(path);
                }
            }
        };
        let thread = std::thread::Builder::new().name("profiles".to_owned()).spawn(serve);
        Ok(Profiles { thread: thread.map_err(no_runtime)? })
    }

    /// Waits for the thread, which ends soon after `end`.
    pub fn join(self) {
        // A panic in it has been told where it happened, and it matters to nobody else.
        let _ = self.thread.join();
    }
}

async fn accept_all(listeners: Vec<Listener<TokioNet>>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let profiler = Arc::new(Semaphore::new(1));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&seats), Arc::clone(&profiler)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: Listener<TokioNet>, seats: Arc<Semaphore>, profiler: Arc<Semaphore>) {
    // It is never closed.
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        let Ok((io, _)) = listener.accept(&TokioNet).await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let profiler = Arc::clone(&profiler);
        let service = service_fn(move |request| answer(request, Arc::clone(&profiler)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(io), service);
        tokio::spawn(async move {
            // A client that leaves early is no news; its profile ends with it.
            let _ = timeout(CONNECTION_TIME_MAX, connection).await;
            drop(seat);
        });
    }
}

/// `profiler` has one permit: to profile.
async fn answer(
    request: Request<Incoming>,
    profiler: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let form = match request.uri().path() {
        "/" | "/debug/pprof" | "/debug/pprof/" => None,
        "/debug/pprof/profile" => Some(Form::Protobuf),
        "/debug/pprof/flamegraph" => Some(Form::Flamegraph),
        _ => return Ok(refusal(StatusCode::NOT_FOUND, "there is nothing here; / tells what there is")),
    };
    if request.method() != Method::GET {
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return Ok(response);
    }
    let Some(form) = form else { return Ok(response("text/html; charset=utf-8", INDEX)) };
    Ok(match record(seconds(request.uri().query()), form, profiler).await {
        Ok(profile) => {
            let mut response = response(form.content_type(), profile);
            if let Form::Protobuf = form {
                let name = HeaderValue::from_static("attachment; filename=\"profile.pb.gz\"");
                response.headers_mut().insert(CONTENT_DISPOSITION, name);
            }
            response
        }
        Err(failure) => {
            let mut response = refusal(failure.status(), &failure.to_string());
            if let Failure::Busy = failure {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(SECONDS_DEFAULT));
            }
            response
        }
    })
}

/// Samples for so many seconds; `None` is a number of seconds that is not served.
async fn record(seconds: Option<u64>, form: Form, profiler: Arc<Semaphore>) -> Result<Vec<u8>, Failure> {
    let seconds = seconds.ok_or(Failure::Seconds)?;
    let turn = profiler.try_acquire_owned().map_err(|_| Failure::Busy)?;
    tracing::info!(module = "main", event = "profile", seconds, form = ?form, "taking a profile");
    let recording = spawn_blocking(|| Recording::start(turn)).await??;
    sleep(Duration::from_secs(seconds)).await;
    spawn_blocking(move || recording.finish(form)).await?
}

/// What the profile is made into.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// What `go tool pprof` reads: `profile.proto`, compressed.
    Protobuf,
    /// A picture.
    Flamegraph,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Form::Protobuf => "application/octet-stream",
            Form::Flamegraph => "image/svg+xml",
        }
    }

    fn render(self, report: &Report) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        match self {
            Form::Protobuf => {
                let profile = report.pprof()?.write_to_bytes().map_err(io::Error::other)?;
                let mut encoder = GzEncoder::new(&mut out, Compression::default());
                encoder.write_all(&profile)?;
                encoder.finish()?;
            }
            Form::Flamegraph if report.data.is_empty() => out.extend_from_slice(FLAMEGRAPH_EMPTY.as_bytes()),
            Form::Flamegraph => {
                let mut options = pprof::flamegraph::Options::default();
                let seconds = report.timing.duration.as_secs();
                options.title = format!("restreamer, {seconds} s at {SAMPLES_PER_SECOND} Hz");
                report.flamegraph_with_options(&mut out, &mut options)?;
            }
        }
        Ok(out)
    }
}

/// Samples being taken; dropped, it ends that, and then somebody else may profile.
struct Recording {
    guard: ProfilerGuard<'static>,
    turn: OwnedSemaphorePermit,
}

impl Recording {
    /// Takes time and memory at the first call, for the tables of the unwinder.
    fn start(turn: OwnedSemaphorePermit) -> Result<Self, Failure> {
        prepare()?;
        Ok(Recording { guard: ProfilerGuard::new(SAMPLES_PER_SECOND)?, turn })
    }

    fn finish(self, form: Form) -> Result<Vec<u8>, Failure> {
        let Recording { guard, turn } = self;
        let samples = guard.report().build_unresolved()?;
        // Finding the names is our work and not what is to be seen.
        drop(guard);
        let mut data = HashMap::new();
        for (frames, count) in samples.data {
            // Equal stacks are one, whenever they were seen.
            let frames = Frames { sample_timestamp: SystemTime::UNIX_EPOCH, ..Frames::from(frames) };
            *data.entry(frames).or_insert(0) += count;
        }
        // The debug information of the whole program: tens of megabytes, until somebody profiles again.
        backtrace::clear_symbol_cache();
        let profile = form.render(&Report { data, timing: samples.timing });
        drop(turn);
        profile
    }
}

/// Has the unwinder build its tables now.
///
/// It does so at the first sample, and allocates: a sample that interrupts an allocation would never end.
fn prepare() -> Result<(), Failure> {
    static PREPARED: Once = Once::new();
    if !PREPARED.is_completed() {
        // With this frequency the first sample is the one that is asked for here.
        let _guard = ProfilerGuard::new(1)?;
        PREPARED.call_once(|| {
            // SAFETY: raise takes no pointers. The guard has installed a handler, so the signal does not end the
            // process, and the handler runs on this thread before raise returns, outside of any allocation.
            unsafe { libc::raise(libc::SIGPROF) };
        });
    }
    Ok(())
}

/// Why there is no profile.
#[derive(Debug)]
enum Failure {
    /// The request asks for a time that is not served.
    Seconds,
    /// Somebody else profiles.
    Busy,
    /// The profiler cannot work here.
    Profiler(pprof::Error),
    /// It panicked, or the process ends.
    Lost(JoinError),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Failure::Seconds => StatusCode::BAD_REQUEST,
            Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Profiler(_) | Failure::Lost(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Seconds => write!(f, "seconds must be a whole number from 1 to {SECONDS_MAX}"),
            Failure::Busy => f.write_str("another profile is being taken, one at a time: try again later"),
            Failure::Profiler(pprof::Error::CreatingError) => {
                f.write_str("the profiler cannot create a file for its samples; set TMPDIR, and start again")
            }
            Failure::Profiler(error) => write!(f, "the profiler failed: {error}"),
            Failure::Lost(error) => write!(f, "the profile was lost: {error}"),
        }
    }
}

impl From<pprof::Error> for Failure {
    fn from(error: pprof::Error) -> Self {
        Failure::Profiler(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Profiler(error.into())
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        Failure::Lost(error)
    }
}

/// The seconds that a query asks for; `None` when they are not served.
fn seconds(query: Option<&str>) -> Option<u64> {
    let value = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = value.map_or(Some(SECONDS_DEFAULT), |value| value.parse().ok())?;
    (1..=SECONDS_MAX).contains(&seconds).then_some(seconds)
}

fn response(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refusal(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let mut response = response("text/plain; charset=utf-8", format!("{reason}\n"));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_profile_is_bounded() {
        let table = [
            (None, Some(30)),
            (Some(""), Some(30)),
            (Some("debug=0"), Some(30)),
            (Some("seconds=1"), Some(1)),
            (Some("debug=0&seconds=300"), Some(300)),
            (Some("seconds=0"), None),
            (Some("seconds=301"), None),
            (Some("seconds=-1"), None),
            (Some("seconds=1.5"), None),
            (Some("seconds="), None),
            (Some("seconds=99999999999999999999"), None),
        ];
        for (query, expected) in table {
            assert_eq!(seconds(query), expected, "{query:?}");
        }
    }
}
