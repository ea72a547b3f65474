//! Bytes of a fuzzer as decisions.

use alloc::vec::Vec;

use crate::time::Duration;

/// Reads decisions off bytes, one or two at a time; zeros when they are used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Choices(data)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    pub(super) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `n`, which is not zero.
    pub(super) fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// Up to 508 s, in milliseconds: five bits, and three that say how coarse.
    pub(super) fn time(&mut self) -> Duration {
        let byte = u64::from(self.byte());
        Duration::from_millis((byte & 0x1F) << (2 * (byte >> 5)))
    }

    pub(super) fn item<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// Up to so many bytes as they are.
    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Up to `max` things, as many as a first byte says.
    pub(super) fn many<T>(&mut self, max: u8, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.byte() % (max + 1);
        (0..count).map(|_| one(self)).collect()
    }
}
