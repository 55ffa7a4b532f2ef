//! Every CPython that this machine can run, and how a test case goes over them.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::hash::{Hash, Hasher};
use std::ops::{Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use super::require::required_versions;
use super::versions::{finish, outcome, supported};
use super::{checkout, fixtures};

/// A version of CPython, as in `3.12.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl Version {
    /// For the bounds of a case: `(3, 8)..` goes by the minor version.
    pub fn minor_pair(self) -> (u32, u32) {
        (self.major, self.minor)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.').map(|part| part.parse().ok());
        Some(Self {
            major: parts.next()??,
            minor: parts.next()??,
            micro: parts.next()??,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A CPython to test on.
#[derive(Clone, Debug)]
pub struct Interpreter {
    pub version: Version,
    /// What CPython adds to its name for how it was built: `t` free-threaded, `d` debug, or both.
    pub build: String,
    /// The executable, as a path inside `root` if there is one.
    pub executable: PathBuf,
    /// The root directory that it must be run in through chroot.
    pub root: Option<PathBuf>,
    /// The folder of the target programs, as the interpreter sees it.
    pub fixtures: PathBuf,
}

impl Interpreter {
    /// Whether it runs without a GIL by default.
    pub fn is_free_threaded(&self) -> bool {
        self.build.contains('t')
    }

    /// Version and build, as in `3.14.10t`.
    pub fn label(&self) -> String {
        format!("{}{}", self.version, self.build)
    }

    /// A command that runs this Python; its process id is Python's own.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = match &self.root {
            // chroot(1) executes the program in its own process.
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(&self.executable);
                command
            }
            None => Command::new(&self.executable),
        };
        command
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONUNBUFFERED");
        command
    }

    /// The words that run this Python on `arguments`, for `pyspy-rs record -- WORDS`.
    pub fn words<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Vec<OsString> {
        let command = self.command(arguments);
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(OsStr::to_owned)
            .collect()
    }

    /// The path of a target program, as the interpreter sees it.
    pub fn fixture(&self, name: &str) -> PathBuf {
        self.fixtures.join(name)
    }

    /// A new folder that both sides can see; it goes when the value is dropped. `name` ends its path.
    pub fn new_place(&self, name: &str) -> Place {
        let base = match &self.root {
            Some(root) => root.join("tmp"),
            None => std::env::temp_dir(),
        };
        let guard = tempfile::Builder::new()
            .prefix("pyspy-rs-test-")
            .tempdir_in(base)
            .expect("a temporary folder");
        let host = guard.path().join(name);
        fs::create_dir_all(&host).expect("a folder inside the temporary one");
        let seen = match &self.root {
            Some(root) => Path::new("/").join(host.strip_prefix(root).expect("it is inside")),
            None => host.clone(),
        };
        Place {
            host,
            seen,
            _guard: guard,
        }
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.label(), self.executable.display())?;
        match &self.root {
            Some(root) => write!(f, " under {})", root.display()),
            None => write!(f, ")"),
        }
    }
}

/// A folder for files that a test makes for a target.
pub struct Place {
    /// Its path for the test.
    pub host: PathBuf,
    /// Its path for the target.
    pub seen: PathBuf,
    _guard: tempfile::TempDir,
}

/// Runs `case` on every interpreter whose (major, minor) is within `versions`, prints which those
/// were, and fails if there was none or if any of them failed, after having tried them all.
pub fn for_each_interpreter(
    name: &str,
    versions: impl RangeBounds<(u32, u32)>,
    case: impl Fn(&Interpreter),
) {
    let within = |python: &&Interpreter| versions.contains(&python.version.minor_pair());
    for_each_of(name, interpreters().iter().filter(within).collect(), case);
}

/// As [`for_each_interpreter`], on one interpreter [of each kind](of_each_kind).
pub fn for_each_kind(name: &str, case: impl Fn(&Interpreter)) {
    for_each_kind_in(name, .., case);
}

/// The same, of the interpreters whose (major, minor) is within `versions`.
pub fn for_each_kind_in(
    name: &str,
    versions: impl RangeBounds<(u32, u32)>,
    case: impl Fn(&Interpreter),
) {
    for_each_of(name, of_each_kind(versions), case);
}

