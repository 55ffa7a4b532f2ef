//! [`Format`]: formats by name and by file extension, and default file names.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file format of a recording. The names are those of py-spy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// An interactive SVG.
    #[default]
    Flamegraph,
    /// Folded stacks: one line per stack, its frames joined with `;`, and the count.
    Raw,
    /// JSON for the speedscope viewer.
    Speedscope,
    /// JSON of begin and end events, for Perfetto and `chrome://tracing`.
    Chrometrace,
    /// An SVG of memory over time.
    Timeline,
    /// Memory over time as text, for `mprof plot`.
    Mprof,
    /// A table of the lines of the hottest functions, as text or as CSV.
    Lines,
    /// A table of functions, as text or as CSV.
    Functions,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no format is called '{0}'; there are flamegraph, raw, speedscope, chrometrace, timeline, mprof, \
     lines and functions"
)]
pub struct UnknownFormat(pub String);

impl Format {
    /// All formats, in the order of the help text.
    pub const ALL: [Format; 8] = [
        Format::Flamegraph,
        Format::Raw,
        Format::Speedscope,
        Format::Chrometrace,
        Format::Timeline,
        Format::Mprof,
        Format::Lines,
        Format::Functions,
    ];

    /// The name as `-f` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Flamegraph => "flamegraph",
            Format::Raw => "raw",
            Format::Speedscope => "speedscope",
            Format::Chrometrace => "chrometrace",
            Format::Timeline => "timeline",
            Format::Mprof => "mprof",
            Format::Lines => "lines",
            Format::Functions => "functions",
        }
    }

    /// Extension of default file names, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Flamegraph => "svg",
            Format::Raw | Format::Lines | Format::Functions => "txt",
            Format::Speedscope | Format::Chrometrace => "json",
            Format::Timeline => "timeline.svg",
            Format::Mprof => "dat",
        }
    }

    /// Whether the profile must store the order of its samples for this format
    /// ([`ProfileOptions::timeline`](crate::profile::options::ProfileOptions::timeline)).
    pub fn needs_timeline(self) -> bool {
        matches!(self, Format::Speedscope | Format::Chrometrace)
    }

    /// Whether the format shows memory and no samples, so that RSS growth must be recorded
    /// ([`Weights::rss`](crate::profile::options::Weights::rss)).
    pub fn needs_memory(self) -> bool {
        matches!(self, Format::Timeline | Format::Mprof)
    }

    /// Whether this is a table, which lists functions by their first line
    /// ([`ProfileOptions::keep_first_lines`](crate::profile::options::ProfileOptions::keep_first_lines)).
    pub fn is_table(self) -> bool {
        matches!(self, Format::Lines | Format::Functions)
    }

    /// The format for a file name, whose case is ignored:
    ///
    /// | extension | format |
    /// | --- | --- |
    /// | `.timeline.svg` | timeline |
    /// | any other `.svg` | flamegraph |
    /// | `.txt`, `.folded`, `.collapsed`, `.raw` | raw |
    /// | `.trace.json`, `.chrometrace.json`, `.chrometrace`, `.trace` | chrometrace |
    /// | any other `.json`, `.speedscope` | speedscope |
    /// | `.dat` | mprof |
    /// | `.lines.csv`, `.lines.txt`, `.lines` | lines |
    /// | any other `.csv`, `.functions.txt`, `.functions` | functions |
    ///
    /// `None` for any other name.
    pub fn from_path(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        // `.svg` alone is a hidden file without an extension.
        let (stem, extension) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
        match extension {
            "svg" if stem.ends_with(".timeline") => Some(Format::Timeline),
            "svg" => Some(Format::Flamegraph),
            "lines" => Some(Format::Lines),
            "functions" => Some(Format::Functions),
            "csv" | "txt" if stem.ends_with(".lines") => Some(Format::Lines),
            "txt" if stem.ends_with(".functions") => Some(Format::Functions),
            "csv" => Some(Format::Functions),
            "txt" | "folded" | "collapsed" | "raw" => Some(Format::Raw),
            "trace" | "chrometrace" => Some(Format::Chrometrace),
            "json" if stem.ends_with(".trace") || stem.ends_with(".chrometrace") => {
                Some(Format::Chrometrace)
            }
            "json" | "speedscope" => Some(Format::Speedscope),
            "dat" => Some(Format::Mprof),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        let known = Format::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Default file name, as py-spy 0.4 makes it: `PID-2026-01-31T09-30-00+0000.svg`, or with the program
/// instead of the PID. Only the last part of the program's path is used: py-spy uses the whole path and
/// so writes into the directory of the interpreter. The time is UTC.
pub fn default_file_name(pid_or_program: &str, at: SystemTime, format: Format) -> String {
    let last = pid_or_program
        .rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or("unknown");
    let name: String = last.chars().filter(|c| !c.is_control()).take(100).collect();
    let time = utc(at).replace(' ', "T").replace(':', "-");
    let extension = format.extension();
    format!("{name}-{time}+0000.{extension}")
}

/// The date and time in UTC: `2026-01-31 09:30:00`.
pub fn utc(at: SystemTime) -> String {
    let seconds = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day in the Gregorian calendar of a day counted from 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let mut left = days;
    let mut year = 1970;
    let is_leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    // 400 years have 146,097 days, which leaves at most 400 steps for the loop.
    year += left / 146_097 * 400;
    left %= 146_097;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn names_parse_to_their_formats() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(
            "svg".parse::<Format>(),
            Err(UnknownFormat("svg".to_owned()))
        );
    }

    #[test]
    fn the_extension_selects_the_format() {
        let cases = [
            ("out.svg", Some(Format::Flamegraph)),
            ("/tmp/Out.SVG", Some(Format::Flamegraph)),
            ("a.folded", Some(Format::Raw)),
            ("a.txt", Some(Format::Raw)),
            ("a.b.json", Some(Format::Speedscope)),
            ("a.speedscope.json", Some(Format::Speedscope)),
            ("a.trace.json", Some(Format::Chrometrace)),
            ("a.chrometrace.json", Some(Format::Chrometrace)),
            ("trace.json", Some(Format::Speedscope)),
            ("a.timeline.svg", Some(Format::Timeline)),
            ("timeline.svg", Some(Format::Flamegraph)),
            ("a.dat", Some(Format::Mprof)),
            ("a.lines.csv", Some(Format::Lines)),
            ("a.lines.txt", Some(Format::Lines)),
            ("lines.txt", Some(Format::Raw)),
            ("a.csv", Some(Format::Functions)),
            ("a.functions.CSV", Some(Format::Functions)),
            ("a.functions.txt", Some(Format::Functions)),
            ("out", None),
            (".svg", None),
            ("out.png", None),
            ("..", None),
            ("-", None),
        ];
        for (path, format) in cases {
            assert_eq!(Format::from_path(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn the_default_name_contains_the_time() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(
            default_file_name("123", at(0), Format::Raw),
            "123-1970-01-01T00-00-00+0000.txt"
        );
        assert_eq!(
            default_file_name("/usr/bin/python3", at(951_827_696), Format::Flamegraph),
            "python3-2000-02-29T12-34-56+0000.svg"
        );
        assert_eq!(
            default_file_name("python", at(4_102_444_799), Format::Chrometrace),
            "python-2099-12-31T23-59-59+0000.json"
        );
        let named = default_file_name("7", at(0), Format::Timeline);
        assert_eq!(named, "7-1970-01-01T00-00-00+0000.timeline.svg");
        assert_eq!(Format::from_path(Path::new(&named)), Some(Format::Timeline));
        assert_eq!(
            default_file_name("/", at(0), Format::Raw),
            "unknown-1970-01-01T00-00-00+0000.txt"
        );
    }
}
