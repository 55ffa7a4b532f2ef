//! The lines of a dump about interpreters and GILs, unless there is exactly one of each.

use super::model::ProcessDump;
use crate::cpython::stack::trace::ThreadInfo;
use crate::cpython::threads::gil::InterpreterGil;

/// Most interpreters that get a line; the JSON has all.
const MAX_LISTED: usize = 64;

/// A line per interpreter of a process with several; one line if a single interpreter has no GIL. Each
/// line starts with a label that scripts can search for.
pub(crate) fn lines(process: &ProcessDump) -> Vec<String> {
    let interpreters = match process.interpreters.as_slice() {
        [InterpreterGil { gil: None, .. }] => {
            return vec!["GIL: none (a free-threaded build)".to_owned()];
        }
        [] | [_] => return Vec::new(),
        several => several,
    };
    let mut lines: Vec<String> = interpreters
        .iter()
        .take(MAX_LISTED)
        .map(|interpreter| {
            let InterpreterGil { id, gil } = *interpreter;
            match gil {
                None => format!("Interpreter {id}: no GIL (a free-threaded build)"),
                Some(owner) if owner != id => {
                    format!("Interpreter {id}: the GIL of interpreter {owner}")
                }
                Some(_) => match process.gil_holder(*interpreter) {
                    Some(tid) => format!("Interpreter {id}: own GIL, held by thread {tid}"),
                    None => format!("Interpreter {id}: own GIL, held by no thread"),
                },
            }
        })
        .collect();
    if interpreters.len() > MAX_LISTED {
        lines.push(format!(
            "Interpreters: {} more",
            interpreters.len() - MAX_LISTED
        ));
    }
    lines
}

/// The suffix of a thread's name: its interpreters, the most recently entered first. `None` for a thread
/// in the main interpreter only.
pub(crate) fn place(thread: &ThreadInfo) -> Option<String> {
    let ids = thread.interpreter_ids.as_slice();
    if matches!(ids, [] | [0]) {
        return None;
    }
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    Some(format!("in interpreter {}", ids.join(", called from ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dump::samples;

    fn with(interpreters: &[(i64, Option<i64>)]) -> ProcessDump {
        let mut process = samples::process();
        let of = |&(id, gil)| InterpreterGil { id, gil };
        process.interpreters = interpreters.iter().map(of).collect();
        process
    }

    #[test]
    fn a_single_interpreter_with_a_gil_has_no_line() {
        assert!(lines(&with(&[(0, Some(0))])).is_empty());
        assert!(lines(&with(&[])).is_empty());
    }

    #[test]
    fn each_gil_has_its_holder() {
        let mut process = with(&[(0, Some(0)), (1, Some(1)), (2, Some(0)), (3, None)]);
        let text = |process: &ProcessDump| lines(process).join("\n");
        let expected = "Interpreter 0: own GIL, held by thread 8172
Interpreter 1: own GIL, held by no thread
Interpreter 2: the GIL of interpreter 0
Interpreter 3: no GIL (a free-threaded build)";
        assert_eq!(text(&process), expected);
        // A thread inside another interpreter holds that one's GIL, or the GIL that it shares.
        for (current, holder) in [
            (1, "1: own GIL, held by thread 8172"),
            (2, "0: own GIL, held"),
        ] {
            let main = process
                .threads
                .iter_mut()
                .find(|thread| thread.info.is_main);
            if let Some(main) = main {
                main.info.interpreter_ids = vec![current, 0];
            }
            let lines = text(&process);
            assert!(lines.contains(&format!("Interpreter {holder}")), "{lines}");
            assert_eq!(lines.matches("by thread").count(), 1, "{lines}");
        }
    }

    #[test]
    fn a_missing_gil_is_shown() {
        assert_eq!(
            lines(&with(&[(0, None)])),
            ["GIL: none (a free-threaded build)"]
        );
    }

    #[test]
    fn a_thousand_interpreters_are_cut() {
        let many: Vec<_> = (0..1000).map(|id| (id, Some(id))).collect();
        let lines = lines(&with(&many));
        assert_eq!(lines.len(), MAX_LISTED + 1);
        assert_eq!(
            lines.last().map(String::as_str),
            Some("Interpreters: 936 more")
        );
    }

    #[test]
    fn a_thread_shows_its_interpreters() {
        let mut thread = samples::process().threads.remove(0).info;
        assert_eq!(place(&thread), None);
        thread.interpreter_ids = vec![3, 0];
        let expected = "in interpreter 3, called from 0";
        assert_eq!(place(&thread).as_deref(), Some(expected));
    }
}
