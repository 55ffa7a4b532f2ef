//! What a target may put where its `_Py_DebugOffsets` should be: refused, never believed.
//!
//! The sound tables in `tests/tables` are the first bytes of the section `.PyRuntime` of Debian's
//! `libpython3.N.so.1.0` of the release in the name.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Tests fail by panicking.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use python_offsets::{
    DEBUG_OFFSETS_LEN, LayoutSource, OffsetsError, PythonVersion, describe, needs_debug_offsets,
    peek_debug_offsets, supported,
};

/// The sound tables, by minor version, oldest first. A version without one fails here.
fn tables() -> BTreeMap<u8, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables");
    let files = fs::read_dir(folder).unwrap();
    let tables: BTreeMap<_, _> = files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let minor = name.split('.').nth(1).unwrap().parse().unwrap();
            (minor, fs::read(&path).unwrap())
        })
        .collect();
    let describe_themselves =
        |(major, minor): &(u8, u8)| needs_debug_offsets(PythonVersion::new(*major, *minor, 0));
    for (major, minor) in supported().filter(describe_themselves) {
        assert!(
            tables.contains_key(&minor),
            "no table of {major}.{minor}: put the first bytes of the section .PyRuntime of its \
             libpython into tests/tables/{major}.{minor}.PATCH.bin"
        );
    }
    tables
}

fn version(minor: u8) -> PythonVersion {
    PythonVersion::new(3, minor, 0)
}

#[test]
fn sound_tables_are_read() {
    for (minor, table) in &tables() {
        assert!(table.len() <= DEBUG_OFFSETS_LEN);
        assert_eq!(peek_debug_offsets(table).unwrap().minor, *minor);
        let description = describe(version(*minor), Some(table)).unwrap();
        assert_eq!(description.source, LayoutSource::DebugOffsets);
        assert_eq!(description.layout.pyobject.size, 16);
        // What follows the table in the target does not matter.
        let longer = [&table[..], &[0xFF; 500]].concat();
        assert_eq!(describe(version(*minor), Some(&longer)), Ok(description));
    }
}

#[test]
fn a_bad_cookie_is_refused() {
    for (minor, table) in &tables() {
        let mut bytes = table.to_vec();
        bytes[0] ^= 1;
        assert_eq!(peek_debug_offsets(&bytes), None);
        assert_eq!(
            describe(version(*minor), Some(&bytes)),
            Err(OffsetsError::BadCookie)
        );
        assert_eq!(
            describe(version(*minor), Some(&[])),
            Err(OffsetsError::BadCookie)
        );
    }
}

#[test]
fn another_versions_table_is_refused() {
    let tables = tables();
    let (newest, its_table) = tables.last_key_value().unwrap();
    for minor in tables.keys() {
        for (other, table) in tables.iter().filter(|(other, _)| *other != minor) {
            let longer = [table, &[0; DEBUG_OFFSETS_LEN][..]].concat();
            let error = describe(version(*minor), Some(&longer)).unwrap_err();
            assert!(
                matches!(error, OffsetsError::VersionMismatch { found, .. }
                    if found >> 16 == 0x300 | u64::from(*other)),
                "{error:?}"
            );
        }
        assert_eq!(
            describe(version(newest + 1), Some(its_table)),
            Err(OffsetsError::UnsupportedVersion(version(newest + 1)))
        );
    }
}

#[test]
fn a_cut_table_is_refused() {
    for (minor, table) in &tables() {
        for len in 8..table.len() {
            assert_eq!(
                describe(version(*minor), Some(&table[..len])),
                Err(OffsetsError::Truncated {
                    len,
                    need: table.len()
                })
            );
        }
    }
}

/// Sets each value in turn to what could send a reader astray. A slot that nobody reads may hold
/// anything; every other must be refused, or hold a value that stays inside its structure.
#[test]
fn no_value_leads_out_of_its_structure() {
    let mut refused = 0;
    for (minor, table) in &tables() {
        for slot in (24..table.len()).step_by(8) {
            for value in [u64::MAX, 1 << 63, 1 << 32, 0x7FFF_FFFF, 1 << 24, 3] {
                let mut bytes = table.to_vec();
                bytes[slot..slot + 8].copy_from_slice(&value.to_le_bytes());
                match describe(version(*minor), Some(&bytes)) {
                    Ok(description) => {
                        let text = format!("{:?}", description.layout);
                        for number in text.split(|c: char| !c.is_ascii_digit()) {
                            let number = number.parse().unwrap_or(0_u64);
                            assert!(number <= 4 << 20, "3.{minor} slot {slot}: {text}");
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// The table of 3.13 does not say where the counter of code objects is; we know it for some builds.
#[test]
fn a_counter_is_only_claimed_for_a_build_that_is_known() {
    let mut tables = tables();
    let table = tables.remove(&13).unwrap();
    let counter = |table: &[u8]| {
        let description = describe(version(13), Some(table)).ok()?;
        description.layout.interpreter_state.next_func_version
    };
    assert_eq!(counter(&table), Some(17_000));
    // Slots: version, free_threaded, runtime_state's three, then interpreter_state's thirteen.
    let mut claimed = Vec::new();
    for slot in 0..table.len() / 8 - 1 {
        let mut bytes = table.to_vec();
        // Another place, still aligned.
        bytes[8 + slot * 8] ^= 64;
        if counter(&bytes).is_some() {
            claimed.push(slot);
        }
    }
    // Another structure may have other fields, unless they are refused.
    assert!(claimed.iter().any(|slot| *slot >= 18), "{claimed:?}");
    assert!(
        claimed
            .iter()
            .all(|slot| *slot != 2 && !(5..18).contains(slot)),
        "{claimed:?}"
    );
    for (minor, table) in &tables {
        let interpreter = describe(version(*minor), Some(table))
            .unwrap()
            .layout
            .interpreter_state;
        assert_eq!(interpreter.next_func_version, None);
        assert!(interpreter.code_object_generation.is_some());
    }
}

#[test]
fn fields_on_top_of_each_other_are_refused() {
    for (minor, table) in &tables() {
        // Slots: version, free_threaded, runtime_state's three, then interpreter_state's size, id
        // and next.
        let (id, next) = (8 + 6 * 8, 8 + 7 * 8);
        let mut bytes = table.to_vec();
        bytes.copy_within(id..id + 8, next);
        assert_eq!(
            describe(version(*minor), Some(&bytes)),
            Err(OffsetsError::Overlapping {
                field: "interpreter_state.next",
                other: "interpreter_state.id"
            })
        );
    }
}
