//! What `doctor` finds out, as both of its printers take it. The names of the fields are the keys of
//! the JSON; whatever the system or the target does not tell is `None`, `null` there.

use serde::Serialize;

/// The version of the JSON's schema: it changes when a key goes or changes its meaning.
pub const SCHEMA: u32 = 1;

/// The page.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The process that was asked for.
    pub pid: i32,
    /// What it comes to.
    pub verdict: Verdict,
    /// What is in the way, and what to do about each.
    pub problems: Vec<Problem>,
    /// Ourselves.
    pub pyspy_rs: Own,
    /// The process as everybody sees it; `None` when there is none.
    pub process: Option<Process>,
    /// Its interpreter.
    pub python: Option<PythonPart>,
    /// The ways into it; `None` when there is nothing to get into.
    pub access: Option<Access>,
    /// Its threads.
    pub threads: Option<Threads>,
    /// The symbols of native code.
    pub symbols: Option<Symbols>,
    /// What the options of the other commands can count on.
    pub options: Option<Features>,
    /// The test.
    pub sample: Option<TestSample>,
}

/// What the examination comes to.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// The first line of the page.
    pub line: String,
    /// Whether it can be profiled: decides the exit status.
    pub can_read: bool,
    /// Whether its threads can be paused; `None` where that was not tried.
    pub can_pause: Option<bool>,
}

/// Something in the way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong.
    pub problem: String,
    /// What to do: commands to run, or a sentence.
    pub fixes: Vec<String>,
}

/// Ourselves and our system.
#[derive(Debug, Default, Serialize)]
pub struct Own {
    /// Our version.
    pub version: &'static str,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The machine we were built for.
    pub machine: &'static str,
    /// Our effective user.
    pub uid: Option<u32>,
    /// Our effective capabilities, as a hexadecimal set of bits.
    pub capabilities: String,
    /// Those that matter, by name without `CAP_`.
    pub capability_names: Vec<&'static str>,
    /// Our seccomp mode: none, strict, filter.
    pub seccomp: Option<&'static str>,
    /// `kernel.yama.ptrace_scope`.
    pub yama_scope: Option<u32>,
    /// Whether we seem to be in a container.
    pub container: bool,
}

/// The process as everybody sees it.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Its arguments, without what looks like a secret.
    pub command: Vec<String>,
    /// What the kernel calls it.
    pub name: String,
    /// The file that it runs, in its own root.
    pub executable: Option<String>,
    /// present, deleted, replaced.
    pub executable_is: Option<&'static str>,
    /// What its main thread does.
    pub state: &'static str,
    /// Its parent.
    pub parent_pid: i32,
    /// Seconds since it started.
    pub age_seconds: Option<f64>,
    /// Real user.
    pub uid: Option<u32>,
    /// Effective user.
    pub effective_uid: Option<u32>,
    /// The real user's name.
    pub user: Option<String>,
    /// Who traces it.
    pub tracer_pid: Option<i32>,
    /// The tracer's command.
    pub tracer_command: Option<String>,
    /// Its seccomp mode.
    pub seccomp: Option<&'static str>,
    /// Whether executing a program can give it no more rights.
    pub no_new_privileges: bool,
    /// Whether it is in our namespaces.
    pub namespaces: Vec<Namespace>,
    /// Its id in its own PID namespace.
    pub inner_pid: Option<i32>,
    /// Whether its root folder is ours.
    pub same_root: Option<bool>,
    /// Its control group.
    pub cgroup: Option<String>,
    /// The tightest memory limit, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// What is left of it, in bytes.
    pub memory_left_bytes: Option<u64>,
    /// Its resident memory, in bytes.
    pub rss_bytes: Option<u64>,
}

/// One namespace.
#[derive(Debug, Serialize)]
pub struct Namespace {
    /// pid, mnt, user, net.
    pub kind: &'static str,
    /// Whether it is ours.
    pub same: Option<bool>,
}

/// The interpreter.
#[derive(Debug, Serialize)]
pub struct PythonPart {
    /// Its version.
    pub version: String,
    /// What told that.
    pub version_source: String,
    /// The file that holds it.
    pub image: String,
    /// Whether that is the program itself, a libpython, or another library.
    pub image_is: &'static str,
    /// What told where its state is.
    pub state_source: String,
    /// Where its layout comes from.
    pub layout_source: String,
    /// Whether it is a free-threaded build.
    pub free_threaded: bool,
    /// Whether it is a debug build; `None` where no symbol tells.
    pub debug_build: Option<bool>,
    /// The ids of its interpreters, oldest first; no more than 100 of them.
    pub interpreter_ids: Vec<i64>,
    /// How many there are.
    pub interpreters: usize,
}

