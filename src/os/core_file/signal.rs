//! [`Signal`]: the signal that ended a process, and its sender.

use std::fmt;

use nix::libc;

use crate::os::Pid;
use crate::os::elf::notes::{i32_at, u64_at};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    pub number: i32,
    /// `si_code` of sigaction(2).
    pub code: i32,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A faulting instruction, and the address at fault.
    Fault(u64),
    Process {
        /// The sender; 0 when it is outside of our PID namespace.
        pid: Pid,
        /// The sender's user.
        uid: u32,
    },
    /// The kernel, or unknown.
    Kernel,
}

impl Signal {
    /// Parses a `siginfo_t`: `si_signo`, `si_errno` and `si_code`, and at 16 the address or the
    /// sender.
    pub fn from_siginfo(bytes: &[u8]) -> Option<Signal> {
        let (number, code) = (i32_at(bytes, 0), i32_at(bytes, 8));
        let faults = [
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGSEGV,
        ];
        let origin = match code {
            libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL => Origin::Process {
                pid: i32_at(bytes, 16),
                uid: i32_at(bytes, 20).cast_unsigned(),
            },
            // SI_KERNEL: a non-canonical address, among others.
            1..0x80 if faults.contains(&number) => Origin::Fault(u64_at(bytes, 16)),
            _ => Origin::Kernel,
        };
        (number > 0).then_some(Signal {
            number,
            code,
            origin,
        })
    }

    /// Its name, such as `SIGSEGV`; `signal 34` for one without.
    pub fn name(&self) -> String {
        nix::sys::signal::Signal::try_from(self.number).map_or_else(
            |_| format!("signal {}", self.number),
            |signal| signal.to_string(),
        )
    }

    /// The meaning of the code of a fault.
    fn reason(&self) -> &'static str {
        match (self.number, self.code) {
            (libc::SIGSEGV, 1) => ", which is not mapped",
            (libc::SIGSEGV, 2) => ", access not permitted",
            (libc::SIGBUS, 1) => ", which is not aligned",
            (libc::SIGBUS, 2) => ", beyond the end of a mapped file",
            (libc::SIGBUS, 4 | 5) => ", a hardware memory error",
            (libc::SIGFPE, 1) => ", a division by zero",
            (libc::SIGILL, _) => ", an illegal instruction",
            _ => "",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match self.origin {
            Origin::Fault(address) => write!(f, " at address {address:#x}{}", self.reason()),
            Origin::Process { pid: 0, uid } => {
                write!(f, " sent from outside its container (uid {uid})")
            }
            Origin::Process { pid, uid } => write!(f, " sent by process {pid} (uid {uid})"),
            Origin::Kernel => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_described() {
        let describe = |number: i32, code: i32, rest: [u8; 8]| {
            let mut bytes = [number, 0, code, 0].map(i32::to_le_bytes).concat();
            bytes.extend(rest);
            Signal::from_siginfo(&bytes).map(|signal| signal.to_string())
        };
        let sender = [0x39, 0x30, 0, 0, 0xe8, 3, 0, 0];
        for (number, code, rest, expected) in [
            (
                11,
                1,
                [8, 0, 0, 0, 0, 0, 0, 0],
                "SIGSEGV at address 0x8, which is not mapped",
            ),
            (11, 0, sender, "SIGSEGV sent by process 12345 (uid 1000)"),
            (6, -6, sender, "SIGABRT sent by process 12345 (uid 1000)"),
            (
                6,
                0,
                [0; 8],
                "SIGABRT sent from outside its container (uid 0)",
            ),
            (3, 0x80, [0; 8], "SIGQUIT"),
            (40, 0, sender, "signal 40 sent by process 12345 (uid 1000)"),
        ] {
            assert_eq!(describe(number, code, rest).as_deref(), Some(expected));
        }
        assert_eq!(describe(0, 0, [0; 8]), None);
        assert_eq!(Signal::from_siginfo(&[]), None);
    }
}
