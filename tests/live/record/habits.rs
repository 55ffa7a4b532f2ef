//! What scripts for py-spy do on its command line.

use crate::support::Target;
use crate::support::bench::{Bench, python, words};

/// It was a usage error. py-spy's flame graph fails with these words, its other files are empty.
#[test]
fn no_seconds_are_a_recording_of_nothing() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-d 0 -o x.svg --pid {}", target.pid());
    let (bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(1);
    done.assert_wrote("error: No stack counts found");
    assert!(bench.files().is_empty());
    let options = format!("-d 0 -i -f raw -o x.txt --pid {}", target.pid());
    let (bench, done) = Bench::new(&options).run(vec![]);
    done.assert_code(0);
    done.assert_wrote("Wrote raw flamegraph data to 'x.txt'. Samples: 0 Errors: 0");
    assert_eq!(bench.text("x.txt"), "");
}

/// It was a usage error. py-spy records the process, and launches nothing without a word.
#[test]
fn a_program_beside_a_pid_is_not_launched() {
    let target = Target::start(python(), "ping.py", &[]);
    let options = format!("-d 0.2 -i -f raw -o x.txt --pid {}", target.pid());
    let (bench, done) = Bench::new(&options).run(words(&["touch", "launched"]));
    done.assert_code(0);
    done.assert_wrote("warning: 'touch' is not launched, since --pid selects process");
    assert!(bench.text("x.txt").contains("<module> (ping.py:"));
    assert_eq!(bench.files(), ["x.txt"]);
}

/// `--capture` was refused.
#[test]
fn captured_output_is_shown_of_a_program_that_fails() {
    for (code, shows) in [("0", false), ("3", true)] {
        let script = format!(
            "import sys; print('from stdout'); print('from stderr', file=sys.stderr); \
             assert not sys.stdin.read(); sys.exit({code})"
        );
        let program = python().words(&["-c", &script]);
        let (bench, done) = Bench::new("--capture -o x.svg").run(program);
        done.assert_code(code.parse().unwrap());
        assert_eq!(done.stdout, "");
        for line in ["from stdout\n", "from stderr\n"] {
            assert_eq!(done.stderr.contains(line), shows, "{}", done.stderr);
        }
        assert_eq!(bench.files(), ["x.svg"]);
    }
}
