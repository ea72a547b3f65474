//! Which runtime serves a viewer.
//!
//! A flush wakes every runtime that has viewers of its stream. So viewers go where their stream is read, as long as
//! that runtime has time for them, and then to the next one; when none has, they stay where the kernel put them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::fanout::FanOuts;
use crate::route::StreamId;
use crate::server::{Handover, NewViewer};

/// Viewers on their way to one runtime at most: in an accept storm everybody accepts and serves.
const ARRIVING_MAX: usize = 8;

/// The fan-outs of all runtimes.
pub struct Placement<S>(Box<[OnceLock<Member<S>>]>);

struct Member<S> {
    fan_outs: Arc<FanOuts<S>>,
    runtime: Handle,
    /// Viewers on their way to it from others.
    arriving: Arc<AtomicUsize>,
}

/// Where the server of one runtime hands its viewers over.
pub struct Desk<S> {
    placement: Arc<Placement<S>>,
    fan_outs: Arc<FanOuts<S>>,
}

/// The worker, of so many, that reads `stream`.
pub fn home(stream: StreamId, of: usize) -> usize {
    stream.0 as usize % of
}

impl<S> Placement<S> {
    /// For so many runtimes; none of them is there yet.
    pub fn new(runtimes: usize) -> Arc<Self> {
        Arc::new(Placement((0..runtimes).map(|_| OnceLock::new()).collect()))
    }

