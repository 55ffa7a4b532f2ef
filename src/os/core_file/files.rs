//! Finding the files that a process had mapped, long after it has ended: the same build, or none.
//!
//! A core file can say anything, and may be given to us by somebody else: no path of it must make us
//! show what is in some file of ours. So only regular ELF programs and libraries are opened, below the
//! folder that is searched, and only if their build id, or else their first page, is that in the core.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use log::info;

use super::CoreOptions;
use super::error::{CoreError, without_number};
use crate::os::container::fs_view::FileView;
use crate::os::elf::ElfFile;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::process::mapped_files;

/// How much of a file is compared with what the core has of it, where there is no build id.
const COMPARED_BYTES: usize = 4096;

/// A file that the process had mapped.
#[derive(Clone, Debug)]
pub(crate) struct MappedFile {
    /// As the core names it.
    pub path: PathBuf,
    /// Where its first byte was mapped.
    pub base: Option<RemoteAddr>,
    /// Whether it is the program that ran.
    pub is_exe: bool,
}

/// Where files are looked for.
#[derive(Debug)]
pub(crate) struct Search {
    /// The program, where the user has said which file it is.
    exe: Option<File>,
    /// Folders that stand for the process's root.
    places: Vec<PathBuf>,
    /// The same, held open.
    roots: Vec<FileView>,
}

impl Search {
    /// Looks where the options say, of a program that the core calls `exe_path`. Where the file given
    /// for it ends as that does, the folder before it is the root. gdb has paths as they are from
    /// where it runs itself, so what it wrote may need no root.
    pub fn new(
        options: &CoreOptions,
        exe_path: &Path,
        is_by_gdb: bool,
    ) -> Result<Search, CoreError> {
        let exe = options.exe.as_deref();
        let mut places = Vec::new();
        places.extend(options.sysroot.clone());
        if let Some(root) = exe.and_then(|exe| root_of(exe, exe_path)) {
            places.push(root);
        }
        if options.sysroot.is_none() || is_by_gdb {
            places.push(PathBuf::from("/"));
        }
        let mut roots = Vec::new();
        for path in &places {
            let error = |cause| CoreError::Sysroot {
                path: path.clone(),
                cause,
            };
            roots.push(FileView::below(path).map_err(error)?);
        }
        let exe = exe.map(|path| {
            mapped_files::open_regular(path).map_err(|cause| CoreError::Exe {
                path: path.to_path_buf(),
                cause: without_number(&cause),
            })
        });
        Ok(Search {
            exe: exe.transpose()?,
            places,
            roots,
        })
    }

    /// Opens a file that was mapped, if it is the same that `dumped`, the core's own memory, is of.
    pub fn open(&self, file: &MappedFile, dumped: &dyn RemoteMemory) -> io::Result<File> {
        if let Some(exe) = self.exe.as_ref().filter(|_| file.is_exe) {
            return exe.try_clone();
        }
        let mut problem = None;
        for root in &self.roots {
            let found = root.open(&file.path).and_then(|found| {
                let same = is_same(&found, file, dumped);
                same.map(|()| found).map_err(io::Error::other)
            });
            match found {
                Ok(found) => return Ok(found),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// A path of the process's, below the first of the folders.
    pub fn root_path(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap_or(path);
        self.places
            .first()
            .map_or_else(PathBuf::new, |root| root.join(inside))
    }

    /// Whether the program that the user named is the one that ran.
    pub fn check_exe(
        &self,
        file: &MappedFile,
        given: &Path,
        dumped: &dyn RemoteMemory,
    ) -> Result<(), CoreError> {
        let Some(exe) = &self.exe else {
            return Ok(());
        };
        let path = given.to_path_buf();
        match exe.try_clone().map(ElfFile::open) {
            Ok(Ok(_)) => {}
            Ok(Err(cause)) => {
                let cause = cause.to_string();
                return Err(CoreError::Exe { path, cause });
            }
            Err(cause) => {
                let cause = without_number(&cause);
                return Err(CoreError::Exe { path, cause });
            }
        }
        is_same(exe, file, dumped).map_err(|why| CoreError::OtherExe { path, why })
    }
}

/// The folder in which `exe` has the path that the core has for it.
fn root_of(exe: &Path, exe_path: &Path) -> Option<PathBuf> {
    let inside = exe_path.strip_prefix("/").ok()?;
    let exe = std::path::absolute(exe).ok()?;
    let mut root = exe.as_path();
    for part in inside.components().rev() {
        if root.file_name() != Some(part.as_os_str()) {
            return None;
        }
        root = root.parent()?;
    }
    (root != Path::new("/")).then(|| root.to_path_buf())
}

/// Whether a file is the build that was mapped, or why not.
fn is_same(found: &File, file: &MappedFile, dumped: &dyn RemoteMemory) -> Result<(), String> {
    let own = found.try_clone().map_err(|error| error.to_string())?;
    let own = ElfFile::open(own).map_err(|error| error.to_string())?;
    let Some(base) = file.base else {
        return Err("the core has no place of its first byte".into());
    };
    let in_core = ElfFile::from_memory(dumped, base);
    let ids = (
        own.build_id(),
        in_core.as_ref().ok().and_then(ElfFile::build_id),
    );
    if let (Some(own), Some(in_core)) = &ids {
        return if own == in_core {
            Ok(())
        } else {
            Err(format!(
                "its build id is {}, the core's {}",
                hex(own),
                hex(in_core)
            ))
        };
    }
    let mut page = vec![0; COMPARED_BYTES];
    if dumped.read(base, &mut page).is_ok() {
        let mut own = vec![0; COMPARED_BYTES];
        return if found.read_exact_at(&mut own, 0).is_ok() && own == page {
            Ok(())
        } else {
            Err("it begins otherwise than the one that was mapped".into())
        };
    }
    // The kernel leaves headers out when it is told to (bit 4 of /proc/PID/coredump_filter).
    info!(
        "{}: the core does not have its headers, so it is taken on trust",
        file.path.display()
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(32);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_under_another_root_tells_that_root() {
        let root = |exe: &str, inside: &str| root_of(Path::new(exe), Path::new(inside));
        assert_eq!(
            root("/srv/jail/usr/bin/python3", "/usr/bin/python3"),
            Some("/srv/jail".into())
        );
        assert_eq!(root("/usr/bin/python3", "/usr/bin/python3"), None);
        assert_eq!(root("/tmp/python3", "/usr/bin/python3"), None);
        assert_eq!(root("/tmp/python3", ""), None);
    }
}
