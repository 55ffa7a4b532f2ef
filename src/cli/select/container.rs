//! `--in-container`: finds a process by the PID that it has inside its container.

use nix::unistd::geteuid;

use super::candidates::Search;
use crate::os::Pid;
use crate::os::container::find::{Container, ContainerProcess, Containers};
use crate::os::process::list::ProcessSummary;
use crate::session::errors::{UserError, print_stderr};
use crate::session::options::ContainerTarget;
use crate::text::align::{Align, columns, more};
use crate::text::escape::command_line;
use crate::text::sanitize::shorten;
use crate::text::secrets::Secrets;

/// Most lines of a list.
const MAX_LISTED: usize = 50;
/// Most characters of a command in a list.
const MAX_COMMAND: usize = 80;

const INSIDE: (&str, Align) = ("INSIDE", Align::Right);
const HERE: (&str, Align) = ("HERE", Align::Right);
const CONTAINER: (&str, Align) = ("CONTAINER", Align::Left);
const COMMAND: (&str, Align) = ("COMMAND", Align::Left);

/// Finds the process, and prints on stderr which one it is.
///
/// # Errors
/// When there is no such container, or not exactly one such process. The containers or processes to
/// choose from are listed on stderr.
pub fn find(wanted: &ContainerTarget, secrets: Secrets) -> Result<Pid, UserError> {
    let containers = Containers::read().map_err(|error| {
        UserError::failure(
            format!("cannot list containers: {error}"),
            "use --pid without --in-container, with the PID seen here",
        )
    })?;
    let processes = containers.processes_in(&wanted.container);
    if processes.is_empty() {
        return Err(no_container(&wanted.container, &containers, secrets));
    }
    let mut search = Search::start();
    let is_wanted = |one: &ContainerProcess| match wanted.pid {
        Some(number) => one.inside == number,
        None => ProcessSummary::of(one.pid).is_some_and(|process| search.is_python(process)),
    };
    let found: Vec<ContainerProcess> = processes.iter().copied().filter(is_wanted).collect();
    let unknown = search.unknown();
    for line in &unknown {
        print_stderr(line);
    }
    match found.as_slice() {
        [one] if unknown.is_empty() => {
            let container = containers.container_of(one.pid);
            let container = container.map_or("our own container".to_owned(), |found| {
                format!("container {}", found.label())
            });
            // A kernel thread has none.
            let command = command(one.pid, secrets);
            print_stderr(&format!(
                "Process {} of {container} is process {} here{}{command}",
                one.inside,
                one.pid,
                if command.is_empty() { "" } else { ": " },
            ));
            Ok(one.pid)
        }
        [] => Err(no_process(wanted, processes, secrets)),
        several => Err(ambiguous(wanted, several, &containers, secrets)),
    }
}

fn no_container(name: &str, containers: &Containers, secrets: Secrets) -> UserError {
    let list = containers.list();
    let hidden = match containers.hidden {
        0 => String::new(),
        1 => " (1 process is not readable by this user)".to_owned(),
        count => format!(" ({count} processes are not readable by this user)"),
    };
    if list.is_empty() {
        return UserError::failure(
            format!("no container '{name}': no visible process is in a container"),
            format!("use --pid without --in-container, with the PID seen here{hidden}"),
        );
    }
    let headings = [
        CONTAINER,
        ("PROCESSES", Align::Right),
        ("FIRST", Align::Right),
        ("COMMAND OF FIRST", Align::Left),
    ];
    print_list(&headings, &list, |one: &Container| {
        vec![
            one.label(),
            one.processes.to_string(),
            one.first.to_string(),
            command(one.first, secrets),
        ]
    });
    UserError::failure(
        format!("no container has the ID or hostname '{name}'"),
        format!(
            "use one of those above, or the PID (as seen here) of any process in it: \
             docker inspect -f '{{{{.State.Pid}}}}' NAME{hidden}"
        ),
    )
}

fn no_process(
    wanted: &ContainerTarget,
    mut processes: Vec<ContainerProcess>,
    secrets: Secrets,
) -> UserError {
    let name = &wanted.container;
    processes.sort_by_key(|one| one.inside);
    print_list(&[INSIDE, HERE, COMMAND], &processes, |one| {
        vec![
            one.inside.to_string(),
            one.pid.to_string(),
            command(one.pid, secrets),
        ]
    });
    match wanted.pid {
        Some(number) => UserError::failure(
            format!("container '{name}' has no process {number}"),
            "use --pid with a PID of the first column",
        ),
        None => UserError::failure(
            format!("container '{name}' has no readable Python process"),
            match geteuid().is_root() {
                true => {
                    "its processes are listed above; doctor PID, with one of the second column, says why it is \
                     not readable"
                }
                false => "its processes are listed above; run as root to read all of them",
            },
        ),
    }
}

fn ambiguous(
    wanted: &ContainerTarget,
    found: &[ContainerProcess],
    containers: &Containers,
    secrets: Secrets,
) -> UserError {
    let name = &wanted.container;
    print_list(&[INSIDE, HERE, CONTAINER, COMMAND], found, |one| {
        let container = containers.container_of(one.pid);
        let label = container.map_or("this one".to_owned(), |found| found.label());
        vec![
            one.inside.to_string(),
            one.pid.to_string(),
            label,
            command(one.pid, secrets),
        ]
    });
    match wanted.pid {
        Some(number) => UserError::failure(
            format!(
                "'{name}' matches several containers, and {} of them have a process {number}",
                found.len()
            ),
            "give more of the container's ID, or use --pid without --in-container, with a PID of the second column",
        ),
        None => UserError::failure(
            format!("container '{name}' has {} Python processes", found.len()),
            "use --pid with a PID of the first column",
        ),
    }
}

/// Prints the first entries of a list on stderr.
fn print_list<T>(headings: &[(&str, Align)], list: &[T], row: impl Fn(&T) -> Vec<String>) {
    let rows: Vec<_> = list.iter().take(MAX_LISTED).map(row).collect();
    let lines = columns(headings, &rows);
    for line in lines.into_iter().chain(more(list.len(), MAX_LISTED)) {
        print_stderr(&line);
    }
}

/// A process's command, shortened for a list.
fn command(pid: Pid, secrets: Secrets) -> String {
    let process = ProcessSummary::of(pid);
    let command = process.map_or(String::new(), |process| {
        command_line(&process.command_line.words(secrets))
    });
    shorten(&command, MAX_COMMAND)
}
