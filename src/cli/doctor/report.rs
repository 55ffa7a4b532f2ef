//! `doctor`'s report, the input of both printers. The names of the fields are the keys of the JSON; what
//! is unknown is `None`, `null` there.

use serde::Serialize;

/// The version of the JSON's schema: it changes when a key goes or changes its meaning.
pub const SCHEMA: u32 = 1;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub schema: u32,
    pub pid: i32,
    pub verdict: Verdict,
    /// Problems with their fixes.
    pub problems: Vec<Problem>,
    pub pyspy_rs: Own,
    /// `None` when there is no such process.
    pub process: Option<Process>,
    pub python: Option<PythonPart>,
    /// `None` when there is nothing to read.
    pub access: Option<Access>,
    pub threads: Option<Threads>,
    pub symbols: Option<Symbols>,
    /// Which options of the other commands work.
    pub options: Option<Features>,
    pub sample: Option<TestSample>,
}

#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// The first line of the text.
    pub line: String,
    /// Whether it can be profiled: decides the exit status.
    pub can_read: bool,
    /// Whether its threads can be paused; `None`: not tried.
    pub can_pause: Option<bool>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub problem: String,
    /// Commands to run, or a sentence.
    pub fixes: Vec<String>,
}

/// pyspy-rs and the system.
#[derive(Debug, Default, Serialize)]
pub struct Own {
    pub version: &'static str,
    pub kernel: Option<String>,
    /// The architecture of this build.
    pub machine: &'static str,
    pub uid: Option<u32>,
    /// Effective capabilities of pyspy-rs, as a hexadecimal bit set.
    pub capabilities: String,
    /// The relevant ones, by name without `CAP_`.
    pub capability_names: Vec<&'static str>,
    /// Seccomp mode of pyspy-rs: none, strict, filter.
    pub seccomp: Option<&'static str>,
    pub yama_scope: Option<u32>,
    /// Whether pyspy-rs seems to run in a container.
    pub container: bool,
    /// The CPUs that a quota of its control groups leaves to pyspy-rs.
    pub cpu_quota: Option<f64>,
}

