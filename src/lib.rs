//! pyspy-rs: a sampling profiler and memory observer for running CPython processes, from outside.
//!
//! The modules are floors, lowest first; each imports only those below it (`tests/offline/layers.rs` checks
//! that). A sample travels upwards: memory of the target, interpreter structures, samples, a profile,
//! a file or a screen. `ARCHITECTURE.md` follows one through the files.
//!
//! Sampling a running program once:
//!
//! ```
//! use std::io::{BufRead, BufReader};
//! use std::process::{Command, Stdio};
//! use std::sync::Arc;
//!
//! use pyspy_rs::{CaptureOptions, Pid, PythonProcess, Sampler, SamplerOptions, Secrets};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let program = "\
//! import time
//! def work():
//!     print('ready', flush=True)
//!     time.sleep(60)
//! work()";
//! let mut command = Command::new("python3");
//! command.args(["-c", program]).stdout(Stdio::piped());
//! # let Ok(mut child) = command.spawn() else { return Ok(()) };
//! # /*
//! let mut child = command.spawn()?;
//! # */
//! let mut ready = String::new();
//! BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready)?;
//!
//! let process = PythonProcess::attach(Pid::try_from(child.id())?)?;
//! let options = SamplerOptions {
//!     rate_hz: 100.0,
//!     capture: CaptureOptions::default(),
//!     subprocesses: false,
//!     stop: Arc::default(),
//!     duration: None,
//!     secrets: Secrets::Hidden,
//! };
//! let mut sampler = Sampler::new(process, options);
//! let sample = sampler.next().ok_or("the process has ended")?;
//! let stack = &sample.processes[0].traces[0];
//! let leaf = sampler.frames().get(stack.frames[0]).ok_or("no frame")?;
//! assert_eq!(&*leaf.name, "work");
//!
//! child.kill()?;
//! child.wait()?;
//! # Ok(())
//! # }
//! ```

pub(crate) mod text;

pub(crate) mod os;

pub(crate) mod cpython;

pub(crate) mod sampler;

pub(crate) mod rss;

pub(crate) mod profile;

pub(crate) mod output;

pub(crate) mod tui;

pub(crate) mod session;

pub(crate) mod cli;

pub use cli::run;
pub use cpython::attach::error::AttachError;
pub use cpython::code::frame_table::{Columns, Frame, FrameId, FrameTable};
pub use cpython::process::PythonProcess;
pub use cpython::stack::trace::{StackTrace, ThreadInfo};
pub use os::work_budget::GaveUp;
pub use os::{Pid, Tid};
pub use output::format::Format;
pub use output::meta::Meta;
pub use output::write;
pub use profile::Profile;
pub use profile::options::{ProcessLabel, ProfileOptions, Selection, Weights};
pub use sampler::capture::options::{CaptureOptions, Pausing, TimeWeight};
pub use sampler::sample::{ProcessSample, RssChange, Sample};
pub use sampler::stats::SamplerStats;
pub use sampler::{Sampler, SamplerOptions};
pub use text::secrets::Secrets;

#[cfg(test)]
mod testing;

/// Items for this crate's tests and benchmarks. Not part of the public interface.
#[doc(hidden)]
pub mod internals {
    pub use crate::cpython::code::frame_table::TOO_MANY;
    pub use crate::cpython::code::line_table::locate as locate_line;
    pub use crate::cpython::code::short_path::shorten as shorten_path;
    pub use crate::cpython::core::PythonCore;
    pub use crate::cpython::frame::RawFrame;
    pub use crate::cpython::read::error::{ReadError, SampleError};
    pub use crate::cpython::reader::{MAX_SAMPLE_READS, StackReader};
    pub use crate::cpython::runtime::Runtime;
    pub use crate::cpython::stack::evidence::Mode;
    pub use crate::cpython::tape::TapeMetadata;
    pub use crate::cpython::threads::interpreter::interpreters;
    pub use crate::cpython::threads::list::PythonThread;
    pub use crate::cpython::threads::names::ThreadNames;
    pub use crate::cpython::values::ValueOptions;
    pub use crate::cpython::values::locals::Local;
    pub use crate::cpython::values::object::Objects;
    pub use crate::os::core_file::CoreFile;
    pub use crate::os::core_file::files::CoreOptions;
    pub use crate::os::memory::address::RemoteAddr;
    pub use crate::os::memory::tape::{RecordingMemory, Tape};
    pub use crate::os::memory::{MemoryError, RemoteMemory};
    pub use crate::profile::tables::ids::StackId;
    pub use crate::profile::tables::labels::{Label, LabelTable};
    pub use crate::profile::tables::stacks::StackTable;
    pub use crate::profile::tables::strings::StringTable;
    pub use crate::sampler::capture::core::capture_from_core;
}
