//! The timeline (`-f timeline`): memory over time as an SVG.
//!
//! The picture has a shape but no size: it fills the width that it is given, and its text grows with
//! it.

pub mod axis;
pub mod functions;
pub mod legend;
pub mod model;
pub mod picture;
pub mod plot;
pub mod style;
pub mod text;

use std::io::{self, Write};

use model::Timeline;

use crate::output::meta::Meta;
use crate::profile::Profile;

/// Draws the recording's memory over time.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(picture::draw(&Timeline::of(profile, meta)).as_bytes())
}

#[cfg(test)]
mod day_tests;
#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod tests;
