//! [`Signal`]: what ended a process, and from where it came.

use std::fmt;

use nix::libc;

use super::notes::{i32_at, u64_at};
use crate::os::Pid;

/// A signal, as the core file tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number, such as 11.
    pub number: i32,
    /// `si_code` of sigaction(2).
    pub code: i32,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a signal came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An instruction that could not be executed, and the address that is to blame.
    Fault(u64),
    /// A process.
    Process {
        /// Which; 0 when it is in a container that this one cannot see.
        pid: Pid,
        /// Whose.
        uid: u32,
    },
    /// The kernel, by itself, or not known.
    Kernel,
}

impl Signal {
    /// From the bytes of a `siginfo_t`: `si_signo`, `si_errno` and `si_code`, and at 16 the address
    /// or the sender.
    pub(crate) fn from_siginfo(bytes: &[u8]) -> Option<Signal> {
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
            // SI_KERNEL: an address that no pointer can have, among others.
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

    /// What its code says of a fault.
    fn reason(&self) -> &'static str {
        match (self.number, self.code) {
            (libc::SIGSEGV, 1) => ", where nothing is mapped",
            (libc::SIGSEGV, 2) => ", which may not be used so",
            (libc::SIGBUS, 1) => ", which is not aligned",
            (libc::SIGBUS, 2) => ", beyond the end of a mapped file",
            (libc::SIGBUS, 4 | 5) => ", whose memory is broken",
            (libc::SIGFPE, 1) => ", a division by zero",
            (libc::SIGILL, _) => ", which is no instruction of this processor",
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
                write!(f, " sent from outside of its container (uid {uid})")
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
    fn tells_where_it_came_from() {
        let told = |number: i32, code: i32, rest: [u8; 8]| {
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
                "SIGSEGV at address 0x8, where nothing is mapped",
            ),
            (11, 0, sender, "SIGSEGV sent by process 12345 (uid 1000)"),
            (6, -6, sender, "SIGABRT sent by process 12345 (uid 1000)"),
            (
                6,
                0,
                [0; 8],
                "SIGABRT sent from outside of its container (uid 0)",
            ),
            (3, 0x80, [0; 8], "SIGQUIT"),
            (40, 0, sender, "signal 40 sent by process 12345 (uid 1000)"),
        ] {
            assert_eq!(told(number, code, rest).as_deref(), Some(expected));
        }
        assert_eq!(told(0, 0, [0; 8]), None);
        assert_eq!(Signal::from_siginfo(&[]), None);
    }
}
