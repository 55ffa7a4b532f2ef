//! [`load`]: who takes the samples of `record`, `top` and `memory`.

use super::args::values::EngineChoice;
use super::options::RATE_HZ;
use crate::os::thread::fd_budget;
use crate::profile::options::TimeWeight;
use crate::sampler::kernel::{KernelEngine, KernelOptions};
use crate::session::errors::UserError;
use crate::session::options::{Process, Sampling};

/// The kernel's engine, if it is to take the samples and can, and how to sample: page faults tell what the kernel's
/// engine needs to know of memory, so that the default rate is that without memory.
///
/// # Errors
/// When the user asked for that engine and it cannot be had.
pub fn load(
    process: &Process,
    choice: EngineChoice,
    sampling: Sampling,
) -> anyhow::Result<(Option<KernelEngine>, Sampling)> {
    let may_pause = match choice {
        EngineChoice::Auto => true,
        EngineChoice::Kernel => false,
        EngineChoice::Pause | EngineChoice::Read => return Ok((None, sampling)),
    };
    let pid = match process {
        Process::Running(pid) => {
            // For each CPU there are up to three events, with two descriptors each.
            fd_budget::raise_limit();
            *pid
        }
        Process::Launch(_) => std::process::id().cast_signed(),
    };
    let rate_hz = match sampling.rate_is_given {
        true => sampling.rate_hz,
        false => sampling.rate_hz.min(RATE_HZ),
    };
    let wanted = KernelOptions {
        rate_hz,
        may_pause,
        memory: sampling.weights.rss,
        waits: sampling.weights.time == Some(TimeWeight::Wall),
    };
    match KernelEngine::load(pid, wanted) {
        Ok(engine) => Ok((
            Some(engine),
            Sampling {
                rate_hz,
                ..sampling
            },
        )),
        Err(error) if may_pause => {
            log::info!("threads are paused at each sample: {error}");
            Ok((None, sampling))
        }
        Err(error) => {
            let message = format!("--engine kernel cannot be used: {error}");
            let hint = "leave out --engine kernel: the program is paused for some 50 µs at each sample then";
            Err(UserError::failure(message, hint).into())
        }
    }
}
