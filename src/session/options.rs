//! What a run is of and how it samples: [`Target`], [`Sampling`].

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::os::Pid;
use crate::sampler::SamplerOptions;
use crate::sampler::capture::options::{CaptureOptions, Pausing};

/// Which process to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that runs.
    Pid(Pid),
    /// One to launch: the program and its arguments; never empty.
    Program(Program),
    /// The only Python process that runs.
    OnlyOne,
    /// One in a container.
    ContainerTarget(ContainerTarget),
}

/// A process by what its container knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerTarget {
    /// Which container, in one of the ways of [`Containers::processes_in`](crate::os::container::find::Containers).
    pub container: String,
    /// Its number in there; without one it is the only Python.
    pub pid: Option<Pid>,
}

/// A program to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What to run, searched in PATH as a shell does.
    pub file: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// How `record` and `top` take samples.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Samples per second.
    pub rate_hz: u32,
    /// Leave out threads that do not hold the GIL.
    pub gil_only: bool,
    /// Take in threads that are idle.
    pub include_idle: bool,
    /// Weigh samples by the thread's time on a CPU.
    pub cpu_time: bool,
    /// Lay the growth of resident memory on stacks.
    pub memory: bool,
    /// Show garbage collections.
    pub show_collections: bool,
    /// Do not pause the target.
    pub nonblocking: bool,
    /// Look at child processes too.
    pub subprocesses: bool,
}

impl Sampling {
    /// The same for the sampler, which ends when `stop` is set.
    pub fn for_sampler(&self, stop: &Arc<AtomicBool>) -> SamplerOptions {
        SamplerOptions {
            rate_hz: f64::from(self.rate_hz),
            look: CaptureOptions {
                pausing: if self.nonblocking {
                    Pausing::Never
                } else {
                    Pausing::Running
                },
                cpu_time: self.cpu_time,
                memory: self.memory,
                fresh_gil_state: self.gil_only || self.show_collections,
                skip_leaf_match: false,
                keep_paused: false,
            },
            subprocesses: self.subprocesses,
            stop: Arc::clone(stop),
            duration: None,
        }
    }
}
