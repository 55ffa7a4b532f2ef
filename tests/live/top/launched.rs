//! Programs that `top` and `memory` launch while they have the terminal.

use std::io::Write as _;

use super::{BINARY, is_on_top, one_python, shell_line};
use crate::support::{Terminal, for_each_kind, wait_until};

#[test]
fn a_launched_program() {
    for_each_kind("top-launch", |python| {
        let Some(terminal) = Terminal::open(&format!("launch-{}", python.version)) else {
            return;
        };
        let before = terminal.settings("before");
        let program = shell_line(python, "split.py", &["1000"]);
        terminal.run(&format!(
            "{BINARY} top --delay 0.1 -- {program}; echo status $?"
        ));
        terminal.wait_for("the busy function", |screen| {
            is_on_top(screen, "sixty_percent")
        });
        terminal.key("q");
        terminal.wait_for("the shell", |screen| screen.contains("status "));
        assert_eq!(terminal.settings("after"), before);

        // Its own exit status is ours.
        let program = shell_line(python, "exit.py", &["7"]);
        terminal.run(&format!("clear; {BINARY} top -- {program}; echo status $?"));
        terminal.wait_for("its status", |screen| screen.contains("status 7"));
    });
}

#[test]
fn what_it_prints_is_neither_on_the_screen_nor_executed_by_the_terminal() {
    let Some(terminal) = Terminal::open("hostile") else {
        return;
    };
    for command in ["top", "memory"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("much");
        let name = format!("'{}'", file.display());
        let program = shell_line(one_python(), "printing.py", &[&name]);
        terminal.run(&format!(
            "clear; {BINARY} {command} --delay 0.1 -- {program}; echo status $?"
        ));
        terminal.wait_for("the view", |screen| screen.contains("(pid "));
        wait_until("it has printed much", || file.exists());
        let mut screen = String::new();
        // It prints all the time, so each of some screens shows whether it is in the way.
        for _ in 0..10 {
            screen = terminal.wait_for("the view", |screen| screen.contains("(pid "));
            assert!(!screen.contains("error "), "{command}: {screen}");
            assert!(!screen.contains("printed "), "{command}: {screen}");
        }
        assert!(terminal.modes().0, "{command}: {screen}");
        terminal.key("q");
        let screen = terminal.wait_for("the shell", |screen| screen.contains("status 0"));
        assert!(
            screen.contains("\nOutput of the program, the last 20 of "),
            "{screen}"
        );
        let is_shown = |text: &str| screen.contains(text);
        assert!(
            is_shown(r"\x1b]0;owned\x07\x1b[2J\x1b[Hprinted "),
            "{screen}"
        );
        assert!(is_shown(r"\x1b[5merror "), "{screen}");
        assert_eq!(terminal.modes(), (false, false));
    }
}

#[test]
fn a_program_that_fails_shows_why_and_has_no_keyboard() {
    let Some(terminal) = Terminal::open("fails") else {
        return;
    };
    let program = shell_line(one_python(), "printing.py", &["3"]);
    terminal.run(&format!("{BINARY} top -- {program}; echo status $?"));
    let screen = terminal.wait_for("its status", |screen| screen.contains("status 3"));
    assert!(screen.contains("\nlast words about ''\n"), "{screen}");

    // What is redirected is the program's.
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(b"a file's").unwrap();
    let (input, errors) = (input.path(), tempfile::NamedTempFile::new().unwrap());
    terminal.run(&format!(
        "clear; {BINARY} top -- {program} < {} 2> {}; echo again $?",
        input.display(),
        errors.path().display()
    ));
    let screen = terminal.wait_for("its status", |screen| screen.contains("again 3"));
    assert!(screen.contains("printed "), "{screen}");
    assert!(!screen.contains("error "), "{screen}");
    let errors = std::fs::read_to_string(errors.path()).unwrap();
    assert!(
        errors.ends_with("last words about \"a file's\"\n"),
        "{errors:?}"
    );
}

#[test]
fn a_program_that_is_no_python_is_awaited_and_its_output_is_shown() {
    let Some(terminal) = Terminal::open("no-python") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go on");
    terminal.run(&format!(
        "{BINARY} top -- sh -c 'until test -e \"$0\"; do sleep 0.1; done; echo no snake; exit 5' '{}'; \
         echo status $?",
        file.display()
    ));
    // Else nothing would show that it runs.
    terminal.wait_for("why there is no view", |screen| {
        screen.contains("runs Python")
    });
    std::fs::write(&file, "").unwrap();
    let screen = terminal.wait_for("its status", |screen| screen.contains("status 5"));
    assert!(screen.contains("\nno snake\n"), "{screen}");
    assert!(screen.contains("did not run Python"), "{screen}");
}
