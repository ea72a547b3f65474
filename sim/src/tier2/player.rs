//! The people: they ask, read what comes, and leave in all the ways that people do.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use super::check::{Dechunker, Phase, Session};
use super::plan::{Ask, Person, Plan, Watch};
use super::proxy::{PATH, PROXY_PORT, STREAM, preamble};
use super::stage::{Promise, Stage, now};

/// Silence after which a player gives up and comes again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between the pieces of a request that dribbles.
const DRIBBLE: Duration = Duration::from_millis(40);
/// Time that a viewer who caught up has until promises count again.
pub(super) const SETTLE: Duration = Duration::from_millis(2_500);
/// An excuse without end.
const ALWAYS: Duration = Duration::MAX;

/// The host of a home: a task per person.
pub(super) async fn host(stage: Rc<RefCell<Stage>>, plan: Rc<Plan>, home: usize) -> turmoil::Result {
    for (number, person) in plan.people.iter().enumerate().filter(|(_, person)| person.home == home) {
        let life = Life { stage: Rc::clone(&stage), plan: Rc::clone(&plan), number, person: person.clone() };
        tokio::task::spawn_local(life.run());
    }
    pending().await
}

struct Life {
    stage: Rc<RefCell<Stage>>,
    plan: Rc<Plan>,
    number: usize,
    person: Person,
}

/// A session in progress; it is over when this is dropped, also because the host crashed.
struct Attendance {
    stage: Rc<RefCell<Stage>>,
    index: usize,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if let Ok(mut stage) = self.stage.try_borrow_mut() {
            let session = &mut stage.sessions[self.index];
            session.phase = Phase::Over;
            session.waiting_since = None;
        }
    }
}

/// How a session ended.
#[derive(Debug)]
enum End {
    /// The person had enough.
    Left,
    /// The person is gone without a word.
    Vanished,
    /// There was no connection.
    Unreachable(io::Error),
    /// The answer was not a stream.
    Refused(u16),
    /// The connection ended.
    Closed(io::Result<()>),
    /// Nothing came for too long.
    GaveUp,
}

impl Life {
    async fn run(self) {
        sleep(Plan::time(self.person.arrive_ms).saturating_sub(now())).await;
        while now() < self.leave_at() {
            let session = Session::new(&self.plan, self.number, now(), preamble(&self.plan));
            let index = {
                let mut stage = self.stage.borrow_mut();
                stage.sessions.push(session);
                stage.sessions.len() - 1
            };
            let attendance = Attendance { stage: Rc::clone(&self.stage), index };
            let end = self.attend(&attendance).await;
            attendance.conclude(&end);
            drop(attendance);
            sleep(Plan::time(self.person.away_ms)).await;
        }
    }

    fn leave_at(&self) -> Duration {
        Plan::time(self.plan.leave_ms)
    }