/// The ways into the process: an error's text, or null for what works.
#[derive(Debug, Default, Serialize)]
pub struct Access {
    /// Reading several places of its memory in one call.
    pub process_vm_readv: AccessMethod,
    /// Reading one place at a time.
    pub proc_mem: AccessMethod,
    /// Pausing a thread.
    pub ptrace_seize: AccessMethod,
}

/// One way.
#[derive(Debug, Default, Serialize)]
pub struct AccessMethod {
    /// Whether it is open; `None`: not tried.
    pub works: Option<bool>,
    /// What the system said.
    pub error: Option<String>,
}

/// Its threads.
#[derive(Debug, Serialize)]
pub struct Threads {
    /// All that the kernel knows.
    pub total: usize,
    /// Those that the interpreter knows; `None` where it could not be asked.
    pub python: Option<usize>,
    /// How many stacks the last sample showed.
    pub stacks: usize,
    /// The first of these.
    pub python_names: Vec<PythonName>,
    /// What the kernel calls the others, and how many have each name; the most frequent ones.
    pub native_names: Vec<(String, usize)>,
}

/// A Python thread.
#[derive(Debug, Serialize)]
pub struct PythonName {
    /// The kernel's id.
    pub os_thread_id: Option<i32>,
    /// `threading.Thread.name`.
    pub name: Option<String>,
    /// How many frames it had.
    pub frames: usize,
}

/// The symbols of native code.
#[derive(Debug, Default, Serialize)]
pub struct Symbols {
    /// Those of the program and of the interpreter's library.
    pub main: Vec<FileSymbols>,
    /// How many other libraries are mapped.
    pub others: usize,
    /// Of these, how many have `.symtab`.
    pub others_symtab: usize,
    /// How many have only what they export.
    pub others_dynsym_only: usize,
    /// How many have nothing, or could not be read.
    pub others_none: usize,
    /// How many name a file that has their symbols.
    pub others_debuglink: usize,
    /// How many have a build id.
    pub others_build_id: usize,
    /// How many have a debug file installed.
    pub others_debug_file: usize,
}

/// The symbols of one file.
#[derive(Debug, Serialize)]
pub struct FileSymbols {
    /// Its path in the target's root.
    pub path: String,
    /// Why it could not be read.
    pub error: Option<String>,
    /// `.symtab`.
    pub symtab: bool,
    /// `.dynsym`.
    pub dynsym: bool,
    /// `.debug_info`.
    pub debug_info: bool,
    /// `.gnu_debuglink`.
    pub debuglink: bool,
    /// The build id, in hexadecimal.
    pub build_id: Option<String>,
    /// Whether /usr/lib/debug has a file for that build id.
    pub debug_file: bool,
}

/// What the options of the other commands can count on.
#[derive(Debug, Serialize)]
pub struct Features {
    /// `--gil`: `None` when it works, else why not.
    pub gil: Option<&'static str>,
    /// `--gc`.
    pub gc: Option<&'static str>,
    /// `--cpu`.
    pub cpu: Option<&'static str>,
    /// `--memory`.
    pub memory: Option<&'static str>,
    /// PSS and USS, beside it.
    pub shares: Option<&'static str>,
}

/// What the test found.
#[derive(Debug, Default, Serialize)]
pub struct TestSample {
    /// Whether threads were paused.
    pub paused: bool,
    /// How long it took.
    pub seconds: f64,
    /// Looks a second that were asked for.
    pub rate_asked: f64,
    /// Looks a second that were taken.
    pub rate: f64,
    /// Looks that were taken.
    pub samples: u64,
    /// Looks that were left out.
    pub missed: u64,
    /// Which rate could be held, where this one was not.
    pub advice: Option<String>,
    /// What could not be read.
    pub errors: u64,
    /// The first of these, different ones.
    pub error_texts: Vec<String>,
    /// Stacks that changed while they were read.
    pub torn: u64,
    /// Stacks that were read.
    pub stacks: u64,
    /// The deepest of these.
    pub max_depth: usize,
    /// Samples in which some thread held the GIL.
    pub with_gil: u64,
    /// Our CPU time for each sample, in microseconds.
    pub cpu_us_per_sample: Option<f64>,
    /// How long a look took on average, in microseconds.
    pub look_us: Option<f64>,
    /// How often a thread was paused.
    pub pauses: u64,
    /// For how long: the median, in microseconds.
    pub pause_median_us: Option<f64>,
    /// The 99th percentile.
    pub pause_p99_us: Option<f64>,
    /// The longest.
    pub pause_max_us: Option<f64>,
    /// Why the test ended early.
    pub ended: Option<String>,
}
