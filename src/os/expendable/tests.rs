#![allow(clippy::unwrap_used)] // A test may fail by panicking.
use super::*;

/// Much more than any of these requests takes, also on a loaded machine.
fn later() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn own_pid() -> Pid {
    std::process::id().cast_signed()
}

#[test]
fn every_request_is_answered() {
    let value: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    let addr = value.as_ptr() as u64;
    let mut copy = vec![0; 1000];
    let read = read_memory(None, own_pid(), addr, &mut copy, later());
    assert_eq!(read.unwrap().unwrap(), 1000);
    assert_eq!(copy, value.get(..1000).unwrap());
    let bad = read_memory(None, own_pid(), 8, &mut copy, later()).unwrap();
    assert_eq!(bad.unwrap_err().raw_os_error(), Some(libc::EFAULT));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, &value).unwrap();
    assert!(is_file(&path, later()).unwrap());
    assert!(!is_file(folder.path(), later()).unwrap());
    assert!(exists(folder.path(), later()).unwrap());
    assert!(!exists(&folder.path().join("none"), later()).unwrap());
    // Several packets, and a cap.
    assert_eq!(read_file(&path, 1 << 20, later()).unwrap().unwrap(), value);
    let start = read_file(&path, 40_000, later()).unwrap().unwrap();
    assert_eq!(start, value.get(..40_000).unwrap());
    let mut pieces = Vec::new();
    let all = read_pieces(&path, later(), |piece| {
        pieces.push(piece.to_vec());
        Ok(())
    });
    assert!(all.unwrap().is_ok() && pieces.len() > 1);
    assert_eq!(pieces.concat(), value);
    // What is not wanted any more is not sent to the next request.
    let mut count = 0;
    let refused = read_pieces(&path, later(), |_| {
        count += 1;
        Err(io::ErrorKind::TimedOut.into())
    });
    let kind = refused.unwrap().map_err(|error| error.kind());
    assert_eq!((kind, count), (Err(io::ErrorKind::TimedOut), 1));
    let gone = read_file(Path::new("/proc/0/maps"), 9, later()).unwrap();
    assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(open_file_answers(&path, later()));
    // A refusal is an answer.
    assert!(open_file_answers(folder.path(), later()));
    assert!(open_file_answers(Path::new("/none"), later()));
}

#[test]
fn a_path_that_cannot_be_sent_is_no_file() {
    let long = "/x".repeat(3000);
    for path in [Path::new(&long), Path::new("/etc/passwd\0")] {
        assert!(!is_file(path, later()).unwrap());
    }
}

#[test]
fn a_deadline_that_is_over_is_no_reply() {
    let over = Deadline::after(Duration::ZERO);
    assert_eq!(is_file(Path::new("/"), over), Err(NoReply::TooLate));
}

/// A FUSE mount or the like needs root: a stopped child does not answer either.
#[test]
fn a_child_that_does_not_answer_is_given_up_and_replaced() {
    let reader = Reader::start().unwrap();
    let pid = reader.pid;
    // SAFETY: it is our child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    // Until then it waits for a CPU, which is another answer.
    let is_stopped = |stat: String| stat.contains(") T ");
    while !is_stopped(std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap()) {
        std::thread::yield_now();
    }
    let header = of_path(Operation::Mode, 0).encode();
    wire::send(reader.socket.as_raw_fd(), &header, b"/", None).unwrap();
    let soon = Deadline::after(Duration::from_millis(20));
    let reply = reader.replies(soon, Patience::None, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(reply, Err(Some(NoReply::Blocked(pid))));
    reader.abandon();
    // SIGKILL ends a stopped child, so that it is reaped sooner or later.
    while is_blocked(pid) {
        std::thread::yield_now();
    }
    assert!(exists(Path::new("/"), later()).unwrap());
}

#[test]
fn a_child_that_has_died_is_replaced_without_an_error() {
    let reader = Reader::start().unwrap();
    // SAFETY: it is our child; no status is asked for.
    unsafe {
        libc::kill(reader.pid, libc::SIGKILL);
        libc::waitpid(reader.pid, std::ptr::null_mut(), 0);
    }
    put_back(reader);
    assert!(exists(Path::new("/"), later()).unwrap());
}