    async fn attend(&self, attendance: &Attendance) -> End {
        let connected = timeout(PATIENCE, TcpStream::connect(("proxy", PROXY_PORT))).await;
        let mut stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return End::Unreachable(error),
            Err(_) => return End::GaveUp,
        };
        let end_at = match self.person.stay_ms {
            Some(stay) => self.leave_at().min(now() + Plan::time(stay)),
            None => self.leave_at(),
        };
        let end = tokio::select! {
            biased;
            () = sleep(end_at.saturating_sub(now())) => End::Left,
            end = self.converse(attendance, &mut stream) => end,
        };
        let vanishes = now() >= self.leave_at() && self.person.vanishes;
        if vanishes || matches!(end, End::Vanished) {
            // The socket is never closed, and nothing of it is read: the host was switched off.
            std::mem::forget(stream);
        }
        end
    }

    async fn converse(&self, attendance: &Attendance, stream: &mut TcpStream) -> End {
        attendance.begin(stream);
        if let Err(error) = self.ask(stream).await {
            return End::Closed(Err(error));
        }
        attendance.change(|session| {
            if !matches!(self.person.ask, Ask::Half) {
                session.enter(Phase::Asked, now());
            }
        });
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, stream.read_u8()).await {
                Ok(Ok(byte)) => head.push(byte),
                Ok(Err(error)) => return End::Closed(Err(error)),
                Err(_) => return End::GaveUp,
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        attendance.heard(status);
        if status != 200 || self.person.ask == Ask::Head {
            return End::Refused(status);
        }
        attendance.admit(&self.person.watch);
        let chunks = head.contains("transfer-encoding: chunked").then(Dechunker::default);
        self.watch(attendance, stream, chunks).await
    }

    async fn ask(&self, stream: &mut TcpStream) -> io::Result<()> {
        let version = if self.person.is_http11 { "HTTP/1.1" } else { "HTTP/1.0" };
        let method = if self.person.ask == Ask::Head { "HEAD" } else { "GET" };
        let mut request = format!("{method} {PATH} {version}\r\nHost: proxy\r\n\r\n").into_bytes();
        match self.person.ask {
            Ask::Plain | Ask::Head => {}
            Ask::Extra => request.extend_from_slice(b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\nand more"),
            Ask::Half => request.truncate(request.len() - 3),
            Ask::Noise => request = vec![0xFE; 400],
            Ask::Dribble => {
                for piece in request.chunks(5) {
                    stream.write_all(piece).await?;
                    sleep(DRIBBLE).await;
                }
                return Ok(());
            }
        }
        stream.write_all(&request).await
    }

    async fn watch(
        &self,
        attendance: &Attendance,
        stream: &mut TcpStream,
        mut chunks: Option<Dechunker>,
    ) -> End {
        let begin = now();
        let mut turn = begin;
        let mut is_half_closed = false;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let watched = now() - turn;
            let mut most = buffer.len();
            match self.person.watch {
                Watch::Prompt => {}
                Watch::Crawl { bytes } => {
                    most = (bytes / 20).max(1) as usize;
                    sleep(Duration::from_millis(50)).await;
                }
                Watch::Pause { after_ms, for_ms } => {
                    if watched >= Plan::time(after_ms) {
                        let pause = Plan::time(for_ms);
                        attendance.change(|session| session.excuse(now() + pause + SETTLE));
                        sleep(pause).await;
                        turn = now();
                    }
                }
                Watch::Stuck { after_ms } => {
                    if watched >= Plan::time(after_ms) {
                        pending().await
                    }
                }
                Watch::Vanish { after_ms } => {
                    if watched >= Plan::time(after_ms) {
                        return End::Vanished;
                    }
                }
                Watch::HalfClose { after_ms } => {
                    if watched >= Plan::time(after_ms) && !is_half_closed {
                        is_half_closed = true;
                        let _ = stream.shutdown().await;
                    }
                }
            }
            attendance.change(|session| session.waiting_since = Some(now()));
            let read = timeout(PATIENCE, stream.read(&mut buffer[..most])).await;
            attendance.change(|session| session.waiting_since = None);
            match read {
                Ok(Ok(0)) => return End::Closed(Ok(())),
                Ok(Ok(length)) => attendance.take(&mut chunks, &buffer[..length]),
                Ok(Err(error)) => return End::Closed(Err(error)),
                Err(_) => return End::GaveUp,
            }
        }
    }
}

impl Attendance {
    fn change(&self, change: impl FnOnce(&mut Session)) {
        change(&mut self.stage.borrow_mut().sessions[self.index]);
    }

    fn violate(&self, promise: Promise, message: String) {
        let mut stage = self.stage.borrow_mut();
        let person = stage.sessions[self.index].person;
        stage.violate(now(), promise, Some(person), message);
    }

