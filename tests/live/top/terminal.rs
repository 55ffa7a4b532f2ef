//! The live view on a real terminal (tmux): what it shows, its keys, and how it leaves.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{BINARY, is_on_top, one_python};
use crate::support::{Target, Terminal, for_each_kind};

#[test]
fn the_table_of_a_running_process() {
    for_each_kind("top", |python| {
        let Some(terminal) = Terminal::open(&format!("top-{}", python.version)) else {
            return;
        };
        let target = Target::start(python, "gil.py", &["2"]);
        let before = terminal.settings("before");
        terminal.run(&format!("{BINARY} top --delay 0.2 --pid {}", target.pid()));
        // On a crowded machine the first sample may lack threads.
        let screen = terminal.wait_for("the busy function and all threads", |screen| {
            is_on_top(screen, "spin") && screen.contains("Threads: 5")
        });
        let title = format!("(pid {}, python v{})", target.pid(), python.version);
        assert!(screen.contains(&title), "{screen}");
        // The busy thread holds the GIL nearly all the time.
        terminal.wait_for("the GIL's share", |screen| {
            let gil = screen
                .split("GIL: ")
                .nth(1)
                .and_then(|rest| rest.split('%').next());
            gil.is_some_and(|share| share.trim().parse::<f64>().is_ok_and(|gil| gil > 50.0))
        });
        assert!(screen.contains("RSS"), "{screen}");
        assert!(terminal.modes().0, "it is on the alternate screen");
        terminal.key("q");
        terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
        assert_eq!(terminal.settings("after"), before);
    });
}

#[test]
fn with_cpu_the_columns_are_shares_of_a_cpu() {
    // Two threads that work and sleep in turns: 50 and 25 % of a CPU, both in `work`.
    let target = Target::start(one_python(), "cpu_time.py", &["duty"]);
    let Some(terminal) = Terminal::open("cpu") else {
        return;
    };
    let pid = target.pid();
    terminal.run(&format!("{BINARY} top --cpu --gc --delay 1 --pid {pid}"));
    terminal.wait_for("a sensible share", |screen| {
        let first = screen.lines().find(|line| line.contains(" work ("));
        let share = first.and_then(|line| line.trim().split('%').next()?.parse::<f64>().ok());
        is_on_top(screen, "work (") && share.is_some_and(|share| share > 5.0 && share < 200.0)
    });
    terminal.key("q");
    terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
}

#[test]
fn keys() {
    let target = Target::start(one_python(), "split.py", &["1000"]);
    let Some(terminal) = Terminal::open("keys") else {
        return;
    };
    terminal.run(&format!("{BINARY} top --delay 0.5 --pid {}", target.pid()));
    terminal.wait_for("most own time", |screen| is_on_top(screen, "sixty_percent"));
    // By total time, callers come before it.
    let callers = ["<module>", "rounds", "take"];
    let is_caller = |screen: &str| callers.iter().any(|name| is_on_top(screen, name));
    for key in ["2", "3", "4", "1"] {
        terminal.key(key);
        terminal.wait_for(&format!("the order of key {key}"), |screen| match key {
            "2" | "4" => is_caller(screen),
            _ => is_on_top(screen, "sixty_percent"),
        });
    }

    terminal.key("l");
    terminal.wait_for("lines", |screen| {
        screen.contains("Function (filename:line)") && screen.contains("sixty_percent (split.py:")
    });
    terminal.key("l");
    terminal.wait_for("functions", |screen| {
        screen.contains("sixty_percent (split.py)")
    });

    terminal.key("?");
    terminal.wait_for("the help", |screen| screen.contains("Reset statistics"));
    terminal.key("x");
    terminal.wait_for("no help", |screen| !screen.contains("Reset statistics"));

    let total = |screen: &str| -> Option<u64> {
        let rest = screen.split("Total Samples ").nth(1)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let screen = terminal.wait_for("a hundred samples", |screen| total(screen) >= Some(100));
    let before = total(&screen);
    terminal.key("r");
    terminal.wait_for("fewer samples", |screen| {
        let now = total(screen);
        now.is_some() && now < before
    });
    terminal.key("q");
    terminal.wait_for("the shell", |_| !terminal.modes().0);
}

#[test]
fn the_terminal_is_restored_when_a_signal_ends_us() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let target = Target::start(one_python(), "gil.py", &["2"]);
        let Some(terminal) = Terminal::open(signal.as_str()) else {
            return;
        };
        let before = terminal.settings("before");
        terminal.run(&format!("{BINARY} top --delay 0.1 --pid {}", target.pid()));
        terminal.wait_for("the table", |screen| is_on_top(screen, "spin"));
        let ours = process_with(&["top", "--pid", &target.pid().to_string()]);
        kill(ours, signal).unwrap();
        terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
        assert_eq!(terminal.settings("after"), before, "{signal}");
    }
}

