//! [`AddressSpace`]: where the kernel has put a program's parts, which tells a fork from a program of its
//! own.

use std::fs::File;
use std::io::Read;

use crate::os::Pid;

/// Room for a whole line of `/proc/PID/stat`: 52 numbers of at most 20 digits, and a name of at most 64.
const MAX_LINE: u64 = 2048;
/// The fields that are compared, as proc_pid_stat(5) numbers them: code, stack, data, heap, arguments and
/// environment. Each execution of a program puts them elsewhere, unless the system was told not to; then
/// they tell one program from another.
const FIELDS: [usize; 10] = [26, 27, 28, 45, 46, 47, 48, 49, 50, 51];
/// The number of the first field after the name.
const FIRST: usize = 3;

/// The first and last addresses of a program's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSpace([u64; FIELDS.len()]);

impl AddressSpace {
    /// That of a process. `None` when it has ended, or the kernel does not tell us.
    pub fn of(pid: Pid) -> Option<AddressSpace> {
        let mut line = Vec::new();
        let stat = File::open(format!("/proc/{pid}/stat")).ok()?;
        stat.take(MAX_LINE).read_to_end(&mut line).ok()?;
        AddressSpace::parse(&line)
    }

    fn parse(line: &[u8]) -> Option<AddressSpace> {
        let name_end = line.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let mut parts = [0; FIELDS.len()];
        for (part, field) in parts.iter_mut().zip(FIELDS) {
            *part = fields.get(field - FIRST)?.parse().ok()?;
        }
        // Who may not know gets zeros.
        let is_told = parts.iter().take(3).all(|part| *part > 1);
        is_told.then_some(AddressSpace(parts))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;
    use crate::os::test_support::Cat;
    use std::process::Command;

    #[test]
    fn each_execution_has_its_own() {
        let one = Cat::start(&mut Command::new("cat"));
        let two = Cat::start(&mut Command::new("cat"));
        let of_one = AddressSpace::of(one.pid()).unwrap();
        assert_eq!(AddressSpace::of(one.pid()), Some(of_one));
        // With the randomisation switched off they are the same, and so is all that is in them.
        if std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").unwrap() != "0\n" {
            assert_ne!(AddressSpace::of(two.pid()), Some(of_one));
        }
        assert_eq!(AddressSpace::of(i32::MAX), None);
    }

    #[test]
    fn zeros_are_no_answer() {
        let line = |parts: &str| format!("7 (a b) c) S {} {parts}", "1 ".repeat(22));
        assert_eq!(AddressSpace::parse(line(&"0 ".repeat(27)).as_bytes()), None);
        assert_eq!(AddressSpace::parse(line(&"1 ".repeat(27)).as_bytes()), None);
        let told = line(&"5 ".repeat(27));
        assert!(AddressSpace::parse(told.as_bytes()).is_some());
        assert_eq!(AddressSpace::parse(b"7 (cat) S 1 2"), None);
    }
}
