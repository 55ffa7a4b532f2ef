//! Tests of [`super::ElfFile`] on our own binary, on Python's libraries and on broken bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;
use crate::os::Pid;
use crate::os::deadline::Deadline;
use crate::os::memory::live::LiveMemory;
use crate::os::procfs::maps;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;

#[test]
fn every_mapping_of_our_own_binary_gives_the_same_bias() {
    let elf = open(File::open("/proc/self/exe").unwrap()).unwrap();
    let exe = std::fs::read_link("/proc/self/exe").unwrap();
    let mappings = maps::read_mappings(std::process::id() as Pid, Deadline::NEVER).unwrap();
    let image = maps::images(&mappings)
        .into_iter()
        .find(|image| *image.path == *exe)
        .unwrap();
    let found = elf.symbols(&["no_such_symbol", "main"]).unwrap();
    assert_eq!(found[0], None);
    let bias = elf.load_bias(image.base().unwrap()).unwrap();
    for mapping in &image.mappings {
        assert_eq!(elf.load_bias(mapping), Some(bias), "{mapping:?}");
    }
    let main = found[1].unwrap().wrapping_add(bias);
    let code = mappings
        .iter()
        .find(|mapping| mapping.contains(main))
        .unwrap();
    assert!(code.executable && code.path.as_deref() == Some(&*exe));
    assert!(elf.section(".text").unwrap().size > 0);
    assert_eq!(elf.section(".none"), None);
    assert!(!elf.writable_ranges().is_empty());
}

/// The mapped C library: usually without `.symtab`, and with a hash table.
fn libc_image() -> maps::Image {
    let mappings = maps::read_mappings(std::process::id() as Pid, Deadline::NEVER).unwrap();
    maps::images(&mappings)
        .into_iter()
        .find(|image| image.file_name().starts_with("libc.so"))
        .unwrap()
}

#[test]
fn a_library_reads_the_same_from_its_file_and_from_memory() {
    let image = libc_image();
    let base = image.base().unwrap();
    let file = open(File::open(&image.path).unwrap()).unwrap();
    let memory = LiveMemory::open(std::process::id() as Pid).unwrap();
    let loaded = ElfFile::from_memory(&memory, RemoteAddr(base.start), Deadline::NEVER).unwrap();
    let names = ["environ", "malloc", "getpid", "no_such_symbol"];
    let expected = file.symbols(&names).unwrap();
    assert_eq!(expected.iter().filter(|found| found.is_some()).count(), 3);
    assert_eq!(loaded.symbols(&names).unwrap(), expected);
    assert_eq!(loaded.build_id(), file.build_id());
    assert!(file.build_id().is_some());
    assert_eq!(loaded.load_bias(base), file.load_bias(base));
    let here = nix::libc::getpid as *const () as u64;
    let bias = file.load_bias(base).unwrap();
    assert_eq!(expected[2].unwrap().wrapping_add(bias), here);
}

#[test]
fn without_section_headers_the_dynamic_segment_is_enough() {
    let image = libc_image();
    let mut bytes = std::fs::read(&image.path).unwrap();
    let whole = open(File::open(&image.path).unwrap()).unwrap();
    // e_shoff, e_shnum and e_shstrndx of Elf64_Ehdr.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    let stripped = open_bytes(&bytes).unwrap();
    let names = ["malloc", "environ"];
    assert_eq!(stripped.section(".text"), None);
    assert_eq!(
        stripped.symbols(&names).unwrap(),
        whole.symbols(&names).unwrap()
    );
    assert!(stripped.symbols(&names).unwrap()[0].is_some());
    assert!(!stripped.writable_ranges().is_empty());
}

#[test]
fn broken_files_are_errors_and_never_panics() {
    for bytes in [&b""[..], b"\x7fELF", &[0x7f; 64], b"#!/bin/sh\n"] {
        assert!(open_bytes(bytes).is_err());
    }
    let image = libc_image();
    let whole = std::fs::read(&image.path).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&whole).unwrap();
    // Every byte of the headers in turn, then samples of the tables that they lead to.
    for at in (0..1024).chain((1024..whole.len().min(200_000)).step_by(997)) {
        for value in [0, 0xff, whole[at].wrapping_add(1)] {
            file.write_all_at(&[value], at as u64).unwrap();
            if let Ok(elf) = open(file.try_clone().unwrap()) {
                let _ = elf.symbols(&["no_such_symbol"]);
                let _ = (elf.build_id(), elf.writable_ranges());
                let _ = elf.load_bias(image.base().unwrap());
            }
        }
        file.write_all_at(&[whole[at]], at as u64).unwrap();
    }
    let elf = open(file).unwrap();
    assert!(elf.symbols(&["malloc"]).unwrap()[0].is_some());
}

