//! Durations, sizes and rates for people to read.

use std::time::Duration;

const KIB: f64 = 1024.0;
const MIB: f64 = KIB * 1024.0;

/// A duration in its two largest units: `41s`, `3m 20s`, `2h 5m`, `12d 3h`.
pub fn rough_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// A short duration with three digits: `48.0 µs`, `1.23 ms`, `12.0 s`.
pub fn short_duration(time: Duration) -> String {
    let (value, unit) = match time.as_nanos() {
        0..1_000 => return format!("{} ns", time.as_nanos()),
        1_000..1_000_000 => (time.as_secs_f64() * 1e6, "µs"),
        1_000_000..1_000_000_000 => (time.as_secs_f64() * 1e3, "ms"),
        _ => (time.as_secs_f64(), "s"),
    };
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A duration in one unit, with at least two digits: `9.0 s`, `41 s`, `12 min`, `11 h`.
pub fn one_unit_duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        36_000.0.. => format!("{:.0} h", seconds / 3600.0),
        600.0.. => format!("{:.0} min", seconds / 60.0),
        9.95.. => format!("{seconds:.0} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// A size in MiB: `57.1 MiB`.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", mib_number(bytes))
}

/// A size in MiB without its unit, for columns that name it: `57.1`.
pub fn mib_number(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB)
}

/// A size in MiB with at least two digits, for rates that may be small: `57.1 MiB`, `0.57 MiB`,
/// `0.0057 MiB`.
pub fn precise_mib(bytes: u64) -> String {
    let mib = bytes as f64 / MIB;
    match mib {
        10.0.. => format!("{mib:.1} MiB"),
        0.1..10.0 => format!("{mib:.2} MiB"),
        _ => format!("{mib:.4} MiB"),
    }
}

/// A size in the unit that fits: `50.0 KiB`, `57.1 MiB`, `3.0 GiB`.
pub fn size(bytes: u64) -> String {
    let mut scaled = bytes as f64 / KIB;
    let mut unit = "KiB";
    // What rounds to 1024.0 is written as 1.0 of the next unit.
    for next in ["MiB", "GiB", "TiB"] {
        if scaled < 1023.95 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    format!("{scaled:.1} {unit}")
}

/// A change of a size in at most seven characters: `+12.3M`, `-640K`, `+1.2G`; `0` for none.
pub fn size_change(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    let size = bytes.unsigned_abs() as f64;
    match size / MIB {
        0.0 => "0".to_owned(),
        mib if mib < 0.95 => format!("{sign}{:.0}K", (size / KIB).max(1.0)),
        mib if mib < 999.95 => format!("{sign}{mib:.1}M"),
        mib if mib < 999.95 * 1024.0 => format!("{sign}{:.1}G", mib / 1024.0),
        mib => format!("{sign}{:.0}T", (mib / (1024.0 * 1024.0)).min(9999.0)),
    }
}

/// Events per unit of time, in the shortest unit in which the number is at least 0.1: `5.4 per second`,
/// `3.8 per hour`. `None` when no time has passed.
pub fn rate(count: u64, time: Duration) -> Option<String> {
    const UNITS: [(&str, f64); 3] = [("second", 1.0), ("minute", 60.0), ("hour", 3_600.0)];
    const LONGEST: (&str, f64) = ("day", 86_400.0);
    let seconds = time.as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    let per_second = count as f64 / seconds;
    let is_visible = |(_, length): &(&str, f64)| per_second * length >= 0.1;
    let (unit, length) = UNITS.into_iter().find(is_visible).unwrap_or(LONGEST);
    Some(format!("{:.1} per {unit}", per_second * length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_the_shortest_unit_that_shows_it() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(rate(7_200_000, hour).as_deref(), Some("2000.0 per second"));
        assert_eq!(rate(360, hour).as_deref(), Some("0.1 per second"));
        assert_eq!(rate(359, hour).as_deref(), Some("6.0 per minute"));
        assert_eq!(rate(3, hour).as_deref(), Some("3.0 per hour"));
        assert_eq!(rate(1, hour * 24).as_deref(), Some("1.0 per day"));
        assert_eq!(rate(1, hour * 24_000).as_deref(), Some("0.0 per day"));
        assert_eq!(rate(5, Duration::ZERO), None);
    }

    #[test]
    fn durations() {
        assert_eq!(rough_duration(Duration::from_secs(59)), "59s");
        assert_eq!(rough_duration(Duration::from_secs(200)), "3m 20s");
        assert_eq!(rough_duration(Duration::from_secs(7_500)), "2h 5m");
        assert_eq!(rough_duration(Duration::from_secs(1_047_600)), "12d 3h");
        assert_eq!(short_duration(Duration::from_nanos(999)), "999 ns");
        assert_eq!(short_duration(Duration::from_micros(48)), "48.0 µs");
        assert_eq!(short_duration(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(short_duration(Duration::from_millis(312)), "312 ms");
        assert_eq!(short_duration(Duration::from_secs(12)), "12.0 s");
        assert_eq!(one_unit_duration(Duration::from_millis(9_940)), "9.9 s");
        assert_eq!(one_unit_duration(Duration::from_millis(9_960)), "10 s");
        assert_eq!(one_unit_duration(Duration::from_secs(720)), "12 min");
        assert_eq!(one_unit_duration(Duration::from_secs(39_600)), "11 h");
    }

    #[test]
    fn sizes() {
        assert_eq!(mib(59_873_690), "57.1 MiB");
        assert_eq!(mib_number(59_873_690), "57.1");
        let precise = [59_873_690, 598_737, 5_987].map(precise_mib);
        assert_eq!(precise, ["57.1 MiB", "0.57 MiB", "0.0057 MiB"]);
        let sizes = [0, 51_200, (1 << 20) - 1, 59_873_690, 3 << 30, u64::MAX].map(size);
        assert_eq!(
            sizes,
            [
                "0.0 KiB",
                "50.0 KiB",
                "1.0 MiB",
                "57.1 MiB",
                "3.0 GiB",
                "16777216.0 TiB"
            ]
        );
    }

    #[test]
    fn size_changes_are_short() {
        for (bytes, text) in [
            (0, "0"),
            (1, "+1K"),
            (-655_360, "-640K"),
            (1 << 20, "+1.0M"),
            (12_897_485, "+12.3M"),
            (1_288_490_189, "+1.2G"),
            (i64::MIN, "-9999T"),
        ] {
            assert_eq!(size_change(bytes), text);
            assert!(text.len() <= 7);
        }
    }
}