/// The newest interpreter of each kind within `versions`: Python 2, frames in objects of their own (to 3.10),
/// frames in the thread's data stack (3.11, 3.12), interpreters that describe themselves (3.13+). For what takes
/// long and depends on how stacks are read, not on the version. All of them where `PYSPY_TEST_ALL_VERSIONS` is set.
pub fn of_each_kind(versions: impl RangeBounds<(u32, u32)>) -> Vec<&'static Interpreter> {
    let kinds = [
        (2, 0)..(3, 0),
        (3, 0)..(3, 11),
        (3, 11)..(3, 13),
        (3, 13)..(4, 0),
    ];
    let within = |python: &&Interpreter| versions.contains(&python.version.minor_pair());
    let all = interpreters().iter().filter(within);
    if std::env::var_os("PYSPY_TEST_ALL_VERSIONS").is_some() {
        return all.collect();
    }
    let newest = |kind: &Range<(u32, u32)>| {
        let is_of = |python: &&Interpreter| kind.contains(&python.version.minor_pair());
        all.clone().rfind(is_of)
    };
    kinds.iter().filter_map(newest).collect()
}

fn for_each_of(name: &str, chosen: Vec<&Interpreter>, case: impl Fn(&Interpreter)) {
    if is_empty(name, &chosen) {
        return;
    }
    let outcomes = chosen.into_iter().map(|python| outcome(python, &case));
    finish(name, outcomes.collect());
}

/// Whether a case has no interpreter to run on, as the machine has none of its versions.
///
/// # Panics
/// If the machine has none at all.
pub(super) fn is_empty(name: &str, chosen: &[&Interpreter]) -> bool {
    assert!(
        !interpreters().is_empty(),
        "no interpreter (see tests/support/interpreters.rs for the places that are searched)"
    );
    if chosen.is_empty() {
        println!("SKIPPED {name}: there is no interpreter of its versions");
    }
    chosen.is_empty()
}

/// The interpreters of this machine, oldest first, one per version and path. They come from
/// - `python`, `python2`, `python3`, `python3.N`, `python3.Nt` (free-threaded) and `python3.Nd`
///   (debug) on PATH,
/// - the versions of pyenv (`$PYENV_ROOT` or ~/.pyenv),
/// - the folders named in `PYSPY_TEST_PYTHONS` (colons between them; each an installation or a
///   folder of installations),
/// - the root that tests/support/debian-python.sh makes, if we are root.
///
/// `PYSPY_TEST_REQUIRE` lists versions that must be there (see [`super::require`]).
/// `PYSPY_TEST_ONLY=3.12,3.15` narrows them for one's own quick run; `3.15` means all builds of it,
/// `3.15d` that one.
pub fn interpreters() -> &'static [Interpreter] {
    static FOUND: OnceLock<Vec<Interpreter>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = BTreeMap::new();
        let mut note = |python: Interpreter| {
            let key = (python.version, python.build.clone());
            found.insert((key, python.executable.clone()), python);
        };
        // All at once: each test program starts with this, and it waits most of the time.
        let candidates = native_candidates();
        let (native, debian) = thread::scope(|scope| {
            let probes = candidates
                .iter()
                .map(|path| scope.spawn(|| probe(path, None)));
            let probes: Vec<_> = probes.collect();
            let debian = in_debian_root();
            let probes = probes.into_iter().map(|probe| probe.join());
            let native: Vec<_> = probes.map(|found| found.expect("a probe")).collect();
            (native, debian)
        });
        native.into_iter().flatten().for_each(&mut note);
        debian.into_iter().for_each(&mut note);
        let mut found: Vec<_> = found.into_values().collect();
        for version in required_versions() {
            let mut all = found.iter().map(|python| python.version.minor_pair());
            assert!(
                all.any(|one| one == version),
                "PYSPY_TEST_REQUIRE has {version:?}, but there is no such CPython"
            );
        }
        if let Ok(only) = std::env::var("PYSPY_TEST_ONLY") {
            println!("PYSPY_TEST_ONLY={only}: other interpreters are left out");
            found.retain(|python| {
                let Version { major, minor, .. } = python.version;
                let plain = format!("{major}.{minor}");
                let exact = format!("{plain}{}", python.build);
                only.split(',').any(|one| one == plain || one == exact)
            });
        }
        found
    })
}

