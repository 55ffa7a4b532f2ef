//! A child that takes long to examine costs the samples of the others nothing.

use std::process::Command;

use crate::support::bench::python;
use crate::support::{Recording, Sampling, Target, fixtures};

/// Regression: new children were examined between two samples, for up to half a second each.
#[test]
fn a_child_that_takes_long_to_examine_delays_no_sample() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("large_array");
    let status = Command::new("cc")
        .args(["-O1", "-rdynamic", "-no-pie", "-o"])
        .arg(&program)
        .arg(fixtures().join("large_array.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success());
    let words = [program.to_str().unwrap(), "3."];
    let target = Target::start(python(), "slow_child.py", &words);
    let record = || {
        let options = ["-s", "-i", "-f", "raw", "-F", "-r", "200", "-vv"];
        let mut sampling = Sampling::start(target.pid(), &options);
        // The examination has taken all the time that it may.
        sampling.wait_until_said("gave up after 500 ms, while the data of");
        sampling.stop()
    };
    // There were a hundred ticks meanwhile; on a crowded machine more than a few are missed for other reasons.
    let recording = Recording::until(record, |recording| {
        recording.samples_with("spin (").0 > 3 * recording.missed()
    });
    recording.assert_no_error();
}
