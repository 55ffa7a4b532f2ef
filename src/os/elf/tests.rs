//! Tests of [`super::ElfFile`] on our own binary, on Python's libraries and on broken bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use super::*;
use crate::os::Pid;
use crate::os::memory::live::LiveMemory;
use crate::os::procfs::maps;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;

#[test]
fn every_mapping_of_our_own_binary_gives_the_same_bias() {
    let elf = ElfFile::open(File::open("/proc/self/exe").unwrap()).unwrap();
    let exe = std::fs::read_link("/proc/self/exe").unwrap();
    let mappings = maps::read_mappings(std::process::id() as Pid).unwrap();
    let image = maps::images(&mappings)
        .into_iter()
        .find(|image| image.path == exe)
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
    let mappings = maps::read_mappings(std::process::id() as Pid).unwrap();
    maps::images(&mappings)
        .into_iter()
        .find(|image| image.file_name().starts_with("libc.so"))
        .unwrap()
}

#[test]
fn a_library_reads_the_same_from_its_file_and_from_memory() {
    let image = libc_image();
    let base = image.base().unwrap();
    let file = ElfFile::open(File::open(&image.path).unwrap()).unwrap();
    let memory = LiveMemory::open(std::process::id() as Pid).unwrap();
    let loaded = ElfFile::from_memory(&memory, RemoteAddr(base.start)).unwrap();
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
    let whole = ElfFile::open(File::open(&image.path).unwrap()).unwrap();
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
            if let Ok(elf) = ElfFile::open(file.try_clone().unwrap()) {
                let _ = elf.symbols(&["no_such_symbol"]);
                let _ = (elf.build_id(), elf.writable_ranges());
                let _ = elf.load_bias(image.base().unwrap());
            }
        }
        file.write_all_at(&[whole[at]], at as u64).unwrap();
    }
    let elf = ElfFile::open(file).unwrap();
    assert!(elf.symbols(&["malloc"]).unwrap()[0].is_some());
}

fn open_bytes(bytes: &[u8]) -> Result<ElfFile<'static>, ElfError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    ElfFile::open(file)
}
