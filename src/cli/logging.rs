//! Logging to stderr, one line per message.

use std::io::Write;

use log::{Level, LevelFilter};

use crate::text::escape::for_terminal;

/// Starts logging: warnings; info with `-v`; debug with `-vv`. Without `-v` the variable `RUST_LOG`
/// is respected, as in py-spy.
pub fn start(verbose: u8) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn);
    match verbose {
        0 => {
            builder.parse_default_env();
        }
        // Only this crate: the ELF parser's log is noise.
        1 => {
            builder.filter_module("pyspy_rs", LevelFilter::Info);
        }
        _ => {
            builder.filter_module("pyspy_rs", LevelFilter::Debug);
        }
    }
    builder.format(|out, record| {
        let level = match record.level() {
            // As in all other messages.
            Level::Warn => "warning".to_owned(),
            level => level.as_str().to_ascii_lowercase(),
        };
        let message = record.args().to_string();
        writeln!(out, "{level}: {}", for_terminal(&message))
    });
    // Fails if a logger is already set, which then remains in use.
    let _ = builder.try_init();
}
