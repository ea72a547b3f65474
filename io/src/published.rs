//! Where a stream's segments wait for their readers: one writer, any number of runtimes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use restreamer_core::{Availability, Instant, Ring, RingLimits, Segment};
use tokio::sync::Notify;

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
    readers: Mutex<Vec<Arc<Notify>>>,
}

const NEVER: u64 = u64::MAX;

impl Published {
    /// Nothing published yet.
    pub fn new(limits: RingLimits) -> Self {
        Published {
            ring: RwLock::new(Ring::new(limits)),
            availability: AtomicU8::new(Availability::Never as u8),
            last_packet: AtomicU64::new(NEVER),
            dismissals: AtomicU64::new(0),
            readers: Mutex::default(),
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
        copy.catch_up(&self.ring.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// An empty copy of the ring, for a new reader.
    pub fn new_copy(&self) -> Ring {
        Ring::new(*self.ring.read().unwrap_or_else(PoisonError::into_inner).limits())
    }

    /// From now on `reader` is notified of every change.
    pub fn subscribe(&self, reader: Arc<Notify>) {
        self.lock_readers().push(reader);
    }

    /// `reader` hears no more.
    pub fn unsubscribe(&self, reader: &Arc<Notify>) {
        self.lock_readers().retain(|other| !Arc::ptr_eq(other, reader));
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
            reader.notify_one();
        }
    }

    fn lock_readers(&self) -> MutexGuard<'_, Vec<Arc<Notify>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
