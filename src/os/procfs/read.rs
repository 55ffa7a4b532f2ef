//! Reading files of /proc: capped, and with one error for a process or thread that has ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Reads a file, at most `max` bytes of it.
///
/// # Errors
/// `NotFound` when its process or thread has ended, even between open and read.
pub fn read_capped(path: impl AsRef<Path>, max: u64) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?, max)
}

/// As [`read_capped`], for an open file.
pub fn read_open(file: File, max: u64) -> io::Result<Vec<u8>> {
    // Most files of /proc fit, so that one read brings them whole.
    let mut bytes = Vec::with_capacity(4096);
    file.take(max).read_to_end(&mut bytes).map_err(ended)?;
    Ok(bytes)
}

/// Reads the start of an open file, which the kernel generates again for each read, into `buf`;
/// returns the bytes read.
///
/// # Errors
/// `NotFound` when its process or thread has ended.
pub fn reread<'b>(file: &File, buf: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let len = file.read_at(buf, 0).map_err(ended)?;
    Ok(buf.get(..len).unwrap_or_default())
}

/// Cap on a host name, in bytes. The kernel's have 64 at most (`__NEW_UTS_LEN`).
const MAX_HOST_NAME: u64 = 256;

/// The host name that the calling thread sees.
pub fn host_name() -> Option<String> {
    let name = read_capped("/proc/sys/kernel/hostname", MAX_HOST_NAME).ok()?;
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    (!name.is_empty()).then_some(name)
}

/// The error of a read that the kernel answers with `ESRCH`, for which std has no kind.
fn ended(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(nix::libc::ESRCH) {
        return io::ErrorKind::NotFound.into();
    }
    error
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn reads_are_capped_and_an_ended_process_is_not_found() {
        assert_eq!(read_capped("/proc/self/stat", 3).unwrap().len(), 3);
        let kind = |result: io::Result<Vec<u8>>| result.unwrap_err().kind();
        let gone = read_capped("/proc/0/stat", 3);
        assert_eq!(kind(gone), io::ErrorKind::NotFound);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let file = File::open(format!("/proc/{}/stat", child.id())).unwrap();
        assert!(!reread(&file, &mut [0; 64]).unwrap().is_empty());
        child.wait().unwrap();
        let error = reread(&file, &mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(kind(read_open(file, 64)), io::ErrorKind::NotFound);
    }
}
