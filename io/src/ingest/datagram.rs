//! Many datagrams with one system call.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Datagrams that one call takes at most. Usually one to five are waiting; the rest is for bursts.
pub(super) const BATCH: usize = 32;
/// Words of control data per datagram: room for the counter of `SO_RXQ_OVFL`, aligned.
const CONTROL_WORDS: usize = 4;

/// Buffers for datagrams, and the datagrams of the last call in them.
pub(super) struct Batch {
    datagram_bytes_max: usize,
    buffer: Vec<u8>,
    lengths: [usize; BATCH],
    count: usize,
    truncated: u64,
    dropped_total: u32,
    dropped: u64,
}

impl Batch {
    /// Buffers for `datagrams` (at most [`BATCH`]) of up to `datagram_bytes_max`; what is longer is cut.
    pub(super) fn new(datagram_bytes_max: usize, datagrams: usize) -> Self {
        let datagram_bytes_max = datagram_bytes_max.max(1);
        Batch {
            datagram_bytes_max,
            buffer: vec![0; datagram_bytes_max * datagrams.min(BATCH)],
            lengths: [0; BATCH],
            count: 0,
            truncated: 0,
            dropped_total: 0,
            dropped: 0,
        }
    }

    /// Takes what is waiting in `socket`, without waiting for more: `WouldBlock` if that is nothing.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.count = 0;
        let mut control = [[0u64; CONTROL_WORDS]; BATCH];
        let capacity = self.capacity();
        let mut slices = self.buffer.chunks_exact_mut(self.datagram_bytes_max).zip(&mut control);
        let mut parts: [libc::iovec; BATCH] = std::array::from_fn(|_| empty_part());
        let mut messages: [libc::mmsghdr; BATCH] = std::array::from_fn(|_| empty_message());
        for (message, part) in messages.iter_mut().zip(&mut parts) {
            let Some((slice, control)) = slices.next() else { break };
            *part = libc::iovec { iov_base: slice.as_mut_ptr().cast(), iov_len: slice.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = mem::size_of_val(control) as _;
        }
        // SAFETY: each of the first `capacity` headers points to one part, which describes its own piece of
        // `buffer`, and to its own piece of `control`; all of them outlive the call, and nothing else refers to
        // them in it.
        // Addresses of senders are not asked for, and there is no time limit.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                capacity as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
        for (length, message) in self.lengths.iter_mut().zip(&messages[..count]) {
            *length = (message.msg_len as usize).min(self.datagram_bytes_max);
            self.truncated += u64::from(message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0);
            if let Some(total) = dropped_total(&message.msg_hdr) {
                self.dropped += u64::from(total.wrapping_sub(self.dropped_total));
                self.dropped_total = total;
            }
        }
        self.count = count;
        Ok(())
    }

    /// What the last call took, in order.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let slices = self.buffer.chunks_exact(self.datagram_bytes_max);
        slices.zip(&self.lengths).take(self.count).map(|(slice, &length)| &slice[..length])
    }

    /// Whether the last call took as many datagrams as it could: there may be more.
    pub(super) fn is_full(&self) -> bool {
        self.count == self.capacity()
    }

    /// The same, and all of them are empty.
    pub(super) fn is_all_empty(&self) -> bool {
        self.is_full() && self.lengths[..self.count].iter().all(|&length| length == 0)
    }

    /// How many datagrams were cut since this was last asked.
    pub(super) fn take_truncated(&mut self) -> u64 {
        mem::take(&mut self.truncated)
    }

    /// How many datagrams the kernel dropped since this was last asked, as its buffer was full.
    ///
    /// The kernel tells it with the datagrams that follow, and only to sockets with `SO_RXQ_OVFL`.
    pub(super) fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }

    fn capacity(&self) -> usize {
        self.buffer.len() / self.datagram_bytes_max
    }
}

/// Asks the kernel to count, for [`Batch::take_dropped`], what it drops.
pub(super) fn count_drops(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, which lives until the call has returned.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's count of dropped datagrams, if it came with this one.
fn dropped_total(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: `header` was filled in by the kernel and its control buffer is alive, so the macros walk through
    // complete messages within it. The counter's message carries a u32, which need not be aligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
                return Some(libc::CMSG_DATA(found).cast::<u32>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, found);
        }
    }
    None
}

fn empty_part() -> libc::iovec {
    libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }
}

fn empty_message() -> libc::mmsghdr {
    // SAFETY: null pointers and zero lengths are a valid header without any buffer.
    unsafe { mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (sender, receiver)
    }

    #[test]
    fn one_call_takes_what_is_waiting_and_no_more_than_fits() {
        let (sender, receiver) = pair();
        let mut batch = Batch::new(8, BATCH);
        assert_eq!(batch.receive(receiver.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for n in 0..=BATCH as u8 {
            sender.send(&[n; 3]).unwrap();
        }
        batch.receive(receiver.as_fd()).unwrap();
        let numbers: Vec<u8> = batch.datagrams().map(|datagram| datagram[0]).collect();
        assert_eq!(numbers, (0..BATCH as u8).collect::<Vec<u8>>());
        batch.receive(receiver.as_fd()).unwrap();
        assert_eq!(batch.datagrams().collect::<Vec<_>>(), [[BATCH as u8; 3]]);
    }

    #[test]
    fn a_long_datagram_is_cut_and_counted_and_an_empty_one_is_there() {
        let (sender, receiver) = pair();
        let mut batch = Batch::new(4, BATCH);
        for datagram in [&b"abcdef"[..], b"", b"abcd"] {
            sender.send(datagram).unwrap();
        }
        batch.receive(receiver.as_fd()).unwrap();
        assert_eq!(batch.datagrams().collect::<Vec<_>>(), [&b"abcd"[..], b"", b"abcd"]);
        assert_eq!((batch.take_truncated(), batch.take_truncated()), (1, 0));
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let (sender, receiver) = pair();
        count_drops(receiver.as_fd()).unwrap();
        socket2::SockRef::from(&receiver).set_recv_buffer_size(0).unwrap();
        for _ in 0..100 {
            sender.send(&[0; 1000]).unwrap();
        }
        let mut batch = Batch::new(1500, BATCH);
        let mut came = 0;
        while batch.receive(receiver.as_fd()).is_ok() {
            came += batch.datagrams().count() as u64;
        }
        // The count comes with the next datagram that gets through.
        sender.send(&[0; 1]).unwrap();
        batch.receive(receiver.as_fd()).unwrap();
        assert!(came < 100);
        assert_eq!(batch.take_dropped(), 100 - came);
    }
}
