//! Colours of the flame graph: the origin of the code selects the hue, its name the shade.
//!
//! The program's own code has warm colours and so stands out; installed packages are green; the standard
//! library is blue; garbage collections are violet; processes and threads are grey. All colours are light
//! enough for black text. A name has the same colour in every recording, so that two graphs can be compared.

use inferno::flamegraph::color::Color;

use crate::profile::Profile;
use crate::profile::tables::ids::LabelId;
use crate::profile::tables::labels::Label;

/// What a frame is, which its hue shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Program,
    Package,
    StandardLibrary,
    Collection,
    /// A process or thread.
    Grouping,
    /// What no function could be named for.
    Unknown,
}

impl Origin {
    /// All of them, in the order of the legend.
    pub const ALL: [Origin; 6] = [
        Origin::Program,
        Origin::Package,
        Origin::StandardLibrary,
        Origin::Collection,
        Origin::Grouping,
        Origin::Unknown,
    ];

    /// The words in the legend; `None` for frames that say themselves what they are.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Origin::Program => Some("own code"),
            Origin::Package => Some("packages"),
            Origin::StandardLibrary => Some("standard library"),
            Origin::Collection => Some("garbage collection"),
            Origin::Grouping => Some("processes, threads"),
            Origin::Unknown => None,
        }
    }

    /// Its colour in the legend.
    pub fn swatch(self) -> Color {
        self.tones().map_or(NEUTRAL, |tones| {
            let hue = tones.hue + tones.spread / 2.0;
            hsl(hue, tones.saturation, tones.lightness)
        })
    }

    /// `None` if it is neutral.
    fn tones(self) -> Option<Tones> {
        let (hue, spread, saturation, lightness) = match self {
            Origin::Program => (18.0, 34.0, 0.88, 0.67),
            Origin::Package => (88.0, 62.0, 0.42, 0.70),
            Origin::StandardLibrary => (198.0, 36.0, 0.52, 0.76),
            Origin::Collection => (256.0, 0.0, 0.55, 0.80),
            Origin::Grouping | Origin::Unknown => return None,
        };
        Some(Tones {
            hue,
            spread,
            saturation,
            lightness,
        })
    }
}

/// The colours of an origin. Hue and spread are in degrees.
struct Tones {
    hue: f64,
    spread: f64,
    saturation: f64,
    lightness: f64,
}

/// Colour of frames that are not functions: "all", processes, threads.
pub const NEUTRAL: Color = Color {
    r: 214,
    g: 214,
    b: 210,
};

/// Colour of the background.
pub const BACKGROUND: Color = Color {
    r: 252,
    g: 252,
    b: 250,
};

/// What the frames of a label are.
pub fn origin(profile: &Profile, id: LabelId) -> Origin {
    match profile.labels().get(id) {
        Some(Label::Python { .. }) => profile.file(id).map_or(Origin::Program, owner),
        Some(Label::Collection) => Origin::Collection,
        Some(Label::Process(_) | Label::Thread(_)) => Origin::Grouping,
        _ => Origin::Unknown,
    }
}

pub fn color(profile: &Profile, id: LabelId) -> Color {
    let name = profile.name(id);
    shade(
        origin(profile, id),
        &name,
        profile.file(id).unwrap_or_default(),
    )
}

fn shade(origin: Origin, name: &str, file: &str) -> Color {
    let Some(tones) = origin.tones() else {
        return NEUTRAL;
    };
    // The file shifts the hue; the name shifts it further and sets the lightness. Functions of one file
    // have related colours, but neighbours differ.
    let by_name = fraction(name);
    let hue = tones.hue + tones.spread * (0.4 * fraction(file) + 0.6 * by_name);
    hsl(
        hue,
        tones.saturation,
        tones.lightness + 0.16 * (fraction_of_end(name) - 0.5),
    )
}

/// Whose code a file has.
fn owner(file: &str) -> Origin {
    let mut parts = file.split(['/', '\\']);
    if parts
        .clone()
        .any(|part| part == "site-packages" || part == "dist-packages")
    {
        return Origin::Package;
    }
    let is_versioned = |part: &str| {
        part.strip_prefix("python")
            .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut after_lib = false;
    let in_lib = parts.any(|part| {
        let found = after_lib && is_versioned(part);
        after_lib = part == "lib" || part == "lib64";
        found
    });
    if in_lib || file.starts_with("<frozen ") {
        Origin::StandardLibrary
    } else {
        Origin::Program
    }
}

/// A hash of the text as a number from 0 to 1: FNV-1a with 32 bits, mixed once more because the last
/// bytes of similar names have little effect on its upper bits.
fn fraction(text: &str) -> f64 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let mixed = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    f64::from(mixed ^ (mixed >> 12)) / f64::from(u32::MAX)
}

/// Like [`fraction`], but independent of it.
fn fraction_of_end(text: &str) -> f64 {
    fraction(text.get(1..).unwrap_or("-"))
}

/// A colour by hue (degrees), saturation and lightness (0 to 1), as CSS defines them.
fn hsl(hue: f64, saturation: f64, lightness: f64) -> Color {
    let amplitude = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f64| {
        let k = (offset + hue / 30.0) % 12.0;
        let value = lightness - amplitude * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Color {
        r: channel(0.0),
        g: channel(8.0),
        b: channel(4.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_selects_the_owner() {
        let cases = [
            ("/home/me/app.py", Origin::Program),
            ("app.py", Origin::Program),
            ("<string>", Origin::Program),
            ("/home/me/lib/pythonista/app.py", Origin::Program),
            ("/usr/lib/python3.11/threading.py", Origin::StandardLibrary),
            ("/usr/lib64/python2.7/threading.py", Origin::StandardLibrary),
            ("<frozen importlib._bootstrap>", Origin::StandardLibrary),
            (
                "/usr/lib/python3/dist-packages/yaml/__init__.py",
                Origin::Package,
            ),
            (
                "/v/lib/python3.12/site-packages/numpy/core.py",
                Origin::Package,
            ),
        ];
        for (file, expected) in cases {
            assert_eq!(owner(file), expected, "{file}");
        }
    }

    #[test]
    fn black_text_is_readable_on_every_colour() {
        // Relative luminance of WCAG 2, which requires a contrast of 4.5:1 for body text.
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        for file in [
            "/a/app.py",
            "/v/site-packages/x/y.py",
            "/usr/lib/python3.9/os.py",
        ] {
            for index in 0..500 {
                let Color { r, g, b } =
                    shade(owner(file), &format!("f{index}"), &format!("{file}{index}"));
                let luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
                assert!((luminance + 0.05) / 0.05 > 7.0, "{file} {r} {g} {b}");
            }
        }
    }

    #[test]
    fn primary_hues_are_right() {
        assert_eq!(hsl(0.0, 1.0, 0.5), Color { r: 255, g: 0, b: 0 });
        assert_eq!(hsl(120.0, 1.0, 0.5), Color { r: 0, g: 255, b: 0 });
        assert_eq!(hsl(240.0, 1.0, 0.5), Color { r: 0, g: 0, b: 255 });
    }
}
