//! `doctor`: what can be done with a process, what cannot, and why, on a page for a bug report.

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
use super::select::{candidates, container};
use super::to_stdout;
use crate::cpython::attach::error::AttachError;
use crate::cpython::process::PythonProcess;
use crate::os::Pid;
use crate::os::diagnose::facts::{OwnFacts, ProcessFacts};
use crate::os::ptrace::pause::PauseError;
use crate::os::thread::state::RunState;
use crate::sampler::capture::options::Pausing;
use crate::session::attach;
use crate::session::errors::FAILURE;
use crate::session::options::Target;
use crate::text::escape::in_json;
use report::{AccessMethod, Problem, Report, SCHEMA, Verdict};

/// Prints the page, and returns the exit status: 0 when the process can be profiled.
///
/// # Errors
/// When no process was named and there is not just one, or stdout cannot be written.
pub fn run(options: &DoctorOptions) -> anyhow::Result<u8> {
    let pid = match &options.target {
        Target::Pid(pid) => *pid,
        Target::ContainerTarget(inside) => container::find(inside)?,
        Target::OnlyOne | Target::Program(_) => candidates::only_one()?,
    };
    let report = inspect(pid, options.nonblocking);
    if options.json {
        let text = serde_json::to_string_pretty(&report)?;
        to_stdout(|out| writeln!(out, "{}", in_json(&text)))?;
    } else {
        to_stdout(|out| text::write(out, &report))?;
    }
    Ok(if report.verdict.can_read { 0 } else { FAILURE })
}

/// Collects all of the page. Nothing of it fails: what cannot be found out is missing.
fn inspect(pid: Pid, nonblocking: bool) -> Report {
    let own = OwnFacts::gather(Path::new("/"));
    let attached = attach::attach_until(Instant::now() + attach::PATIENCE, pid);
    let facts = ProcessFacts::gather(pid);
    let mut report = Report {
        schema: SCHEMA,
        pid,
        pyspy_rs: facts::own(&own),
        process: facts.as_ref().map(|facts| facts::process(pid, facts)),
        ..Report::default()
    };
    let pause_error = facts
        .as_ref()
        .filter(|facts| !facts.kernel_thread)
        .filter(|facts| attached.is_ok() || facts.state != RunState::Zombie)
        .and_then(|_| {
            // What is no Python is left alone.
            let seizes = !nonblocking && !matches!(attached, Err(AttachError::NotPython { .. }));
            let (access, error) = facts::access(pid, seizes);
            report.verdict.can_pause = access.ptrace_seize.works;
            report.access = Some(access);
            error
        });
    match attached {
        Ok(process) => look_inside(process, &mut report, pause_error.as_ref(), nonblocking),
        Err(error) => {
            report.threads = facts.as_ref().and_then(|_| facts::threads(pid, None));
            refuse(pid, facts.as_ref(), &error, &mut report);
        }
    }
    if let Some(facts) = &facts
        && report.verdict.can_read
    {
        report.problems.extend(remedies::of_condition(pid, facts));
    }
    report
}

/// Fills in what only a process shows that we may look into.
fn look_inside(
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
        (true, Some(false)) => "pyspy-rs can read this process, but not pause it: it goes on \
                                as with --nonblocking"
            .to_owned(),
        (false, _) => {
            let why = match (&test.ended, test.error_texts.first()) {
                (Some(ended), _) => ended.clone(),
                (None, Some(error)) => error.clone(),
                (None, None) => "none of its threads showed a stack".to_owned(),
            };
            report.problems.push(Problem {
                problem: format!("a second of samples brought no stack: {why}"),
                fixes: vec!["try again; -vv shows what was read".to_owned()],
            });
            format!("pyspy-rs cannot read this process: {why}; fix: try again")
        }
    };
    report.sample = Some(test);
    if let Some(error) = pause_error {
        report.problems.push(remedies::of_pausing(pid, error));
    }
    let forbidden = |way: &AccessMethod| way.works == Some(false);
    if let Some(access) = &report.access
        && forbidden(&access.process_vm_readv)
        && can_read
    {
        report.problems.push(Problem {
            problem: "process_vm_readv is refused: /proc/PID/mem is read instead, one system call \
                      for each place, so that samples cost more"
                .to_owned(),
            fixes: vec![
                "if that is a container's seccomp filter: docker run --cap-add SYS_PTRACE …, or \
                 --security-opt seccomp=unconfined"
                    .to_owned(),
            ],
        });
    }
}

/// The verdict on a process that could not be attached to.
fn refuse(pid: Pid, facts: Option<&ProcessFacts>, error: &AttachError, report: &mut Report) {
    let problem = remedies::of_attaching(pid, facts, error);
    let fix = problem.fixes.first().cloned().unwrap_or_default();
    report.verdict = Verdict {
        line: format!(
            "pyspy-rs cannot look into it: {}; fix: {fix}",
            problem.problem
        ),
        can_read: false,
        can_pause: report.verdict.can_pause,
    };
    report.problems.push(problem);
}
