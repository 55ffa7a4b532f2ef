//! [`OutputFile`]: a file that is written completely or not at all.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use tempfile::NamedTempFile;

use crate::os::process::sudo::sudo_user;

/// Most symbolic links that are followed: the limit of Linux.
const MAX_LINKS: usize = 40;

/// The mode of a new file, before the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// The output of a recording, opened before the recording starts so that a path that cannot be written
/// is reported at once.
///
/// A regular file appears complete at [`commit`](OutputFile::commit). If it is dropped before, nothing of
/// it remains and an existing file is unchanged. A replaced file retains its mode and, unless it belongs to
/// root, its owner; under sudo, other files belong to the user who called sudo. Symbolic links are
/// followed and stay in place. Pipes, devices and `-` (standard output) are written directly, because a
/// write to them cannot be undone.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A temporary file in the same directory, which is renamed.
    Replace {
        temporary: BufWriter<NamedTempFile>,
        destination: PathBuf,
    },
    /// For a writable file in a read-only directory: an unnamed temporary file that is copied into it.
    Overwrite {
        spool: BufWriter<File>,
        destination: File,
    },
    /// Written directly.
    Stream(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl OutputFile {
    /// Opens `path`; `-` is standard output.
    ///
    /// # Errors
    /// If the path cannot be written: its directory is missing or not writable, it is a directory, or the
    /// existing file is read-only. The message contains the path.
    pub fn create(path: &Path) -> io::Result<OutputFile> {
        let target = Target::open(path).map_err(|error| name_path(path, &error))?;
        Ok(OutputFile {
            path: path.to_owned(),
            target,
        })
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is standard output, which then must receive nothing else.
    pub fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout(_))
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If the disk is full or the directory no longer exists. An existing file is then unchanged, and no
    /// temporary file remains.
    pub fn commit(self) -> io::Result<()> {
        let OutputFile { path, target } = self;
        target.commit().map_err(|error| name_path(&path, &error))
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.target {
            Target::Replace { temporary, .. } => temporary.write(bytes),
            Target::Overwrite { spool, .. } => spool.write(bytes),
            Target::Stream(file) => file.write(bytes),
            Target::Stdout(stdout) => stdout.write(bytes),
        };
        written.map_err(|error| name_path(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match &mut self.target {
            Target::Replace { temporary, .. } => temporary.flush(),
            Target::Overwrite { spool, .. } => spool.flush(),
            Target::Stream(file) => file.flush(),
            Target::Stdout(stdout) => stdout.flush(),
        };
        flushed.map_err(|error| name_path(&self.path, &error))
    }
}

fn name_path(path: &Path, error: &io::Error) -> io::Error {
    // The error number is of no interest to users, and the kind has the same information for code.
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    io::Error::new(
        error.kind(),
        format!("cannot write '{}': {reason}", path.display()),
    )
}

impl Target {
    fn open(path: &Path) -> io::Result<Target> {
        // Opening one of these would overwrite a redirected file from its start.
        if ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
            .iter()
            .any(|name| path == Path::new(name))
        {
            return Ok(Target::Stdout(BufWriter::new(io::stdout())));
        }
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is empty",
            ));
        }
        let existing = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match &existing {
            Some(metadata) if metadata.is_dir() => return Err(is_directory()),
            None if path.to_string_lossy().ends_with('/') => return Err(is_directory()),
            Some(metadata) if !metadata.is_file() || is_descriptor(path) => {
                let file = OpenOptions::new().append(true).open(path)?;
                return Ok(Target::Stream(BufWriter::new(file)));
            }
            _ => {}
        }
        let destination = resolve_links(path)?;
        let Some(existing) = existing else {
            return Ok(Target::replace(
                temporary_beside(&destination, None)?,
                destination,
            ));
        };
        // A rename needs only write access to the directory, but a read-only file must not be replaced.
        let old = OpenOptions::new().write(true).open(&destination)?;
        match temporary_beside(&destination, Some(&existing)) {
            Ok(temporary) => Ok(Target::replace(temporary, destination)),
            Err(error) if is_read_only_directory(&error) => Ok(Target::Overwrite {
                spool: BufWriter::new(tempfile::tempfile()?),
                destination: old,
            }),
            Err(error) => Err(error),
        }
    }

    fn replace(temporary: NamedTempFile, destination: PathBuf) -> Target {
        Target::Replace {
            temporary: BufWriter::new(temporary),
            destination,
        }
    }

    fn commit(self) -> io::Result<()> {
        match self {
            Target::Replace {
                temporary,
                destination,
            } => {
                let temporary = temporary
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                match temporary.persist(&destination) {
                    Ok(_) => Ok(()),
                    // A file that is a mount point, as in containers, can be written but not replaced.
                    Err(failed) if failed.error.kind() == io::ErrorKind::ResourceBusy => {
                        let old = OpenOptions::new().write(true).open(&destination)?;
                        overwrite(failed.file.into_file(), old)
                    }
                    Err(failed) => Err(failed.error),
                }
            }
            Target::Overwrite { spool, destination } => overwrite(
                spool.into_inner().map_err(io::IntoInnerError::into_error)?,
                destination,
            ),
            Target::Stream(mut file) => file.flush(),
            Target::Stdout(mut stdout) => stdout.flush(),
        }
    }
}

/// Whether the path is an alias of an open file.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc") || path == Path::new("/dev/stderr")
}

fn is_directory() -> io::Error {
    io::Error::new(
        io::ErrorKind::IsADirectory,
        "it is a directory; name a file in it",
    )
}

fn is_read_only_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn overwrite(mut spool: File, mut destination: File) -> io::Result<()> {
    spool.seek(SeekFrom::Start(0))?;
    destination.set_len(0)?;
    io::copy(&mut spool, &mut destination)?;
    Ok(())
}

/// Follows the symbolic links of a path, whose last target need not exist.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&at) {
            // `join` with an absolute path returns that path.
            Ok(target) => at = directory_of(&at).join(target),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// A new file in the directory of `destination`, with the mode and the owner for `destination`. It is
/// created with `O_EXCL`, so that no existing file or link is opened.
fn temporary_beside(destination: &Path, existing: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let name = destination
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    // Name, prefix, six random characters and suffix must together be shorter than 255 bytes.
    let name: String = name.chars().take(50).collect();
    let temporary = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".tmp")
        .permissions(Permissions::from_mode(NEW_FILE_MODE))
        .tempfile_in(directory_of(destination))
        .map_err(|error| {
            // Omit the path of the temporary file from the message.
            let text = error.to_string();
            io::Error::new(
                error.kind(),
                text.split(" at path ").next().unwrap_or(&text),
            )
        })?;
    if let Some((uid, gid)) = new_owner(existing) {
        nix::unistd::fchown(temporary.as_file(), Some(uid), Some(gid))?;
    }
    if let Some(existing) = existing {
        // After the owner, because chown clears bits of the mode.
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(existing.mode() & 0o777))?;
    }
    Ok(temporary)
}

/// Owner of the new file, if not the current user. Only root can change it.
fn new_owner(existing: Option<&Metadata>) -> Option<(Uid, Gid)> {
    if !Uid::effective().is_root() {
        return None;
    }
    if let Some(existing) = existing
        && existing.uid() != 0
    {
        return Some((Uid::from_raw(existing.uid()), Gid::from_raw(existing.gid())));
    }
    // Bad variables are reported by the command.
    sudo_user().ok().flatten()
}

#[cfg(test)]
mod tests;
