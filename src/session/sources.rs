//! [`Sources`]: the source files of what was sampled, as its processes saw them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::errors::without_number;
use crate::os::Pid;
use crate::os::container::fs_view::FileView;
use crate::output::tables::source::{FileKey, Source};

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
    /// Processes, and which of the views is theirs.
    seen: HashMap<Pid, u32>,
    /// Those that differ, in the order of first sight.
    views: Vec<Arc<FileView>>,
}

impl Sources {
    /// None yet. Unless `is_wanted`, it stays so.
    pub fn new(is_wanted: bool) -> Sources {
        Sources {
            is_wanted,
            seen: HashMap::new(),
            views: Vec::new(),
        }
    }

    /// Takes the view of a process that runs. Its number if it is not known yet: the same for all that
    /// see the same, 0 for the first one.
    pub fn see(&mut self, pid: Pid) -> Option<u32> {
        if !self.is_wanted || self.seen.contains_key(&pid) {
            return None;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        let root = match FileView::of(pid) {
            Ok(view) => self.number(view),
            Err(error) => {
                log::info!("process {pid}: its files cannot be seen: {error}");
                None
            }
        };
        // What is not known any better is taken for the first one's.
        let root = root.unwrap_or(0);
        self.seen.insert(pid, root);
        Some(root)
    }

    fn number(&mut self, view: FileView) -> Option<u32> {
        let mut known = self.views.iter();
        let place = known.position(|known| known.shows_the_same_as(&view));
        let place = match place {
            Some(place) => place,
            None if self.views.len() < MAX_VIEWS => {
                self.views.push(Arc::new(view));
                self.views.len() - 1
            }
            None => return None,
        };
        u32::try_from(place).ok()
    }

    /// Reads files, each as those processes see it that it was seen in.
    pub fn read(&self, files: Vec<FileKey>) -> HashMap<FileKey, Source> {
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

fn read_one(views: &[Arc<FileView>], file: &FileKey, left: &mut usize) -> Source {
    let path = &file.path;
    // CPython's own, and what was compiled from a string.
    if path.starts_with('<') && path.ends_with('>') {
        return Source::missing("it was not loaded from a file");
    }
    let max_bytes = MAX_FILE_BYTES.min(*left as u64);
    let view = views.get(file.root as usize);
    let read = view
        .ok_or_else(|| io::ErrorKind::NotFound.into())
        .and_then(|view| view.read(Path::new(path), max_bytes));
    match read {
        Ok(contents) => {
            *left = left.saturating_sub(contents.bytes.len());
            let note = contents.is_newer.then(|| {
                "the file is newer than the process, which may have loaded other lines".to_owned()
            });
            Source::of_bytes(&contents.bytes, note)
        }
        Err(error) => Source::missing(&match error.kind() {
            io::ErrorKind::NotFound => "there is no such file where the process looks".to_owned(),
            _ => without_number(&error.to_string()).to_owned(),
        }),
    }
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
        let own = std::process::id().cast_signed();
        assert_eq!((sources.see(own), sources.see(own)), (Some(0), None));
        assert_eq!(sources.views.len(), 1);
        let in_root = |root| move |path: String| FileKey { root, path };
        let mut keys: Vec<FileKey> = files.clone().map(in_root(0)).to_vec();
        keys.push(in_root(0)("<string>".to_owned()));
        // Nobody has that root.
        let elsewhere = in_root(7)(files[0].clone());
        keys.push(elsewhere.clone());
        let mut read = sources.read(keys);
        assert!(read.remove(&elsewhere).unwrap().is_empty());
        let read: HashMap<String, Source> = read
            .into_iter()
            .map(|(key, source)| (key.path, source))
            .collect();
        assert_eq!(read.len(), 5);
        let [a, empty, fifo, none] = files;
        assert_eq!((read[&a].len(), read[&a].line(2)), (2, "y = 2".to_owned()));
        // They are younger than this test.
        let newer = read[&a].note.as_deref();
        assert!(newer.is_none_or(|note| note.contains("newer")), "{newer:?}");
        assert!(read[&empty].is_empty());
        for (name, reason) in [
            (fifo.as_str(), "not a regular file"),
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
        assert_eq!(sources.see(std::process::id().cast_signed()), None);
        assert!(sources.views.is_empty());
        let passwd = FileKey {
            root: 0,
            path: "/etc/passwd".to_owned(),
        };
        assert!(sources.read(vec![passwd.clone()])[&passwd].is_empty());
    }
}
