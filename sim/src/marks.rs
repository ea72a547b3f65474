//! Rare branches that runs should reach: a swarm that never gets there proves nothing about them.

macro_rules! marks {
    ($($(#[doc = $text:literal])* $name:ident,)*) => {
        /// Something that should happen in some run of a swarm.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mark { $($(#[doc = $text])* $name,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &[Mark] = &[$(Mark::$name),*];

            /// What it means, in a few words.
            pub fn describe(self) -> &'static str {
                match self { $(Mark::$name => concat!($($text),*).trim_ascii(),)* }
            }
        }
    };
}

marks! {
    /// a socket took a part of a packet
    PartialPacket,
    /// the rest of a packet was sent although its segment was gone
    RestAfterEviction,
    /// a viewer's place was evicted
    Lapped,
    /// a viewer skipped to an access point
    SkippedToKeyframe,
    /// a viewer skipped to the oldest packet held
    SkippedToOldest,
    /// a viewer skipped to live
    SkippedToLive,
    /// a viewer was disconnected for his lag
    TooSlow,
    /// a viewer was given up because his socket took nothing
    Stalled,
    /// a viewer's connection broke
    ViewerReset,
    /// a viewer left within a second
    Probed,
    /// a viewer came back
    CameBack,
    /// a viewer waited for the first access point
    JoinedBeforeAccess,
    /// a viewer joined so many milliseconds behind live
    JoinedBehind,
    /// a viewer joined live
    JoinedLive,
    /// a viewer was held through the loss of the source
    HeldThroughGrace,
    /// viewers were turned away because the grace time was over
    UpstreamLost,
    /// viewers were turned away by the operator
    TakenOffline,
    /// the stream went on at a seam
    Seam,
    /// a viewer went on over a seam
    WatchedSeam,
    /// a better source was used again
    ReturnedToBetter,
    /// a source was given up for its silence
    ReadTimeout,
    /// a source was given up because it sends no packets
    GarbageGivenUp,
    /// all sources were tried and none is left
    Exhausted,
    /// a source refused
    Refused,
    /// an access point was recognised by its content
    SniffedAccess,
    /// a weaker access point was accepted
    FallbackAccess,
    /// garbage that looked like a packet was published
    FakePacket,
    /// a whole packet was lost to garbage close to it
    PacketNearGarbage,
    /// the framer lost its phase
    SyncLoss,
    /// packets came in 192 bytes
    Form192,
    /// packets came in 204 bytes
    Form204,
    /// the ring evicted because of its bytes
    RingFull,
    /// the ring was cleared
    Forgotten,
    /// a segment was full
    FullSegment,
    /// the limit on all viewers was reached
    LimitAll,
    /// the limit on a stream's viewers was reached
    LimitStream,
    /// the limit on a peer was reached
    LimitPeer,
    /// the number of viewers crossed the soft limit
    SoftLimit,
    /// a sweep brought more than one segment
    LateSweep,
    /// the last packet of a response that ended was still finished
    EndedWithinPacket,
    /// the program was shut down with viewers
    Shutdown,
    /// two runs were compared for fairness
    Compared,
}

const _: () = assert!(Mark::ALL.len() <= 128, "marks are bits of a u128");

/// The marks that were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u128);

impl Marks {
    /// It was.
    #[inline]
    pub fn note(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u8;
    }

    /// Whether it was.
    pub fn has(self, mark: Mark) -> bool {
        self.0 >> mark as u8 & 1 != 0
    }
}

/// How many runs reached each mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached([u64; Mark::ALL.len()]);

impl Default for Reached {
    fn default() -> Self {
        Reached([0; Mark::ALL.len()])
    }
}

impl Reached {
    /// A run reached these.
    pub fn add(&mut self, marks: Marks) {
        for &mark in Mark::ALL {
            self.0[mark as usize] += u64::from(marks.has(mark));
        }
    }

    /// All marks, and how many runs reached each.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> {
        Mark::ALL.iter().map(|&mark| (mark, self.0[mark as usize]))
    }

    /// Those that no run reached.
    pub fn missing(&self) -> impl Iterator<Item = Mark> {
        self.iter().filter(|&(_, runs)| runs == 0).map(|(mark, _)| mark)
    }
}

/// Notes a mark when the condition holds: it should, in some run.
macro_rules! sometimes {
    ($observer:expr, $condition:expr, $mark:ident) => {
        if $condition {
            $observer.marks.note($crate::marks::Mark::$mark);
        }
    };
}
pub(crate) use sometimes;
