//! Local variables compared with what the program fixtures/locals.py says about them.

use std::collections::{BTreeMap, BTreeSet};

use pyspy_rs::internals::Local;
use serde_json::Value;

/// Types whose text is what `repr` gives.
const LIKE_REPR: &[&str] = &[
    "int",
    "long",
    "bool",
    "NoneType",
    "float",
    "complex",
    "str",
    "unicode",
    "bytes",
    "bytearray",
    "list",
    "tuple",
    "dict",
    "set",
    "frozenset",
    "range",
    "ellipsis",
];

/// Whether a text is the expected one, as far as it goes before something was left out.
fn matches(shown: &str, expected: &str) -> bool {
    match shown.split_once('…') {
        Some((start, _)) => {
            start.len() > 100 && {
                let start = start.trim_end_matches('\'');
                expected.starts_with(start) || start.starts_with(expected)
            }
        }
        None => shown == expected,
    }
}

/// Fails unless the variables by function are those of `truth`, the fact `locals` of the program.
///
/// # Panics
/// With the variable that differs.
pub fn assert_locals(all: &BTreeMap<String, Vec<Local>>, truth: &Value) {
    let mut compared = 0;
    for (function, expected) in truth.as_object().expect("locals") {
        let expected = expected.as_object().expect("variables");
        let found = all.get(function).unwrap_or_else(|| panic!("no {function}"));
        let names: BTreeSet<String> = found.iter().map(|local| local.name.clone()).collect();
        assert_eq!(names, expected.keys().cloned().collect(), "{function}");
        for local in found {
            let expected = &expected[&local.name];
            let place = format!("{function}: {local:?}, not {expected}");
            let is_argument = expected["argument"].as_bool();
            assert_eq!(Some(local.is_argument), is_argument, "{place}");
            let of_type = expected["type"].as_str().expect("a type");
            if LIKE_REPR.contains(&of_type) {
                let repr = expected["repr"].as_str().expect("a repr");
                assert!(matches(&local.value, repr), "{place}");
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "only {compared} values");
}
