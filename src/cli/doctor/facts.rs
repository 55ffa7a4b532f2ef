//! The parts of `doctor`'s report, each from the floors below.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::report::{
    Access, AccessMethod, Features, FileSymbols, Namespace, Own, Process, PythonPart, Symbols,
    Threads,
};
use crate::cpython::process::PythonProcess;
use crate::os::deadline::Deadline;
use crate::os::diagnose::facts::{Counters, OwnFacts, ProcessFacts, Program, thread_name};
use crate::os::diagnose::probe::{try_proc_mem, try_process_vm_readv, try_seize};
use crate::os::elf::ElfFile;
use crate::os::elf::symbol_info::SymbolInfo;
use crate::os::memory::address::RemoteAddr;
use crate::os::process::TargetProcess;
use crate::os::procfs::cgroup::cpu::CpuQuota;
use crate::os::procfs::maps::{Image, images, read_mappings};
use crate::os::procfs::paths::open_regular;
use crate::os::procfs::statm::RssReader;
use crate::os::procfs::tasks;
use crate::os::ptrace::pause::PauseError;
use crate::os::thread::state::RunState;
use crate::os::work_budget::{ATTACH, EXAMINE};
use crate::os::{Pid, Tid};
use crate::sampler::kernel::{KernelEngine, KernelOptions};
use crate::session::errors::without_number;
use crate::text::secrets::Secrets;

/// Most interpreters that are listed, names of native threads, and native threads whose names are read.
const MAX_INTERPRETERS: usize = 100;
const MAX_NATIVE_NAMES: usize = 20;
const MAX_NATIVE_THREADS: usize = 5_000;
/// Most mapped files that are opened.
const MAX_IMAGES: usize = 2_000;
/// The longest build id that is shown, in bytes: a SHA-1 has 20.
const MAX_BUILD_ID: usize = 64;

pub fn own(facts: &OwnFacts) -> Own {
    Own {
        version: env!("CARGO_PKG_VERSION"),
        kernel: facts.kernel.clone(),
        machine: std::env::consts::ARCH,
        uid: facts.uid,
        capabilities: format!("{:016x}", facts.capabilities),
        capability_names: facts.capability_names(),
        seccomp: facts.seccomp.map(seccomp),
        yama_scope: facts.yama_scope,
        container: facts.container,
        cpu_quota: CpuQuota::own().map(|quota| quota.cpus()),
    }
}

fn seccomp(mode: u8) -> &'static str {
    match mode {
        0 => "none",
        1 => "strict",
        _ => "filter",
    }
}

pub fn process(pid: Pid, facts: &ProcessFacts, secrets: Secrets) -> Process {
    let (executable, executable_is) = match &facts.program {
        Program::Unknown => (None, None),
        Program::Present(path) => (Some(path), Some("present")),
        Program::Deleted(path) => (Some(path), Some("deleted")),
        Program::Replaced(path) => (Some(path), Some("replaced")),
    };
    let kinds = facts.namespaces.iter();
    let limit = facts.limit.as_ref();
    Process {
        command: facts.command.excerpt(secrets),
        name: facts.name.clone(),
        executable: executable.map(|path| path.display().to_string()),
        executable_is,
        state: match facts.state {
            _ if facts.kernel_thread => "a thread of the kernel",
            _ if facts.frozen.is_some() => "frozen by its control group",
            RunState::Running => "running",
            RunState::Sleeping => "sleeping",
            RunState::DiskWait => "in an uninterruptible wait (mostly for a disk)",
            RunState::Stopped => "stopped (Ctrl-Z or SIGSTOP)",
            RunState::Traced => "stopped by its tracer",
            RunState::Zombie => "ended (a zombie), or only its main thread",
            RunState::Other => "another",
        },
        parent_pid: facts.parent,
        age_seconds: facts.age.map(|age| age.as_secs_f64()),
        uid: facts.uids.map(|(real, _)| real),
        effective_uid: facts.uids.map(|(_, effective)| effective),
        user: facts.user.clone(),
        tracer_pid: facts.tracer.as_ref().map(|(pid, _)| *pid),
        tracer_command: facts.tracer.as_ref().map(|(_, command)| command.clone()),
        seccomp: facts.seccomp.map(seccomp),
        no_new_privileges: facts.no_new_privileges,
        namespaces: kinds
            .map(|&(kind, same)| Namespace { kind, same })
            .collect(),
        inner_pid: facts.inner_pid,
        same_root: facts.same_root,
        cgroup: facts.cgroup.clone(),
        memory_limit_bytes: limit.map(|limit| limit.limit_bytes),
        memory_left_bytes: limit.map(crate::os::procfs::cgroup::memory::MemoryLimit::left_bytes),
        rss_bytes: RssReader::open(pid).and_then(|rss| rss.rss_bytes()).ok(),
        frozen_by: facts
            .frozen
            .as_ref()
            .map(|one| one.group.display().to_string()),
        freezes_without: facts.frozen_without.clone(),
    }
}

