//! `doctor`'s report as plain text: the verdict, then the facts, one per line.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use super::labels::{self, cut, file_symbols, frames, or_unknown, same, us, user, yama, yes_no};
use super::report::{
    Access, Features, Own, Process, PythonPart, Report, Symbols, TestSample, Threads,
};
use crate::text::escape::{command_line, for_terminal};
use crate::text::units::{mib, rough_duration};

/// Column of the facts.
const INDENT: usize = 20;
/// Most Python threads that are listed.
const MAX_LISTED: usize = 12;

/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}", for_terminal(&report.verdict.line))?;
    let mut page = Page { out };
    for problem in &report.problems {
        page.section("Problem")?;
        page.line("what", &problem.problem)?;
        for fix in &problem.fixes {
            page.line("fix", fix)?;
        }
    }
    page.own(&report.pyspy_rs)?;
    page.section(&format!("Process {}", report.pid))?;
    match &report.process {
        Some(process) => page.process(process)?,
        None => page.line("state", "no visible process has this PID")?,
    }
    if let Some(access) = &report.access {
        page.access(access)?;
    }
    if let Some(python) = &report.python {
        page.python(python)?;
    }
    if let Some(threads) = &report.threads {
        page.threads(threads)?;
    }
    if let Some(symbols) = &report.symbols {
        page.symbols(symbols)?;
    }
    if let Some(features) = &report.options {
        page.features(features)?;
    }
    if let Some(sample) = &report.sample {
        page.sample(sample)?;
    }
    writeln!(
        page.out,
        "\nSecrets that were recognized are redacted; check this report before you share it."
    )
}

struct Page<'o, W> {
    out: &'o mut W,
}

