//! Names of the system calls in which threads wait or spend time.

/// By number on x86-64 (the kernel's arch/x86/entry/syscalls/syscall_64.tbl).
const NAMES: [(u32, &str); 46] = [
    (0, "read"),
    (1, "write"),
    (7, "poll"),
    (9, "mmap"),
    (11, "munmap"),
    (17, "pread64"),
    (18, "pwrite64"),
    (19, "readv"),
    (20, "writev"),
    (23, "select"),
    (28, "madvise"),
    (34, "pause"),
    (35, "nanosleep"),
    (40, "sendfile"),
    (42, "connect"),
    (43, "accept"),
    (44, "sendto"),
    (45, "recvfrom"),
    (46, "sendmsg"),
    (47, "recvmsg"),
    (56, "clone"),
    (61, "wait4"),
    (62, "kill"),
    (65, "semop"),
    (70, "msgrcv"),
    (72, "fcntl"),
    (73, "flock"),
    (74, "fsync"),
    (75, "fdatasync"),
    (128, "rt_sigtimedwait"),
    (130, "rt_sigsuspend"),
    (202, "futex"),
    (219, "restart_syscall"),
    (230, "clock_nanosleep"),
    (232, "epoll_wait"),
    (234, "tgkill"),
    (247, "waitid"),
    (257, "openat"),
    (270, "pselect6"),
    (271, "ppoll"),
    (281, "epoll_pwait"),
    (288, "accept4"),
    (318, "getrandom"),
    (426, "io_uring_enter"),
    (441, "epoll_pwait2"),
    (449, "futex_waitv"),
];

/// The name of a system call, if it is a common one.
pub fn name(number: u32) -> Option<&'static str> {
    let place = NAMES.binary_search_by_key(&number, |(known, _)| *known);
    NAMES.get(place.ok()?).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_calls_have_names() {
        assert!(NAMES.is_sorted_by_key(|(number, _)| *number));
        for (number, expected) in [(0, "read"), (202, "futex"), (449, "futex_waitv")] {
            assert_eq!(name(number), Some(expected));
        }
        assert_eq!(name(450), None);
    }
}
