//! `--in-container`: which process is meant by the number that its container knows it by.

use super::candidates;
use crate::os::Pid;
use crate::os::container::find::{Container, ContainerProcess, Containers};
use crate::os::process::list::ProcessSummary;
use crate::session::errors::{UserError, print_stderr};
use crate::session::options::ContainerTarget;
use crate::text::escape::command_line;

/// The most lines of a list.
const MAX_LISTED: usize = 50;
/// The most characters of a command in a list.
const MAX_COMMAND: usize = 80;

/// Finds the process, and says on stderr which one it is.
///
/// # Errors
/// When there is no such container, or not exactly one such process; what there is was listed on stderr
/// then.
pub fn find(wanted: &ContainerTarget) -> Result<Pid, UserError> {
    let containers = Containers::read().map_err(|error| {
        UserError::failure(
            format!("cannot look for containers: {error}"),
            "give --pid alone, as this system counts its processes",
        )
    })?;
    let inhabitants = containers.processes_in(&wanted.container);
    if inhabitants.is_empty() {
        return Err(no_container(&wanted.container, &containers));
    }
    let found: Vec<ContainerProcess> = match wanted.pid {
        Some(number) => {
            let all = inhabitants.iter();
            all.filter(|one| one.inside == number).copied().collect()
        }
        None => {
            let all = inhabitants.iter();
            all.filter(|one| is_python(one.pid)).copied().collect()
        }
    };
    match found.as_slice() {
        [one] => {
            let container = containers.container_of(one.pid);
            let container = container.map_or("our own container".to_owned(), |found| {
                format!("container {}", found.label())
            });
            print_stderr(&format!(
                "Process {} of {container} is process {} here: {}",
                one.inside,
                one.pid,
                brief(one.pid)
            ));
            Ok(one.pid)
        }
        [] => Err(no_process(wanted, &inhabitants)),
        several => Err(ambiguous(wanted, several, &containers)),
    }
}

fn is_python(pid: Pid) -> bool {
    ProcessSummary::of(pid).is_some_and(candidates::is_candidate)
}

fn no_container(name: &str, containers: &Containers) -> UserError {
    let list = containers.list();
    let hidden = match containers.hidden {
        0 => String::new(),
        count => format!(" ({count} processes may not be looked at by this user)"),
    };
    if list.is_empty() {
        return UserError::failure(
            format!("there is no container '{name}': no process that we can see is in one"),
            format!("give --pid alone, as this system counts its processes{hidden}"),
        );
    }
    for line in table(&list) {
        print_stderr(&line);
    }
    UserError::failure(
        format!("no container has the id or host name '{name}'"),
        format!(
            "give one of those above, or the pid (as seen here) of any process in it: \
             docker inspect -f '{{{{.State.Pid}}}}' NAME{hidden}"
        ),
    )
}

fn no_process(wanted: &ContainerTarget, inhabitants: &[ContainerProcess]) -> UserError {
    let name = &wanted.container;
    print_stderr(&format!("{:>8}  {:>8}  COMMAND", "INSIDE", "HERE"));
    let mut sorted = inhabitants.to_vec();
    sorted.sort_by_key(|one| one.inside);
    for one in sorted.iter().take(MAX_LISTED) {
        let command = brief(one.pid);
        print_stderr(&format!("{:>8}  {:>8}  {command}", one.inside, one.pid));
    }
    say_rest(sorted.len());
    match wanted.pid {
        Some(number) => UserError::failure(
            format!("container '{name}' has no process {number}"),
            "give --pid with a number of the first column",
        ),
        None => UserError::failure(
            format!("container '{name}' has no Python process that we may read"),
            "its processes are listed above; root can read all of them",
        ),
    }
}

fn ambiguous(
    wanted: &ContainerTarget,
    found: &[ContainerProcess],
    containers: &Containers,
) -> UserError {
    let name = &wanted.container;
    print_stderr(&format!(
        "{:>8}  {:>8}  {:<32}  COMMAND",
        "INSIDE", "HERE", "CONTAINER"
    ));
    for one in found.iter().take(MAX_LISTED) {
        let container = containers.container_of(one.pid);
        let label = container.map_or("this one".to_owned(), |found| found.label());
        print_stderr(&format!(
            "{:>8}  {:>8}  {label:<32}  {}",
            one.inside,
            one.pid,
            brief(one.pid)
        ));
    }
    say_rest(found.len());
    match wanted.pid {
        Some(number) => UserError::failure(
            format!(
                "'{name}' means several containers, and {} of them have a process {number}",
                found.len()
            ),
            "give more of the container's id, or --pid alone with a number of the second column",
        ),
        None => UserError::failure(
            format!("container '{name}' has {} Python processes", found.len()),
            "give --pid with a number of the first column",
        ),
    }
}

fn table(list: &[Container]) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<32}  {:>9}  {:>8}  COMMAND OF THAT",
        "CONTAINER", "PROCESSES", "FIRST"
    )];
    lines.extend(list.iter().take(MAX_LISTED).map(|one| {
        format!(
            "{:<32}  {:>9}  {:>8}  {}",
            one.label(),
            one.processes,
            one.first,
            brief(one.first)
        )
    }));
    lines.extend(rest(list.len()));
    lines
}

fn rest(count: usize) -> Option<String> {
    let more = count.saturating_sub(MAX_LISTED);
    (more > 0).then(|| format!("… and {more} more"))
}

fn say_rest(count: usize) {
    if let Some(line) = rest(count) {
        print_stderr(&line);
    }
}

/// A process's command, short enough for a list.
fn brief(pid: Pid) -> String {
    let process = ProcessSummary::of(pid);
    let command = process.map_or(String::new(), |process| command_line(&process.command_line));
    match command.char_indices().nth(MAX_COMMAND) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or_default()),
        None => command,
    }
}
