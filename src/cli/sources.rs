//! [`Sources`]: the source files of what was sampled, as its processes saw them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::errors::without_number;
use crate::output::Source;
use crate::target::{FileView, Pid};

/// Largest file that is read. Modules of 2 MiB are known, generated ones.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Most bytes of all files together.
const MAX_BYTES: usize = 64 << 20;
/// Most views of the file system that differ. Each takes three descriptors.
const MAX_VIEWS: usize = 64;
/// Most processes that are remembered as seen.
const MAX_SEEN: usize = 4_096;
/// How long all files together may be waited for. A file system can be remote, or be served by the very
/// program that we look at.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the processes of a recording see of the file system. It is taken while they run, and asked in the
/// end.
#[derive(Debug)]
pub struct Sources {
    is_wanted: bool,
    seen: HashSet<Pid>,
    /// Those that differ, in the order of first sight.
    views: Vec<Arc<FileView>>,
}

impl Sources {
    /// None yet. Unless `is_wanted`, it stays so.
    pub fn new(is_wanted: bool) -> Sources {
        Sources {
            is_wanted,
            seen: HashSet::new(),
            views: Vec::new(),
        }
    }

    /// Takes the view of a process that runs.
    pub fn see(&mut self, pid: Pid) {
        if !self.is_wanted || self.views.len() >= MAX_VIEWS || self.seen.contains(&pid) {
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        self.seen.insert(pid);
        match FileView::of(pid) {
            Ok(view) => {
                let mut known = self.views.iter();
                if !known.any(|known| known.shows_the_same_as(&view)) {
                    self.views.push(Arc::new(view));
                }
            }
            Err(error) => log::info!("process {pid}: its files cannot be seen: {error}"),
        }
    }

    /// Reads files, by the paths that the processes have for them. A path is looked for in all views, the
    /// first process's first; what one of them has there is taken for all.
    pub fn read(&self, files: Vec<String>) -> HashMap<String, Source> {
        let (sender, receiver) = mpsc::channel();
        let views = self.views.clone();
        let names = files.clone();
        let reader = move || {
            let mut left = MAX_BYTES;
            for name in names {
                let source = read_one(&views, &name, &mut left);
                // Nobody waits any more once it took too long.
                if sender.send((name, source)).is_err() {
                    break;
                }
            }
        };
        let begin = Instant::now();
        let mut sources = HashMap::new();
        // On its own thread, which may hang there until we end.
        if std::thread::Builder::new().spawn(reader).is_ok() {
            while let Ok((name, source)) =
                receiver.recv_timeout(PATIENCE.saturating_sub(begin.elapsed()))
            {
                sources.insert(name, source);
            }
        }
        for name in files {
            let too_late = || Source::missing("the file system does not answer");
            sources.entry(name).or_insert_with(too_late);
        }
        sources
    }
}

fn read_one(views: &[Arc<FileView>], name: &str, left: &mut usize) -> Source {
    // CPython's own, and what was compiled from a string.
    if name.starts_with('<') && name.ends_with('>') {
        return Source::missing("it was not loaded from a file");
    }
    let mut first_error = None;
    for view in views {
        let max_bytes = MAX_FILE_BYTES.min(*left as u64);
        match view.read(Path::new(name), max_bytes) {
            Ok(contents) => {
                *left = left.saturating_sub(contents.bytes.len());
                let note = contents.is_newer.then(|| {
                    "the file is newer than the process, which may have loaded other lines"
                        .to_owned()
                });
                return Source::of_bytes(&contents.bytes, note);
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let error = first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    Source::missing(&match error.kind() {
        io::ErrorKind::NotFound => "there is no such file where the process looks".to_owned(),
        _ => without_number(&error.to_string()).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn every_file_gets_its_lines_or_the_reason_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("a.py"), "x = 1\ny = 2\n").unwrap();
        std::fs::write(path("empty.py"), "").unwrap();
        nix::unistd::mkfifo(Path::new(&path("fifo.py")), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let files = ["a.py", "empty.py", "fifo.py", "none.py"].map(path);
        let mut sources = Sources::new(true);
        for _ in 0..2 {
            sources.see(std::process::id().cast_signed());
        }
        assert_eq!(sources.views.len(), 1);
        let mut names = files.to_vec();
        names.push("<string>".to_owned());
        let read = sources.read(names);
        assert_eq!(read.len(), 5);
        let [a, empty, fifo, none] = files;
        assert_eq!((read[&a].len(), read[&a].line(2)), (2, "y = 2".to_owned()));
        // They are younger than this test.
        let newer = read[&a].note.as_deref();
        assert!(newer.is_none_or(|note| note.contains("newer")), "{newer:?}");
        assert!(read[&empty].is_empty());
        for (name, reason) in [
            (fifo.as_str(), "no regular file"),
            (none.as_str(), "no such file"),
            ("<string>", "not loaded from a file"),
        ] {
            let note = read[name].note.as_deref().unwrap();
            assert!(note.contains(reason), "{name}: {note}");
        }
    }

    #[test]
    fn nothing_is_opened_that_is_not_wanted() {
        let mut sources = Sources::new(false);
        sources.see(std::process::id().cast_signed());
        assert!(sources.views.is_empty());
        assert!(sources.read(vec!["/etc/passwd".to_owned()])["/etc/passwd"].is_empty());
    }
}
