//! Borrowed views of transport-stream packets, and the small machines that watch a sequence of them.
//!
//! Everything here reads ISO/IEC 13818-1 (ITU-T H.222.0) and nothing else: no time, no policy. Views never
//! fail to be built and never panic; what is malformed reads as absent.
//!
//! Start with [`packet::Packet`], then [`psi::PsiTracker`].

pub mod adaptation;
pub mod continuity;
pub mod packet;
pub mod pes;
pub mod psi;

pub use adaptation::{Adaptation, Pcr};
pub use continuity::Continuity;
pub use packet::{PACKET_BYTES, PIDS, Packet, Pid, PidSet, SYNC_BYTE};
pub use pes::{PesHeader, Timestamp};
pub use psi::{PsiTracker, StreamKind};