fn native_candidates() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        // pyenv's shims are shell scripts that run what is found below anyhow.
        if !folder.ends_with("shims") {
            pythons_in(&folder, &mut paths);
        }
    }
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
    let extra = std::env::var_os("PYSPY_TEST_PYTHONS").unwrap_or_default();
    for folder in pyenv
        .map(|root| root.join("versions"))
        .into_iter()
        .chain(std::env::split_paths(&extra))
    {
        pythons_in(&folder.join("bin"), &mut paths);
        for installation in fs::read_dir(&folder).into_iter().flatten().flatten() {
            pythons_in(&installation.path().join("bin"), &mut paths);
        }
    }
    let mut real: Vec<_> = paths
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    real.sort();
    real.dedup();
    real
}

fn pythons_in(folder: &Path, paths: &mut Vec<PathBuf>) {
    let names = [
        "python".into(),
        "python2".into(),
        "python2.7".into(),
        "python3".into(),
    ];
    let minors = (3..=30)
        .flat_map(|minor| ["", "t", "d", "td"].map(|build| format!("python3.{minor}{build}")));
    paths.extend(
        names
            .into_iter()
            .chain(minors)
            .map(|name: String| folder.join(name))
            .filter(|path| path.is_file()),
    );
}

/// The interpreter behind a path; None if it is no CPython or does not run.
fn probe(executable: &Path, root: Option<(&Path, &Path)>) -> Option<Interpreter> {
    let python = Interpreter {
        version: Version {
            major: 0,
            minor: 0,
            micro: 0,
        },
        build: String::new(),
        executable: executable.to_owned(),
        root: root.map(|(root, _)| root.to_owned()),
        fixtures: root.map_or_else(fixtures, |(_, inside)| inside.to_owned()),
    };
    // The name has to come from the interpreter: PyPy is called python as well.
    // Python 2 has no abiflags; those of 3.3 to 3.7 also have the memory allocator.
    let program = "import platform, sys\n\
        flags = getattr(sys, 'abiflags', '')\n\
        print('%s %d.%d.%d %s' % ((platform.python_implementation(),) + tuple(sys.version_info[:3])\
            + (''.join(flag for flag in flags if flag in 'td'),)))";
    let output = python.command(&["-E", "-S", "-c", program]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (version, build) = text.strip_prefix("CPython ")?.split_once(' ')?;
    Some(Interpreter {
        version: Version::parse(version)?,
        build: build.trim().to_owned(),
        ..python
    })
}

/// The oldest version that tests/support/debian-python.sh fetches.
const DEBIANS: (u32, u32) = (3, 14);

fn in_debian_root() -> Vec<Interpreter> {
    let script = checkout().join("tests/support/debian-python.sh");
    let output = match Command::new("bash").arg(&script).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it says nothing");
            println!("SKIPPED Debian's versions: {last}");
            return Vec::new();
        }
        Err(error) => {
            println!("SKIPPED Debian's versions: {}: {error}", script.display());
            return Vec::new();
        }
    };
    let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let inside = fixtures_inside(&root);
    let mut paths = Vec::new();
    pythons_in(&root.join("usr/bin"), &mut paths);
    let mut found = Vec::new();
    for path in paths {
        let seen = Path::new("/").join(path.strip_prefix(&root).expect("it is inside"));
        found.extend(probe(&seen, Some((&root, &inside))));
    }
    for version in supported().filter(|version| *version >= DEBIANS) {
        if !found
            .iter()
            .any(|python| python.version.minor_pair() == version)
        {
            println!("SKIPPED {}.{}: Debian sid has none", version.0, version.1);
        }
    }
    found
}

/// Copies the target programs into the root, once for each state that they were in, so that other
/// test processes and other checkouts can use the root at the same time.
fn fixtures_inside(root: &Path) -> PathBuf {
    let mut files = Vec::new();
    for entry in fs::read_dir(fixtures()).expect("the fixtures folder") {
        let path = entry.expect("an entry of the fixtures folder").path();
        if path
            .extension()
            .is_some_and(|end| end == "py" || end == "c")
        {
            let bytes = fs::read(&path).expect("a fixture");
            files.push((path.file_name().expect("it has a name").to_owned(), bytes));
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    let seen = Path::new("/fixtures").join(&name);
    let all = root.join("fixtures");
    let target = all.join(&name);
    if !target.exists() {
        let work = tempfile::tempdir_in(&all).expect("a folder inside the root");
        for (name, bytes) in files {
            fs::write(work.path().join(name), bytes).expect("a copy of a fixture");
        }
        // Another process may have been faster; its copy has the same contents.
        if fs::rename(work.path(), &target).is_ok() {
            std::mem::forget(work);
        }
    }
    seen
}
