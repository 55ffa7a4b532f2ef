//! What the text of a dump says about interpreters and their GILs, where there is more than one or none.

use super::model::ProcessDump;
use crate::cpython::stack::trace::ThreadInfo;
use crate::cpython::threads::gil::InterpreterGil;

/// The most interpreters that get a line; the JSON has all.
const MOST: usize = 64;

/// A line for each interpreter of a process that has several; one that there is no GIL where that is so.
/// Each starts with a word of its own that scripts can look for.
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
        .take(MOST)
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
    if interpreters.len() > MOST {
        lines.push(format!("Interpreters: {} more", interpreters.len() - MOST));
    }
    lines
}

/// What is said behind a thread's name: in which interpreters it is, the innermost first. Nothing for one
/// that is in the main one alone.
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
    use crate::cli::dump::model::samples;

    fn with(interpreters: &[(i64, Option<i64>)]) -> ProcessDump {
        let mut process = samples::process();
        let of = |&(id, gil)| InterpreterGil { id, gil };
        process.interpreters = interpreters.iter().map(of).collect();
        process
    }

    #[test]
    fn one_with_a_gil_is_not_worth_a_line() {
        assert!(lines(&with(&[(0, Some(0))])).is_empty());
        assert!(lines(&with(&[])).is_empty());
    }

    #[test]
    fn each_gil_has_its_holder() {
        let mut process = with(&[(0, Some(0)), (1, Some(1)), (2, Some(0)), (3, None)]);
        let told = |process: &ProcessDump| lines(process).join("\n");
        let expected = "Interpreter 0: own GIL, held by thread 8172
Interpreter 1: own GIL, held by no thread
Interpreter 2: the GIL of interpreter 0
Interpreter 3: no GIL (a free-threaded build)";
        assert_eq!(told(&process), expected);
        // Inside of another interpreter it has that one's; of one that shares, its owner's.
        for (innermost, holder) in [
            (1, "1: own GIL, held by thread 8172"),
            (2, "0: own GIL, held"),
        ] {
            let main = process
                .threads
                .iter_mut()
                .find(|thread| thread.info.is_main);
            if let Some(main) = main {
                main.info.interpreter_ids = vec![innermost, 0];
            }
            let told = told(&process);
            assert!(told.contains(&format!("Interpreter {holder}")), "{told}");
            assert_eq!(told.matches("by thread").count(), 1, "{told}");
        }
    }

    #[test]
    fn without_a_gil_that_is_said() {
        assert_eq!(
            lines(&with(&[(0, None)])),
            ["GIL: none (a free-threaded build)"]
        );
    }

    #[test]
    fn a_thousand_do_not_fill_the_screen() {
        let many: Vec<_> = (0..1000).map(|id| (id, Some(id))).collect();
        let lines = lines(&with(&many));
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(
            lines.last().map(String::as_str),
            Some("Interpreters: 936 more")
        );
    }

    #[test]
    fn a_thread_says_where_it_is() {
        let mut thread = samples::process().threads.remove(0).info;
        assert_eq!(place(&thread), None);
        thread.interpreter_ids = vec![3, 0];
        let expected = "in interpreter 3, called from 0";
        assert_eq!(place(&thread).as_deref(), Some(expected));
    }
}
