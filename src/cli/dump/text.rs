//! A dump as text: py-spy's format, to the space, with additional lines about memory.

use std::borrow::Borrow;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::model::{CoreDump, FrameDump, LocalsDump, MemoryDump, ProcessDump, ThreadDump};
use super::{core_text, interpreters};
use crate::cpython::stack::trace::ThreadInfo;
use crate::sampler::capture::locals::LocalsState;
use crate::text::escape::{command_line, for_terminal};
use crate::text::units::{mib, rate, rough_duration};

#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    pub full_filenames: bool,
    pub colour: bool,
}

/// py-spy's colours.
struct Palette {
    id: Style,
    version: Style,
    faint: Style,
    function: Style,
    file: Style,
}

impl Palette {
    fn new(colour: bool) -> Palette {
        let style = |style: Style| if colour { style } else { Style::new() };
        Palette {
            id: style(AnsiColor::Yellow.on_default().bold()),
            version: style(Style::new().bold()),
            faint: style(Style::new().dimmed()),
            function: style(AnsiColor::Green.on_default()),
            file: style(AnsiColor::Cyan.on_default()),
        }
    }
}

/// Prints the processes, parents first, with a rule between them, each as soon as it comes.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(
    out: &mut impl Write,
    processes: impl Iterator<Item: Borrow<ProcessDump>>,
    options: TextOptions,
) -> io::Result<()> {
    let palette = Palette::new(options.colour);
    for (i, process) in processes.enumerate() {
        if i > 0 {
            let Palette { faint, .. } = &palette;
            writeln!(out, "\n{faint}{}{faint:#}", "-".repeat(80))?;
        }
        write_process(out, process.borrow(), options, &palette)?;
        out.flush()?;
    }
    Ok(())
}

fn write_process(
    out: &mut impl Write,
    process: &ProcessDump,
    options: TextOptions,
    palette: &Palette,
) -> io::Result<()> {
    let Palette {
        id, version, faint, ..
    } = palette;
    writeln!(
        out,
        "Process {id}{}{id:#}: {}",
        process.pid,
        command_line(&process.command)
    )?;
    writeln!(
        out,
        "Python v{version}{}{version:#} ({faint}{}{faint:#})",
        for_terminal(&process.version),
        for_terminal(&process.executable)
    )?;
    if let Some(memory) = &process.memory {
        writeln!(out, "Memory: {}", memory_line(memory))?;
        for line in memory_details(memory) {
            writeln!(out, "{line}")?;
        }
    }
    for line in core_text::lines(process) {
        writeln!(out, "{line}")?;
    }
    for line in interpreters::lines(process) {
        writeln!(out, "{line}")?;
    }
    if let Some((pid, command)) = &process.parent {
        writeln!(
            out,
            "Parent Process {id}{pid}{id:#}: {}",
            command_line(command)
        )?;
    }
    writeln!(out)?;
    for thread in &process.threads {
        write_thread(out, thread, process.core.as_ref(), options, palette)?;
    }
    Ok(())
}

fn memory_line(memory: &MemoryDump) -> String {
    let mut line = format!("{} RSS", mib(memory.rss_bytes));
    if let Some(peak) = memory.peak_rss_bytes {
        line += &format!(", {} peak", mib(peak));
    }
    if let Some(threads) = memory.threads {
        line += &format!(", {threads} thread{}", if threads == 1 { "" } else { "s" });
    }
    line
}

/// The lines below the memory line. Each has its own label, which scripts can search for and which
/// cannot be mistaken for a thread or a frame.
fn memory_details(memory: &MemoryDump) -> Vec<String> {
    let mut lines = Vec::new();
    let mut shares = Vec::new();
    if let Some(known) = memory.shares {
        shares.push(format!("{} PSS", mib(known.pss_bytes)));
        shares.push(format!("{} USS", mib(known.uss_bytes)));
    }
    shares.extend(memory.swap_bytes.map(|swap| format!("{} swap", mib(swap))));
    if !shares.is_empty() {
        lines.push(format!("Memory shares: {}", shares.join(", ")));
    }
    lines.extend(memory.limit.as_ref().map(|limit| {
        format!(
            "Memory limit: {}, {} left (cgroup {})",
            mib(limit.limit_bytes),
            mib(limit.left_bytes()),
            for_terminal(&limit.group.to_string_lossy())
        )
    }));
    if let Some(age) = memory.age {
        lines.push(match memory.growth_per_minute() {
            Some(growth) => format!(
                "Memory growth: {} per minute, on average since its start {} ago",
                mib(growth as u64),
                rough_duration(age)
            ),
            None if memory.was_forked => format!(
                "Memory growth: unknown, since it was forked with its parent's memory {} ago",
                rough_duration(age)
            ),
            None => format!(
                "Memory growth: {} since its start {} ago",
                mib(memory.rss_bytes),
                rough_duration(age)
            ),
        });
    }
    if let (Some(faults), Some(age)) = (memory.faults, memory.age) {
        let with_rate = |count: u64, kind: &str| match rate(count, age).filter(|_| count > 0) {
            Some(rate) => format!("{count} {kind} ({rate})"),
            None => format!("{count} {kind}"),
        };
        lines.push(format!(
            "Page faults: {}, {}",
            with_rate(faults.minor, "minor"),
            with_rate(faults.major, "major")
        ));
    }
    lines.extend(memory.open_files.map(|open| match memory.max_open_files {
        Some(max) => format!("Open files: {open} of {max}"),
        None => format!("Open files: {open}"),
    }));
    lines
}