/// The process, as any user can see it.
#[derive(Debug, Serialize)]
pub struct Process {
    /// The arguments, with secrets redacted.
    pub command: Vec<String>,
    /// The kernel's name of it (comm).
    pub name: String,
    /// The executable, in the process's root.
    pub executable: Option<String>,
    /// present, deleted, replaced.
    pub executable_is: Option<&'static str>,
    /// State of its main thread.
    pub state: &'static str,
    pub parent_pid: i32,
    /// Seconds since it started.
    pub age_seconds: Option<f64>,
    pub uid: Option<u32>,
    pub effective_uid: Option<u32>,
    pub user: Option<String>,
    pub tracer_pid: Option<i32>,
    pub tracer_command: Option<String>,
    /// Its seccomp mode.
    pub seccomp: Option<&'static str>,
    /// Whether exec cannot grant it privileges.
    pub no_new_privileges: bool,
    /// Its namespaces, compared to those of pyspy-rs.
    pub namespaces: Vec<Namespace>,
    /// PID in its own PID namespace.
    pub inner_pid: Option<i32>,
    /// Whether it has the root directory of pyspy-rs.
    pub same_root: Option<bool>,
    pub cgroup: Option<String>,
    /// The tightest memory limit, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Remaining bytes of that limit.
    pub memory_left_bytes: Option<u64>,
    /// Resident set size, in bytes.
    pub rss_bytes: Option<u64>,
    /// The control group that it is frozen by.
    pub frozen_by: Option<String>,
    /// The control group of pyspy-rs that can be frozen without the process.
    pub freezes_without: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Namespace {
    /// pid, mnt, user, net.
    pub kind: &'static str,
    /// Whether it is that of pyspy-rs.
    pub same: Option<bool>,
}

/// The interpreter.
#[derive(Debug, Serialize)]
pub struct PythonPart {
    pub version: String,
    /// What the version was read from.
    pub version_source: String,
    /// The file that contains the interpreter.
    pub image: String,
    /// Program, libpython, or another library.
    pub image_is: &'static str,
    /// How the interpreter's state was located.
    pub state_source: String,
    /// Where the structure layout comes from.
    pub layout_source: String,
    pub free_threaded: bool,
    /// `None`: no symbol shows it.
    pub debug_build: Option<bool>,
    /// Interpreter ids, oldest first; at most 100.
    pub interpreter_ids: Vec<i64>,
    /// Number of interpreters.
    pub interpreters: usize,
}

/// The ways to read, to pause and to sample the process.
#[derive(Debug, Default, Serialize)]
pub struct Access {
    /// Reads several ranges in one call.
    pub process_vm_readv: AccessMethod,
    /// Reads one range per call.
    pub proc_mem: AccessMethod,
    pub ptrace_seize: AccessMethod,
    /// Sampling by a BPF program in the kernel, as `record --engine kernel` does.
    pub kernel_engine: AccessMethod,
}

#[derive(Debug, Default, Serialize)]
pub struct AccessMethod {
    /// `None`: not tried.
    pub works: Option<bool>,
    /// The system's error.
    pub error: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Threads {
    /// Threads known to the kernel.
    pub total: usize,
    /// Threads known to the interpreter; `None` if it cannot be read.
    pub python: Option<usize>,
    /// Stacks in the last sample.
    pub stacks: usize,
    /// The first of these threads.
    pub python_names: Vec<PythonName>,
    /// The kernel's names of the other threads and their counts, most frequent first.
    pub native_names: Vec<(String, usize)>,
}

/// A Python thread.
#[derive(Debug, Serialize)]
pub struct PythonName {
    pub os_thread_id: Option<i32>,
    /// `threading.Thread.name`.
    pub name: Option<String>,
    pub frames: usize,
}

#[derive(Debug, Default, Serialize)]
pub struct Symbols {
    /// The program and the interpreter's library.
    pub main: Vec<FileSymbols>,
    /// Number of other mapped libraries.
    pub others: usize,
    /// Those with `.symtab`.
    pub others_symtab: usize,
    /// Those with `.dynsym` only.
    pub others_dynsym_only: usize,
    /// Those without symbols or not readable.
    pub others_none: usize,
    /// Those with a `.gnu_debuglink`.
    pub others_debuglink: usize,
    /// Those with a build id.
    pub others_build_id: usize,
    /// Those with an installed debug file.
    pub others_debug_file: usize,
}

/// The symbols of one file.
#[derive(Debug, Serialize)]
pub struct FileSymbols {
    /// Its path in the target's root.
    pub path: String,
    /// Why it is not readable.
    pub error: Option<String>,
    pub symtab: bool,
    pub dynsym: bool,
    pub debug_info: bool,
    pub debuglink: bool,
    /// The build id, in hexadecimal.
    pub build_id: Option<String>,
    /// Whether /usr/lib/debug has a file for that build id.
    pub debug_file: bool,
}

/// Which options of the other commands work.
#[derive(Debug, Serialize)]
pub struct Features {
    /// `--gil`: `None` when it works, else why not.
    pub gil: Option<&'static str>,
    pub gc: Option<&'static str>,
    pub cpu: Option<&'static str>,
    pub memory: Option<&'static str>,
    /// PSS and USS, beside it.
    pub shares: Option<&'static str>,
}

/// The test's results.
#[derive(Debug, Default, Serialize)]
pub struct TestSample {
    pub paused: bool,
    /// Duration of the test.
    pub seconds: f64,
    /// Requested samples per second.
    pub rate_asked: f64,
    /// Achieved samples per second.
    pub rate: f64,
    /// Ticks that were sampled.
    pub samples: u64,
    /// Ticks that were missed.
    pub missed: u64,
    /// The sustainable rate, if this one was not sustained.
    pub advice: Option<String>,
    /// Threads or processes that were not readable.
    pub errors: u64,
    /// The first distinct ones.
    pub error_texts: Vec<String>,
    /// Stacks that changed while they were read.
    pub torn: u64,
    /// Stacks that were read.
    pub stacks: u64,
    /// Frames of the deepest one.
    pub max_depth: usize,
    /// Samples in which some thread held the GIL.
    pub with_gil: u64,
    /// CPU time of pyspy-rs per sample, in microseconds.
    pub cpu_us_per_sample: Option<f64>,
    /// Mean duration of a sample, in microseconds.
    pub look_us: Option<f64>,
    /// Number of pauses.
    pub pauses: u64,
    /// Median pause, in microseconds.
    pub pause_median_us: Option<f64>,
    pub pause_p99_us: Option<f64>,
    pub pause_max_us: Option<f64>,
    /// Why the test ended early.
    pub ended: Option<String>,
}
