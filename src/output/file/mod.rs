//! [`OutputFile`]: a file that appears when it is complete.

mod in_place;
mod place;
mod temporary;
mod trust;

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use in_place::InPlace;
use place::{Directory, Found, Place};
use temporary::Temporary;
use trust::{Heir, Us};

/// The output of a recording, opened before the recording starts so that a path that cannot be written
/// is reported at once.
///
/// The path is resolved once, at [`create`](OutputFile::create). Afterwards the directory and the file are open, and
/// what other users put at the path is of no effect. If the output is dropped before [`commit`](OutputFile::commit),
/// nothing of it remains and an existing file is unchanged.
///
/// - **No such file:** a file without a name is written, and gets the name at the commit. So nothing remains if this
///   process is killed. What has appeared under that name meanwhile is replaced, and not written into. Under sudo, the
///   file belongs to the user who called sudo, if the directory belongs to that user or to root, and others cannot make
///   files in it. Only its owner may open it before the commit; then it gets the mode of the umask.
/// - **A regular file:** is overwritten at the commit, from the complete output, whoever owns it: owner, mode and hard
///   links stay, and who has it open gets the content. A kill in that moment leaves it short. If it has been moved or
///   removed by then, the name gets a new file. If it has several names and other users can make names in the
///   directory, one of them could have put another user's file there: it is replaced by a new file of the same mode.
/// - **Pipes, devices, open files (`/dev/fd/3`) and `-` (standard output):** are written directly, because a write to
///   them cannot be undone. A pipe that nobody reads is an error.
/// - **Symbolic links:** are followed, and stay in place.
///
/// Other users cannot make us write what they cannot write: in a sticky directory that they may write to (/tmp), their
/// files and pipes are refused, and their links. If we are root, a link of another user is followed only to files of
/// that user, anywhere.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    New(BufWriter<NewFile>),
    InPlace(Box<BufWriter<InPlace>>, Us),
    /// Written directly.
    Stream(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl OutputFile {
    /// Opens `path`; `-` is standard output.
    ///
    /// # Errors
    /// If the path cannot be written: its directory is missing or not writable, it is a directory, the
    /// existing file is read-only, it is a trap of another user, or a pipe that nobody reads (of the kind
    /// `BrokenPipe`). The message contains the path.
    pub fn create(path: &Path) -> io::Result<OutputFile> {
        OutputFile::create_for(path, Us::current())
    }

    fn create_for(path: &Path, us: Us) -> io::Result<OutputFile> {
        let target = Target::open(path, us).map_err(|error| name_path(path, &error))?;
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
        let written = self.target.writer().write(bytes);
        written.map_err(|error| name_path(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.target.writer().flush();
        flushed.map_err(|error| name_path(&self.path, &error))
    }
}

fn name_path(path: &Path, error: &io::Error) -> io::Error {
    // The error number is of no interest to users, and the kind has the same information for code.
    let text = error.to_string();
    let reason = match error.raw_os_error() {
        Some(number) if number == Errno::EPIPE as i32 => "the program that reads it has ended",
        _ => text.split(" (os error").next().unwrap_or(&text),
    };
    io::Error::new(
        error.kind(),
        format!("cannot write '{}': {reason}", path.display()),
    )
}

impl Target {
    fn open(path: &Path, us: Us) -> io::Result<Target> {
        // These need no /proc.
        if ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
            .iter()
            .any(|name| path == Path::new(name))
        {
            return Ok(Target::stdout());
        }
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is empty",
            ));
        }
        let mut place = Place::find(path, &us)?;
        // Opening it would overwrite a redirected file from its start.
        if place.is_stdout() {
            return Ok(Target::stdout());
        }
        let Some(found) = place.found.take() else {
            let Place {
                directory, name, ..
            } = place;
            return Ok(Target::new(NewFile::create(directory, name, None, &us)?));
        };
        if found.is_descriptor {
            return Ok(Target::Stream(BufWriter::new(open_stream(&found)?)));
        }
        us.may_write(&found.meta, &place.directory.meta)?;
        if !found.meta.is_file() {
            return Ok(Target::Stream(BufWriter::new(open_stream(&found)?)));
        }
        if us.may_be_a_trap(&found.meta, &place.directory.meta) {
            // A read-only file must not be replaced.
            found.open(OpenOptions::new().write(true))?;
            let Place {
                directory, name, ..
            } = place;
            let file = NewFile::create(directory, name, Some(&found.meta), &us)?;
            return Ok(Target::new(file));
        }
        let file = InPlace::open(&found, place)?;
        Ok(Target::InPlace(Box::new(BufWriter::new(file)), us))
    }

    fn new(file: NewFile) -> Target {
        Target::New(BufWriter::new(file))
    }

    fn stdout() -> Target {
        Target::Stdout(BufWriter::new(io::stdout()))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Target::New(file) => file,
            Target::InPlace(file, _) => file,
            Target::Stream(file) => file,
            Target::Stdout(stdout) => stdout,
        }
    }

    fn commit(mut self) -> io::Result<()> {
        self.writer().flush()?;
        match self {
            Target::New(file) => into_inner(file)?.commit(),
            Target::InPlace(file, us) => into_inner(*file)?.commit(&us),
            Target::Stream(_) | Target::Stdout(_) => Ok(()),
        }
    }
}

fn into_inner<W: Write>(writer: BufWriter<W>) -> io::Result<W> {
    writer.into_inner().map_err(io::IntoInnerError::into_error)
}

/// A file for a name that is free, or for one whose file must not be written into.
#[derive(Debug)]
struct NewFile {
    temporary: Temporary,
    name: OsString,
    heir: Option<Heir>,
    mode: u32,
}

impl NewFile {
    fn create(
        directory: Directory,
        name: OsString,
        replaced: Option<&Metadata>,
        us: &Us,
    ) -> io::Result<NewFile> {
        let temporary = Temporary::create(&directory, &name)?;
        let mode = match replaced {
            Some(replaced) => replaced.mode() & 0o777,
            None => Temporary::ordinary_mode(&directory, &name)?,
        };
        Ok(NewFile {
            temporary,
            heir: us.heir(replaced, &directory.meta),
            name,
            mode,
        })
    }

    fn commit(self) -> io::Result<()> {
        self.temporary.hand_over(self.heir, self.mode);
        self.temporary.publish(&self.name)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// Opens a pipe, a device or an open file for writing. Opening does not wait, writing does.
fn open_stream(found: &Found) -> io::Result<File> {
    let kind = found.meta.file_type();
    if kind.is_socket() {
        let text = "it is a socket; use a file or a pipe";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let file = found
        .open(OpenOptions::new().append(true))
        .map_err(|error| {
            match error.raw_os_error() == Some(Errno::ENXIO as i32) && kind.is_fifo() {
                true => io::Error::new(io::ErrorKind::BrokenPipe, "no program reads this pipe"),
                false => error,
            }
        })?;
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