impl<W: Write> Page<'_, W> {
    fn section(&mut self, title: &str) -> io::Result<()> {
        writeln!(self.out, "\n{title}")
    }

    fn line(&mut self, label: &str, text: impl Display) -> io::Result<()> {
        let text = text.to_string();
        let text = for_terminal(&text);
        writeln!(self.out, "  {label:<0$}{text}", INDENT - 2)
    }

    fn own(&mut self, own: &Own) -> io::Result<()> {
        let kernel = or_unknown(own.kernel.as_deref());
        self.section(&format!("pyspy-rs {}", own.version))?;
        self.line("system", format!("Linux {kernel}, {}", own.machine))?;
        let uid = own
            .uid
            .map_or_else(|| "unknown".into(), |uid| uid.to_string());
        self.line("user", if uid == "0" { "0 (root)" } else { &uid })?;
        let names = match own.capability_names.as_slice() {
            [] => "none that helps here".to_owned(),
            names => names.join(", "),
        };
        self.line("capabilities", format!("{names} ({})", own.capabilities))?;
        self.line("seccomp", or_unknown(own.seccomp))?;
        let yama = match own.yama_scope {
            None => "not enabled".to_owned(),
            Some(scope) => format!("ptrace_scope {scope}: {}", yama(scope)),
        };
        self.line("Yama", yama)?;
        self.line("in a container", yes_no(own.container))?;
        let quota = own.cpu_quota.map(|cpus| {
            format!("{cpus:.2} CPUs: while that is used up, threads are sampled without pausing")
        });
        self.line("CPU quota", quota.as_deref().unwrap_or("none visible"))
    }

    fn process(&mut self, process: &Process) -> io::Result<()> {
        let command = match process.command.as_slice() {
            [] => format!("[{}]", process.name),
            words => cut(&command_line(words)),
        };
        self.line("command", command)?;
        let executable = or_unknown(process.executable.as_deref());
        let what = match process.executable_is {
            Some("deleted") => " (deleted since it started)",
            Some("replaced") => " (replaced since it started, as by an upgrade)",
            _ => "",
        };
        self.line("executable", format!("{executable}{what}"))?;
        let age = process
            .age_seconds
            .and_then(|s| Duration::try_from_secs_f64(s).ok());
        let age = age.map(|age| format!(", started {} ago", rough_duration(age)));
        self.line(
            "state",
            format!("{}{}", process.state, age.unwrap_or_default()),
        )?;
        self.line("parent", process.parent_pid)?;
        self.line("user", user(process))?;
        let tracer = match (process.tracer_pid, &process.tracer_command) {
            (Some(pid), command) => format!("process {pid} ({})", or_unknown(command.as_deref())),
            (None, _) => "none".to_owned(),
        };
        self.line("traced by", tracer)?;
        let privileges = if process.no_new_privileges {
            ", no new privileges"
        } else {
            ""
        };
        self.line(
            "seccomp",
            format!("{}{privileges}", or_unknown(process.seccomp)),
        )?;
        let namespaces: Vec<String> = process
            .namespaces
            .iter()
            .map(|one| format!("{} {}", one.kind, same(one.same)))
            .collect();
        self.line("namespaces", namespaces.join(", "))?;
        if let Some(inner) = process.inner_pid {
            self.line("PID inside", inner)?;
        }
        self.line("root directory", same(process.same_root))?;
        self.line("cgroup", or_unknown(process.cgroup.as_deref()))?;
        let limit = process.memory_limit_bytes.zip(process.memory_left_bytes);
        let limit = limit.map(|(limit, left)| format!("{}, {} left", mib(limit), mib(left)));
        self.line("memory limit", limit.as_deref().unwrap_or("none visible"))?;
        self.line(
            "resident",
            process.rss_bytes.map_or_else(|| "unknown".into(), mib),
        )?;
        match &process.freezes_without {
            Some(group) => self.line(
                "freezer",
                format!(
                    "cgroup {group} of pyspy-rs can be frozen (docker pause) without this process: a \
                     thread that is paused at that moment waits until it is thawed"
                ),
            ),
            None => Ok(()),
        }
    }

    fn access(&mut self, access: &Access) -> io::Result<()> {
        self.section("Access")?;
        self.line("process_vm_readv", labels::access(&access.process_vm_readv))?;
        self.line("/proc/PID/mem", labels::access(&access.proc_mem))?;
        self.line("pausing (ptrace)", labels::access(&access.ptrace_seize))?;
        self.line("kernel engine", labels::access(&access.kernel_engine))
    }

    fn python(&mut self, python: &PythonPart) -> io::Result<()> {
        self.section("Python")?;
        let version = format!("{}, from {}", python.version, python.version_source);
        self.line("version", version)?;
        self.line("file", format!("{} ({})", python.image, python.image_is))?;
        self.line("state found by", &python.state_source)?;
        self.line("layout", &python.layout_source)?;
        let debug = match python.debug_build {
            Some(true) => "debug",
            Some(false) => "no debug",
            None => "debug unknown: no symbols",
        };
        let free = if python.free_threaded {
            "free-threaded, "
        } else {
            "with a GIL, "
        };
        self.line("build", format!("{free}{debug}"))?;
        let ids = python.interpreter_ids.iter().take(MAX_LISTED);
        let ids: Vec<String> = ids.map(ToString::to_string).collect();
        let more = if python.interpreters > ids.len() {
            ", …"
        } else {
            ""
        };
        let count = python.interpreters;
        self.line(
            "interpreters",
            format!("{count} (id {}{more})", ids.join(", ")),
        )
    }

    fn threads(&mut self, threads: &Threads) -> io::Result<()> {
        self.section("Threads")?;
        let python = threads
            .python
            .map(|count| format!(", {count} known to Python"));
        self.line(
            "all",
            format!("{}{}", threads.total, python.unwrap_or_default()),
        )?;
        for thread in threads.python_names.iter().take(MAX_LISTED) {
            let tid = thread
                .os_thread_id
                .map_or_else(|| "?".into(), |tid| tid.to_string());
            let name = thread.name.as_deref().unwrap_or("unnamed");
            self.line(&tid, format!("{} ({})", cut(name), frames(thread.frames)))?;
        }
        let listed = threads.python_names.len().min(MAX_LISTED);
        if threads.stacks > listed {
            self.line("…", format!("{} more", threads.stacks - listed))?;
        }
        let native: Vec<String> = threads
            .native_names
            .iter()
            .map(|(name, count)| match count {
                1 => name.clone(),
                count => format!("{name} ({count})"),
            })
            .collect();
        match native.as_slice() {
            [] => Ok(()),
            names => self.line("native", names.join(", ")),
        }
    }

    fn symbols(&mut self, symbols: &Symbols) -> io::Result<()> {
        self.section("Symbols of native code")?;
        for file in &symbols.main {
            self.line("file", &file.path)?;
            self.line("", file_symbols(file))?;
        }
        let Symbols {
            others,
            others_symtab,
            others_dynsym_only,
            others_none,
            others_debuglink,
            others_build_id,
            others_debug_file,
            ..
        } = symbols;
        self.line(
            "other libraries",
            format!(
                "{others}: {others_symtab} with .symtab, {others_dynsym_only} with .dynsym only, \
                 {others_none} without; {others_build_id} with a build id, {others_debuglink} with a \
                 debuglink, {others_debug_file} with a debug file installed"
            ),
        )
    }

    fn features(&mut self, features: &Features) -> io::Result<()> {
        self.section("Options")?;
        for (option, missing) in [
            ("--gil", features.gil),
            ("--gc", features.gc),
            ("--cpu", features.cpu),
            ("--memory", features.memory),
            ("PSS and USS", features.shares),
        ] {
            let text = missing.map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
            self.line(option, text)?;
        }
        Ok(())
    }

    fn sample(&mut self, test: &TestSample) -> io::Result<()> {
        self.section("Test")?;
        let how = if test.paused {
            "pausing"
        } else {
            "without pausing"
        };
        let TestSample {
            samples,
            seconds,
            missed,
            ..
        } = test;
        self.line(
            "samples",
            format!("{samples} in {seconds:.2} s ({how}), {missed} missed"),
        )?;
        let (rate, requested) = (test.rate, test.rate_asked);
        self.line("rate", format!("{rate:.1} of {requested:.0} per second"))?;
        if let Some(advice) = &test.advice {
            self.line("", advice)?;
        }
        let (stacks, depth) = (test.stacks, test.max_depth);
        self.line("stacks", format!("{stacks}, {} at most", frames(depth)))?;
        self.line(
            "GIL held",
            format!("in {} of {samples} samples", test.with_gil),
        )?;
        self.line("errors", format!("{}, {} torn", test.errors, test.torn))?;
        for error in &test.error_texts {
            self.line("", cut(error))?;
        }
        let (cpu, sample_time) = (us(test.cpu_us_per_sample), us(test.look_us));
        self.line(
            "cost to pyspy-rs",
            format!("{cpu} CPU and {sample_time} wall time per sample"),
        )?;
        let pauses = match test.pauses {
            0 => "no pauses".to_owned(),
            count => format!(
                "{count} {}: {} median, {} p99, {} max",
                if count == 1 { "pause" } else { "pauses" },
                us(test.pause_median_us),
                us(test.pause_p99_us),
                us(test.pause_max_us)
            ),
        };
        self.line("cost to target", pauses)?;
        test.ended
            .as_ref()
            .map_or(Ok(()), |why| self.line("ended early", why))
    }
}