/// How the kernel engine is tried.
const TRIAL: KernelOptions = KernelOptions {
    rate_hz: 100,
    may_pause: false,
    memory: true,
    waits: false,
};

/// Tries the ways to read a process and, with `seizes`, to pause it and to have the kernel sample it. Also returns why
/// pausing failed.
pub fn access(pid: Pid, seizes: bool) -> (Access, Option<PauseError>) {
    let deadline = Deadline::after(EXAMINE);
    let mappings = read_mappings(pid, deadline).unwrap_or_default();
    let readable = mappings.iter().find(|mapping| mapping.readable);
    // Without permission the kernel does not check the address.
    let at = RemoteAddr(readable.map_or(4096, |mapping| mapping.start));
    let way = |result: std::io::Result<()>| AccessMethod {
        works: Some(result.is_ok()),
        error: result
            .err()
            .map(|error| without_number(&error.to_string()).to_owned()),
    };
    let mut access = Access {
        process_vm_readv: way(try_process_vm_readv(pid, at)),
        proc_mem: way(try_proc_mem(pid, at)),
        ptrace_seize: AccessMethod::default(),
        kernel_engine: AccessMethod::default(),
    };
    if !seizes {
        return (access, None);
    }
    let kernel = KernelEngine::load(pid, TRIAL).err();
    access.kernel_engine = AccessMethod {
        works: Some(kernel.is_none()),
        error: kernel.map(|error| error.to_string()),
    };
    // The main thread, unless it ended before the others.
    let lives = |tid: &Tid| RunState::of_thread(pid, *tid).is_ok_and(|s| s != RunState::Zombie);
    let tid = tasks::thread_ids(pid)
        .unwrap_or_default()
        .into_iter()
        .find(lives)
        .unwrap_or(pid);
    let seized = try_seize(pid, tid);
    access.ptrace_seize = AccessMethod {
        works: Some(seized.is_ok()),
        error: seized.as_ref().err().map(PauseError::to_string),
    };
    (access, seized.err())
}

pub fn python(process: &mut PythonProcess) -> PythonPart {
    let exe = process.target().exe_path();
    let threads = process.threads().unwrap_or_default();
    let ids: BTreeSet<i64> = threads
        .threads
        .iter()
        .map(|thread| thread.state.interpreter.id)
        .collect();
    let (found, python) = (process.found(), process.python());
    let image = Path::new(&found.image);
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    PythonPart {
        version: python.version.to_string(),
        version_source: found.version_source.to_string(),
        image_is: if image == exe {
            "the program itself"
        } else if name.starts_with("libpython") {
            "a shared library"
        } else {
            "another library, or the program under another name"
        },
        image: found.image.clone(),
        state_source: found.roots_source.to_string(),
        layout_source: python.layout_source.to_string(),
        free_threaded: python.semantics.free_threaded,
        debug_build: process.is_debug_build(),
        interpreters: ids.len(),
        interpreter_ids: ids.into_iter().take(MAX_INTERPRETERS).collect(),
    }
}

/// The threads; the test adds the names of those with Python frames.
pub fn threads(pid: Pid, process: Option<&mut PythonProcess>) -> Option<Threads> {
    let tids = match &process {
        Some(process) => process.target().thread_ids().ok()?,
        None => tasks::thread_ids(pid).unwrap_or_default(),
    };
    let python = process.and_then(|process| process.threads().ok());
    let listed = python.iter().flat_map(|list| &list.threads);
    // A thread that runs in several interpreters counts once.
    let known: HashSet<Tid> = listed.clone().filter_map(|one| one.os_thread_id).collect();
    let unknown = listed.filter(|one| one.os_thread_id.is_none()).count();
    let mut names: HashMap<String, usize> = HashMap::new();
    let others = tids.iter().filter(|tid| !known.contains(tid));
    for tid in others.take(MAX_NATIVE_THREADS) {
        if let Some(name) = thread_name(pid, *tid) {
            *names.entry(name).or_default() += 1;
        }
    }
    let mut native_names: Vec<(String, usize)> = names.into_iter().collect();
    native_names.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
    native_names.truncate(MAX_NATIVE_NAMES);
    Some(Threads {
        total: tids.len(),
        python: python.as_ref().map(|_| known.len() + unknown),
        stacks: 0,
        python_names: Vec::new(),
        native_names,
    })
}

