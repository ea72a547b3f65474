//! Membership in multicast groups.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{InterfaceIndexOrAddress, SockAddr, Socket};

/// The number of the interface called `name`.
pub(super) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the name ends in a zero byte and lives until the call has returned.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Receives what anybody sends to `group`, on the interface with number `index` (0: the system's choice).
pub(super) fn join(socket: &Socket, group: IpAddr, index: u32) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
    }
}

/// Receives what `sender` sends to `group` (RFC 3678 §5.1), on the interface with number `index` (0: the
/// system's choice).
pub(super) fn join_sender(socket: &Socket, group: IpAddr, sender: IpAddr, index: u32) -> io::Result<()> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let request = libc::group_source_req {
        gsr_interface: index,
        gsr_group: storage(group),
        gsr_source: storage(sender),
    };
    // SAFETY: the option takes this structure, which lives until the call has returned.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            libc::MCAST_JOIN_SOURCE_GROUP,
            (&raw const request).cast(),
            mem::size_of_val(&request) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(SocketAddr::from((address, 0)));
    // SAFETY: zeroes are a valid sockaddr_storage, and an address is never longer than one.
    unsafe {
        let mut storage: libc::sockaddr_storage = mem::zeroed();
        let bytes = (address.len() as usize).min(mem::size_of_val(&storage));
        std::ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), (&raw mut storage).cast(), bytes);
        storage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_numbers() {
        assert!(interface_index("lo").unwrap() > 0);
        assert!(interface_index("no such thing").is_err());
        assert!(interface_index("l\0o").is_err());
    }
}
