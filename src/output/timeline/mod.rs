//! The timeline (`-f timeline`): memory over time as an SVG to look at, drawn with plotters.
//!
//! The picture has no size of its own, only a shape: it fills the width that it is given, and its
//! text with it.

pub mod axis;
mod canvas;
mod draw;
mod functions;
mod legend;
pub mod model;
mod style;
pub mod text;

use std::io::{self, Write};

pub use model::{Line, Timeline};

use super::Meta;
use crate::profile::Profile;

/// Draws the recording's memory over time.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let svg = draw::picture(&Timeline::of(profile, meta))?;
    out.write_all(svg.as_bytes())
}

#[cfg(test)]
mod day_tests;
#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod tests;
