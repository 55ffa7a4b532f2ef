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

#[cfg(test)]
mod tests {
    use super::*;

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
