//! `doctor`: whether a process can be profiled and why not, as a report to attach to a bug.

pub mod facts;
pub mod labels;
pub mod remedies;
pub mod report;
pub mod text;
pub mod trial;

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::options::DoctorOptions;
use super::select::resolve::running_process;
use crate::cli::stdout::to_stdout;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::diagnose::facts::{OwnFacts, ProcessFacts};
use crate::os::ptrace::pause::PauseError;
use crate::os::thread::state::RunState;
use crate::os::work_budget::ATTACH;
use crate::sampler::capture::options::Pausing;
use crate::session::attach;
use crate::session::errors::FAILURE;
use crate::text::escape::in_json;
use report::{AccessMethod, Problem, Report, SCHEMA, Verdict};

/// Prints the report, and returns the exit status: 0 when the process can be profiled.
///
/// # Errors
/// When no process was given and there is not exactly one, or stdout cannot be written.
pub fn run(options: &DoctorOptions) -> anyhow::Result<u8> {
    let pid = running_process(&options.target, options.secrets)?;
    let report = inspect(pid, options);
    if options.json {
        let text = serde_json::to_string_pretty(&report)?;
        to_stdout(|out| writeln!(out, "{}", in_json(&text)))?;
    } else {
        to_stdout(|out| text::write(out, &report))?;
    }
    Ok(if report.verdict.can_read { 0 } else { FAILURE })
}

/// Collects the report. This never fails: unknown parts are `None`.
fn inspect(pid: Pid, options: &DoctorOptions) -> Report {
    let nonblocking = options.nonblocking;
    let own = OwnFacts::gather(Path::new("/"));
    let patience = Instant::now() + attach::PATIENCE;
    let attached = attach::attach_until(patience, ATTACH, pid);
    let facts = ProcessFacts::gather(pid);
    let mut report = Report {
        schema: SCHEMA,
        pid,
        pyspy_rs: facts::own(&own),
        process: facts
            .as_ref()
            .map(|facts| facts::process(pid, facts, options.secrets)),
        ..Report::default()
    };
    let pause_error = facts
        .as_ref()
        .filter(|facts| !facts.kernel_thread)
        .filter(|facts| attached.is_ok() || facts.state != RunState::Zombie)
        .and_then(|_| {
            // Only Python processes are paused.
            let seizes = !nonblocking && !matches!(attached, Err(AttachError::NotPython { .. }));
            let (access, error) = facts::access(pid, seizes);
            report.verdict.can_pause = access.ptrace_seize.works;
            report.access = Some(access);
            error
        });
    match attached {
        Ok(process) => inspect_python(process, &mut report, pause_error.as_ref(), nonblocking),
        Err(error) => {
            report.threads = facts.as_ref().and_then(|_| facts::threads(pid, None));
            refuse(pid, facts.as_ref(), &error, &mut report);
        }
    }
    if let Some(facts) = &facts
        && report.verdict.can_read
    {
        report.problems.extend(remedies::for_state(pid, facts));
    }
    report
}

/// Adds the parts that need a readable process.
fn inspect_python(
    mut process: PythonProcess,
    report: &mut Report,
    pause_error: Option<&PauseError>,
    nonblocking: bool,
) {
    let pid = process.pid();
    report.python = Some(facts::python(&mut process));
    report.options = Some(facts::features(&mut process));
    report.symbols = facts::symbols(&process);
    let threads = facts::threads(pid, Some(&mut process));
    let pausing = match (nonblocking, pause_error) {
        (false, None) => Pausing::Running,
        _ => Pausing::Never,
    };
    let (test, names, stacks) = trial::take(process, pausing);
    report.threads = threads.map(|threads| super::doctor::report::Threads {
        stacks,
        python_names: names,
        ..threads
    });
    let can_read = test.stacks > 0;
    report.verdict.can_read = can_read;
    report.verdict.line = match (can_read, report.verdict.can_pause) {
        (true, Some(true)) => "pyspy-rs can read and pause this process".to_owned(),
        (true, None) => "pyspy-rs can read this process (pausing was not tried)".to_owned(),
        (true, Some(false)) => "pyspy-rs can read this process but not pause it: it samples \
                                as with --nonblocking"
            .to_owned(),
        (false, _) => {
            let why = match (&test.ended, test.error_texts.first()) {
                (Some(ended), _) => ended.clone(),
                (None, Some(error)) => error.clone(),
                (None, None) => "no thread had a stack".to_owned(),
            };
            report.problems.push(Problem {
                problem: format!("no stack in one second of samples: {why}"),
                fixes: vec!["try again with -vv, which logs what was read".to_owned()],
            });
            format!("pyspy-rs cannot read this process: {why}; fix: try again")
        }
    };
    report.sample = Some(test);
    if let Some(error) = pause_error {
        report.problems.push(remedies::for_pause_error(pid, error));
    }
    let forbidden = |way: &AccessMethod| way.works == Some(false);
    if let Some(access) = &report.access
        && forbidden(&access.process_vm_readv)
        && can_read
    {
        report.problems.push(Problem {
            problem: "process_vm_readv is denied: /proc/PID/mem is read instead, one system call \
                      per address range, so samples cost more"
                .to_owned(),
            fixes: vec![
                "if a container's seccomp filter denies it: docker run --cap-add SYS_PTRACE …, or \
                 --security-opt seccomp=unconfined"
                    .to_owned(),
            ],
        });
    }
}

/// The verdict on a process that could not be attached to.
fn refuse(pid: Pid, facts: Option<&ProcessFacts>, error: &AttachError, report: &mut Report) {
    let problem = remedies::for_attach_error(pid, facts, error);
    let fix = problem.fixes.first().cloned().unwrap_or_default();
    report.verdict = Verdict {
        line: format!(
            "pyspy-rs cannot profile this process: {}; fix: {fix}",
            problem.problem
        ),
        can_read: false,
        can_pause: report.verdict.can_pause,
    };
    report.problems.push(problem);
}
