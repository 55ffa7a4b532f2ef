//! Tests of parsing mappings and of grouping them into loaded files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::parse::parse_line;
use super::*;
use crate::os::test_support::Cat;

fn parse(text: &[u8]) -> Vec<Mapping> {
    parse::parse(text, Deadline::NEVER).unwrap()
}

#[test]
fn both_parsers_agree() {
    let cat = Cat::start(&mut std::process::Command::new("cat"));
    let lines = std::fs::read(format!("/proc/{}/maps", cat.pid())).unwrap();
    let by_us = parse(lines.trim_ascii_end());
    assert!(by_us.len() > 5);
    assert_eq!(read_mappings(cat.pid(), Deadline::NEVER).unwrap(), by_us);
}

#[test]
fn a_text_may_come_in_any_pieces() {
    for len in [1, 7, 100] {
        let mut lines = Lines::default();
        for piece in LOADED.chunks(len) {
            lines.add(piece, Deadline::NEVER).unwrap();
        }
        assert_eq!(lines.finish().unwrap(), parse(LOADED), "pieces of {len}");
    }
    assert_eq!(parse(b"").len(), 0);
    let endless = vec![b'x'; 70_000];
    let mut lines = Lines::default();
    let error = lines.add(&endless, Deadline::NEVER).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let over = Deadline::after(Duration::ZERO);
    let error = Lines::default().add(LOADED, over).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_name_that_is_not_utf8_hides_no_mapping() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder
        .path()
        .join(OsString::from_vec(b"c\xff t (deleted)".to_vec()));
    std::fs::copy("/bin/cat", &program).unwrap();
    let cat = Cat::start(&mut std::process::Command::new(&program));
    let mappings = read_mappings(cat.pid(), Deadline::NEVER).unwrap();
    let stripped = folder.path().join(OsString::from_vec(b"c\xff t".to_vec()));
    assert!(
        images(&mappings)
            .iter()
            .any(|image| *image.path == *stripped)
    );
}

#[test]
fn fields_of_a_line() {
    let line = b"7f00-7f01 r-xs 00001000 08:1f 4711                       /a b/c (deleted)";
    let expected = Mapping {
        start: 0x7f00,
        end: 0x7f01,
        offset: 0x1000,
        readable: true,
        writable: false,
        executable: true,
        inode: 4711,
        dev: (8, 0x1f),
        path: Some(Path::new("/a b/c").into()),
        deleted: true,
    };
    assert_eq!(parse(line), [expected]);
    let heap = parse(b"7f00-7f01 rw-p 00000000 00:00 0     [heap]\n");
    assert_eq!(heap[0].file_path(), None);
    assert!(heap[0].path.is_some());
    let anonymous = parse(b"7f00-7f01 rw-p 00000000 00:00 0 \n");
    assert_eq!(anonymous[0].path, None);
    for broken in [
        &b"garbage"[..],
        b"7f00 rw-p 0 00:00 0",
        b"7f00-zz rw-p 0 00:00 0",
        b"",
    ] {
        assert!(parse_line(broken).is_none());
    }
}

const LOADED: &[u8] = b"\
400000-401000 r--p 00000000 08:01 10 /usr/bin/prog
401000-500000 r-xp 00001000 08:01 10 /usr/bin/prog
500000-510000 rw-p 00100000 08:01 10 /usr/bin/prog
510000-540000 rw-p 00000000 00:00 0
600000-700000 rw-p 00000000 00:00 0 [heap]
7000000-7001000 r--p 00000000 08:01 20 /usr/share/data
8000000-8001000 r--p 00000000 08:01 30 /lib/libx.so (deleted)
8001000-8002000 r-xp 00001000 08:01 30 /lib/libx.so (deleted)
8002000-8003000 ---p 00002000 08:01 30 /lib/libx.so (deleted)
8003000-8004000 rw-p 00002000 08:01 30 /lib/libx.so (deleted)
8005000-8006000 rw-p 00000000 00:00 0
9000000-9001000 r-xp 00000000 08:01 30 /lib/libx.so (deleted)
9001000-9002000 rw-p 00001000 08:01 30 /lib/libx.so (deleted)
9002000-9003000 rw-p 00000000 00:00 0
a000000-a001000 r-xp 00000000 00:00 0 [vdso]";

#[test]
fn mappings_of_a_file_make_one_image() {
    let images = images(&parse(LOADED));
    let summary: Vec<_> = images
        .iter()
        .map(|image| {
            let bss = image.bss.as_ref().map(|bss| bss.start);
            (image.file_name(), image.mappings.len(), image.deleted, bss)
        })
        .collect();
    // The data file isn't executable; the library is loaded twice; memory after a gap isn't .bss.
    assert_eq!(
        summary,
        [
            ("prog".into(), 3, false, Some(0x510000)),
            ("libx.so".into(), 4, true, None),
            ("libx.so".into(), 2, true, Some(0x9002000)),
        ]
    );
    assert_eq!(images[0].base().unwrap().start, 0x400000);
    assert_eq!(images[0].bss.as_ref().map(|bss| bss.end), Some(0x540000));
}

/// The list of a process that maps a file of a long name again and again: most of its lines are alike.
fn long_list(lines: usize) -> Vec<u8> {
    let path = "p/".repeat(2000);
    let line = |n: usize| {
        let (start, flags) = (0x10000 + n * 0x1000, ["---p", "r-xp"][n % 2]);
        let offset = if n.is_multiple_of(2) { 0x1000 } else { 0 };
        format!(
            "{start:x}-{:x} {flags} {offset:08x} 08:01 10 /{path}x\n",
            start + 0x1000
        )
    };
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// Regression: 60,000 mappings of a file with a path of 4,000 bytes took 568 MiB.
#[test]
fn a_path_is_stored_once_however_many_mappings_have_it() {
    let mappings = parse(&long_list(2_000));
    assert_eq!(mappings.len(), 2_000);
    let images = images(&mappings);
    assert_eq!(images.len(), 1_000);
    let first = mappings[0].path.as_ref().unwrap();
    let mut paths = mappings
        .iter()
        .map(|mapping| mapping.path.as_ref().unwrap());
    assert!(paths.all(|path| Arc::ptr_eq(path, first)));
    assert!(images.iter().all(|image| Arc::ptr_eq(&image.path, first)));
}

#[test]
fn different_paths_without_end_have_a_cap() {
    let line = |n: usize| {
        format!(
            "{n:x}000-{n:x}fff r-xp 0 08:01 {n} /{n}/{}\n",
            "x".repeat(4000)
        )
    };
    let text: String = (1..=5_000).map(line).collect();
    let mappings = parse(text.as_bytes());
    assert_eq!(mappings.len(), 5_000);
    let with_path = mappings.iter().filter(|mapping| mapping.path.is_some());
    assert!((4_000..4_500).contains(&with_path.count()));
}

#[test]
fn a_deadline_ends_the_list_and_a_long_line_is_an_error() {
    let over = Deadline::after(Duration::ZERO);
    let error = parse::parse(&*long_list(10), over).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let error = read_mappings(std::process::id() as Pid, over).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let line = [b"7f00-7f01 rw-p 0 00:00 0 /".to_vec(), vec![b'x'; 1 << 17]].concat();
    let error = parse::parse(&*line, Deadline::NEVER).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
