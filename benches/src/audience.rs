//! Many viewers of one stream on one thread.
//!
//! The load must cost little, because it often shares its cores with the server that it measures. A viewer is in
//! the epoll set until its first byte has come; from then on the plain ones are swept by a timer, a tenth of
//! them at a time, and what has piled up in their sockets is thrown away by one `recv` with `MSG_TRUNC`. Only
//! the few that check packets are woken by each arrival, because they measure delay.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use restreamer_core::time::{Duration, Instant};
use serde::Serialize;

use crate::checker::Counts;
use crate::epoll::{Epoll, Interest};
use crate::histogram::{Histogram, Percentiles};
use crate::machine;
use crate::target::Target;
use crate::viewer::{Kind, Progress, Reason, Scratch, Viewer};

/// A sweep is spread over so many wake-ups.
const SLICES: usize = 10;
/// How long between two visits of a slow viewer where the others are not swept at all.
const SLOW_SWEEP: Duration = Duration::from_millis(50);
/// A guest that has seen no access point after this time leaves.
const GUEST_PATIENCE: Duration = Duration::from_secs(10);
/// How long after the last join everybody should have the stream.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// A viewer that got less than this share of the median is starved.
const STARVED_PERCENT: u64 = 90;

/// Who watches, and how.
#[derive(Clone, Debug)]
pub struct AudienceOptions {
    /// Viewers that come and stay.
    pub viewers: usize,
    /// How many of them check every packet.
    pub checking: usize,
    /// Percent of the others that read slowly.
    pub slow_percent: u8,
    /// How slowly: bytes per second.
    pub slow_rate: u64,
    /// Percent of the others that read nothing.
    pub stuck_percent: u8,
    /// Receive buffer of slow and stuck ones, bytes; the kernel doubles it. `None`: it adapts itself.
    pub slow_receive_buffer: Option<usize>,
    /// Joins per second; 0: all at once.
    pub joins_per_second: u32,
    /// Guests per second, who come, wait for the first access point and go, while the window is open.
    pub guests_per_second: u32,
    /// Time between two reads of a plain viewer; zero: it reads whenever something comes.
    pub sweep: Duration,
}

/// What the viewers saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AudienceReport {
    /// Viewers that were asked for.
    pub viewers: u64,
    /// Those that were getting the stream at the end, stuck ones included, guests not.
    pub streaming: u64,
    /// Those that were still there, without a byte of the stream so far.
    pub waiting: u64,
    /// Why the others were not there.
    pub ended: BTreeMap<Reason, u64>,
    /// Why guests went before they saw an access point.
    pub guests_ended: BTreeMap<Reason, u64>,
    /// Seconds of the window.
    pub window_s: f64,
    /// Bytes received by all viewers in the window.
    pub bytes: u64,
    /// Received in the window by the one of the fast viewers that got least, bytes.
    pub fast_bytes_min: u64,
    /// The median of the same.
    pub fast_bytes_median: u64,
    /// Fast viewers that got less than 90 % of the median.
    pub starved: u64,
    /// Viewers that checked, guests left out.
    pub checking: u64,
    /// What those and the guests found, from join to end.
    pub checked: Counts,
    /// From the source to a viewer that checks, within the window.
    pub delay: Percentiles,
    /// From the connect to the first byte of the body, of guests.
    pub first_byte: Percentiles,
    /// From the connect to the first access point, of guests.
    pub first_access: Percentiles,
    /// From the connect to the first byte of the body, of those who stay.
    pub join_first_byte: Percentiles,
    /// What the viewers themselves cost in the window: CPU seconds of this process.
    pub own_cpu_s: f64,
    /// How late a sweep was at worst: delays above it are the server's.
    pub sweep_late_max_ms: f64,
}