fn open_bytes(bytes: &[u8]) -> Result<ElfFile<'static>, ElfError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    open(file)
}

fn open(file: File) -> Result<ElfFile<'static>, ElfError> {
    ElfFile::open(file, Deadline::NEVER)
}

/// A file with `sections` (type, flags, address, offset, size, link) and nothing else but `parts` of bytes
/// at offsets, and holes.
fn made_of(sections: &[[u64; 6]], parts: &[(u64, &[u8])]) -> File {
    let file = tempfile::tempfile().unwrap();
    let mut headers = Vec::new();
    for [kind, flags, address, offset, size, link] in sections {
        headers.extend(0u32.to_le_bytes());
        headers.extend((*kind as u32).to_le_bytes());
        for word in [flags, address, offset, size] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend([*link as u32, 0].map(u32::to_le_bytes).concat());
        headers.extend([8u64, 24].map(u64::to_le_bytes).concat());
    }
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16..18].copy_from_slice(&3u16.to_le_bytes());
    header[18..20].copy_from_slice(&62u16.to_le_bytes());
    header[40..48].copy_from_slice(&64u64.to_le_bytes());
    header[54..56].copy_from_slice(&56u16.to_le_bytes());
    header[58..60].copy_from_slice(&64u16.to_le_bytes());
    header[60..62].copy_from_slice(&(sections.len() as u16).to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&headers, 64).unwrap();
    for (offset, bytes) in parts {
        file.write_all_at(bytes, *offset).unwrap();
    }
    file
}

/// A defined function with this place of its name, at this address.
fn symbol(name: u32, address: u64) -> Vec<u8> {
    let mut symbol = name.to_le_bytes().to_vec();
    symbol.extend([0x12, 0, 1, 0]);
    symbol.extend([address, 8].map(u64::to_le_bytes).concat());
    symbol
}

const MIB: u64 = 1 << 20;

/// A file whose 32 MiB of symbols are a hole, except for the last one: `wanted`, at address 7.
fn large_and_sparse() -> (File, u64) {
    let (symbols, strings) = (MIB, 16 << 10);
    let size = (32 * MIB).next_multiple_of(24);
    let sections = [
        [0; 6],
        [
            u64::from(goblin::elf::section_header::SHT_SYMTAB),
            0,
            0,
            symbols,
            size,
            2,
        ],
        [3, 0, 0, strings, 4096, 0],
    ];
    let last = symbol(11, 7);
    let end = symbols + size;
    let parts = [
        (strings, &b"\0_unwanted\0wanted\0"[..]),
        (end - 24, &last[..]),
    ];
    (made_of(&sections, &parts), end)
}

/// Regression: tables were mapped, and a process that truncated the file while they were searched ended
/// us by SIGBUS.
#[test]
fn a_file_that_is_truncated_is_an_error() {
    let (file, end) = large_and_sparse();
    let elf = open(file.try_clone().unwrap()).unwrap();
    assert_eq!(elf.symbols(&["wanted"]).unwrap(), [Some(7)]);
    for size in [end - 1, 16 * MIB, MIB + 24, 17 << 10, 100] {
        file.set_len(size).unwrap();
        let error = elf.symbols(&["wanted"]).unwrap_err();
        let ElfError::Io(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(elf.build_id().is_none());
    }
}

/// The same race without a known moment: it is lost at any place of the table.
#[test]
fn a_file_is_truncated_and_extended_while_it_is_read() {
    let (file, end) = large_and_sparse();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(order) {
                file.set_len(MIB).unwrap();
                file.set_len(end).unwrap();
            }
        });
        for _ in 0..20 {
            // The last symbol is lost with the first truncation.
            let elf = open(file.try_clone().unwrap());
            if let Ok(found) = elf.and_then(|elf| elf.symbols(&["wanted"])) {
                assert!(matches!(found[..], [None | Some(7)]));
            }
        }
        is_done.store(true, order);
    });
}

#[test]
fn after_the_deadline_reads_fail() {
    let (file, _) = large_and_sparse();
    let over = Deadline::after(std::time::Duration::ZERO);
    let error = ElfFile::open(file, over).unwrap_err();
    assert!(matches!(error, ElfError::TooLate), "{error}");
}

