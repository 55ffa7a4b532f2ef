//! [`RunCount`]: how often and how long a thread has run, from its `schedstat`.

/// The first and the third number of `schedstat` (Documentation/scheduler/sched-stats.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCount {
    /// Nanoseconds on a CPU. For a thread that is on a CPU the kernel updates it at timer ticks,
    /// some milliseconds apart.
    pub on_cpu_ns: u64,
    /// How often it was put on a CPU.
    pub timeslices: u64,
}

impl RunCount {
    /// Parses the line in the file.
    pub fn parse(line: &[u8]) -> Option<RunCount> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        Some(RunCount {
            on_cpu_ns: words.next()?.parse().ok()?,
            timeslices: words.nth(1)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_waited_is_skipped() {
        let expected = RunCount {
            on_cpu_ns: 7,
            timeslices: 9,
        };
        assert_eq!(RunCount::parse(b"7 8 9\n"), Some(expected));
        for broken in [&b""[..], b"7 8", b"-7 8 9", b"7 8 x", b"\xff 8 9"] {
            assert_eq!(RunCount::parse(broken), None);
        }
    }
}
