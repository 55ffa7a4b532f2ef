//! Packages from PyPI for third-party target programs, cached outside the clone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};

use super::Interpreter;
use super::require::skip;

/// The version with the pip that fetches wheels for interpreters without one.
const OTHER_PIP: &str = "3.12";

impl Interpreter {
    /// A folder with these packages for this interpreter, as it sees it: put it on `PYTHONPATH`; the
    /// commands are in its `bin`. It is made once per set of `requirements` (name them with versions)
    /// and cached under `${XDG_CACHE_HOME:-~/.cache}/pyspy-rs/packages`, or in the root that the
    /// interpreter is run in.
    ///
    /// Says so on stdout, and returns None, where this cannot be had: no wheel for the version, no
    /// network. A case that goes on without it has to call itself skipped.
    pub fn packages(&self, requirements: &[&str]) -> Option<PathBuf> {
        let name = format!("{}-{}", self.label(), requirements.join("-"));
        let base = match &self.root {
            Some(root) => root.join("packages"),
            None => cache().join("packages"),
        };
        fs::create_dir_all(&base).expect("the folder of the packages");
        let place = base.join(&name);
        // Test binaries, and clones, may ask for the same at once.
        let lock = File::create(base.join(format!("{name}.lock"))).expect("the lock");
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).expect("the lock");
        if !place.join(".whole").exists()
            && let Err(why) = self.install(requirements, &place)
        {
            skip(
                "pypi",
                format_args!("{self} cannot have {requirements:?}: {why}"),
            );
            return None;
        }
        Some(match &self.root {
            Some(root) => Path::new("/").join(place.strip_prefix(root).expect("it is inside")),
            None => place,
        })
    }

    fn install(&self, requirements: &[&str], place: &Path) -> Result<(), String> {
        let _ = fs::remove_dir_all(place);
        let mut pip = match &self.root {
            None => self.command(&["-m", "pip", "install"]),
            Some(_) => self.pip_of_another()?,
        };
        pip.args(["--quiet", "--disable-pip-version-check"])
            .arg("--target")
            .arg(place)
            .args(requirements);
        let done = pip.output().map_err(|error| error.to_string())?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let last = said.lines().rev().find(|line| line.contains("ERROR"));
            return Err(last.unwrap_or("pip failed").trim().to_owned());
        }
        fs::write(place.join(".whole"), "").map_err(|error| error.to_string())
    }

    /// The interpreters under a root have no pip; another's can choose wheels for them.
    fn pip_of_another(&self) -> Result<Command, String> {
        let other = super::interpreters()
            .iter()
            .find(|python| python.root.is_none() && python.label().starts_with(OTHER_PIP))
            .ok_or_else(|| format!("no Python {OTHER_PIP} with pip"))?;
        let mut pip = other.command(&["-m", "pip", "install", "--only-binary=:all:"]);
        let (major, minor) = self.version.minor_pair();
        let abi = format!("cp{major}{minor}{}", self.build);
        pip.args(["--python-version", &format!("{major}.{minor}")]);
        pip.args(["--implementation", "cp"]);
        for abi in [&abi, "abi3", "none"] {
            pip.args(["--abi", abi]);
        }
        for libc in ["manylinux_2_28", "manylinux_2_17", "manylinux2014"] {
            pip.args(["--platform", &format!("{libc}_{}", std::env::consts::ARCH)]);
        }
        Ok(pip)
    }
}

/// What tests cache outside the clone.
pub fn cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::home_dir().map(|home| home.join(".cache"));
        base.or_else(home).expect("a home folder").join("pyspy-rs")
    })
}
