//! [`InPlace`]: a file that exists and is overwritten when its new content is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::place::{Found, Place};
use super::temporary::{Temporary, copy_all, spool};
use super::trust::Us;

/// An existing file, open for writing, and its new content.
///
/// It is not replaced: who has it open (Python's `NamedTemporaryFile`) gets the content, its owner, access control
/// list and hard links stay, and it may be a mount point or lie in a read-only directory.
#[derive(Debug)]
pub struct InPlace {
    spool: File,
    file: File,
    place: Place,
}

impl InPlace {
    /// # Errors
    /// If the file may not be written, or no file for the new content can be made.
    pub fn open(found: &Found, place: Place) -> io::Result<InPlace> {
        Ok(InPlace {
            file: found.open(OpenOptions::new().write(true))?,
            spool: spool(&place.directory)?,
            place,
        })
    }

    /// Overwrites the file. If it was moved or removed since, the name gets a new file.
    ///
    /// # Errors
    /// If the disk is full: the file is then unchanged.
    pub fn commit(mut self, us: &Us) -> io::Result<()> {
        if self.place.still_names(&self.file.metadata()?) {
            return overwrite(&self.spool, &mut self.file);
        }
        let Place {
            directory, name, ..
        } = &self.place;
        let mut file = Temporary::create(directory, name)?;
        copy_all(&self.spool, &mut file)?;
        let mode = Temporary::ordinary_mode(directory, name)?;
        file.hand_over(us.heir(None, &directory.meta), mode);
        file.publish(name)
    }
}

impl Write for InPlace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spool.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}

fn overwrite(spool: &File, file: &mut File) -> io::Result<()> {
    reserve(file, spool.metadata()?.len())?;
    file.set_len(0)?;
    copy_all(spool, file)
}

/// Makes sure that there is room for this many bytes before the old content is given up.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let old = file.metadata()?.size();
    let Ok(length) = i64::try_from(bytes) else {
        return Err(Errno::EFBIG.into());
    };
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        Err(error @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)) => {
            // Frees what was reserved.
            file.set_len(old)?;
            Err(error.into())
        }
        // The file system cannot reserve, or no bytes were asked for.
        _ => Ok(()),
    }
}