fn write_thread(
    out: &mut impl Write,
    thread: &ThreadDump,
    core: Option<&CoreDump>,
    options: TextOptions,
    palette: &Palette,
) -> io::Result<()> {
    let info = &thread.info;
    let Palette { id, .. } = palette;
    match info.os_thread_id {
        Some(tid) => write!(out, "Thread {id}{tid}{id:#}")?,
        // Only the address of its pthread is known.
        None => write!(out, "Thread {id}{:#X}{id:#}", info.pthread_id)?,
    }
    let state = core.map_or_else(|| live_state(info), |core| core_text::state(info, core));
    write!(out, " ({state})")?;
    if let Some(name) = &info.name {
        write!(out, ": \"{}\"", for_terminal(name))?;
    }
    if let Some(place) = interpreters::place(info) {
        write!(out, " {place}")?;
    }
    writeln!(out)?;
    for frame in &thread.frames {
        write_frame(out, frame, options, palette)?;
    }
    Ok(())
}

fn live_state(info: &ThreadInfo) -> String {
    let state = match (info.has_ended, info.active) {
        (true, _) => "ended",
        (false, true) => "active",
        (false, false) => "idle",
    };
    // Also while it waits: all others wait for a thread that blocks without releasing the GIL. (py-spy
    // shows it for active threads only.)
    let gil = if info.owns_gil { "+gil" } else { "" };
    let collecting = if info.collecting { "+gc" } else { "" };
    format!("{state}{gil}{collecting}")
}

fn write_frame(
    out: &mut impl Write,
    frame: &FrameDump,
    options: TextOptions,
    palette: &Palette,
) -> io::Result<()> {
    let Palette {
        faint,
        function,
        file,
        ..
    } = palette;
    let place = &frame.frame;
    let name = for_terminal(&place.name);
    let path = for_terminal(if options.full_filenames {
        &place.filename
    } else {
        &place.short_filename
    });
    write!(
        out,
        "    {function}{name}{function:#} ({file}{path}{file:#}"
    )?;
    match place.line {
        Some(line) => writeln!(out, ":{faint}{line}{faint:#})")?,
        None => writeln!(out, ")")?,
    }
    let Some(locals) = &frame.locals else {
        return Ok(());
    };
    if locals.state == LocalsState::Omitted {
        writeln!(out, "        {faint}(variables left out){faint:#}")?;
    }
    write_locals(out, "Arguments:", locals, true, faint)?;
    write_locals(out, "Locals:", locals, false, faint)
}