/// The viewers.
pub struct Audience {
    options: AudienceOptions,
    targets: Vec<Target>,
    epoll: Epoll,
    scratch: Scratch,
    seats: Vec<Option<Viewer>>,
    free: Vec<usize>,
    swept: [Vec<usize>; SLICES],
    slice: usize,
    slice_at: Instant,
    slice_every: Duration,
    opened: Instant,
    joined: usize,
    guests: VecDeque<(usize, Instant)>,
    guests_come: u64,
    window: Option<Window>,
    bytes: u64,
    ended: BTreeMap<Reason, u64>,
    guests_ended: BTreeMap<Reason, u64>,
    departed: Counts,
    delays: Histogram,
    first_byte: Histogram,
    first_access: Histogram,
    join_first_byte: Histogram,
    sweep_late_max: Duration,
}

/// The time that is measured.
struct Window {
    opened: Instant,
    bytes: u64,
    seat_bytes: Vec<u64>,
    own_cpu: Duration,
}

impl Audience {
    /// Viewers of `targets`, evenly spread over them, none of whom has come yet.
    pub fn new(targets: Vec<Target>, options: AudienceOptions) -> io::Result<Audience> {
        let now = machine::now();
        let sweep = if options.sweep.is_zero() { SLOW_SWEEP } else { options.sweep };
        Ok(Audience {
            targets,
            epoll: Epoll::new()?,
            scratch: Scratch::default(),
            seats: Vec::with_capacity(options.viewers),
            free: Vec::new(),
            swept: Default::default(),
            slice: 0,
            slice_at: now,
            slice_every: sweep / SLICES as u32,
            opened: now,
            joined: 0,
            guests: VecDeque::new(),
            guests_come: 0,
            window: None,
            bytes: 0,
            ended: BTreeMap::new(),
            guests_ended: BTreeMap::new(),
            departed: Counts::default(),
            delays: Histogram::default(),
            first_byte: Histogram::default(),
            first_access: Histogram::default(),
            join_first_byte: Histogram::default(),
            sweep_late_max: Duration::ZERO,
            options,
        })
    }

    /// Lets them come, read and go until `until`.
    pub fn run_until(&mut self, until: Instant) -> io::Result<()> {
        loop {
            let now = machine::now();
            self.join(now);
            self.invite(now);
            if now >= self.slice_at {
                self.sweep(now);
            }
            let count = self.epoll.wait(Some(self.next_due(until)))?;
            for index in 0..count {
                let ready = self.epoll.ready(index);
                self.attend(ready.token as usize, ready.hung_up);
            }
            if machine::now() >= until {
                return Ok(());
            }
        }
    }

    /// Opens the window: what is measured, is measured from here on.
    pub fn open_window(&mut self) {
        for histogram in [&mut self.delays, &mut self.first_byte, &mut self.first_access] {
            histogram.clear();
        }
        self.sweep_late_max = Duration::ZERO;
        self.guests_come = 0;
        self.window = Some(Window {
            opened: machine::now(),
            bytes: self.bytes,
            seat_bytes: self.seats.iter().map(|seat| seat.as_ref().map_or(0, Viewer::bytes)).collect(),
            own_cpu: machine::own_cpu(),
        });
    }

    /// Whether everybody who was asked for has come and got the first byte or gone again.
    pub fn everybody_is_in(&self) -> bool {
        self.joined == self.options.viewers && self.waiting() == 0
    }

    /// Viewers that stay and have not got a byte yet; stuck ones that have not connected yet.
    pub fn waiting(&self) -> usize {
        self.staying().filter(|viewer| viewer.is_waiting()).count()
    }

