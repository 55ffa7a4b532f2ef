//! Tests of parsing mappings and of grouping them into loaded files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;
use crate::os::test_support::Cat;

fn parse(text: &[u8]) -> Vec<Mapping> {
    text.split(|&byte| byte == b'\n')
        .map(|line| parse_line(line).unwrap())
        .collect()
}

#[test]
fn both_parsers_agree() {
    let cat = Cat::start(&mut std::process::Command::new("cat"));
    let lines = std::fs::read(format!("/proc/{}/maps", cat.pid())).unwrap();
    let by_us = parse(lines.trim_ascii_end());
    assert!(by_us.len() > 5);
    assert_eq!(read_mappings(cat.pid()).unwrap(), by_us);
}

#[test]
fn a_name_that_is_not_utf8_hides_no_mapping() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder
        .path()
        .join(OsString::from_vec(b"c\xff t (deleted)".to_vec()));
    std::fs::copy("/bin/cat", &program).unwrap();
    let cat = Cat::start(&mut std::process::Command::new(&program));
    let mappings = read_mappings(cat.pid()).unwrap();
    let stripped = folder.path().join(OsString::from_vec(b"c\xff t".to_vec()));
    assert!(images(&mappings).iter().any(|image| image.path == stripped));
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
        path: Some("/a b/c".into()),
        deleted: true,
    };
    assert_eq!(parse_line(line), Some(expected));
    let heap = parse_line(b"7f00-7f01 rw-p 00000000 00:00 0     [heap]").unwrap();
    assert_eq!(heap.file_path(), None);
    assert_eq!(
        parse_line(b"7f00-7f01 rw-p 00000000 00:00 0 ")
            .unwrap()
            .path,
        None
    );
    for broken in [
        &b"garbage"[..],
        b"7f00 rw-p 0 00:00 0",
        b"7f00-zz rw-p 0 00:00 0",
        b"",
    ] {
        assert_eq!(parse_line(broken), None);
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