#[test]
fn ctrl_z_restores_the_terminal_and_pauses_nothing() {
    let target = Target::start(one_python(), "gil.py", &["2"]);
    let Some(terminal) = Terminal::open("ctrl-z") else {
        return;
    };
    let before = terminal.settings("before");
    terminal.run(&format!(
        "{BINARY} top --delay 0.1 -r 1000 --pid {}",
        target.pid()
    ));
    for round in 0..5 {
        terminal.wait_for("the table", |screen| is_on_top(screen, "spin"));
        terminal.key("C-z");
        terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
        // The shell has the terminal again only after the stop.
        assert_eq!(terminal.settings(&format!("stopped-{round}")), before);
        for task in std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap() {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            assert!(!stat.contains(") t "), "{stat}");
        }
        terminal.run("clear; fg");
    }
    terminal.wait_for("the table", |screen| is_on_top(screen, "spin"));
    terminal.key("q");
    terminal.wait_for("the shell", |_| terminal.modes() == (false, false));
    assert_eq!(terminal.settings("after"), before);
}

/// The process of our binary that has all these arguments.
fn process_with(arguments: &[&str]) -> Pid {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        let words: Vec<_> = line.split('\0').collect();
        if words[0] == BINARY && arguments.iter().all(|argument| words.contains(argument)) {
            let name = entry.file_name();
            return Pid::from_raw(name.to_str().unwrap().parse().unwrap());
        }
    }
    panic!("no process has {arguments:?}");
}

#[test]
fn the_programs_end_ends_the_view() {
    let mut target = Target::start(one_python(), "gil.py", &["2"]);
    let Some(terminal) = Terminal::open("end") else {
        return;
    };
    let before = terminal.settings("before");
    terminal.run(&format!(
        "{BINARY} top --delay 0.1 --pid {}; echo status $?",
        target.pid()
    ));
    terminal.wait_for("the table", |screen| is_on_top(screen, "spin"));
    target.finish();
    let screen = terminal.wait_for("the shell", |screen| screen.contains("status 0"));
    assert!(!terminal.modes().0);
    // The last table stays readable.
    assert!(screen.contains("spin (gil.py)"), "{screen}");
    assert_eq!(terminal.settings("after"), before);
}

#[test]
fn the_number_of_refreshes_ends_the_view() {
    let target = Target::start(one_python(), "gil.py", &["2"]);
    let Some(terminal) = Terminal::open("refreshes") else {
        return;
    };
    let pid = target.pid();
    terminal.run(&format!(
        "{BINARY} top --refreshes 2 --delay 0.2 --pid {pid} < /dev/null; echo status $?"
    ));
    let screen = terminal.wait_for("the shell", |screen| screen.contains("status 0"));
    assert!(screen.contains("spin (gil.py)"), "{screen}");
    assert!(!screen.contains("has ended"), "{screen}");
    assert_eq!(terminal.modes(), (false, false));
}
