//! The target of a run, and how it is sampled: [`Target`], [`Sampling`].

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::os::Pid;
use crate::profile::options::{Selection, Weights};
use crate::sampler::SamplerOptions;
use crate::sampler::capture::options::{CaptureOptions, Pausing};
use crate::text::secrets::Secrets;

/// The target as the user specified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A running process.
    Pid(Pid),
    /// A program to launch.
    Program(Program),
    /// The only running Python process.
    OnlyOne,
    /// A process in a container.
    ContainerTarget(ContainerTarget),
}

/// A process by its PID inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerTarget {
    /// The container, in one of the forms of [`Containers::processes_in`](crate::os::container::find::Containers).
    pub container: String,
    /// PID inside the container; `None`: its only Python process.
    pub pid: Option<Pid>,
}

/// A [`Target`] that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    Running(Pid),
    Launch(Program),
}

impl Process {
    /// PID or program, for file names.
    pub fn name(&self) -> String {
        match self {
            Process::Running(pid) => pid.to_string(),
            Process::Launch(program) => program.file.to_string_lossy().into_owned(),
        }
    }
}

/// A program to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Searched for in PATH, as by a shell.
    pub file: OsString,
    pub args: Vec<OsString>,
}

/// How to sample.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    pub rate_hz: u32,
    /// Whether the user chose that rate.
    pub rate_is_given: bool,
    /// Which threads are counted.
    pub selection: Selection,
    /// What stacks are weighed by, and what is thus read of each thread.
    pub weights: Weights,
    pub nonblocking: bool,
    pub subprocesses: bool,
    pub secrets: Secrets,
}

impl Sampling {
    /// The sampler's options; it ends when `stop` is set.
    pub fn for_sampler(&self, stop: &Arc<AtomicBool>) -> SamplerOptions {
        SamplerOptions {
            rate_hz: f64::from(self.rate_hz),
            capture: CaptureOptions {
                pausing: if self.nonblocking {
                    Pausing::Never
                } else {
                    Pausing::Running
                },
                time: self.weights.time,
                memory: self.weights.rss,
                fresh_gil_state: self.selection.gil_only || self.selection.collections,
                skip_leaf_match: false,
                keep_paused: false,
                ..CaptureOptions::default()
            },
            subprocesses: self.subprocesses,
            stop: Arc::clone(stop),
            duration: None,
            secrets: self.secrets,
        }
    }
}
