//! One connection to a server, and how it reads.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;

use restreamer_core::time::{Duration, Instant};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::checker::Checker;
use crate::histogram::Histogram;
use crate::response::Response;
use crate::target::Target;

/// Most bytes that one call throws away.
const DISCARD_BYTES: usize = 4 << 20;
const READ_BYTES: usize = 256 << 10;
/// A slow viewer never catches up on more than this much time at once.
const ALLOWANCE_MAX: Duration = Duration::from_secs(1);

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As fast as it comes, without looking at it.
    Plain,
    /// As fast as it comes, every packet checked.
    Checking,
    /// Checks like the one before, and leaves at the first access point: a measurement of joining.
    Guest,
    /// So many bytes per second.
    Slow(u64),
    /// Not at all.
    Stuck,
}

/// Why a viewer no longer streams, in words that are the same for the same cause.
pub type Reason = String;

/// One viewer.
pub struct Viewer {
    /// How it reads.
    pub kind: Kind,
    /// When it began to connect.
    pub started: Instant,
    socket: TcpStream,
    stage: Stage,
    bytes: u64,
    allowance: Allowance,
}

enum Stage {
    Connecting,
    Head(Response),
    Body,
    Checked(Box<(Response, Checker)>),
}

/// What happened when a viewer read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the answer that came.
    pub bytes: u64,
    /// The first byte of the body was among them.
    pub first_byte: bool,
    /// The first access point was among them; only of those that check.
    pub first_access: bool,
}

/// Memory that all viewers of a thread read into.
pub struct Scratch {
    read: Box<[u8]>,
    discard: Box<[MaybeUninit<u8>]>,
}

/// What a slow viewer may read by now.
#[derive(Clone, Copy)]
struct Allowance {
    bytes: u64,
    at: Instant,
}

impl Default for Scratch {
    fn default() -> Self {
        // `recv` with MSG_TRUNC writes nothing into the second one: its pages stay untouched.
        let discard = Box::new_uninit_slice(DISCARD_BYTES);
        Scratch { read: vec![0; READ_BYTES].into(), discard }
    }
}

