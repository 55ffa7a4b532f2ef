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
    }
}
