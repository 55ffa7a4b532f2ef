//! Times as people read them.

use std::time::{Duration, SystemTime};

/// A UTC time that can stand in a file name: `2025-11-21T01-10-13+0000`, as py-spy writes it.
pub fn file_stamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}+0000")
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

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
    fn knows_the_calendar() {
        let at = |seconds| file_stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00-00-00+0000");
        assert_eq!(at(951_782_399), "2000-02-28T23-59-59+0000");
        assert_eq!(at(951_782_400), "2000-02-29T00-00-00+0000");
        assert_eq!(at(4_107_542_400), "2100-03-01T00-00-00+0000");
    }

    #[test]
    fn rounds_for_people() {
        assert_eq!(rough(Duration::from_secs(59)), "59s");
        assert_eq!(rough(Duration::from_secs(200)), "3m 20s");
        assert_eq!(rough(Duration::from_secs(7_500)), "2h 5m");
        assert_eq!(rough(Duration::from_secs(1_047_600)), "12d 3h");
        assert_eq!(mib(59_873_690), "57.1 MiB");
    }
}
