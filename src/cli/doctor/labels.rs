//! Texts of `doctor`'s report.

use std::time::Duration;

use super::report::{AccessMethod, FileSymbols, Process};
use crate::text::sanitize::shorten;
use crate::text::units::short_duration;

/// Most characters of a foreign text on a line.
const MAX_TEXT: usize = 1_000;

pub fn or_unknown(text: Option<&str>) -> &str {
    text.unwrap_or("unknown")
}

pub fn frames(count: usize) -> String {
    match count {
        1 => "1 frame".to_owned(),
        count => format!("{count} frames"),
    }
}

pub fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Whether the process and pyspy-rs have the same one.
pub fn same(same: Option<bool>) -> &'static str {
    match same {
        Some(true) => "same",
        Some(false) => "different",
        None => "unknown",
    }
}

/// What a value of `kernel.yama.ptrace_scope` allows (Documentation/admin-guide/LSM/Yama.rst).
pub fn yama(scope: u32) -> &'static str {
    match scope {
        0 => "any process of the same user",
        1 => "only descendants, unless root",
        2 => "only root",
        _ => "no process",
    }
}

pub fn user(process: &Process) -> String {
    let Some(uid) = process.uid else {
        return "unknown".to_owned();
    };
    let name = or_unknown(process.user.as_deref());
    match process.effective_uid {
        Some(effective) if effective != uid => format!("{uid} ({name}), effective {effective}"),
        _ => format!("{uid} ({name})"),
    }
}

pub fn access(method: &AccessMethod) -> String {
    match (method.works, &method.error) {
        (Some(true), _) => "works".to_owned(),
        (Some(false), error) => format!("no: {}", or_unknown(error.as_deref())),
        (None, _) => "not tried".to_owned(),
    }
}

/// The symbols that a file has.
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

/// Microseconds in a readable unit.
pub fn us(us: Option<f64>) -> String {
    let time = us.and_then(|us| Duration::try_from_secs_f64(us / 1e6).ok());
    time.map_or_else(|| "unknown".to_owned(), short_duration)
}

/// A foreign text, short enough for a line.
pub fn cut(text: &str) -> String {
    shorten(text, MAX_TEXT)
}
