//! How much memory a configuration may come to need.

use restreamer_core::SEGMENT_BYTES_MAX;

use crate::config::Config;

/// User memory of one viewer: its place in the ring, its socket and its place in the fan-out.
const VIEWER_BYTES: u64 = 2 * 1024;
/// What the kernel may grow a send buffer to when the configuration leaves it alone (`net.ipv4.tcp_wmem`, as most
/// systems have it).
const SEND_BUFFER_BYTES_AUTOMATIC: u64 = 4 * 1024 * 1024;

/// Bytes at worst: every ring full, every viewer connected and none of them reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryWorstCase {
    /// All rings, in user space.
    pub rings: u64,
    /// One viewer, in user space.
    pub viewer_user: u64,
    /// The send buffer of one viewer, in the kernel; of the stream where it is largest.
    pub viewer_kernel: u64,
    /// All viewers, user space and kernel; `None` when their number has no limit.
    pub viewers: Option<u64>,
}

impl MemoryWorstCase {
    /// The formula.
    ///
    /// A stream holds its ring, which is filled up to `ringlimit`, and one segment that is being filled (64 KiB). The
    /// fan-out of every thread has a replica of the ring; replicas share segments by reference, but each may hold
    /// the last ones a moment longer than the others, and in the worst case all of them are different:
    ///
    /// `rings = Σ over streams (ringlimit + 64 KiB) × (1 + threads)`
    ///
    /// A viewer holds some user memory and what the kernel has taken for it. Linux doubles the size it is asked for,
    /// for its own bookkeeping (socket(7), `SO_SNDBUF`):
    ///
    /// `viewers = maxconnections × (2 KiB + 2 × sendbuffer)`
    pub fn of(config: &Config) -> MemoryWorstCase {
        let copies = 1 + config.threads.get() as u64;
        let rings = config
            .streams
            .iter()
            .map(|stream| (stream.ring_bytes_max + SEGMENT_BYTES_MAX as u64) * copies)
            .sum();
        let viewer_kernel = config
            .streams
            .iter()
            .map(|stream| match stream.tuning.send_buffer_bytes {
                Some(bytes) => 2 * u64::from(bytes),
                None => SEND_BUFFER_BYTES_AUTOMATIC,
            })
            .max()
            .unwrap_or(0);
        let per_viewer = VIEWER_BYTES + viewer_kernel;
        let viewers = match config.connections_max {
            0 => None,
            viewers => Some(u64::from(viewers) * per_viewer),
        };
        MemoryWorstCase { rings, viewer_user: VIEWER_BYTES, viewer_kernel, viewers }
    }

    /// Everything; `None` when the number of viewers has no limit.
    pub fn total(&self) -> Option<u64> {
        self.viewers.map(|viewers| viewers + self.rings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_adds_rings_and_viewers() {
        let text = r#"{ "threads": 3, "maxconnections": 10, "ringlimit": 1000000, "sendbuffer": 100000, "resources": [
            { "type": "stream", "serve": "/a", "remote": "tcp://h:1" },
            { "type": "stream", "serve": "/b", "remote": "tcp://h:1", "ringlimit": 2000000, "sendbuffer": 200000 }
        ] }"#;
        let (config, _) = Config::parse("x", text.as_bytes()).unwrap();
        let memory = MemoryWorstCase::of(&config);
        assert_eq!(memory.rings, (1_000_000 + 65_536 + 2_000_000 + 65_536) * 4);
        assert_eq!(memory.viewer_kernel, 400_000);
        assert_eq!(memory.viewers, Some(10 * (2048 + 400_000)));
        assert_eq!(memory.total(), Some(memory.rings + 4_020_480));
    }

    #[test]
    fn without_a_limit_on_viewers_there_is_none_on_memory() {
        let text = r#"{ "sendbuffer": 0, "resources": [
            { "type": "stream", "serve": "/a", "remote": "tcp://h:1" }
        ] }"#;
        let memory = MemoryWorstCase::of(&Config::parse("x", text.as_bytes()).unwrap().0);
        assert_eq!((memory.viewers, memory.total()), (None, None));
        assert_eq!(memory.viewer_kernel, 4 * 1024 * 1024);
    }
}