/// Which options of the other commands work.
pub fn features(process: &mut PythonProcess) -> Features {
    let counters = Counters::of_process(process.pid());
    let list = process.threads().unwrap_or_default();
    let mut threads = list.threads.iter();
    let gil = threads.next().map(|thread| {
        process
            .reader()
            .holds_gil(process.target().memory(), thread)
    });
    let python = process.python();
    let unless = |works: bool, why: &'static str| (!works).then_some(why);
    Features {
        gil: match gil {
            Some(None) if python.semantics.free_threaded => {
                Some("this build has no GIL, unless it is enabled")
            }
            Some(None) => Some("without symbols this version's GIL cannot be located"),
            Some(Some(_)) => None,
            None => Some("there is no thread"),
        },
        gc: unless(
            python.layout.gc.collecting.is_some(),
            "garbage collections are visible in Python 3.7 and later",
        ),
        cpu: unless(
            counters.schedstat,
            "schedstat cannot be read: the kernel lacks CONFIG_SCHED_INFO, or hides the file",
        ),
        memory: unless(counters.statm, "statm cannot be read"),
        shares: unless(
            counters.smaps_rollup,
            "smaps_rollup cannot be opened: the kernel is older than 4.14, or hides the file",
        ),
    }
}

/// The symbols of the program and of the interpreter's file, and totals for all other libraries.
pub fn symbols(process: &PythonProcess) -> Option<Symbols> {
    let target = process.target();
    let deadline = Deadline::after(ATTACH);
    let mappings = target.maps(deadline).ok()?;
    let (exe, holder) = (target.exe_path(), &process.found().image);
    let mut symbols = Symbols::default();
    for image in images(&mappings).iter().take(MAX_IMAGES) {
        let path = image.path.display().to_string();
        let quality = quality(target, image, deadline);
        if *image.path == *exe || path == *holder {
            symbols.main.push(file_symbols(target, path, quality));
            continue;
        }
        let SymbolInfo {
            symtab,
            dynsym,
            debuglink,
            ref build_id,
            ..
        } = quality.unwrap_or_default();
        symbols.others += 1;
        symbols.others_symtab += usize::from(symtab);
        symbols.others_dynsym_only += usize::from(dynsym && !symtab);
        symbols.others_none += usize::from(!dynsym && !symtab);
        symbols.others_debuglink += usize::from(debuglink);
        symbols.others_build_id += usize::from(build_id.is_some());
        let has_file = build_id
            .as_deref()
            .is_some_and(|id| has_debug_file(target, id));
        symbols.others_debug_file += usize::from(has_file);
    }
    Some(symbols)
}

fn quality(
    target: &TargetProcess,
    image: &Image,
    deadline: Deadline,
) -> Result<SymbolInfo, String> {
    let base = image.base().ok_or("not mapped")?;
    let elf = match target.open_mapped(base) {
        Ok(file) => ElfFile::open(file, deadline),
        // The dynamic symbols that the loader needs are in memory too.
        Err(_) => ElfFile::from_memory(target.memory(), RemoteAddr(base.start), deadline),
    };
    elf.map(|elf| elf.symbol_info())
        .map_err(|error| error.to_string())
}

fn file_symbols(
    target: &TargetProcess,
    path: String,
    quality: Result<SymbolInfo, String>,
) -> FileSymbols {
    let error = quality.as_ref().err().cloned();
    let quality = quality.unwrap_or_default();
    let id = quality.build_id.as_deref();
    FileSymbols {
        path,
        error,
        symtab: quality.symtab,
        dynsym: quality.dynsym,
        debug_info: quality.debug_info,
        debuglink: quality.debuglink,
        debug_file: id.is_some_and(|id| has_debug_file(target, id)),
        build_id: id.map(hex),
    }
}

fn hex(id: &[u8]) -> String {
    let digits = id.iter().take(MAX_BUILD_ID);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a separate debug file is installed where debuggers search for it.
fn has_debug_file(target: &TargetProcess, build_id: &[u8]) -> bool {
    let id = hex(build_id);
    let Some((folder, name)) = id.split_at_checked(2).filter(|(_, name)| !name.is_empty()) else {
        return false;
    };
    let path = format!("/usr/lib/debug/.build-id/{folder}/{name}.debug");
    let theirs = target.root_path(Path::new(&path));
    [theirs.as_path(), Path::new(&path)]
        .into_iter()
        .any(|path| open_regular(path).is_ok())
}
