//! Program specific information: which programs there are and what they consist of (ISO/IEC 13818-1 §2.4.4).
//!
//! [`section`] puts sections together from packets, [`table`] reads PAT and PMT, [`tracker`] follows both in a
//! stream and keeps the packets that carried them.

pub mod section;
pub mod table;
pub mod tracker;

pub use section::{Section, SectionAssembler, SectionError, crc32_mpeg2};
pub use table::{Pat, Pmt, StreamKind};
pub use tracker::{PsiChange, PsiTracker};

#[cfg(test)]
mod testing;
