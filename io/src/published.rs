//! Where a stream's segments wait for their readers: one writer, any number of runtimes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use restreamer_core::{
    Availability, Demand, Duration, Instant, Intake, Patience, Pause, Ring, RingLimits, Segment,
};
use tokio::sync::Notify;

use crate::clock::Clock;

/// The state of one stream that its readers see.
///
/// The lock on the ring is held for a push, or for a reader's `catch_up`: never across an await or a copy of
/// packets.
#[derive(Debug)]
pub struct Published {
    ring: RwLock<Ring>,
    availability: AtomicU8,
    /// When the last packet arrived, in nanoseconds after the clock's origin; `NEVER` before the first.
    last_packet: AtomicU64,
    /// How often all viewers were turned away.
    dismissals: AtomicU64,
    readers: Mutex<Vec<Arc<Reader>>>,
    /// Rung when a source that is left alone may be wanted again.
    source_bell: Notify,
}

const NEVER: u64 = u64::MAX;
const NOTHING: u64 = u64::MAX;

/// Somebody who is told of every change, and says how far the viewers behind it have come.
#[derive(Debug)]
pub struct Reader {
    bell: Arc<Notify>,
    /// The oldest segment that a viewer who keeps up has not taken, or `NOTHING`.
    wanted: AtomicU64,
    /// What a flush costs on its thread, nanoseconds.
    flush_cost: AtomicU64,
}

impl Published {
    /// Nothing published yet.
    pub fn new(limits: RingLimits) -> Self {
        Published {
            ring: RwLock::new(Ring::new(limits)),
            availability: AtomicU8::new(Availability::Never as u8),
            last_packet: AtomicU64::new(NEVER),
            dismissals: AtomicU64::new(0),
            readers: Mutex::default(),
            source_bell: Notify::new(),
        }
    }

    /// Whether the stream can be watched.
    pub fn availability(&self) -> Availability {
        let stored = self.availability.load(Ordering::Acquire);
        let all = [Availability::Never, Availability::Live, Availability::Grace, Availability::Lost];
        all.into_iter().find(|&availability| availability as u8 == stored).unwrap_or(Availability::Offline)
    }

    /// How often all viewers were turned away; lets a reader notice even what was taken back at once.
    pub fn dismissals(&self) -> u64 {
        self.dismissals.load(Ordering::Acquire)
    }

    /// When the last packet arrived.
    pub fn last_packet(&self) -> Option<Instant> {
        let nanos = self.last_packet.load(Ordering::Relaxed);
        (nanos != NEVER).then(|| Instant::from_nanos(nanos))
    }

    /// Brings a reader's copy of the ring up to date.
    pub fn catch_up(&self, copy: &mut Ring) {
        copy.catch_up(&self.read_ring());
    }

    /// An empty copy of the ring, for a new reader.
    pub fn new_copy(&self) -> Ring {
        Ring::new(*self.read_ring().limits())
    }

    /// From now on `bell` is rung for every change.
    pub fn subscribe(&self, bell: Arc<Notify>) -> Arc<Reader> {
        let reader =
            Arc::new(Reader { bell, wanted: AtomicU64::new(NOTHING), flush_cost: AtomicU64::new(0) });
        self.lock_readers().push(Arc::clone(&reader));
        self.source_bell.notify_waiters();
        reader
    }

    /// `reader` hears no more.
    pub fn unsubscribe(&self, reader: &Arc<Reader>) {
        self.lock_readers().retain(|other| !Arc::ptr_eq(other, reader));
        self.source_bell.notify_waiters();
    }

    /// The oldest segment that a viewer behind `reader` wants; see [`Demand`].
    pub(crate) fn set_wanted(&self, reader: &Reader, wanted: Option<u64>) {
        let wanted = wanted.unwrap_or(NOTHING);
        if reader.wanted.swap(wanted, Ordering::AcqRel) != wanted {
            self.source_bell.notify_waiters();
        }
    }