    /// Viewers that stay and are getting the stream, stuck ones included.
    pub fn streaming(&self) -> usize {
        self.staying().filter(|viewer| !viewer.is_waiting()).count()
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why nobody got a byte of the stream, and how many met that most frequent reason. `None` when somebody did, or
    /// when nobody failed because nobody was to read.
    pub fn failure(&self) -> Option<(Reason, u64)> {
        if self.bytes > 0 {
            return None;
        }
        let mut reasons = self.guests_ended.clone();
        for (reason, count) in &self.ended {
            *reasons.entry(reason.clone()).or_default() += count;
        }
        if self.waiting() > 0 {
            reasons.insert("still waiting for the first byte".to_owned(), self.waiting() as u64);
        }
        reasons.into_iter().max_by_key(|&(_, count)| count)
    }

    /// Packets missing at viewers that check.
    pub fn lost(&self) -> u64 {
        self.checked().lost
    }

    /// The report on the window, which ends now.
    pub fn report(&self) -> AudienceReport {
        let now = machine::now();
        let mut fast: Vec<u64> = Vec::new();
        let mut report = AudienceReport {
            viewers: self.options.viewers as u64,
            streaming: self.streaming() as u64,
            waiting: self.waiting() as u64,
            ended: self.ended.clone(),
            guests_ended: self.guests_ended.clone(),
            checked: self.checked(),
            delay: self.delays.percentiles(),
            first_byte: self.first_byte.percentiles(),
            first_access: self.first_access.percentiles(),
            join_first_byte: self.join_first_byte.percentiles(),
            sweep_late_max_ms: self.sweep_late_max.as_secs_f64() * 1000.0,
            ..AudienceReport::default()
        };
        for (seat, viewer) in self.seats.iter().enumerate() {
            let Some(viewer) = viewer else { continue };
            report.checking += u64::from(viewer.kind == Kind::Checking);
            if let (Kind::Plain | Kind::Checking, Some(window)) = (viewer.kind, &self.window) {
                fast.push(viewer.bytes() - window.seat_bytes.get(seat).copied().unwrap_or(0));
            }
        }
        fast.sort_unstable();
        report.fast_bytes_min = fast.first().copied().unwrap_or(0);
        report.fast_bytes_median = fast.get(fast.len() / 2).copied().unwrap_or(0);
        let enough = report.fast_bytes_median * STARVED_PERCENT / 100;
        report.starved = fast.iter().filter(|&&bytes| bytes < enough).count() as u64;
        if let Some(window) = &self.window {
            report.window_s = now.saturating_since(window.opened).as_secs_f64();
            report.bytes = self.bytes - window.bytes;
            report.own_cpu_s = machine::own_cpu().saturating_sub(window.own_cpu).as_secs_f64();
        }
        report
    }

    fn staying(&self) -> impl Iterator<Item = &Viewer> {
        self.seats.iter().flatten().filter(|viewer| viewer.kind != Kind::Guest)
    }

    fn checked(&self) -> Counts {
        let mut counts = self.departed;
        for checker in self.seats.iter().flatten().filter_map(Viewer::checker) {
            counts += checker.counts();
        }
        counts
    }

    fn next_due(&self, until: Instant) -> Instant {
        let mut due = until.min(self.slice_at);
        if self.joined < self.options.viewers {
            due = due.min(nth(self.opened, self.joined as u64, self.options.joins_per_second));
        }
        if let Some(window) = &self.window
            && self.options.guests_per_second > 0
        {
            due = due.min(nth(window.opened, self.guests_come, self.options.guests_per_second));
        }
        due
    }

    fn join(&mut self, now: Instant) {
        while self.joined < self.options.viewers
            && nth(self.opened, self.joined as u64, self.options.joins_per_second) <= now
        {
            self.enter(self.options.kind(self.joined), now);
            self.joined += 1;
        }
    }

    fn invite(&mut self, now: Instant) {
        let Some(opened) = self.window.as_ref().map(|window| window.opened) else { return };
        while self.options.guests_per_second > 0
            && nth(opened, self.guests_come, self.options.guests_per_second) <= now
        {
            if let Some(seat) = self.enter(Kind::Guest, now) {
                self.guests.push_back((seat, now));
            }
            self.guests_come += 1;
        }
        while let Some(&(seat, came)) = self.guests.front()
            && now.saturating_since(came) > GUEST_PATIENCE
        {
            self.guests.pop_front();
            self.leave(seat, "no access point".to_owned());
        }
    }

    fn enter(&mut self, kind: Kind, now: Instant) -> Option<usize> {
        let buffer = match kind {
            Kind::Slow(_) | Kind::Stuck => self.options.slow_receive_buffer,
            _ => None,
        };
        let seat = self.free.pop().unwrap_or(self.seats.len());
        let entered = Viewer::connect(target_of(seat, &self.targets), kind, buffer, now).and_then(|viewer| {
            self.epoll.add(viewer.socket(), seat as u64, Interest::Writable)?;
            Ok(viewer)
        });
        if seat == self.seats.len() {
            self.seats.push(None);
        }
        match entered {
            Ok(viewer) => {
                self.seats[seat] = Some(viewer);
                Some(seat)
            }
            Err(error) => {
                self.free.push(seat);
                self.count_ended(kind, format!("connect: {error}"));
                None
            }
        }
    }

    /// Something happened at the socket of this seat.
    fn attend(&mut self, seat: usize, hung_up: bool) {
        let Some(viewer) = self.seats[seat].as_mut() else { return };
        if viewer.is_connecting() {
            let interest = if viewer.kind == Kind::Stuck { Interest::HangUp } else { Interest::Readable };
            let result = viewer.connected(target_of(seat, &self.targets)).and_then(|()| {
                let changed = self.epoll.change(viewer.socket(), seat as u64, interest);
                changed.map_err(|error| error.to_string())
            });
            if let Err(reason) = result {
                self.leave(seat, reason);
            }
        } else if viewer.kind == Kind::Stuck && hung_up {
            self.leave(seat, "the server ended it".to_owned());
        } else {
            self.read(seat, machine::now());
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.sweep_late_max = self.sweep_late_max.max(now.saturating_since(self.slice_at));
        let mut slice = std::mem::take(&mut self.swept[self.slice]);
        slice.retain(|&seat| {
            let is_swept = |viewer: &Viewer| matches!(viewer.kind, Kind::Plain | Kind::Slow(_));
            let stays = self.seats[seat].as_ref().is_some_and(is_swept);
            if stays {
                self.read(seat, now);
            }
            stays && self.seats[seat].is_some()
        });
        self.swept[self.slice] = slice;
        self.slice = (self.slice + 1) % SLICES;
        self.slice_at = (self.slice_at + self.slice_every).max(now - self.slice_every);
    }

    fn read(&mut self, seat: usize, now: Instant) {
        let Some(viewer) = self.seats[seat].as_mut() else { return };
        // What a guest gets first is as old as the last access point.
        let delays = (viewer.kind != Kind::Guest).then_some(&mut self.delays);
        match viewer.read(now, &mut self.scratch, delays) {
            Ok(progress) => self.note(seat, progress),
            Err(reason) => self.leave(seat, reason),
        }
    }

    fn note(&mut self, seat: usize, progress: Progress) {
        self.bytes += progress.bytes;
        if !progress.first_byte && !progress.first_access {
            return;
        }
        let Some(viewer) = self.seats[seat].as_ref() else { return };
        let since = machine::now().saturating_since(viewer.started);
        let (kind, is_guest) = (viewer.kind, viewer.kind == Kind::Guest);
        if progress.first_byte {
            if is_guest { &mut self.first_byte } else { &mut self.join_first_byte }.push(since);
            let swept = match kind {
                Kind::Plain => !self.options.sweep.is_zero(),
                Kind::Slow(_) => true,
                Kind::Checking | Kind::Guest | Kind::Stuck => false,
            };
            if swept && self.epoll.remove(viewer.socket()).is_ok() {
                self.swept[seat % SLICES].push(seat);
            }
        }
        if progress.first_access && is_guest {
            self.first_access.push(since);
            self.vacate(seat);
        }
    }

    fn leave(&mut self, seat: usize, reason: Reason) {
        if let Some(viewer) = self.seats[seat].as_ref() {
            self.count_ended(viewer.kind, reason);
        }
        self.vacate(seat);
    }

    fn count_ended(&mut self, kind: Kind, reason: Reason) {
        let reasons = if kind == Kind::Guest { &mut self.guests_ended } else { &mut self.ended };
        *reasons.entry(reason).or_default() += 1;
    }

    fn vacate(&mut self, seat: usize) {
        let Some(viewer) = self.seats[seat].take() else { return };
        if viewer.kind == Kind::Guest {
            self.guests.retain(|&(guest, _)| guest != seat);
        }
        if let Some(checker) = viewer.checker() {
            self.departed += checker.counts();
        }
        self.free.push(seat);
    }
}

impl AudienceOptions {
    /// How long it takes until the last viewer that is going to get the stream should have it.
    pub fn joining(&self) -> Duration {
        let joining = (self.viewers as u64).checked_div(u64::from(self.joins_per_second)).unwrap_or(0);
        Duration::from_secs(joining) + JOIN_MAX
    }

    /// The kind of viewer number `index`: first those that check, then the others, well mixed.
    fn kind(&self, index: usize) -> Kind {
        let Some(other) = index.checked_sub(self.checking) else { return Kind::Checking };
        // 37 and 100 have no common divisor: every hundred viewers go through all values once.
        let draw = (other * 37 % 100) as u8;
        if draw < self.stuck_percent {
            Kind::Stuck
        } else if draw - self.stuck_percent < self.slow_percent {
            Kind::Slow(self.slow_rate)
        } else {
            Kind::Plain
        }
    }
}

/// When event number `count` of so many per second is due; at once when there are none per second.
fn nth(start: Instant, count: u64, per_second: u32) -> Instant {
    match per_second {
        0 => start,
        rate => start + Duration::from_nanos(count * 1_000_000_000 / u64::from(rate)),
    }
}

/// What is watched from this seat.
fn target_of(seat: usize, targets: &[Target]) -> &Target {
    &targets[seat % targets.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::{Broadcast, Greeting};
    use crate::pace::LoopedStream;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    fn options() -> AudienceOptions {
        AudienceOptions {
            viewers: 12,
            checking: 2,
            slow_percent: 0,
            slow_rate: 0,
            stuck_percent: 0,
            slow_receive_buffer: None,
            joins_per_second: 0,
            guests_per_second: 0,
            sweep: Duration::from_millis(10),
        }
    }

    /// A server and its audience on one thread: each gets its turn until `done`.
    fn play(options: AudienceOptions, done: impl Fn(&Audience) -> bool) -> (Audience, Broadcast) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Broadcast::listen(address, Greeting::Http).unwrap();
        let target = Target::http(server.address().unwrap(), "/");
        let mut audience = Audience::new(vec![target], options).unwrap();
        let mut stream = LoopedStream::new(2_000_000);
        while !done(&audience) {
            server.publish(|chunk| stream.take(machine::now(), 20, chunk));
            let turn = machine::now() + Duration::from_millis(1);
            server.serve(turn).unwrap();
            audience.run_until(turn).unwrap();
        }
        (audience, server)
    }

    #[test]
    fn everybody_gets_the_stream_and_those_who_check_find_it_whole() {
        for sweep in [Duration::ZERO, Duration::from_millis(10)] {
            let (audience, _server) = play(AudienceOptions { sweep, ..options() }, |audience| {
                audience.everybody_is_in() && audience.checked().packets > 1000
            });
            let report = audience.report();
            assert_eq!((report.streaming, report.checking), (12, 2));
            assert_eq!((report.checked.lost, report.checked.stray_bytes, report.checked.repeated), (0, 0, 0));
            assert_eq!(report.join_first_byte.count, 12);
            assert!(report.ended.is_empty());
        }
    }

    #[test]
    fn stuck_viewers_read_nothing_and_are_there() {
        let stuck = AudienceOptions { checking: 0, stuck_percent: 100, viewers: 3, ..options() };
        let (audience, _server) = play(stuck, Audience::everybody_is_in);
        assert_eq!((audience.streaming(), audience.bytes(), audience.failure()), (3, 0, None));
    }

    #[test]
    fn guests_come_see_an_access_point_and_go() {
        let mut guests = options();
        guests.guests_per_second = 1000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Broadcast::listen(address, Greeting::Http).unwrap();
        let mut audience = Audience::new(vec![Target::http(server.address().unwrap(), "/")], guests).unwrap();
        let mut stream = LoopedStream::new(2_000_000);
        audience.open_window();
        while audience.report().first_access.count < 5 {
            server.publish(|chunk| stream.take(machine::now(), 500, chunk));
            let turn = machine::now() + Duration::from_millis(1);
            server.serve(turn).unwrap();
            audience.run_until(turn).unwrap();
        }
        assert!(audience.report().first_byte.count >= 5);
    }

    /// Nobody listens there, and nobody else gets the port while the socket lives.
    fn refused() -> (Target, Socket) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (Target::http(address, "/"), socket)
    }

    /// Failed guests were once subtracted from the viewers: 2 of 2 became 18446744073709551605 of 2.
    #[test]
    fn guests_that_fail_are_counted_apart_from_those_who_stay() {
        let guests = AudienceOptions { guests_per_second: 1000, ..options() };
        let (mut audience, mut server) = play(guests, Audience::everybody_is_in);
        let (target, _socket) = refused();
        audience.targets = vec![target];
        audience.open_window();
        while audience.report().guests_ended.values().sum::<u64>() < 20 {
            let turn = machine::now() + Duration::from_millis(1);
            server.serve(turn).unwrap();
            audience.run_until(turn).unwrap();
        }
        let report = audience.report();
        assert_eq!((report.streaming, report.waiting, report.ended.len()), (12, 0, 0));
        assert_eq!(audience.failure(), None);
    }

    #[test]
    fn where_nobody_gets_a_byte_the_most_frequent_reason_is_named() {
        let (target, _socket) = refused();
        let mut audience = Audience::new(vec![target], options()).unwrap();
        while !audience.everybody_is_in() {
            audience.run_until(machine::now() + Duration::from_millis(1)).unwrap();
        }
        audience.guests_ended.insert("the server ended it".to_owned(), 11);
        let (reason, count) = audience.failure().unwrap();
        assert!(reason.contains("refused") && count == 12, "{reason}: {count}");
        let report = audience.report();
        assert_eq!((report.streaming, report.waiting, report.ended.values().sum()), (0, 0, 12));
    }

    #[test]
    fn viewers_are_spread_evenly_over_the_streams() {
        let streams: Vec<_> = (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let targets = streams.iter().map(|stream| Target::http(stream.local_addr().unwrap(), "/")).collect();
        let mut audience = Audience::new(targets, options()).unwrap();
        while audience.waiting() < 12 {
            audience.run_until(machine::now() + Duration::from_millis(1)).unwrap();
        }
        for stream in &streams {
            stream.set_nonblocking(true).unwrap();
            assert_eq!(stream.incoming().map_while(Result::ok).count(), 4);
        }
    }

    #[test]
    fn those_who_got_no_byte_wait_and_do_not_stream() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target::http(silent.local_addr().unwrap(), "/");
        let mut audience = Audience::new(vec![target], options()).unwrap();
        while audience.waiting() < 12 {
            audience.run_until(machine::now() + Duration::from_millis(1)).unwrap();
        }
        let report = audience.report();
        assert_eq!((report.streaming, report.waiting, report.ended.len()), (0, 12, 0));
        assert_eq!(audience.failure(), Some(("still waiting for the first byte".to_owned(), 12)));
    }

    #[test]
    fn a_server_that_goes_away_is_noticed_by_every_kind() {
        let mixed = AudienceOptions {
            viewers: 102,
            stuck_percent: 30,
            slow_percent: 30,
            slow_rate: 1_000_000,
            ..options()
        };
        let (mut audience, server) = play(mixed, Audience::everybody_is_in);
        drop(server);
        while audience.streaming() > 0 {
            audience.run_until(machine::now() + Duration::from_millis(5)).unwrap();
        }
        assert_eq!(audience.report().ended.values().sum::<u64>(), 102);
    }

    #[test]
    fn kinds_come_in_the_shares_that_were_asked_for() {
        let mixed =
            AudienceOptions { checking: 5, stuck_percent: 10, slow_percent: 25, slow_rate: 9, ..options() };
        let kinds: Vec<Kind> = (0..205).map(|index| mixed.kind(index)).collect();
        let count = |kind| kinds.iter().filter(|&&other| other == kind).count();
        assert_eq!(count(Kind::Checking), 5);
        assert_eq!(count(Kind::Stuck), 20);
        assert_eq!(count(Kind::Slow(9)), 50);
        assert_eq!(count(Kind::Plain), 130);
    }
}
