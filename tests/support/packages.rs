//! Packages from PyPI for third-party target programs, and published crates, cached outside the clone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

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
        let _lock = lock(&base.join(format!("{name}.lock")));
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

/// Test binaries, and clones, may ask for the same at once.
fn lock(path: &Path) -> Flock<File> {
    let file = File::create(path).expect("the lock");
    Flock::lock(file, FlockArg::LockExclusive).expect("the lock")
}

/// The folder with the sources of a published crate, which cargo fetches into its own cache.
///
/// Says so on stdout, and returns None, where they cannot be had. A case that goes on without them has to call
/// itself skipped.
pub fn published_crate(name: &str, version: &str) -> Option<PathBuf> {
    let sources = fetch_crate(name, version);
    let skipped = |why| skip("crates", format_args!("{name} {version}: {why}"));
    sources.map_err(skipped).ok()
}

/// By a package that does nothing but depend on it, whose lock file makes the next fetch one without network.
fn fetch_crate(name: &str, version: &str) -> Result<PathBuf, String> {
    let folder = cache().join("crates").join(format!("{name}-{version}"));
    fs::create_dir_all(folder.join("src")).expect("the folder of the crate");
    let _lock = lock(&folder.join("lock"));
    fs::write(folder.join("src/lib.rs"), "").expect("a source file");
    let manifest = format!(
        "[package]\nname = \"fetched\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        let done = cargo.args(words).current_dir(&folder).output();
        let done = done.map_err(|error| format!("cargo: {error}"))?;
        match done.status.success() {
            true => Ok(done.stdout),
            false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
        }
    };
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cargo(&["fetch", "--quiet", "--target", &target])?;
    let words = ["metadata", "--offline", "--format-version=1"];
    let metadata = cargo(&[&words[..], &["--filter-platform", &target]].concat())?;
    let metadata: Value = serde_json::from_slice(&metadata).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("its packages");
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.expect("the package has a manifest"));
    Ok(manifest.parent().expect("it is in a folder").to_owned())
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
