//! [`Sources`]: the source files of sampled code, as its processes see them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::errors::without_number;
use crate::os::Pid;
use crate::os::container::fs_view::FileView;
use crate::os::deadline::Deadline;
use crate::os::expendable::FILE_LIMIT;
use crate::os::thread::start::start;
use crate::output::table_options::source::{FileKey, Source};
use crate::text::secrets::Secrets;

/// Largest file that is read. Generated modules of 2 MiB exist.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Most bytes of memory in total.
const MAX_BYTES: usize = 64 << 20;
/// Most distinct views of the file system. Each uses three file descriptors.
const MAX_VIEWS: usize = 64;
/// Most processes whose view is cached.
const MAX_PROCESSES: usize = 4_096;
/// Time limit for reading all files. A file system can be remote, or served by the target itself.
const TIMEOUT: Duration = Duration::from_secs(5);
const NO_ANSWER: &str = "the file system does not respond";

/// The file system views of a recording's processes: opened while they run, read at the end.
#[derive(Debug)]
pub struct Sources {
    is_wanted: bool,
    secrets: Secrets,
    /// Indices into `views`.
    by_pid: HashMap<Pid, u32>,
    /// Distinct views, in the order in which they were added.
    views: Vec<Arc<FileView>>,
}

impl Sources {
    /// No views; unless `is_wanted`, none are added.
    pub fn new(is_wanted: bool, secrets: Secrets) -> Sources {
        Sources {
            is_wanted,
            secrets,
            by_pid: HashMap::new(),
            views: Vec::new(),
        }
    }

    /// Opens the view of a running process, and returns its number if the process is new: equal for
    /// equal views, 0 for the first one.
    pub fn add_process(&mut self, pid: Pid) -> Option<u32> {
        if !self.is_wanted || self.by_pid.contains_key(&pid) {
            return None;
        }
        if self.by_pid.len() >= MAX_PROCESSES {
            self.by_pid.clear();
        }
        let root = match FileView::of(pid) {
            Ok(view) => self.number(view),
            Err(error) => {
                log::info!("process {pid}: cannot open its file system: {error}");
                None
            }
        };
        // An unknown view is assumed to be the first one.
        let root = root.unwrap_or(0);
        self.by_pid.insert(pid, root);
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

    /// Reads files, each in the view of its process.
    pub fn read(&self, files: Vec<FileKey>) -> HashMap<FileKey, Source> {
        let (sender, receiver) = mpsc::channel();
        let views = self.views.clone();
        let names = files.clone();
        let secrets = self.secrets;
        let reader = move || {
            let mut left = MAX_BYTES;
            for name in names {
                let source = read_one(&views, &name, &mut left, secrets);
                // The receiver is dropped after the time limit.
                if sender.send((name, source)).is_err() {
                    break;
                }
            }
        };
        let begin = Instant::now();
        let mut sources = HashMap::new();
        // On its own thread, which may block until this process ends.
        let started = start("sources", reader);
        if let Err(error) = &started {
            log::warn!("source files are not read: {error}");
        } else {
            while let Ok((name, source)) =
                receiver.recv_timeout(TIMEOUT.saturating_sub(begin.elapsed()))
            {
                sources.insert(name, source);
            }
        }
        for name in files {
            let too_late = || Source::missing(NO_ANSWER);
            sources.entry(name).or_insert_with(too_late);
        }
        sources
    }
}

fn read_one(views: &[Arc<FileView>], file: &FileKey, left: &mut usize, secrets: Secrets) -> Source {
    let path = &file.path;
    // Built-in code, and code compiled from a string.
    if path.starts_with('<') && path.ends_with('>') {
        return Source::missing("not loaded from a file");
    }
    let max_bytes = MAX_FILE_BYTES.min(*left as u64);
    let view = views.get(file.root as usize);
    let limit = Deadline::after(FILE_LIMIT);
    if view.is_some_and(|view| !view.answers(Path::new(path), max_bytes, limit)) {
        return Source::missing(NO_ANSWER);
    }
    let read = view
        .ok_or_else(|| io::ErrorKind::NotFound.into())
        .and_then(|view| view.read(Path::new(path), max_bytes));
    match read {
        Ok(contents) => {
            let note = contents.is_newer.then(|| {
                "the file is newer than the process and may differ from the code that runs"
                    .to_owned()
            });
            let source = Source::of_bytes(&contents.bytes, note, secrets);
            *left = left.saturating_sub(source.size());
            source
        }
        Err(error) => Source::missing(&match error.kind() {
            io::ErrorKind::NotFound => "no such file in the process's file system".to_owned(),
            _ => without_number(&error.to_string()).to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn every_file_has_lines_or_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("a.py"), "x = 1\ny = 2\n").unwrap();
        std::fs::write(path("empty.py"), "").unwrap();
        nix::unistd::mkfifo(Path::new(&path("fifo.py")), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let files = ["a.py", "empty.py", "fifo.py", "none.py"].map(path);
        let mut sources = Sources::new(true, Secrets::Hidden);
        let own = std::process::id().cast_signed();
        assert_eq!(
            (sources.add_process(own), sources.add_process(own)),
            (Some(0), None)
        );
        assert_eq!(sources.views.len(), 1);
        let in_root = |root| move |path: String| FileKey { root, path };
        let mut keys: Vec<FileKey> = files.clone().map(in_root(0)).to_vec();
        keys.push(in_root(0)("<string>".to_owned()));
        // No process has that root.
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
        // The files are newer than this test.
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
    fn unwanted_views_are_not_opened() {
        let mut sources = Sources::new(false, Secrets::Hidden);
        assert_eq!(sources.add_process(std::process::id().cast_signed()), None);
        assert!(sources.views.is_empty());
        let passwd = FileKey {
            root: 0,
            path: "/etc/passwd".to_owned(),
        };
        assert!(sources.read(vec![passwd.clone()])[&passwd].is_empty());
    }
}
