//! The child process: it serves one request after another until its socket is closed.
//!
//! It is forked from a process that may have threads, which may have held any lock at that moment. So it
//! makes only system calls that are safe then (signal-safety(7)): it does not allocate, does not panic,
//! and its buffers are on the stack.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;

use super::super::forked;
use super::wire::{self, MAX_DATA, MAX_REQUEST, Operation, REQUEST_HEADER, Reply, Request};

/// Serves until the socket is closed.
///
/// # Safety
/// Only for a process that was just forked: it closes all files except `socket`.
pub unsafe fn serve(socket: RawFd, parent: libc::pid_t) -> ! {
    // SAFETY: as the caller promises, nothing else in this process uses its files.
    unsafe {
        forked::close_all_but(socket..=socket);
        forked::detach(parent, c"pyspy-rs reader");
    }
    let mut request = [0; MAX_REQUEST];
    loop {
        // Without the last byte: a path always ends in a NUL.
        let room = request.get_mut(..MAX_REQUEST - 1).unwrap_or_default();
        let (len, fd) = match wire::receive(socket, room, 0) {
            Ok((len @ 1.., fd)) => (len, fd),
            _ => forked::exit(),
        };
        if let Some(rest) = request.get_mut(len..) {
            rest.fill(0);
        }
        let served = match Request::decode(&request) {
            Some(header) => answer(socket, header, request.get(REQUEST_HEADER..), fd),
            None => forked::exit(),
        };
        if let Some(fd) = fd {
            close(fd);
        }
        if served.is_err() {
            forked::exit();
        }
    }
}

fn close(fd: RawFd) {
    // SAFETY: `fd` was opened by, or sent to, this process and is not used afterwards.
    unsafe { libc::close(fd) };
}

/// Serves one request; an error means that the other side is gone.
fn answer(
    socket: RawFd,
    request: Request,
    path: Option<&[u8]>,
    fd: Option<RawFd>,
) -> Result<(), ()> {
    let mut data = [0; MAX_DATA];
    let path = path.and_then(|path| CStr::from_bytes_until_nul(path).ok());
    let path = path.unwrap_or_default();
    match request.operation {
        Operation::Memory => {
            let wanted = usize::try_from(request.len).unwrap_or(MAX_DATA);
            let room = data.get_mut(..wanted.min(MAX_DATA)).unwrap_or_default();
            let read = read_memory(fd, request.pid, request.addr, room);
            let len = read.unwrap_or(0);
            reply(socket, false, read.map(|len| len as u64), data.get(..len))
        }
        Operation::Mode => reply(socket, false, mode_of(path), None),
        Operation::Read | Operation::ReadRegular => {
            let opened = match request.operation {
                Operation::ReadRegular => open_regular(path),
                _ => open(path, 0),
            };
            match opened {
                Ok(file) => {
                    let sent = send_file(socket, file, request.len, &mut data);
                    close(file);
                    sent
                }
                Err(error) => reply(socket, false, Err(error), None),
            }
        }
    }
}

fn reply(
    socket: RawFd,
    more: bool,
    result: Result<u64, Errno>,
    data: Option<&[u8]>,
) -> Result<(), ()> {
    let header = Reply {
        errno: result.err().map_or(0, |errno| errno as i32),
        more,
        value: result.unwrap_or(0),
    };
    let data = data.unwrap_or_default();
    wire::send(socket, &header.encode(), data, None).map_err(drop)
}

