//! [`Axis`]: range and ticks of an axis.

use std::time::Duration;

use super::text::time_unit;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const GIB: f64 = 1024.0 * MIB;

#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Position, in the axis's unit.
    pub at: f64,
    /// Label, with its unit.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub from: f64,
    /// Always greater than `from`.
    pub to: f64,
    /// Lowest first, all between `from` and `to`.
    pub ticks: Vec<Tick>,
}

impl Axis {
    /// Position of a value, from 0 (lowest) to 1 (highest).
    pub fn share(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// An axis of seconds from 0 to `length`, with at most `max_ticks` ticks.
    pub fn of_time(length: Duration, max_ticks: usize) -> Axis {
        let to = length.as_secs_f64().max(0.01);
        // One unit for all ticks.
        let (unit, name) = time_unit(length);
        // Minutes and hours have steps of a half, a third and a quarter, not only decimal ones.
        let preferred: &[f64] = match name {
            "s" | "min" => &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0],
            "h" => &[1.0, 2.0, 3.0, 6.0, 12.0, 24.0],
            _ => &[],
        };
        let step = step(to / unit, max_ticks, preferred);
        ticks(0.0, to, unit, step, name)
    }

    /// An axis of bytes for values from `lowest` to `highest`. It starts at 0 unless that would leave
    /// most of the plot empty. `headroom` is the share of the axis above the highest value.
    pub fn of_bytes(lowest: u64, highest: u64, max_ticks: usize, headroom: f64) -> Axis {
        let (lowest, highest) = (lowest.min(highest) as f64, highest as f64);
        // Without a minimum, a change of a few pages would fill the plot.
        let span = (highest - lowest).max(MIB).max(highest * 0.005);
        let from = if lowest > 0.6 * highest && highest - 1.3 * span > 0.0 {
            highest - 1.15 * span
        } else {
            0.0
        };
        let to = from + (highest - from).max(KIB) / (1.0 - headroom);
        let (unit, name) = match to {
            to if to < 2.0 * MIB => (KIB, "KiB"),
            to if to < 4.0 * GIB => (MIB, "MiB"),
            _ => (GIB, "GiB"),
        };
        let step = step((to - from) / unit, max_ticks, &[]);
        ticks(from, to, unit, step, name)
    }
}

/// A round step for at most `max_ticks` ticks over a span: one of the preferred ones, or 1, 2 or 5 times
/// a power of ten.
fn step(span: f64, max_ticks: usize, preferred: &[f64]) -> f64 {
    let least = span / max_ticks.max(1) as f64;
    if least > 0.5
        && let Some(step) = preferred.iter().find(|step| **step >= least)
    {
        return *step;
    }
    let power = 10f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let digits = [1.0, 2.0, 5.0];
    let digit = digits.into_iter().find(|digit| digit * power >= least);
    digit.unwrap_or(10.0) * power
}

fn ticks(from: f64, to: f64, unit: f64, step: f64, name: &str) -> Axis {
    let decimals = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
    let first = (from / unit / step).ceil() as u64;
    let last = (to / unit / step + 1e-9).floor() as u64;
    let ticks = (first..=last).map(|count| {
        let value = count as f64 * step;
        Tick {
            at: (value * unit).min(to),
            text: format!("{value:.decimals$} {name}"),
        }
    });
    Axis {
        from,
        to,
        ticks: ticks.collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)] // A test may fail by panicking.
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.text.as_str()).collect()
    }

    #[test]
    fn time_ticks_are_round() {
        let of = |seconds, max| Axis::of_time(Duration::from_secs_f64(seconds), max);
        assert_eq!(
            texts(&of(60.0, 8)),
            ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]
        );
        assert_eq!(
            texts(&of(1.0, 6)),
            ["0.0 s", "0.2 s", "0.4 s", "0.6 s", "0.8 s", "1.0 s"]
        );
        assert_eq!(
            texts(&of(3600.0, 5)),
            ["0 min", "15 min", "30 min", "45 min", "60 min"]
        );
        assert_eq!(
            texts(&of(86_400.0, 5)),
            ["0 h", "6 h", "12 h", "18 h", "24 h"]
        );
        assert_eq!(
            texts(&of(864_000.0, 6)),
            ["0 d", "2 d", "4 d", "6 d", "8 d", "10 d"]
        );
        assert_eq!(texts(&of(0.0, 6)).len(), 6);
    }

    #[test]
    fn bytes_start_at_zero_unless_the_plot_would_be_empty() {
        let axis = Axis::of_bytes(10 << 20, 110 << 20, 8, 0.1);
        assert!(axis.from.abs() < 1.0 && axis.to > 110.0 * MIB);
        assert_eq!(texts(&axis)[..2], ["0 MiB", "20 MiB"]);
        let high = Axis::of_bytes(500 << 20, 503 << 20, 8, 0.1);
        assert!(
            high.from > 490.0 * MIB && high.from <= 500.0 * MIB,
            "{high:?}"
        );
        assert!(high.to >= 503.0 * MIB && high.to < 510.0 * MIB, "{high:?}");
    }

    #[test]
    fn any_span_has_ticks_and_not_too_many() {
        for max in [2, 5, 8, 12] {
            for power in 0..44 {
                let high = (1_u64 << power) + 12_345;
                for low in [0, high / 3, high - high / 100] {
                    let axis = Axis::of_bytes(low, high, max, 0.1);
                    let count = axis.ticks.len();
                    assert!((1..=max + 1).contains(&count), "{axis:?}");
                    assert!(
                        axis.from <= low as f64 && high as f64 <= axis.to,
                        "{axis:?}"
                    );
                    assert!(
                        axis.ticks
                            .iter()
                            .all(|t| t.at >= axis.from && t.at <= axis.to)
                    );
                    let mut texts = texts(&axis);
                    texts.dedup();
                    assert_eq!(texts.len(), count, "{axis:?}");
                }
                let seconds = Duration::from_millis(high / 1_000);
                let axis = Axis::of_time(seconds, max);
                assert!((1..=max + 1).contains(&axis.ticks.len()), "{axis:?}");
            }
        }
    }
}
