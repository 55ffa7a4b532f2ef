//! What is logged goes to stderr, one line each, and only what was asked for.

use std::io::Write;

use log::{Level, LevelFilter};

use crate::text::escape::for_terminal;

/// Starts logging: warnings; with `-v` what is found and done; with `-vv` details. Without `-v`
/// the variable `RUST_LOG` decides, as it does for py-spy.
pub fn start(verbose: u8) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn);
    match verbose {
        0 => {
            builder.parse_default_env();
        }
        // Only our own modules: what the libraries log on parsing ELF files helps nobody.
        1 => {
            builder.filter_module("pyspy_rs", LevelFilter::Info);
        }
        _ => {
            builder.filter_module("pyspy_rs", LevelFilter::Debug);
        }
    }
    builder.format(|out, record| {
        let level = match record.level() {
            // As all other lines of ours have it.
            Level::Warn => "warning".to_owned(),
            level => level.as_str().to_ascii_lowercase(),
        };
        let message = record.args().to_string();
        writeln!(out, "{level}: {}", for_terminal(&message))
    });
    // It fails when a logger is there already, which then logs.
    let _ = builder.try_init();
}