    /// `fan_outs` are those of `worker`, whose runtime is the current one.
    pub fn enter(self: &Arc<Self>, worker: usize, fan_outs: Arc<FanOuts<S>>) -> Desk<S> {
        let member =
            Member { fan_outs: Arc::clone(&fan_outs), runtime: Handle::current(), arriving: Arc::default() };
        assert!(self.0[worker].set(member).is_ok(), "a worker enters once");
        Desk { placement: Arc::clone(self), fan_outs }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Desk<S> {
    /// The other runtime that is to serve a new viewer of `stream`, if it is another one.
    fn elsewhere(&self, stream: StreamId) -> Option<&Member<S>> {
        let members = &self.placement.0;
        let (before, from_home) = members.split_at(home(stream, members.len()));
        let mut members = from_home.iter().chain(before).filter_map(OnceLock::get);
        let member = members.find(|member| member.fan_outs.has_time_for(stream))?;
        let is_elsewhere = !Arc::ptr_eq(&member.fan_outs, &self.fan_outs);
        (is_elsewhere && member.arriving.load(Ordering::Relaxed) < ARRIVING_MAX).then_some(member)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handover<S> for Desk<S> {
    fn take(&self, stream: StreamId, viewer: NewViewer<S>) {
        let Some(member) = self.elsewhere(stream) else { return self.fan_outs.take(stream, viewer) };
        let (io, viewer) = viewer.split();
        match self.fan_outs.uproot(stream, io) {
            Err(io) => self.fan_outs.take(stream, viewer.with(io)),
            Ok(uprooted) => {
                let (fan_outs, arriving) = (Arc::clone(&member.fan_outs), Arc::clone(&member.arriving));
                arriving.fetch_add(1, Ordering::Relaxed);
                let arrival = async move {
                    arriving.fetch_sub(1, Ordering::Relaxed);
                    match uprooted() {
                        Ok(io) => fan_outs.take(stream, viewer.with(io)),
                        Err(error) => fan_outs.note_lost(stream, &viewer, &error),
                    }
                };
                member.fan_outs.spawn_on(&member.runtime, arrival);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::fanout::{Outlet, ViewerConfig};
    use crate::gate::Gate;
    use crate::net::Uprooted;
    use crate::observe::Observe;
    use crate::published::Published;
    use crate::server::testing::viewer;
    use restreamer_core::testing::Reel;
    use restreamer_core::{AdmissionLimits, Availability, Duration, Instant, Join, Policy, RingLimits};
    use std::io::{self, IoSlice};
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio_util::sync::CancellationToken;

    /// Whether sockets can leave their runtime.
    #[derive(Clone, Copy)]
    struct Movable(bool);

    impl Outlet<DuplexStream> for Movable {
        fn tune(&self, _: &DuplexStream, _: &ViewerConfig) {}

        fn send(&self, _: &DuplexStream, _: &[IoSlice<'_>]) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn uproot(&self, socket: DuplexStream) -> Result<Uprooted<DuplexStream>, DuplexStream> {
            if self.0 { Ok(Box::new(|| Ok(socket))) } else { Err(socket) }
        }
    }

    /// Workers, and what each of them sees published of the one stream; it is read by the first.
    struct House {
        gate: Arc<Gate>,
        desks: Vec<Desk<DuplexStream>>,
        published: Vec<Arc<Published>>,
    }

    impl House {
        fn new(workers: usize, latency: Duration, movable: bool) -> House {
            let observe = Observe::new([("/s.ts", ["tcp://source:1"])]);
            let gate = Gate::new(AdmissionLimits::default(), Arc::clone(&observe), Box::new(|_| ()));
            let policy = Policy { join: Join::Live, ..Policy::default() };
            let config = ViewerConfig { policy, stall_timeout: None, send_buffer: None };
            let placement = Placement::new(workers);
            let (mut desks, mut all_published) = (Vec::new(), Vec::new());
            for worker in 0..workers {
                let published = Arc::new(Published::new(RingLimits::default()));
                published.set_availability(Availability::Live);
                let streams = [(config, latency, Arc::clone(&published))];
                let (clock, shutdown) = (Clock::start(), CancellationToken::new());
                let fan_outs = FanOuts::new(streams, &observe, clock, shutdown, Movable(movable));
                desks.push(placement.enter(worker, fan_outs));
                all_published.push(published);
            }
            House { gate, desks, published: all_published }
        }

        /// Joins at one worker's door and waits for the head.
        async fn join(&self, worker: usize) -> DuplexStream {
            self.let_in(self.send(worker)).await
        }

        fn send(&self, worker: usize) -> DuplexStream {
            let (client, server) = duplex(1 << 20);
            self.desks[worker].take(StreamId(0), viewer(&self.gate, server));
            client
        }

        async fn let_in(&self, mut client: DuplexStream) -> DuplexStream {
            let mut head = [0; 4];
            client.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"head");
            client
        }

        /// Which workers have viewers.
        fn serving(&self) -> Vec<bool> {
            self.published.iter().map(|published| published.flush_cost().is_some()).collect()
        }

        async fn wait_until_serving<const WORKERS: usize>(&self, expected: [bool; WORKERS]) {
            while self.serving() != expected {
                tokio::task::yield_now().await;
            }
        }

        /// Has one worker write to its viewers, one of whom is `client`.
        async fn flush(&self, worker: usize, client: &mut DuplexStream) {
            self.published[worker].push(Reel::new().segment(Instant::ORIGIN, 1, false));
            self.published[worker].announce();
            client.read_exact(&mut [0; 188]).await.unwrap();
            // The task goes on to note what that took.
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn viewers_go_where_their_stream_is_read_whichever_door_they_take() {
        let house = House::new(3, Duration::from_secs(1_000), true);
        let _clients = [house.join(2).await, house.join(0).await, house.join(1).await];
        assert_eq!(house.serving(), [true, false, false]);
    }

    #[tokio::test]
    async fn the_next_runtime_helps_when_one_has_no_time_left_and_then_everybody_stays() {
        // Whatever a flush takes is too much.
        let house = House::new(3, Duration::ZERO, true);
        let mut first = house.join(2).await;
        house.flush(0, &mut first).await;
        let mut second = house.join(2).await;
        assert_eq!(house.serving(), [true, true, false]);
        house.flush(1, &mut second).await;
        let mut third = house.join(2).await;
        house.flush(2, &mut third).await;
        drop(second);
        house.wait_until_serving([true, false, true]).await;
        let mut fourth = house.join(0).await;
        house.flush(1, &mut fourth).await;
        let _fifth = house.join(2).await;
        assert_eq!(house.serving(), [true, true, true]);
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_come_round_to_its_arrivals_gets_no_more() {
        let house = House::new(2, Duration::from_secs(1_000), true);
        let sent: Vec<_> = (0..ARRIVING_MAX).map(|_| house.send(1)).collect();
        let (own, other) = (house.send(0), house.send(1));
        drop(house.let_in(other).await);
        house.wait_until_serving([true, false]).await;
        let mut clients = vec![house.let_in(own).await];
        for client in sent {
            clients.push(house.let_in(client).await);
        }
        clients.push(house.join(1).await);
        assert_eq!(house.serving(), [true, false], "all others, and whoever comes after the storm");
    }

    #[tokio::test]
    async fn a_socket_that_cannot_move_is_served_where_it_is() {
        let house = House::new(2, Duration::from_secs(1_000), false);
        let _client = house.join(1).await;
        assert_eq!(house.serving(), [false, true]);
    }
}
