//! [`MinWidth`]: the narrowest frame that a flame graph draws.

use std::fmt;
use std::str::FromStr;

/// Width of the picture for which pixels are meant.
const WIDTH_PX: f64 = 1_200.0;

/// The default, as of `flamegraph.pl`.
const DEFAULT_PX: f64 = 0.1;

/// The narrowest frame that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinWidth {
    /// Of the whole width.
    share_ppb: u32,
}

impl MinWidth {
    fn of_share(share: f64) -> Option<MinWidth> {
        (0.0..=1.0).contains(&share).then_some(MinWidth {
            share_ppb: (share * 1e9).round() as u32,
        })
    }

    /// The least weight of a frame that is drawn where all have `total`.
    pub fn least(self, total: u64) -> u64 {
        (total as f64 * f64::from(self.share_ppb) / 1e9).ceil() as u64
    }
}

impl Default for MinWidth {
    fn default() -> Self {
        MinWidth {
            share_ppb: (DEFAULT_PX / WIDTH_PX * 1e9) as u32,
        }
    }
}

/// In percent.
impl fmt::Display for MinWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.share_ppb) / 1e7)
    }
}

/// Pixels at a width of 1,200, or a percentage: `2`, `0.5%`.
impl FromStr for MinWidth {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<MinWidth, &'static str> {
        let (number, whole) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 100.0),
            None => (text, WIDTH_PX),
        };
        let share = number.parse().ok().map(|number: f64| number / whole);
        share
            .and_then(MinWidth::of_share)
            .ok_or("use pixels of 1200, such as 2, or percent, such as 0.5%")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn pixels_and_percent_are_shares() {
        let least = |text: &str, total| text.parse::<MinWidth>().map(|width| width.least(total));
        assert_eq!(least("12", 1_000), Ok(10));
        assert_eq!(least("0.5%", 1_000), Ok(5));
        assert_eq!(least("0.5 %", 1_001), Ok(6));
        assert_eq!(least("0", 1_000), Ok(0));
        assert_eq!(least("0.1", 1_200_000).unwrap(), 100);
        assert_eq!("3".parse::<MinWidth>().unwrap().to_string(), "0.25%");
        assert_eq!(MinWidth::default().least(1_200_000), 100);
        for bad in ["", "%", "-1", "1201", "101%", "NaN", "inf", "x"] {
            assert!(bad.parse::<MinWidth>().is_err(), "{bad}");
        }
    }
}
