//! Finding the files that a process had mapped: the same build, or none.
//!
//! A core file can contain anything and come from anyone: no path in it must make us show the
//! contents of an unrelated file. So only regular ELF programs and libraries are opened, below the
//! searched directory, and only if their build id, or else their first page, is that in the core
//! file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use log::info;

use super::error::{CoreError, without_number};
use crate::os::container::fs_view::FileView;
use crate::os::deadline::Deadline;
use crate::os::elf::ElfFile;
use crate::os::memory::RemoteMemory;
use crate::os::memory::address::RemoteAddr;
use crate::os::procfs::paths::open_regular;

/// How much of a file is compared with the core file where there is no build id.
const COMPARED_BYTES: usize = 4096;

/// What the user specifies for a core file.
#[derive(Clone, Debug, Default)]
pub struct CoreOptions {
    /// The program that dumped core, as given by the user.
    pub exe: Option<PathBuf>,
    /// The directory that was the root of the process, as given by the user.
    pub sysroot: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct MappedFile {
    /// Its path in the core file.
    pub path: PathBuf,
    /// The address of its first byte.
    pub base: Option<RemoteAddr>,
    /// Whether it is the program.
    pub is_exe: bool,
}

/// The directories where files are searched.
#[derive(Debug)]
pub struct Search {
    /// The program, if given by the user.
    exe: Option<File>,
    /// Directories that stand for the root of the process.
    directories: Vec<PathBuf>,
    /// The same, held open.
    roots: Vec<FileView>,
}

impl Search {
    /// Searches where the options say, for the program with the path `exe_path` in the core file.
    /// If the path of the given program ends with that path, the directory before it is a root as
    /// well. gdb writes paths as they are in its own root, so its core files may need none.
    pub fn new(
        options: &CoreOptions,
        exe_path: &Path,
        written_by_gdb: bool,
    ) -> Result<Search, CoreError> {
        let exe = options.exe.as_deref();
        let mut directories = Vec::new();
        directories.extend(options.sysroot.clone());
        if let Some(root) = exe.and_then(|exe| root_of(exe, exe_path)) {
            directories.push(root);
        }
        if options.sysroot.is_none() || written_by_gdb {
            directories.push(PathBuf::from("/"));
        }
        let mut roots = Vec::new();
        for path in &directories {
            let error = |cause| CoreError::Sysroot {
                path: path.clone(),
                cause,
            };
            roots.push(FileView::below(path).map_err(error)?);
        }
        let exe = exe.map(|path| {
            open_regular(path).map_err(|cause| CoreError::Exe {
                path: path.to_path_buf(),
                cause: without_number(&cause),
            })
        });
        Ok(Search {
            exe: exe.transpose()?,
            directories,
            roots,
        })
    }

    /// Opens a mapped file, if it is the same as in `dumped`, the core file's own memory.
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

    /// A path of the process, below the first of the directories.
    pub fn root_path(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap_or(path);
        self.directories
            .first()
            .map_or_else(PathBuf::new, |root| root.join(inside))
    }

    /// Whether the program given by the user is the one that ran.
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
        match exe
            .try_clone()
            .map(|exe| ElfFile::open(exe, Deadline::NEVER))
        {
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

/// The directory below which `exe` has the path that it has in the core file.
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
    let own = ElfFile::open(own, Deadline::NEVER).map_err(|error| error.to_string())?;
    let Some(base) = file.base else {
        return Err("the core file does not have the address of its first byte".into());
    };
    let in_core = ElfFile::from_memory(dumped, base, Deadline::NEVER);
    let ids = (
        own.build_id(),
        in_core.as_ref().ok().and_then(ElfFile::build_id),
    );
    if let (Some(own), Some(in_core)) = &ids {
        return if own == in_core {
            Ok(())
        } else {
            Err(format!(
                "its build id is {}, that in the core file {}",
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
            Err("its first page differs from that in the core file".into())
        };
    }
    // The kernel can be configured to leave headers out (bit 4 of /proc/PID/coredump_filter).
    info!(
        "{}: the core file does not contain its headers, so its build is not checked",
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
    fn the_root_is_derived_from_the_path_of_the_program() {
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