/// Reads memory by pid. A page fault in process_vm_readv gives up the lock of the target's memory map before it
/// waits (`pin_user_pages_remote` with `locked` in mm/process_vm_access.c); one in a read of `/proc/PID/mem`
/// holds it (`get_user_page_vma_remote` in mm/memory.c, v6.12), so that the target itself is blocked in its
/// next mmap for as long as the page is not served. That file is read only where the call is refused: by Yama,
/// for instance, which permits it to ancestors of the target only, and this process is none.
fn read_memory(mem: Option<RawFd>, pid: i32, addr: u64, room: &mut [u8]) -> Result<usize, Errno> {
    let base = room.as_mut_ptr().cast::<libc::c_void>();
    let remote = libc::iovec {
        iov_base: usize::try_from(addr).map_err(|_| Errno::EFAULT)? as *mut libc::c_void,
        iov_len: room.len(),
    };
    let local = libc::iovec {
        iov_base: base,
        iov_len: room.len(),
    };
    // SAFETY: `local` describes `room`; the address in `remote` is not ours and the kernel checks it.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    let read = match (Errno::result(read), mem) {
        (Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS), Some(mem)) => {
            // An address of the upper half is none of a process, and would be a negative offset.
            let offset = libc::off_t::try_from(addr).map_err(|_| Errno::EFAULT)?;
            // SAFETY: `room` is writable for its whole length.
            Errno::result(unsafe { libc::pread(mem, base, room.len(), offset) })
        }
        (read, _) => read,
    };
    read.map(|len| usize::try_from(len).unwrap_or(0))
}

fn mode_of(path: &CStr) -> Result<u64, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `path` ends in a NUL, and `found` is a place for one stat.
    Errno::result(unsafe { libc::stat(path.as_ptr(), found.as_mut_ptr()) })?;
    // SAFETY: zeros are a valid stat, and the kernel has filled it in.
    Ok(u64::from(unsafe { found.assume_init() }.st_mode))
}

fn open(path: &CStr, flags: libc::c_int) -> Result<RawFd, Errno> {
    // O_NONBLOCK: a FIFO without a writer, or a file with a lease, must not block.
    let all = flags | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    // SAFETY: `path` ends in a NUL.
    Errno::result(unsafe { libc::open(path.as_ptr(), all) })
}

/// Opens a file if it is a regular one, checked before it is really opened: see `open_regular` of
/// `procfs/paths.rs`.
fn open_regular(path: &CStr) -> Result<RawFd, Errno> {
    let handle = open(path, libc::O_PATH)?;
    let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `found` is a place for one stat; zeros are a valid one.
    let (result, meta) = unsafe {
        let result = libc::fstat(handle, found.as_mut_ptr());
        (Errno::result(result), found.assume_init())
    };
    let opened = match result {
        Err(error) => Err(error),
        Ok(_) if meta.st_mode & libc::S_IFMT != libc::S_IFREG => Err(Errno::EINVAL),
        Ok(_) => {
            let mut name = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
            write_number(
                handle.cast_unsigned(),
                name.get_mut(14..).unwrap_or_default(),
            );
            CStr::from_bytes_until_nul(&name)
                .map_err(|_| Errno::EINVAL)
                .and_then(|name| open(name, 0))
        }
    };
    close(handle);
    opened
}

/// Writes a number in decimal, without an allocation.
fn write_number(number: u32, place: &mut [u8]) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for digit in place.iter_mut().take(digits).rev() {
        // A remainder of 10 fits.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Sends the content of a file in pieces: at most `max` bytes, the last piece marked as such.
fn send_file(socket: RawFd, file: RawFd, max: u64, data: &mut [u8]) -> Result<(), ()> {
    let mut left = max;
    loop {
        let wanted = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = fill(file, data.get_mut(..wanted).unwrap_or_default());
        let len = read.unwrap_or(0);
        left = left.saturating_sub(len as u64);
        let more = len == wanted && left > 0;
        reply(socket, more, read.map(|len| len as u64), data.get(..len))?;
        if !more {
            return Ok(());
        }
    }
}

/// Reads until `room` is full or the file ends: a file of /proc brings at most a page at a time.
fn fill(file: RawFd, room: &mut [u8]) -> Result<usize, Errno> {
    let mut len = 0;
    loop {
        let rest = room.get_mut(len..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(len);
        }
        // SAFETY: `rest` is writable for its whole length.
        let read = unsafe { libc::read(file, rest.as_mut_ptr().cast(), rest.len()) };
        match Errno::result(read) {
            Ok(0) => return Ok(len),
            Ok(read) => len = len.saturating_add(usize::try_from(read).unwrap_or(0)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (10, "10"),
            (4_294_967_295, "4294967295"),
        ] {
            let mut place = [0; 12];
            write_number(number, &mut place);
            let written = CStr::from_bytes_until_nul(&place).map(CStr::to_bytes);
            assert_eq!(written, Ok(text.as_bytes()));
        }
    }
}
