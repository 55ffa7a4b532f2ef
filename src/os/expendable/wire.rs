//! Requests to the child process and its replies: one packet each, of fixed layout, so that the child
//! needs no allocation.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;

/// The most data bytes of one reply. A packet must fit into the socket's send buffer, which is 208 KiB by
/// default (`net.core.wmem_default`, socket(7)).
pub const MAX_DATA: usize = 32 << 10;
/// `PATH_MAX` of Linux, with the terminating NUL.
pub const MAX_PATH: usize = 4096;
/// A request: operation, pid, address, length; a path follows.
pub const REQUEST_HEADER: usize = 24;
pub const MAX_REQUEST: usize = REQUEST_HEADER + MAX_PATH;
/// A reply: errno, whether more follow, value; data follow.
pub const REPLY_HEADER: usize = 16;
pub const MAX_REPLY: usize = REPLY_HEADER + MAX_DATA;

/// What the child is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Memory at an address: of the `/proc/PID/mem` that is sent along, else by pid.
    Memory = 1,
    /// The file type and permissions of a path (`st_mode`).
    Mode = 2,
    /// The content of a file of any kind, such as one of /proc.
    Read = 3,
    /// The content of a file if it is a regular one.
    ReadRegular = 4,
}

impl Operation {
    pub fn of(code: u32) -> Option<Operation> {
        use Operation::*;
        let all = [Memory, Mode, Read, ReadRegular];
        all.into_iter().find(|one| *one as u32 == code)
    }
}

/// A request without its path and descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    pub pid: i32,
    pub addr: u64,
    /// How many bytes are wanted.
    pub len: u64,
}

impl Request {
    pub fn encode(&self) -> [u8; REQUEST_HEADER] {
        let mut bytes = [0; REQUEST_HEADER];
        put(&mut bytes, 0, &(self.operation as u32).to_ne_bytes());
        put(&mut bytes, 4, &self.pid.to_ne_bytes());
        put(&mut bytes, 8, &self.addr.to_ne_bytes());
        put(&mut bytes, 16, &self.len.to_ne_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Request> {
        Some(Request {
            operation: Operation::of(u32::from_ne_bytes(get(bytes, 0)?))?,
            pid: i32::from_ne_bytes(get(bytes, 4)?),
            addr: u64::from_ne_bytes(get(bytes, 8)?),
            len: u64::from_ne_bytes(get(bytes, 16)?),
        })
    }
}

/// A reply without its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The error, or 0.
    pub errno: i32,
    /// Whether another packet of the same reply follows.
    pub more: bool,
    pub value: u64,
}

impl Reply {
    pub fn encode(&self) -> [u8; REPLY_HEADER] {
        let mut bytes = [0; REPLY_HEADER];
        put(&mut bytes, 0, &self.errno.to_ne_bytes());
        put(&mut bytes, 4, &u32::from(self.more).to_ne_bytes());
        put(&mut bytes, 8, &self.value.to_ne_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Reply> {
        Some(Reply {
            errno: i32::from_ne_bytes(get(bytes, 0)?),
            more: u32::from_ne_bytes(get(bytes, 4)?) != 0,
            value: u64::from_ne_bytes(get(bytes, 8)?),
        })
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(field.len())) {
        place.copy_from_slice(field);
    }
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Room for the control message of one descriptor, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends one packet made of two pieces, with a descriptor or without. Neither allocates nor locks.
///
/// # Errors
/// `EPIPE` or `ECONNRESET` when the other side is closed.
pub fn send(socket: RawFd, head: &[u8], body: &[u8], fd: Option<RawFd>) -> io::Result<()> {
    let piece = |bytes: &[u8]| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut pieces = [piece(head), piece(body)];
    let mut control = Control([0; 64]);
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    if let Some(fd) = fd {
        const ONE: libc::c_uint = size_of::<RawFd>() as libc::c_uint;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: these two compute a size, and the room of 64 bytes is larger (24 on x86-64); the header
        // that CMSG_FIRSTHDR returns is in it and aligned.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(ONE) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if let Some(header) = header.as_mut() {
                header.cmsg_level = libc::SOL_SOCKET;
                header.cmsg_type = libc::SCM_RIGHTS;
                header.cmsg_len = libc::CMSG_LEN(ONE) as _;
                libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
            }
        }
    }
    loop {
        // SAFETY: the message points to `pieces`, `head`, `body` and `control`, which live for the call.
        let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
        match Errno::result(sent) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet: its length (0 when the other side is closed), and a descriptor that came along,
/// which the caller must close. Neither allocates nor locks.
///
/// # Errors
/// `WouldBlock` when `flags` say so and there is none.
pub fn receive(
    socket: RawFd,
    bytes: &mut [u8],
    flags: libc::c_int,
) -> io::Result<(usize, Option<RawFd>)> {
    let mut pieces = [libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }];
    let mut control = Control([0; 64]);
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let len = loop {
        // SAFETY: the message points to `pieces`, `bytes` and `control`, which live for the call.
        let got =
            unsafe { libc::recvmsg(socket, &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) };
        match Errno::result(got) {
            Ok(len) => break usize::try_from(len).unwrap_or(0),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    // SAFETY: the kernel has filled in `control` as far as `msg_controllen` says, and the macros stay
    // within that.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        header
            .as_ref()
            .filter(|one| one.cmsg_level == libc::SOL_SOCKET && one.cmsg_type == libc::SCM_RIGHTS)
            .map(|one| libc::CMSG_DATA(one).cast::<RawFd>().read_unaligned())
    };
    Ok((len, fd))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn packets_survive_the_wire_and_garbage_is_none() {
        let request = Request {
            operation: Operation::ReadRegular,
            pid: 8172,
            addr: u64::MAX - 1,
            len: 7,
        };
        assert_eq!(Request::decode(&request.encode()), Some(request));
        let reply = Reply {
            errno: libc::EFAULT,
            more: true,
            value: 1 << 40,
        };
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        assert_eq!(Request::decode(&request.encode()[..23]), None);
        assert_eq!(Request::decode(&[9; REQUEST_HEADER]), None);
        assert_eq!(Reply::decode(&[]), None);
    }
}
