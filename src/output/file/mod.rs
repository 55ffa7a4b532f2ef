//! [`OutputFile`]: a file that is written whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use tempfile::NamedTempFile;

/// Symbolic links that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// The mode of a new file, before the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// A place for a recording, taken before the recording starts, so that a place that cannot be
/// written is found out at once.
///
/// A regular file appears at [`commit`](OutputFile::commit), whole; dropped before, nothing is left
/// of it, and what was there stays. It keeps the mode and, if it is somebody's other than root's,
/// the owner of the file that it replaces; under sudo, it otherwise belongs to the user who called
/// sudo. A symbolic link is followed, and stays. Pipes, devices and `-` (standard output) are
/// written straight, because they cannot be taken back.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A temporary beside the file, which is renamed.
    Replace {
        temporary: BufWriter<NamedTempFile>,
        destination: PathBuf,
    },
    /// The file may be written, but no other one made beside it: an unnamed temporary, which is
    /// copied into the file.
    Overwrite {
        spool: BufWriter<File>,
        destination: File,
    },
    /// Written straight.
    Stream(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl OutputFile {
    /// Takes the place at `path`; `-` is standard output.
    ///
    /// # Errors
    /// When nothing could be written there: the folder is missing or not writable, `path` is a
    /// folder, a file that is there is read-only. The message names the path.
    pub fn create(path: &Path) -> io::Result<OutputFile> {
        let target = Target::open(path).map_err(|error| name_path(path, &error))?;
        Ok(OutputFile {
            path: path.to_owned(),
            target,
        })
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is standard output, where nothing else should be written then.
    pub fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout(_))
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// When it does not fit or the place is no longer there; a regular file then is as it was
    /// before, with nothing left beside it.
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
    // The number of a system error says nothing to a reader, and the kind keeps what code needs.
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    io::Error::new(
        error.kind(),
        format!("cannot write '{}': {reason}", path.display()),
    )
}

impl Target {
    fn open(path: &Path) -> io::Result<Target> {
        // Opened by this name, a redirected file would be overwritten from its start.
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
        // A rename needs only the folder to be writable; but who made a file read-only means it.
        let old = OpenOptions::new().write(true).open(&destination)?;
        match temporary_beside(&destination, Some(&existing)) {
            Ok(temporary) => Ok(Target::replace(temporary, destination)),
            Err(error) if is_folder_read_only(&error) => Ok(Target::Overwrite {
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
                    // A file that is mounted by itself, as containers do, can be written, but not
                    // replaced.
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

/// Whether the path is another name of an open file, and so not a place in a folder.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc") || path == Path::new("/dev/stderr")
}

fn is_directory() -> io::Error {
    io::Error::new(
        io::ErrorKind::IsADirectory,
        "it is a directory; name a file in it",
    )
}

fn is_folder_read_only(error: &io::Error) -> bool {
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

/// Where a path leads through symbolic links, also when nothing is there yet.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&at) {
            // `join` takes an absolute target as it is.
            Ok(target) => at = folder_of(&at).join(target),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file beside `destination` with the mode and the owner that `destination` shall have. It is
/// made with `O_EXCL`, so nothing that somebody put in its place is opened.
fn temporary_beside(destination: &Path, existing: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let name = destination
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    // The whole name with its prefix, six random characters and its suffix must stay below 255 bytes.
    let name: String = name.chars().take(50).collect();
    let temporary = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".tmp")
        .permissions(Permissions::from_mode(NEW_FILE_MODE))
        .tempfile_in(folder_of(destination))
        .map_err(|error| {
            // Its message goes on with the temporary's path, which nobody asked for.
            let text = error.to_string();
            io::Error::new(
                error.kind(),
                text.split(" at path ").next().unwrap_or(&text),
            )
        })?;
    if let Some((uid, gid)) = owner_to_be(existing) {
        nix::unistd::fchown(temporary.as_file(), Some(uid), Some(gid))?;
    }
    if let Some(existing) = existing {
        // After the owner, because a change of that takes bits off the mode.
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(existing.mode() & 0o777))?;
    }
    Ok(temporary)
}

/// Whose the file shall be, where that is not simply ours. Only root can give a file away.
fn owner_to_be(existing: Option<&Metadata>) -> Option<(Uid, Gid)> {
    if !Uid::effective().is_root() {
        return None;
    }
    if let Some(existing) = existing
        && existing.uid() != 0
    {
        return Some((Uid::from_raw(existing.uid()), Gid::from_raw(existing.gid())));
    }
    sudo_user(|name| std::env::var(name).ok())
}

/// Who called sudo, by the variables that it sets.
fn sudo_user(variable: impl Fn(&str) -> Option<String>) -> Option<(Uid, Gid)> {
    let uid = variable("SUDO_UID")?.parse().ok()?;
    let gid = variable("SUDO_GID")?.parse().ok()?;
    Some((Uid::from_raw(uid), Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests;