/// Names at the border of two pieces, at the end of a longer name, at both ends of the table.
#[test]
fn names_are_found_wherever_they_are_in_the_table() {
    let (symbols, strings) = (4 * MIB, 1 << 16);
    let size = 600 << 10;
    for piece in [0, 256 << 10, 512 << 10] {
        for shift in 0..20 {
            let mut text = vec![b'x'; size];
            let at = (piece + shift as usize).saturating_sub(10);
            for (place, bytes) in [
                (0, &b"first\0"[..]),
                (at + 6, b"\0_long_name\0"),
                (size - 6, b"\0last\0"),
            ] {
                text[place..place + bytes.len()].copy_from_slice(bytes);
            }
            let table = [
                symbol(at as u32 + 7, 1),
                symbol(at as u32 + 13, 2),
                symbol(0, 3),
                symbol(size as u32 - 5, 4),
                symbol(u32::MAX, 5),
                symbol(at as u32 + 13, 6),
            ];
            let sections = [
                [0; 6],
                [2, 0, 0, symbols, 24 * table.len() as u64, 2],
                [3, 0, 0, strings, size as u64, 0],
            ];
            let file = made_of(&sections, &[(strings, &text), (symbols, &table.concat())]);
            let names = ["name", "_long_name", "first", "last", "long", "x"];
            let found = open(file).unwrap().symbols(&names).unwrap();
            let expected = [Some(2), Some(1), Some(3), Some(4), None, None];
            assert_eq!(found, expected, "{piece} {shift}");
        }
    }
}

/// The hash table, the dynamic segment and the table itself lead to the same symbols.
#[test]
fn all_ways_to_a_symbol_agree() {
    let image = libc_image();
    let file = File::open(&image.path).unwrap();
    let elf = open(file).unwrap();
    let (index, (_, table)) = elf
        .sections
        .iter()
        .enumerate()
        .find(|(_, (_, section))| section.sh_type == goblin::elf::section_header::SHT_DYNSYM)
        .unwrap();
    let mut bytes = std::fs::read(&image.path).unwrap();
    let strings = &elf.sections[table.sh_link as usize].1;
    let names: Vec<String> = (0..table.sh_size / 24)
        .step_by(7)
        .map(|n| {
            let at = (table.sh_offset + 24 * n) as usize;
            let name = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let name = &bytes[(strings.sh_offset + u64::from(name)) as usize..];
            let name = name.split(|byte| *byte == 0).next().unwrap();
            String::from_utf8(name.to_vec()).unwrap()
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(names.len() > 100);
    let expected = elf.exported_symbols(&names).unwrap();
    assert!(expected.iter().flatten().count() > names.len() / 2);
    // The hash table's section becomes one of an unknown type.
    let hash = elf
        .sections
        .iter()
        .position(|(name, section)| name == ".gnu.hash" && section.sh_link as usize == index);
    let at = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize + 64 * hash.unwrap();
    bytes[at + 4..at + 8].fill(0xff);
    let without = open_bytes(&bytes).unwrap();
    assert_eq!(without.exported_symbols(&names).unwrap(), expected);
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    let stripped = open_bytes(&bytes).unwrap();
    assert_eq!(stripped.exported_symbols(&names).unwrap(), expected);
}

/// Regression: 4,000 sections that are all the same 64 MiB were 250 GiB of data to be searched.
#[test]
fn sections_that_overlap_are_one_range() {
    let writable = |address, size| [8, u64::from(SHF_WRITE), address, 0, size, 0];
    let mut sections = vec![writable(0x10000, 64 << 20); 4000];
    sections[0] = [0; 6];
    // One that overlaps the end, one within, one that touches, and one apart; one at the end of all.
    sections.extend([
        writable(0x10000 + (60 << 20), 8 << 20),
        writable(0x20000, 16),
        writable(0x10000 + (68 << 20), 32),
        writable(0x8000, 64),
        writable(u64::MAX - 7, 64),
    ]);
    let elf = open(made_of(&sections, &[])).unwrap();
    let ranges: Vec<_> = elf
        .writable_ranges()
        .iter()
        .map(|range| (range.vaddr, range.size))
        .collect();
    let expected = [
        (0x10000 + (68 << 20), 32),
        (0x8000, 64),
        (u64::MAX - 7, 64),
        (0x10000, 68 << 20),
    ];
    assert_eq!(
        ranges.iter().map(|(_, size)| size).sum::<u64>(),
        160 + (68 << 20)
    );
    for range in expected {
        assert!(ranges.contains(&range), "{range:?} of {ranges:?}");
    }
}
