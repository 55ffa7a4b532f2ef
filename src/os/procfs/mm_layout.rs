//! [`MmLayout`]: the addresses at which the kernel placed the parts of a program. A fork shares
//! them with its parent; another execution does not.

use super::read::read_capped;
use crate::os::Pid;

/// Room for a whole line of `/proc/PID/stat`: 52 numbers of at most 20 digits, and a name of at
/// most 64 bytes.
const MAX_LINE: u64 = 2048;
/// The compared fields, as proc_pid_stat(5) numbers them: code, stack, data, heap, arguments and
/// environment. With address space randomisation they differ for each execution of a program.
const FIELDS: [usize; 10] = [26, 27, 28, 45, 46, 47, 48, 49, 50, 51];
/// The number of the first field after the name.
const FIRST_FIELD: usize = 3;

/// The first and last addresses of the parts of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmLayout([u64; FIELDS.len()]);

impl MmLayout {
    /// `None` when the process has ended or the kernel hides the addresses from us.
    pub fn of(pid: Pid) -> Option<MmLayout> {
        let line = read_capped(format!("/proc/{pid}/stat"), MAX_LINE).ok()?;
        MmLayout::parse(&line)
    }

    fn parse(line: &[u8]) -> Option<MmLayout> {
        let name_end = line.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let mut parts = [0; FIELDS.len()];
        for (part, field) in parts.iter_mut().zip(FIELDS) {
            *part = fields.get(field - FIRST_FIELD)?.parse().ok()?;
        }
        // Without permission to trace the process, the kernel reports zeros.
        let is_reported = parts.iter().take(3).all(|part| *part > 1);
        is_reported.then_some(MmLayout(parts))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;
    use std::process::Command;

    #[test]
    fn each_execution_has_its_own_layout() {
        let one = Cat::start(&mut Command::new("cat"));
        let two = Cat::start(&mut Command::new("cat"));
        let of_one = MmLayout::of(one.pid()).unwrap();
        assert_eq!(MmLayout::of(one.pid()), Some(of_one));
        // Without randomisation the layouts are equal, and so are all addresses in them.
        if std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").unwrap() != "0\n" {
            assert_ne!(MmLayout::of(two.pid()), Some(of_one));
        }
        assert_eq!(MmLayout::of(i32::MAX), None);
    }

    #[test]
    fn zeros_mean_unknown() {
        let line = |parts: &str| format!("7 (a b) c) S {} {parts}", "1 ".repeat(22));
        assert_eq!(MmLayout::parse(line(&"0 ".repeat(27)).as_bytes()), None);
        assert_eq!(MmLayout::parse(line(&"1 ".repeat(27)).as_bytes()), None);
        let reported = line(&"5 ".repeat(27));
        assert!(MmLayout::parse(reported.as_bytes()).is_some());
        assert_eq!(MmLayout::parse(b"7 (cat) S 1 2"), None);
    }
}