fn write_locals(
    out: &mut impl Write,
    title: &str,
    locals: &LocalsDump,
    arguments: bool,
    faint: &Style,
) -> io::Result<()> {
    let mark = match locals.state {
        LocalsState::WhileRunning => " (read while running)",
        LocalsState::Consistent | LocalsState::Omitted => "",
    };
    let mut titled = false;
    let variables = locals.variables.iter();
    for local in variables.filter(|local| local.is_argument == arguments) {
        if !titled {
            writeln!(out, "        {faint}{title}{mark}{faint:#}")?;
            titled = true;
        }
        writeln!(
            out,
            "            {}: {}",
            for_terminal(&local.name),
            for_terminal(&local.value)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dump::samples;

    fn text(processes: &[ProcessDump], options: TextOptions) -> String {
        let mut out = Vec::new();
        assert!(write(&mut out, processes.iter(), options).is_ok());
        String::from_utf8_lossy(&out).into_owned()
    }

    const PLAIN: TextOptions = TextOptions {
        full_filenames: false,
        colour: false,
    };

    #[test]
    fn matches_py_spys_format() {
        let expected = r#"Process 8172: python3.15 app.py 30
Python v3.15.2 (/usr/bin/python3.15)
Memory: 57.1 MiB RSS, 61.0 MiB peak, 9 threads
Memory shares: 52.3 MiB PSS, 50.1 MiB USS, 1.0 MiB swap
Memory limit: 512.0 MiB, 416.0 MiB left (cgroup /docker/a\x1b[31m)
Memory growth: 1.2 MiB per minute, on average since its start 47m 10s ago
Page faults: 15321 minor (5.4 per second), 3 major (3.8 per hour)
Open files: 14 of 1024

Thread 8172 (active+gil): "MainThread"
    leaf (app.py:11)
        Arguments:
            n: 0
            s: "a\x1b[31m"
        Locals:
            loc: 1.5
    Thing.method (pkg/mod.py:20)
    <module> (app.py:31)
Thread 0x7F0F6C3CA990 (idle)
    evil\u202e\n (a\x07.py)
"#;
        assert_eq!(text(&[samples::process()], PLAIN), expected);
    }

    #[test]
    fn unreported_values_are_omitted() {
        let mut process = samples::process();
        process.memory = Some(MemoryDump {
            rss_bytes: 5 << 20,
            age: Some(std::time::Duration::from_secs(59)),
            ..MemoryDump::default()
        });
        let expected = "Memory: 5.0 MiB RSS\nMemory growth: 5.0 MiB since its start 59s ago\n\nThr";
        let text = text(&[process], PLAIN);
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_forked_process_has_not_grown_by_what_it_inherited() {
        let mut process = samples::process();
        if let Some(memory) = &mut process.memory {
            memory.was_forked = true;
        }
        let text = text(&[process], PLAIN);
        let expected =
            "Memory growth: unknown, since it was forked with its parent's memory 47m 10s ago\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_child_shows_its_parent() {
        let mut child = samples::process();
        child.pid = 8200;
        child.parent = Some((8172, vec!["python3.15".into(), "app.py".into()]));
        child.threads.truncate(1);
        let text = text(&[samples::process(), child], PLAIN);
        let rule = format!("\n{}\nProcess 8200: python3.15 app.py 30\n", "-".repeat(80));
        assert!(text.contains(&rule), "{text}");
        assert!(
            text.contains("14 of 1024\nParent Process 8172: python3.15 app.py\n\nThread"),
            "{text}"
        );
    }

    #[test]
    fn colours_never_change_the_text() {
        let coloured = TextOptions {
            colour: true,
            full_filenames: true,
        };
        let plain = TextOptions {
            colour: false,
            ..coloured
        };
        let with = text(&[samples::process()], coloured);
        assert!(with.contains("\u{1b}[1m\u{1b}[33m8172\u{1b}[0m"), "{with}");
        let stripped = anstream::adapter::strip_str(&with).to_string();
        assert_eq!(stripped, text(&[samples::process()], plain));
        assert!(stripped.contains("(/srv/app.py:11)"), "{stripped}");
    }

    #[test]
    fn shows_the_gil_of_a_thread_that_waits() {
        let mut process = samples::process();
        for thread in &mut process.threads {
            thread.info.active = false;
        }
        assert!(text(&[process], PLAIN).contains("(idle+gil): \"MainThread\""));
    }

    #[test]
    fn shows_the_thread_that_collects_garbage() {
        let mut process = samples::process();
        for thread in &mut process.threads {
            thread.info.collecting = true;
        }
        assert!(text(&[process], PLAIN).contains("(active+gil+gc): \"MainThread\""));
    }

    #[test]
    fn variables_of_a_running_thread_are_marked() {
        let mut process = samples::process();
        let frames = process.threads.iter_mut().flat_map(|one| &mut one.frames);
        for locals in frames.filter_map(|frame| frame.locals.as_mut()) {
            locals.state = LocalsState::WhileRunning;
        }
        let marked = text(&[process.clone()], PLAIN);
        let expected = "Arguments: (read while running)\n            n: 0\n";
        assert!(marked.contains(expected), "{marked}");
        assert!(
            marked.contains("Locals: (read while running)\n"),
            "{marked}"
        );
        let frames = process.threads.iter_mut().flat_map(|one| &mut one.frames);
        for locals in frames.filter_map(|frame| frame.locals.as_mut()) {
            locals.state = LocalsState::Omitted;
            locals.variables.clear();
        }
        let omitted = text(&[process], PLAIN);
        let expected = "leaf (app.py:11)\n        (variables left out)\n    Thing.method";
        assert!(omitted.contains(expected), "{omitted}");
    }
}
