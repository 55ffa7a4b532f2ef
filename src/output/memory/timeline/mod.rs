//! The timeline (`-f timeline`): memory over time as an SVG to look at, drawn with plotters.
//!
//! The picture has no size of its own, only a shape: it fills the width that it is given, and its
//! text with it.

pub mod axis;
pub mod functions;
pub mod legend;
pub mod model;
pub mod plot;
pub mod style;
pub mod svg;
pub mod text;

use std::io::{self, Write};

use model::Timeline;

use crate::output::Meta;
use crate::profile::Profile;

/// Draws the recording's memory over time.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let svg = plot::picture(&Timeline::of(profile, meta))?;
    out.write_all(svg.as_bytes())
}

#[cfg(test)]
mod day_tests;
#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod tests;
