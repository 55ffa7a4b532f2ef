//! What the integration tests share: interpreters, target programs, our binary and its dumps.
//!
//! A crate of its own, so that it is compiled once for all test programs. They call it `support`:
//!
//! ```ignore
//! #[test]
//! fn calls() {
//!     for_each_interpreter("calls", .., |python| {
//!         let target = Target::start(python, "calls.py", &[]);
//!         target.dump(&[]).assert_matches(&target.truth());
//!     });
//! }
//! ```

pub mod bench;
pub mod chains;
mod container;
pub mod cores;
pub mod doctor;
mod dump;
mod interpreters;
mod locals;
mod packages;
mod recording;
mod replay;
pub mod require;
pub mod shares;
mod tape;
mod target;
mod terminal;
mod truth;
mod versions;

pub use container::Container;
pub use dump::{Dump, Frame, Local, Thread};
pub use interpreters::{
    Interpreter, Place, Version, for_each_interpreter, for_each_kind, for_each_kind_in,
    interpreters, of_each_kind,
};
pub use locals::assert_locals;
pub use packages::{cache, published_crate};
pub use recording::{
    Pool, Recording, Sampling, Stack, read_summary, samples, until, wait_until_it_samples,
};
pub use tape::{Parsed, ParsedThread, Recorded, parse, parse_some, recorded_tapes, tapes_folder};
pub use target::{Target, peak_kib, wait_until};
pub use terminal::Terminal;
pub use truth::{TrueFrame, TrueThread, Truth};
pub use versions::{at_once, for_each_at_once, for_some_at_once, for_some_interpreters, supported};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a target or our binary may take before it counts as hung. No test asserts a time;
/// this only ends a broken one, on a loaded machine too.
pub const WATCHDOG: Duration = Duration::from_secs(120);

/// The checkout.
pub fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("it is in tests/support")
}

/// The folder with the target programs.
pub fn fixtures() -> PathBuf {
    checkout().join("fixtures")
}

/// What a command says, whether or not it succeeds: its exit status, stdout and stderr. Nothing is typed
/// into it.
pub fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Copies a program that is going to be run. By a process of its own: a program that another thread is
/// just starting would hold the copy open for writing for a moment, and "text file busy" be our error.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--").args([from, to]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
}

/// The folder that a test program is built into: `target/debug`.
fn build_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a test program");
    // It is in `deps`.
    program.ancestors().nth(2).expect("a folder").to_owned()
}

/// Our binary, which Cargo builds before the tests of this workspace run.
pub fn binary() -> &'static str {
    static BINARY: OnceLock<String> = OnceLock::new();
    BINARY.get_or_init(|| {
        let path = build_folder().join("pyspy-rs");
        assert!(path.is_file(), "{} is not built", path.display());
        path.into_os_string()
            .into_string()
            .expect("a path in UTF-8")
    })
}

/// A folder for files that outlive a test program: `target/tmp`.
pub fn lasting_folder() -> PathBuf {
    build_folder().with_file_name("tmp")
}

/// Our binary, ready for arguments, with nothing from the environment that changes its output.
pub fn pyspy_rs() -> Command {
    let mut command = Command::new(binary());
    for name in [
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "CLICOLOR",
        "RUST_LOG",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    command
}

/// The same for assert_cmd, with the watchdog.
pub fn assert_pyspy_rs() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::from_std(pyspy_rs());
    command.timeout(WATCHDOG);
    command
}
