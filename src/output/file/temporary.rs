//! [`Temporary`]: a file that gets its name when it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fchown, linkat, unlinkat};

use super::place::{Directory, name_of_descriptor};
use super::trust::Heir;

/// The mode of a file that is not complete.
const PRIVATE: u32 = 0o600;
/// The mode of a new file, before the umask.
const ORDINARY: u32 = 0o666;

/// How often another temporary name is tried. There are 62^8 of them.
const NAMES_TRIED: usize = 100;

/// A file in a directory, without a name (`O_TMPFILE`): the kernel removes it when this process ends in any way. On
/// file systems that have no such files (NFS, vfat, older overlays) it has a temporary name, which dropping removes.
#[derive(Debug)]
pub struct Temporary {
    file: File,
    directory: File,
    name: Option<OsString>,
}

impl Temporary {
    /// A file that only its owner may open, for the name `destination` in the directory.
    ///
    /// # Errors
    /// If the directory may not be written.
    pub fn create(directory: &Directory, destination: &OsStr) -> io::Result<Temporary> {
        Temporary::with_mode(&directory.handle, destination, PRIVATE)
    }

    /// The mode that a new file gets in this directory: of the umask, or of the directory's access control list.
    ///
    /// # Errors
    /// If the directory may not be written.
    pub fn ordinary_mode(directory: &Directory, destination: &OsStr) -> io::Result<u32> {
        Temporary::with_mode(&directory.handle, destination, ORDINARY)?.mode()
    }

    /// # Errors
    /// None is known.
    pub fn mode(&self) -> io::Result<u32> {
        Ok(self.file.metadata()?.mode() & 0o777)
    }

    fn with_mode(directory: &File, destination: &OsStr, mode: u32) -> io::Result<Temporary> {
        // Errors differ: EOPNOTSUPP, EISDIR before Linux 3.11, ENOENT. The attempt with a name shows whether it is
        // the directory that cannot be written.
        if let Ok(file) = unnamed(directory, mode) {
            return Ok(Temporary {
                file,
                directory: directory.try_clone()?,
                name: None,
            });
        }
        Temporary::named(directory, destination, mode)
    }

    /// A file with a temporary name, where there can be none without.
    ///
    /// # Errors
    /// If the directory may not be written.
    pub fn named(directory: &File, destination: &OsStr, mode: u32) -> io::Result<Temporary> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let (file, name) = under_free_name(destination, |name| open(directory, name, flags, mode))?;
        Ok(Temporary {
            file,
            directory: directory.try_clone()?,
            name: Some(name),
        })
    }

    /// Changes owner and mode, as far as the file system can.
    pub fn hand_over(&self, heir: Option<Heir>, mode: u32) {
        // Some file systems have no owners and modes, or refuse them to root (vfat, NFS). The recording counts more.
        if let Some(Heir { user, group }) = heir
            && let Err(error) = fchown(&self.file, Some(user), group)
        {
            log::warn!("the output file cannot be given to user {user}, and stays ours: {error}");
        }
        // After the owner, because chown clears bits of the mode.
        if let Err(error) = self.file.set_permissions(Permissions::from_mode(mode)) {
            log::warn!("the mode of the output file cannot be set to {mode:o}: {error}");
        }
    }

    /// Gives the file its name. What has appeared under that name since is replaced.
    ///
    /// # Errors
    /// If the directory no longer exists, or the name is that of a directory or of a file that may not be removed.
    pub fn publish(mut self, destination: &OsStr) -> io::Result<()> {
        let temporary = match self.name.take() {
            Some(name) => name,
            None => match self.link(destination) {
                Ok(()) => return Ok(()),
                // No call replaces a file by one without a name.
                Err(Errno::EEXIST) => under_free_name(destination, |name| self.link(name))?.1,
                Err(error) => return Err(error.into()),
            },
        };
        let renamed = renameat(
            &self.directory,
            temporary.as_os_str(),
            &self.directory,
            destination,
        );
        // Removed by dropping.
        self.name = renamed.is_err().then_some(temporary);
        Ok(renamed?)
    }

    fn link(&self, name: &OsStr) -> nix::Result<()> {
        linkat(
            AT_FDCWD,
            // Without a name (`AT_EMPTY_PATH`) it would need CAP_DAC_READ_SEARCH.
            name_of_descriptor(&self.file).as_str(),
            &self.directory,
            name,
            AtFlags::AT_SYMLINK_FOLLOW,
        )
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // It may be gone, with its directory.
            let _ = unlinkat(
                &self.directory,
                name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            );
        }
    }
}

/// Where the new content of an existing file is collected: in its directory if that can be written, else where
/// temporary files are.
///
/// # Errors
/// If a file can be made at none of these places.
pub fn spool(directory: &Directory) -> io::Result<File> {
    unnamed(&directory.handle, PRIVATE)
        .or_else(|_| tempfile::tempfile())
        .or_else(|_| tempfile::tempfile_in("/dev/shm"))
}

/// Copies a whole file to the current position of `out`.
///
/// # Errors
/// Those of reading and writing.
pub fn copy_all(mut from: &File, out: &mut impl Write) -> io::Result<()> {
    from.rewind()?;
    io::copy(&mut from, out).map(|_| ())
}

fn unnamed(directory: &File, mode: u32) -> io::Result<File> {
    Ok(open(directory, OsStr::new("."), OFlag::O_TMPFILE, mode)?)
}

fn open(directory: &File, name: &OsStr, flags: OFlag, mode: u32) -> nix::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | flags;
    openat(directory, name, flags, Mode::from_bits_truncate(mode)).map(File::from)
}

/// Tries hidden names until one is free.
fn under_free_name<T>(
    destination: &OsStr,
    make: impl Fn(&OsStr) -> nix::Result<T>,
) -> io::Result<(T, OsString)> {
    // Name, prefix, random characters and suffix must together be shorter than 255 bytes.
    let known: String = destination.to_string_lossy().chars().take(50).collect();
    for _ in 0..NAMES_TRIED {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(8)
            .collect();
        let name = OsString::from(format!(".{known}.{random}.tmp"));
        match make(&name) {
            Err(Errno::EEXIST) => {}
            made => return Ok((made?, name)),
        }
    }
    Err(Errno::EEXIST.into())
}
