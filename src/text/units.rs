//! Times and sizes as people read them.

use std::time::Duration;

/// A length of time in its two largest units: `41s`, `3m 20s`, `2h 5m`, `12d 3h`.
pub fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// A short length of time with three digits: `48.0 µs`, `1.23 ms`, `12.0 s`.
pub fn brief(time: Duration) -> String {
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

/// A size as people read it, in MiB: `57.1 MiB`.
pub fn mib(bytes: u64) -> String {
    #[allow(
        clippy::cast_precision_loss,
        reason = "53 bits of bytes are 8 PiB, and one decimal is shown"
    )]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} MiB")
}

/// How often something happens, in the shortest unit of time in which that is not next to nothing:
/// `5.4 per second`, `3.8 per hour`. `None` when no time has passed.
pub fn rate(count: u64, time: Duration) -> Option<String> {
    const UNITS: [(&str, f64); 3] = [("second", 1.0), ("minute", 60.0), ("hour", 3_600.0)];
    const LONGEST: (&str, f64) = ("day", 86_400.0);
    let seconds = time.as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate shown with one decimal")]
    let per_second = count as f64 / seconds;
    let worth_reading = |(_, length): &(&str, f64)| per_second * length >= 0.1;
    let (unit, length) = UNITS.into_iter().find(worth_reading).unwrap_or(LONGEST);
    Some(format!("{:.1} per {unit}", per_second * length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_in_a_unit_that_shows_them() {
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
    fn rounds_for_people() {
        assert_eq!(rough(Duration::from_secs(59)), "59s");
        assert_eq!(rough(Duration::from_secs(200)), "3m 20s");
        assert_eq!(rough(Duration::from_secs(7_500)), "2h 5m");
        assert_eq!(rough(Duration::from_secs(1_047_600)), "12d 3h");
        assert_eq!(mib(59_873_690), "57.1 MiB");
        assert_eq!(brief(Duration::from_nanos(999)), "999 ns");
        assert_eq!(brief(Duration::from_micros(48)), "48.0 µs");
        assert_eq!(brief(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(brief(Duration::from_millis(312)), "312 ms");
        assert_eq!(brief(Duration::from_secs(12)), "12.0 s");
    }
}
