//! `dump --core`: what a process was doing when its core file was written.

use std::cell::RefCell;
use std::iter;
use std::path::Path;

use anyhow::Context as _;

use super::collect;
use super::model::{CoreDump, ProcessDump};
use super::print::print;
use crate::cli::options::DumpOptions;
use crate::cpython::code::frame_table::FrameTable;
use crate::cpython::core::PythonCore;
use crate::cpython::frame::RawFrame;
use crate::cpython::values::ValueOptions;
use crate::os::core_file::CoreFile;
use crate::os::core_file::files::CoreOptions;
use crate::os::deadline::Deadline;
use crate::os::process::image::ProcessImage;
use crate::sampler::capture::core;
use crate::sampler::capture::locals::{FrameDetails, FrameLocals, LOCALS_LIMIT, LocalsState};
use crate::session::errors::{UserError, print_stderr};
use crate::text::units::mib;

/// Dumps a core file, and returns the exit status.
///
/// # Errors
/// When the file cannot be read, or stdout cannot be written.
pub fn run(file: &Path, options: &DumpOptions) -> anyhow::Result<u8> {
    let files = CoreOptions {
        exe: options.core.exe.clone(),
        sysroot: options.core.sysroot.clone(),
    };
    let core = CoreFile::open(file, &files).with_context(|| file.display().to_string())?;
    let (size, whole) = core.sizes();
    let mut core = PythonCore::find(core)?;
    if size < whole {
        print_stderr(&format!(
            "warning: the core file is truncated ({} of {}): missing memory cannot be shown",
            mib(size),
            mib(whole)
        ));
    }
    let dump = read(&mut core, file, options)?;
    if options.locals > 0 || !dump.errors.is_empty() {
        warn_of_missing_files(&core);
    }
    print(iter::once(dump), &RefCell::default(), options)
}

/// Core files omit memory that is mapped from the program and its libraries, such as names of built-in
/// types.
fn warn_of_missing_files(core: &PythonCore) {
    let image = Path::new(&core.found().image);
    if !core.target().has_file(image) {
        print_stderr(&format!(
            "warning: {} is not here in the build that ran, so some built-in objects cannot be shown; \
             pass it with --exe, or its root directory with --sysroot",
            image.display()
        ));
    }
}

fn read(core: &mut PythonCore, file: &Path, options: &DumpOptions) -> anyhow::Result<ProcessDump> {
    let values = ValueOptions::level(options.locals, options.secrets);
    let end = Deadline::after(LOCALS_LIMIT);
    let locals = |core: &PythonCore, frame: &RawFrame| {
        let is_omitted = end.is_over() || core.reader().text_is_spent();
        FrameLocals {
            locals: match is_omitted {
                true => Ok(Vec::new()),
                false => core.frame_locals(frame, values),
            },
            state: match is_omitted {
                true => LocalsState::Omitted,
                false => LocalsState::Consistent,
            },
        }
    };
    let details = |core: &PythonCore, frame: &RawFrame| FrameDetails {
        called_by_c: frame.called_by_c,
        locals: (options.locals > 0).then(|| locals(core, frame)),
    };
    let mut frames = FrameTable::default();
    let snapshot = core::capture_from_core(core, &mut frames, details).map_err(|error| {
        let hint = match core.target().is_cut_off() {
            true => "the file is truncated: use `ulimit -c unlimited` and free disk space",
            false => "its memory is damaged or was being changed; -vv logs what was read",
        };
        UserError::failure(
            format!("cannot list the threads in the core file: {error}"),
            hint,
        )
    })?;
    if snapshot.searched > 0 {
        print_stderr(&format!(
            "warning: the core file lacks parts of the C stack{}: root-side frames were found by a search, and \
             frames of generators may be missing; a core file by the kernel has all",
            match snapshot.searched {
                1 => " of 1 thread".to_owned(),
                count => format!("s of {count} threads"),
            }
        ));
    }
    let mut errors = snapshot.errors;
    let threads = collect::threads(snapshot.traces, snapshot.inspected, &frames, &mut errors);
    let has_shims = core.reader().python().semantics.has_shims();
    let version = core.version().to_string();
    let interpreters = core.interpreter_gils().unwrap_or_default();
    let core = core.target();
    let (size_bytes, whole_size_bytes) = core.sizes();
    Ok(ProcessDump {
        pid: core.pid(),
        parent: None,
        command: core.command_line().words(options.secrets).into_owned(),
        version,
        has_shims,
        executable: core.exe_path().to_string_lossy().into_owned(),
        memory: None,
        core: Some(CoreDump {
            file: file.to_string_lossy().into_owned(),
            writer: core.writer(),
            size_bytes,
            whole_size_bytes,
            signal: core.signal(),
            system_calls: core
                .threads()
                .iter()
                .map(|thread| (thread.tid, thread.system_call))
                .collect(),
        }),
        interpreters,
        threads,
        errors,
    })
}
