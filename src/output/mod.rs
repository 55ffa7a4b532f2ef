//! File formats of a [`Profile`]: one file each, all with the same `write`.

pub mod empty;
pub mod file;
pub mod format;
pub mod memory;
pub mod memory_report;
pub mod meta;
pub mod min_width;
pub mod palette;
pub mod short_command;
pub mod stacks;
pub mod svg;
pub mod table_options;
pub mod tables;

use std::io::{self, Write};

use format::Format;
use memory::{mprof, timeline};
use meta::Meta;
use stacks::{chrometrace, flamegraph, folded, speedscope};
use tables::{functions, lines};

use crate::profile::Profile;

/// Writes the profile in this format.
///
/// # Errors
/// Those of `out`.
pub fn write(
    format: Format,
    profile: &Profile,
    meta: &Meta,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Flamegraph => flamegraph::write(profile, meta, out),
        Format::Raw => folded::write(profile, meta, out),
        Format::Speedscope => speedscope::write(profile, meta, out),
        Format::Chrometrace => chrometrace::write(profile, meta, out),
        Format::Timeline => timeline::write(profile, meta, out),
        Format::Mprof => mprof::write(profile, meta, out),
        Format::Lines => lines::write(profile, meta, out),
        Format::Functions => functions::write(profile, meta, out),
    }
}

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;
