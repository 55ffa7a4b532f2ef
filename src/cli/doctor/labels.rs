//! The words of `doctor`'s page.

use std::time::Duration;

use super::report::{AccessMethod, FileSymbols, Process};
use crate::text::units::brief;

/// Characters of a text from outside that are shown on a line.
const MAX_TEXT: usize = 1_000;

/// A text that may be missing.
pub fn or_unknown(text: Option<&str>) -> &str {
    text.unwrap_or("unknown")
}

/// A number of frames.
pub fn frames(count: usize) -> String {
    match count {
        1 => "1 frame".to_owned(),
        count => format!("{count} frames"),
    }
}

/// `yes` or `no`.
pub fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Whether something is as it is for us.
pub fn same(same: Option<bool>) -> &'static str {
    match same {
        Some(true) => "as ours",
        Some(false) => "another",
        None => "unknown",
    }
}

/// What a value of `kernel.yama.ptrace_scope` lets us do (Documentation/admin-guide/LSM/Yama.rst).
pub fn yama(scope: u32) -> &'static str {
    match scope {
        0 => "any process of the same user",
        1 => "only descendants, unless root",
        2 => "only root",
        _ => "nobody",
    }
}

/// Whose process it is.
pub fn user(process: &Process) -> String {
    let Some(uid) = process.uid else {
        return "unknown".to_owned();
    };
    let name = or_unknown(process.user.as_deref());
    match process.effective_uid {
        Some(effective) if effective != uid => format!("{uid} ({name}), acts as {effective}"),
        _ => format!("{uid} ({name})"),
    }
}

/// How a way into a process was found.
pub fn way(way: &AccessMethod) -> String {
    match (way.works, &way.error) {
        (Some(true), _) => "works".to_owned(),
        (Some(false), error) => format!("no: {}", or_unknown(error.as_deref())),
        (None, _) => "not tried".to_owned(),
    }
}

/// What names a file has.
pub fn file_symbols(file: &FileSymbols) -> String {
    if let Some(error) = &file.error {
        return error.clone();
    }
    let mut has = Vec::new();
    let names = [
        (file.symtab, ".symtab"),
        (file.dynsym, ".dynsym"),
        (file.debug_info, ".debug_info"),
        (file.debuglink, ".gnu_debuglink"),
        (file.debug_file, "a debug file installed"),
    ];
    has.extend(
        names
            .into_iter()
            .filter(|(there, _)| *there)
            .map(|(_, name)| name),
    );
    let stripped = if file.symtab {
        "not stripped"
    } else {
        "stripped"
    };
    let has = if has.is_empty() {
        "nothing".to_owned()
    } else {
        has.join(", ")
    };
    let id = file.build_id.as_deref().unwrap_or("none");
    format!("{stripped}: {has}; build id {id}")
}

/// Microseconds as people read them.
pub fn us(us: Option<f64>) -> String {
    let time = us.and_then(|us| Duration::try_from_secs_f64(us / 1e6).ok());
    time.map_or_else(|| "unknown".to_owned(), brief)
}

/// A text from outside, not too long for a line.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
