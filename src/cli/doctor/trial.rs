//! The test of `doctor`: one second of samples, and their cost.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::report::{PythonName, TestSample};
use crate::cli::report::timing;
use crate::cpython::process::PythonProcess;
use crate::cpython::stack::trace::StackTrace;
use crate::sampler::capture::options::{CaptureOptions, Pausing};
use crate::sampler::{Sampler, SamplerOptions};
use crate::text::secrets::Secrets;

/// Samples per second, the default of `record`.
const RATE_HZ: u32 = 100;
const DURATION: Duration = Duration::from_secs(1);
/// Most distinct errors, and most Python threads that are named.
const MAX_ERRORS: usize = 5;
const MAX_NAMES: usize = 50;

/// Samples for one second. Also returns the threads of the last sample: the first of them by name, and
/// their number.
pub fn take(process: PythonProcess, pausing: Pausing) -> (TestSample, Vec<PythonName>, usize) {
    let target_pid = process.pid();
    let mut sampler = Sampler::new(
        process,
        SamplerOptions {
            rate_hz: f64::from(RATE_HZ),
            capture: CaptureOptions {
                pausing,
                fresh_gil_state: true,
                ..CaptureOptions::default()
            },
            subprocesses: false,
            stop: Arc::new(AtomicBool::new(false)),
            duration: Some(DURATION),
            // Its command line is not shown.
            secrets: Secrets::Hidden,
        },
    );
    let mut test = TestSample {
        paused: pausing == Pausing::Running,
        rate_asked: f64::from(RATE_HZ),
        ..TestSample::default()
    };
    let (mut names, mut shown) = (Vec::new(), 0);
    let (started, cpu) = (Instant::now(), own_cpu());
    for sample in sampler.by_ref() {
        for error in &sample.errors {
            if test.error_texts.len() < MAX_ERRORS && !test.error_texts.contains(error) {
                test.error_texts.push(error.clone());
            }
        }
        let mut processes = sample.processes.iter();
        let Some(seen) = processes.find(|process| process.pid == target_pid) else {
            continue;
        };
        test.stacks += seen.traces.len() as u64;
        let deepest = seen.traces.iter().map(|trace| trace.frames.len()).max();
        test.max_depth = test.max_depth.max(deepest.unwrap_or(0));
        test.with_gil += u64::from(seen.traces.iter().any(|trace| trace.thread.owns_gil));
        if !seen.traces.is_empty() {
            shown = seen.traces.len();
            names = seen.traces.iter().take(MAX_NAMES).map(name_of).collect();
        }
    }
    let used = own_cpu().zip(cpu);
    test.seconds = started.elapsed().as_secs_f64();
    if !sampler.is_time_over() {
        test.ended = Some("the process ended or executed another program".to_owned());
    }
    let stats = sampler.stats();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    test.samples = stats.samples;
    test.rate = stats.samples as f64 / test.seconds.max(1e-9);
    test.missed = stats.missed_ticks;
    test.advice = timing::missed(stats, RATE_HZ);
    test.errors = stats.errors;
    test.torn = stats.torn;
    let used = used.filter(|_| stats.samples > 0);
    test.cpu_us_per_sample =
        used.map(|(after, before)| us(after.saturating_sub(before)) / stats.samples as f64);
    test.look_us = stats.mean_sample_time().map(us);
    test.pauses = stats.pauses.count();
    test.pause_median_us = stats.pauses.median().map(us);
    test.pause_p99_us = stats.pauses.p99().map(us);
    test.pause_max_us = stats.pauses.max().map(us);
    (test, names, shown)
}

fn name_of(trace: &StackTrace) -> PythonName {
    let thread = &trace.thread;
    PythonName {
        os_thread_id: thread.os_thread_id,
        name: thread.name.as_deref().map(str::to_owned),
        frames: trace.frames.len(),
    }
}

/// CPU time of this thread: the sampler runs on the thread that created it.
fn own_cpu() -> Option<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
    Some(Duration::from(time))
}