impl Viewer {
    /// Begins to connect, with a receive buffer of so many bytes (the kernel doubles it) or one that adapts.
    pub fn connect(
        target: &Target,
        kind: Kind,
        receive_buffer: Option<usize>,
        now: Instant,
    ) -> io::Result<Viewer> {
        let socket = Socket::new(Domain::for_address(target.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        match socket.connect(&target.address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let allowance = Allowance { bytes: 0, at: now };
        Ok(Viewer {
            kind,
            started: now,
            socket: socket.into(),
            stage: Stage::Connecting,
            bytes: 0,
            allowance,
        })
    }

    /// Call when the connect may have ended: sends the request.
    pub fn connected(&mut self, target: &Target) -> Result<(), Reason> {
        let result = match self.socket.take_error() {
            Ok(None) => self.socket.write_all(&target.request()),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        result.map_err(|error| format!("connect: {error}"))?;
        self.stage = Stage::Head(if target.is_http() { Response::default() } else { Response::Plain });
        Ok(())
    }

    /// Reads what has come, as its kind does.
    pub fn read(
        &mut self,
        now: Instant,
        scratch: &mut Scratch,
        mut delays: Option<&mut Histogram>,
    ) -> Result<Progress, Reason> {
        match &mut self.stage {
            Stage::Connecting => Ok(Progress::default()),
            Stage::Head(_) if self.kind == Kind::Stuck => Ok(Progress::default()),
            Stage::Head(_) => self.read_head(now, scratch, delays),
            Stage::Body => self.discard(now, scratch),
            Stage::Checked(checked) => {
                let (response, checker) = &mut **checked;
                let had_access = checker.has_access();
                let (count, _) = receive(&mut self.socket, scratch, response, |body| {
                    checker.push(now, body, delays.as_deref_mut())
                })?;
                self.bytes += count;
                let first_access = !had_access && checker.has_access();
                Ok(Progress { bytes: count, first_byte: false, first_access })
            }
        }
    }

    /// The account of one that checks.
    pub fn checker(&self) -> Option<&Checker> {
        match &self.stage {
            Stage::Checked(checked) => Some(&checked.1),
            _ => None,
        }
    }

    /// Bytes that came since it connected, the head left out.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the connect has not ended yet.
    pub fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting)
    }

    /// Whether it has not got what its kind wants first: a byte of the stream, or the connection alone when stuck.
    pub fn is_waiting(&self) -> bool {
        self.is_connecting() || self.kind != Kind::Stuck && self.bytes == 0
    }

    fn read_head(
        &mut self,
        now: Instant,
        scratch: &mut Scratch,
        mut delays: Option<&mut Histogram>,
    ) -> Result<Progress, Reason> {
        let Stage::Head(response) = &mut self.stage else { return Ok(Progress::default()) };
        let checks = matches!(self.kind, Kind::Checking | Kind::Guest);
        let mut checker = checks.then(Checker::default);
        let (_, body) = receive(&mut self.socket, scratch, response, |body| {
            if let Some(checker) = &mut checker {
                checker.push(now, body, delays.as_deref_mut());
            }
        })?;
        if body == 0 {
            return Ok(Progress::default());
        }
        self.bytes += body;
        let first_access = checker.as_ref().is_some_and(Checker::has_access);
        self.stage = match checker {
            Some(checker) => Stage::Checked(Box::new((std::mem::take(response), checker))),
            None => Stage::Body,
        };
        self.allowance.at = now;
        Ok(Progress { bytes: body, first_byte: true, first_access })
    }

    fn discard(&mut self, now: Instant, scratch: &mut Scratch) -> Result<Progress, Reason> {
        let limit = match self.kind {
            Kind::Slow(rate) => self.allowance.grow(now, rate),
            _ => DISCARD_BYTES,
        };
        if limit == 0 {
            return Ok(Progress::default());
        }
        let discard = &mut scratch.discard[..limit];
        match SockRef::from(&self.socket).recv_with_flags(discard, libc::MSG_TRUNC) {
            Ok(0) => Err("the server ended it".to_owned()),
            Ok(count) => {
                self.bytes += count as u64;
                self.allowance.bytes = self.allowance.bytes.saturating_sub(count as u64);
                Ok(Progress { bytes: count as u64, ..Progress::default() })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Progress::default()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Allowance {
    fn grow(&mut self, now: Instant, rate: u64) -> usize {
        let since = now.saturating_since(self.at).min(ALLOWANCE_MAX);
        let grown = self.bytes + (since.as_secs_f64() * rate as f64) as u64;
        self.bytes = grown.min((ALLOWANCE_MAX.as_secs_f64() * rate as f64) as u64);
        self.at = now;
        (self.bytes as usize).min(DISCARD_BYTES)
    }
}

/// Reads until the socket is empty; gives the bytes received and those of them that belong to the body.
fn receive(
    socket: &mut TcpStream,
    scratch: &mut Scratch,
    response: &mut Response,
    mut body: impl FnMut(&[u8]),
) -> Result<(u64, u64), Reason> {
    let (mut received, mut of_body) = (0, 0);
    loop {
        match socket.read(&mut scratch.read) {
            Ok(0) => return Err("the server ended it".to_owned()),
            Ok(count) => {
                received += count as u64;
                let pushed = response.push(&scratch.read[..count], |bytes| {
                    of_body += bytes.len() as u64;
                    body(bytes);
                });
                pushed.map_err(|why| why.to_string())?;
                if count < scratch.read.len() {
                    return Ok((received, of_body));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((received, of_body)),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_grows_with_time_and_has_an_end() {
        let mut allowance = Allowance { bytes: 0, at: Instant::ORIGIN };
        assert_eq!(allowance.grow(Instant::from_millis(100), 1_000), 100);
        allowance.bytes -= 60;
        assert_eq!(allowance.grow(Instant::from_millis(110), 1_000), 50);
        assert_eq!(allowance.grow(Instant::from_millis(60_000), 1_000), 1_000);
    }
}