    /// Notes that there is a connection.
    fn begin(&self, stream: &TcpStream) {
        let stage = &mut *self.stage.borrow_mut();
        let published = stage.proxy.as_ref().map(|proxy| proxy.engine.registry.published(STREAM));
        let dismissals = published.map_or(0, |published| published.dismissals());
        let session = &mut stage.sessions[self.index];
        session.enter(Phase::Asking, now());
        session.address = stream.local_addr().ok();
        session.dismissals = dismissals;
    }

    /// Judges the status of the answer.
    fn heard(&self, status: u16) {
        let stage = &mut *self.stage.borrow_mut();
        stage.digest.add(&now().as_nanos().to_le_bytes());
        stage.digest.add(&status.to_le_bytes());
        let session = &stage.sessions[self.index];
        let person = session.person;
        stage.trace(now(), || format!("person {person}: {status}"));
        if !matches!(status, 200 | 400 | 404) {
            stage.violate(now(), Promise::Live, Some(person), format!("the answer is {status}"));
        }
    }

    /// Notes that the answer is a stream.
    fn admit(&self, watch: &Watch) {
        let stage = &mut *self.stage.borrow_mut();
        let session = &mut stage.sessions[self.index];
        session.enter(Phase::Watching, now());
        match watch {
            Watch::Prompt | Watch::Pause { .. } | Watch::Vanish { .. } => {}
            Watch::Crawl { .. } | Watch::Stuck { .. } | Watch::HalfClose { .. } => session.excuse(ALWAYS),
        }
    }

    /// Judges bytes of the answer.
    fn take(&self, chunks: &mut Option<Dechunker>, bytes: &[u8]) {
        let mut body = Vec::new();
        let body = match chunks {
            None => bytes,
            Some(chunks) => match chunks.take(bytes, &mut body) {
                Some(()) => &body,
                None => {
                    return self.violate(Promise::Whole, "the body is not chunked as its head says".into());
                }
            },
        };
        let stage = &mut *self.stage.borrow_mut();
        let session = &mut stage.sessions[self.index];
        let person = session.person;
        let breach = session.take(&stage.programmes, body);
        stage.digest.add(&now().as_nanos().to_le_bytes());
        stage.digest.add(&person.to_le_bytes());
        stage.digest.add(bytes);
        if let Err((promise, message)) = breach {
            stage.violate(now(), promise, Some(person), message);
        }
    }

    /// Judges the end of the session.
    fn conclude(&self, end: &End) {
        let stage = &mut *self.stage.borrow_mut();
        let is_calm = stage.is_calm;
        let proxy = stage.proxy.as_ref().filter(|proxy| !proxy.is_ending);
        let published = proxy.map(|proxy| proxy.engine.registry.published(STREAM));
        let dismissals = published.map(|published| published.dismissals());
        let limits_viewers = proxy.is_some_and(|proxy| proxy.gate.limits().hard != 0);
        let session = &stage.sessions[self.index];
        let person = session.person;
        let is_excused = session.is_broken || session.excused_until > now();
        let was_watching = session.phase == Phase::Watching;
        let may_end = session.may_end || dismissals != Some(session.dismissals);
        let complaint = match end {
            End::Left | End::Vanished => None,
            _ if is_excused => None,
            End::Closed(Ok(())) if was_watching && !session.is_whole() => {
                Some((Promise::Whole, "the response ends within a packet".to_owned()))
            }
            End::Closed(how) if was_watching && !may_end => {
                Some((Promise::Live, format!("the response ends ({how:?}) although the stream goes on")))
            }
            End::Refused(404) if is_calm && !limits_viewers => {
                Some((Promise::Live, "refused although all is well".to_owned()))
            }
            End::Unreachable(error) if is_calm => Some((Promise::Live, format!("no connection: {error}"))),
            _ => None,
        };
        stage.trace(now(), || format!("person {person}: session {} ends: {end:?}", self.index));
        if let Some((promise, message)) = complaint {
            stage.violate(now(), promise, Some(person), message);
        }
    }
}