    /// Writing once to all viewers of the thread of `reader` costs so much, whatever they watch.
    pub(crate) fn set_flush_cost(&self, reader: &Reader, cost: Duration) {
        reader.flush_cost.store(u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The same of the busiest reader; `None` when nobody watches.
    pub(crate) fn flush_cost(&self) -> Option<Duration> {
        busiest(&self.lock_readers())
    }

    /// Waits for as long as the source is to be left alone; answers the moment of its turn, if it waited for one.
    pub(crate) async fn rest(&self, clock: Clock, intake: &Intake, patience: Patience) -> Option<Instant> {
        let mut turn = None;
        loop {
            // Hears what is told from here on, also before it is waited for.
            let news = self.source_bell.notified();
            let first = self.read_ring().first();
            let demand = self.demand(first);
            let now = clock.now();
            let pause = intake.rest(now, &self.read_ring(), demand, patience);
            // A turn may come sooner than it was expected.
            let Some(pause) = pause else { return turn.map(|at| now.min(at)) };
            turn = if let Pause::Turn(at) = pause { Some(at) } else { None };
            let _ = tokio::time::timeout_at(clock.at(pause.until()), news).await;
        }
    }

    fn demand(&self, first: u64) -> Demand {
        let readers = self.lock_readers();
        let Some(flush_cost) = busiest(&readers) else { return Demand::Nobody };
        // What is evicted is wanted in vain.
        let wanted = readers.iter().map(|reader| reader.wanted.load(Ordering::Acquire));
        let wanted = wanted.filter(|&wanted| wanted != NOTHING && wanted >= first).min();
        Demand::Viewers { wanted, flush_cost }
    }

    /// Appends a segment; answers the bytes that the ring holds now. Readers hear of it with
    /// [`Published::announce`].
    pub(crate) fn push(&self, segment: Segment) -> usize {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.push(segment);
        ring.bytes()
    }

    pub(crate) fn forget(&self) {
        self.ring.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn set_availability(&self, availability: Availability) {
        self.availability.store(availability as u8, Ordering::Release);
        if !availability.lets_in() {
            self.dismissals.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn set_last_packet(&self, now: Instant) {
        self.last_packet.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Wakes every reader, once per runtime and flush.
    pub(crate) fn announce(&self) {
        for reader in self.lock_readers().iter() {
            reader.bell.notify_one();
        }
    }

    fn read_ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_readers(&self) -> MutexGuard<'_, Vec<Arc<Reader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a flush costs the busiest of them.
fn busiest(readers: &[Arc<Reader>]) -> Option<Duration> {
    let costs = readers.iter().map(|reader| reader.flush_cost.load(Ordering::Relaxed));
    costs.max().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that nobody watches, and the rhythm of its source: half a megabyte per second, read a moment ago.
    fn idle(clock: Clock) -> (Published, Intake) {
        let mut intake = Intake::new(Duration::from_millis(20), 2_000_000);
        let ago = |reads: u32| clock.now() - Duration::from_millis(100) * reads;
        (0..=10).rev().for_each(|reads| intake.handle_read(ago(reads), 50_000));
        (Published::new(RingLimits::default()), intake)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_rests_until_its_next_turn_or_the_first_viewer() {
        let clock = Clock::start();
        tokio::time::advance(Duration::from_secs(1)).await;
        let (published, intake) = idle(clock);
        let turn = Instant::from_millis(1_020);
        assert_eq!(published.rest(clock, &intake, Patience::Waits).await, Some(turn));
        assert_eq!(clock.now(), turn);
        assert_eq!(published.rest(clock, &intake, Patience::Waits).await, None, "it is its turn");

        let (published, intake) = idle(clock);
        let viewer = async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            published.subscribe(Arc::default())
        };
        let (turn, _) = tokio::join!(published.rest(clock, &intake, Patience::Waits), viewer);
        assert_eq!(clock.now(), Instant::from_millis(1_023));
        assert_eq!(turn, Some(clock.now()), "the turn of 1,022 ms has come already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_waits_for_a_viewer_who_keeps_up_until_he_has_taken_something() {
        let clock = Clock::start();
        let (published, intake) = (Published::new(RingLimits::default()), Intake::new(Duration::ZERO, 0));
        let (quick, lapped) = (published.subscribe(Arc::default()), published.subscribe(Arc::default()));
        let data = bytes::Bytes::from(vec![0; 340 * 188]);
        let segment = || Segment {
            data: data.clone(),
            psi: bytes::Bytes::new(),
            access: None,
            seam: false,
            at: clock.now(),
        };
        while published.read_ring().first() == 0 {
            published.push(segment());
        }
        let first = published.read_ring().first();
        published.set_wanted(&lapped, Some(first - 1));
        published.rest(clock, &intake, Patience::Waits).await;
        assert_eq!(clock.now(), Instant::ORIGIN, "what is evicted is wanted in vain");

        published.set_wanted(&quick, Some(first));
        let taking = async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            published.set_wanted(&quick, Some(first + 100));
        };
        tokio::join!(published.rest(clock, &intake, Patience::Waits), taking);
        assert_eq!(clock.now(), Instant::from_millis(3));
    }
}
