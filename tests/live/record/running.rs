//! `record --pid`: what a recording of a running process says and writes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pyspy_rs::{CaptureOptions, Pausing, PythonProcess, Sampler, SamplerOptions, Secrets};

use crate::support::Target;
use crate::support::bench::{Bench, python};

#[test]
fn a_process_that_ends_ends_the_recording() {
    let mut target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o x.txt -i --pid {}", target.pid());
    let (bench, record) = Bench::new(&options).start(vec![]);
    assert!(target.finish().success());
    let done = record.finish();
    // It may have ended before it could be attached to.
    if done.status.success() {
        done.assert_wrote("Stopped sampling because process exited");
        assert_eq!(bench.files(), ["x.txt"]);
    } else {
        done.assert_code(1);
        assert!(bench.files().is_empty());
    }
}

#[test]
fn a_pipe_gets_no_progress() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o x.txt -f raw -i -d 0.3 --pid {}", target.pid());
    let (_bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    let lines: Vec<&str> = done.announced.lines().collect();
    let [started, wrote, hint] = lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(
        started,
        "pyspy-rs> Sampling process 100 times a second for 0.3 seconds. Press Control-C to exit."
    );
    assert!(wrote.starts_with("pyspy-rs> Wrote raw flamegraph data to 'x.txt'. Samples: "));
    assert!(hint.contains("flamegraph.pl"), "{hint}");
    assert!(done.stderr.starts_with("Rate: "), "{}", done.stderr);
    assert!(!done.stderr.contains(['\r', '\x1b']), "{}", done.stderr);
    assert_eq!(done.stdout, "");
}

#[test]
fn the_recording_itself_can_go_to_stdout() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-o - -f raw -i -d 0.3 --pid {}", target.pid());
    let (bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    assert!(
        done.stdout.contains("<module> (ping.py:"),
        "{}",
        done.stdout
    );
    assert!(!done.stdout.contains("Sampling process"), "{}", done.stdout);
    done.assert_wrote("Sampling process 100 times a second");
    assert!(bench.files().is_empty());
    assert!(Path::new(&format!("/proc/{}", target.pid())).exists());
}

/// At a low rate the next sample is far away; a recording once went on until then.
#[test]
fn the_time_is_over_between_two_samples() {
    let target = Target::start(python(), "ping.py", &[]);
    let process = PythonProcess::attach(target.pid().try_into().unwrap()).unwrap();
    let options = SamplerOptions {
        rate_hz: 1e-6,
        capture: CaptureOptions {
            pausing: Pausing::Never,
            ..CaptureOptions::default()
        },
        subprocesses: false,
        stop: Arc::default(),
        duration: Some(Duration::from_millis(50)),
        secrets: Secrets::Hidden,
    };
    let mut sampler = Sampler::new(process, options);
    assert_eq!(sampler.by_ref().count(), 1);
    assert!(sampler.is_time_over());
}

/// So is the end of the process.
#[test]
fn a_process_ends_between_two_samples() {
    let mut target = Target::start(python(), "ping.py", &[]);
    let process = PythonProcess::attach(target.pid().try_into().unwrap()).unwrap();
    let options = SamplerOptions {
        rate_hz: 1e-6,
        capture: CaptureOptions {
            pausing: Pausing::Never,
            ..CaptureOptions::default()
        },
        subprocesses: false,
        stop: Arc::default(),
        duration: None,
        secrets: Secrets::Hidden,
    };
    let mut sampler = Sampler::new(process, options);
    assert!(sampler.next().is_some());
    assert!(target.finish().success());
    assert!(sampler.next().is_none());
    assert!(!sampler.is_time_over());
}
