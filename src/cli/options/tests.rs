//! py-spy's spellings of options, and the resolved options.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::ffi::OsString;

use super::*;
use crate::cli::args::Cli;
use crate::output::table_options::SortKey;
use crate::profile::options::TimeWeight;
use crate::session::options::{ContainerTarget, Program};
use clap::Parser;
use std::path::Path;

fn parse(line: &str) -> Result<Action, clap::Error> {
    let cli = Cli::try_parse_from(line.split_whitespace())?;
    Action::resolve(cli.command)
}

fn record(line: &str) -> RecordOptions {
    match parse(line).unwrap() {
        Action::Record(options) => options,
        other => panic!("{line} is {other:?}"),
    }
}

fn dump(line: &str) -> DumpOptions {
    match parse(line).unwrap() {
        Action::Dump(options) => options,
        other => panic!("{line} is {other:?}"),
    }
}

fn top(line: &str) -> TopOptions {
    match parse(line).unwrap() {
        Action::Top(options) => options,
        other => panic!("{line} is {other:?}"),
    }
}

fn usage_error_of(line: &str) -> clap::Error {
    let error = parse(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error
}

#[test]
fn record_has_py_spys_defaults() {
    let options = record("pyspy-rs record -p 12");
    assert_eq!(options.target, Target::Pid(12));
    assert_eq!(options.sampling.rate_hz, 100);
    assert_eq!(options.duration, None);
    assert_eq!(options.format, Format::Flamegraph);
    assert_eq!(options.lines, Lines::Current);
    assert!(!options.sampling.selection.idle && !options.sampling.selection.gil_only);
    assert!(!options.sampling.subprocesses && !options.sampling.nonblocking);
    assert!(!options.show_threads && !options.full_filenames && !options.hide_progress);
    assert!(options.sampling.weights.time.is_none() && !options.sampling.selection.collections);
}

#[test]
fn record_accepts_all_spellings_of_py_spy() {
    for line in [
        "pyspy-rs record --pid 12 --output o --format raw --duration 5 --rate 7 --subprocesses \
         --function --threads --gil --idle --full-filenames --nonblocking --hideprogress",
        "pyspy-rs r -p 0xc -oo -f RAW -d5 -r7 -sFtgi --full-filenames --nonblocking --hideprogress",
    ] {
        let options = record(line);
        assert_eq!(options.target, Target::Pid(12));
        assert_eq!(options.output.as_deref(), Some(Path::new("o")));
        assert_eq!(options.format, Format::Raw);
        assert_eq!(options.duration, Some(Duration::from_secs(5)));
        assert_eq!(options.sampling.rate_hz, 7);
        assert_eq!(options.lines, Lines::First);
        assert!(options.sampling.selection.idle && options.sampling.selection.gil_only);
        assert!(options.sampling.subprocesses && options.sampling.nonblocking);
        assert!(options.show_threads && options.full_filenames && options.hide_progress);
    }
    assert_eq!(
        record("pyspy-rs record --nolineno -p 1").lines,
        Lines::Hidden
    );
    assert_eq!(record("pyspy-rs record -d unlimited -p 1").duration, None);
    usage_error_of("pyspy-rs record --nolineno -F -p 1");
}

#[test]
fn native_is_accepted_where_py_spy_has_it() {
    let asks = |line: &str| {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        cli.command.asks_for_native()
    };
    assert!(asks("pyspy-rs record --native -p 1"));
    assert!(asks("pyspy-rs top -n --nonblocking -p 1"));
    assert!(asks("pyspy-rs dump -n -p 1"));
    assert!(!asks("pyspy-rs dump -p 1"));
    usage_error_of("pyspy-rs memory -n -p 1");
}

#[test]
fn dump_and_top_accept_all_spellings_of_py_spy() {
    for line in [
        "pyspy-rs dump --pid 12 --locals --locals --json --subprocesses --full-filenames \
         --nonblocking",
        "pyspy-rs d -p 0xC -llj -s --full-filenames --nonblocking",
    ] {
        let options = dump(line);
        assert_eq!(options.target, Target::Pid(12));
        assert_eq!(options.locals, 2);
        assert_eq!(options.output, DumpOutput::ThreadList);
        assert!(options.subprocesses && options.full_filenames);
        assert!(options.nonblocking && options.secrets.are_hidden());
    }
    assert_eq!(dump("pyspy-rs dump -p 1").output, DumpOutput::Text);
    let document = dump("pyspy-rs dump -p 1 -f json");
    assert_eq!(document.output, DumpOutput::Document);
    usage_error_of("pyspy-rs dump -p 1 --json --format json");
    for line in [
        "pyspy-rs top --pid 12 --rate 7 --subprocesses --full-filenames --gil --idle --delay 0.5 \
         --nonblocking",
        "pyspy-rs t -p12 -r7 -sgi --full-filenames --delay .5 --nonblocking",
    ] {
        let options = top(line);
        assert_eq!(options.target, Target::Pid(12));
        assert_eq!(options.refreshes.delay, Duration::from_millis(500));
        assert_eq!(options.sampling.rate_hz, 7);
        assert!(options.sampling.subprocesses && options.sampling.nonblocking);
        assert!(options.sampling.selection.idle && options.sampling.selection.gil_only);
    }
    let refreshes = |line| {
        let Refreshes { delay, limit } = top(line).refreshes;
        (delay, limit)
    };
    let second = Duration::from_secs(1);
    assert_eq!(refreshes("pyspy-rs top -p 1"), (second, None));
    assert_eq!(refreshes("pyspy-rs top -p 1 --once"), (second, Some(1)));
    let line = "pyspy-rs top -p 1 -n --refreshes 3";
    assert_eq!(refreshes(line), (second, Some(3)));
}

#[test]
fn record_and_top_have_cpu_and_gc() {
    let options = record("pyspy-rs record --cpu --gc --idle --gil -p 1").sampling;
    assert!(options.weights.time == Some(TimeWeight::Cpu) && options.selection.collections);
    assert!(options.selection.idle && options.selection.gil_only);
    let options = top("pyspy-rs top --cpu --gc -p 1").sampling;
    assert!(options.weights.time == Some(TimeWeight::Cpu) && options.selection.collections);
}

#[test]
fn memory_is_sampled_more_often() {
    for line in ["pyspy-rs record --memory -p 1", "pyspy-rs record -m -p 1"] {
        let sampling = record(line).sampling;
        assert!(sampling.weights.rss);
        assert_eq!(sampling.rate_hz, 1_000);
    }
    assert_eq!(record("pyspy-rs record -m -r 50 -p 1").sampling.rate_hz, 50);
    // In top it is one column of several.
    let top = top("pyspy-rs top -p 1").sampling;
    assert_eq!((top.weights.rss, top.rate_hz), (true, 100));
}

#[test]
fn a_launched_program_keeps_its_options() {
    let cli = Cli::try_parse_from([
        "pyspy-rs", "record", "-o", "x.svg", "--", "python", "prog.py", "-a", "--b", "c d", "--",
        "-p",
    ])
    .unwrap();
    let Action::Record(options) = Action::resolve(cli.command).unwrap() else {
        panic!("not a record");
    };
    let args = ["prog.py", "-a", "--b", "c d", "--", "-p"];
    assert_eq!(
        options.target,
        Target::Program(Program {
            file: "python".into(),
            args: args.iter().map(OsString::from).collect(),
        })
    );
}

#[test]
fn options_without_dashes_belong_to_pyspy_rs_as_in_py_spy() {
    let options = record("pyspy-rs record python prog.py -o x.txt");
    assert_eq!(options.output.as_deref(), Some(Path::new("x.txt")));
    assert_eq!(
        options.target,
        Target::Program(Program {
            file: "python".into(),
            args: vec!["prog.py".into()],
        })
    );
}

/// Scripts that passed both ended with a usage error, and so did `-d 0`.
#[test]
fn a_pid_precedes_a_program_as_in_py_spy() {
    let line = "pyspy-rs record -p 7 -d 0 -- python x.py";
    let options = record(line);
    assert_eq!(options.target, Target::Pid(7));
    assert_eq!(options.duration, Some(Duration::ZERO));
    let command = Cli::try_parse_from(line.split(' ')).unwrap().command;
    assert_eq!(command.ignored_program(), Some((7, &"python".into())));
    let line = "pyspy-rs top -p 7";
    let command = Cli::try_parse_from(line.split(' ')).unwrap().command;
    assert_eq!(command.ignored_program(), None);
}

#[test]
fn contradictions_are_usage_errors() {
    let both = usage_error_of("pyspy-rs record --in-container x -- python x.py").to_string();
    assert!(both.contains("cannot be combined"), "{both}");
    assert!(both.contains("Usage: pyspy-rs record"), "{both}");
    usage_error_of("pyspy-rs dump -p 0xzz");
    usage_error_of("pyspy-rs dump -p -1");
    usage_error_of("pyspy-rs dump -p 0");
    // "invalid digit found in string", and "unexpected argument '-3'".
    for (line, advice) in [
        ("pyspy-rs record -p 1 -r 0", "whole samples per second"),
        ("pyspy-rs record -p 1 -r abc", "whole samples per second"),
        ("pyspy-rs record -p 1 -d -3", "use seconds, such as 30"),
        ("pyspy-rs top -p 1 --delay -1", "use seconds, such as 0.5"),
    ] {
        let error = usage_error_of(line).to_string();
        assert!(error.contains(advice), "{error}");
    }
    usage_error_of("pyspy-rs record -p 1 -d nan");
    usage_error_of("pyspy-rs top -p 1 --delay inf");
    usage_error_of("pyspy-rs record -p 1 -f svg");
    usage_error_of("pyspy-rs record -p 1 -o a.txt --summary a.txt");
    usage_error_of("pyspy-rs record -p 1 -f functions --summary -");
    usage_error_of("pyspy-rs fly");
}

#[test]
fn the_extension_sets_the_format_unless_f_does() {
    let cases = [
        ("x.svg", Format::Flamegraph),
        ("x.SVG", Format::Flamegraph),
        ("x.txt", Format::Raw),
        ("x.folded", Format::Raw),
        ("x.json", Format::Speedscope),
        ("x.speedscope.json", Format::Speedscope),
        ("x.trace.json", Format::Chrometrace),
        ("x", Format::Flamegraph),
        ("x.bin", Format::Flamegraph),
    ];
    for (file, format) in cases {
        let line = format!("pyspy-rs record -p 1 -o {file}");
        let options = record(&line);
        assert_eq!(options.format, format, "{file}");
        assert_eq!(
            options.format_is_by_ending,
            format != Format::Flamegraph,
            "{file}"
        );
    }
    let explicit = record("pyspy-rs record -p 1 -o x.svg -f speedscope");
    assert_eq!(explicit.format, Format::Speedscope);
    assert!(!explicit.format_is_by_ending);
    assert!(!record("pyspy-rs record -p 1 -f lines").format_is_by_ending);
}

#[test]
fn tables_go_to_stdout_and_keep_their_lines() {
    for (line, format) in [
        ("-f lines -F", Format::Lines),
        ("-f functions --nolineno", Format::Functions),
    ] {
        let options = record(&format!("pyspy-rs record {line} -p 1"));
        assert_eq!(options.format, format);
        assert_eq!(options.output.as_deref(), Some(Path::new("-")));
        assert_eq!(options.lines, Lines::Current);
        assert!(!options.tables.csv);
    }
    for (line, format) in [
        ("-o x.CSV", Format::Functions),
        ("-o x.lines.csv", Format::Lines),
        ("-f LINES -o x.csv", Format::Lines),
    ] {
        let options = record(&format!("pyspy-rs record {line} -p 1"));
        assert_eq!(
            (options.format, options.tables.csv),
            (format, true),
            "{line}"
        );
    }
    let options = record("pyspy-rs record -f lines --only a --only b.py:c --sort NAME -p 1");
    let only: Vec<String> = options
        .tables
        .only
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(only, ["a", "b.py:c"]);
    assert_eq!(options.tables.sort, Some(SortKey::Name));
    record("pyspy-rs record -f functions --memory --sort growth -p 1");
    usage_error_of("pyspy-rs record -f functions --sort growth -p 1");
    usage_error_of("pyspy-rs record --only a -p 1");
}

#[test]
fn a_container_with_or_without_pid() {
    let inside = |pid| {
        let container = "web1".to_owned();
        Target::ContainerTarget(ContainerTarget { container, pid })
    };
    let line = "pyspy-rs dump --pid 7 --in-container web1";
    assert_eq!(dump(line).target, inside(Some(7)));
    let line = "pyspy-rs record --in-container web1";
    assert_eq!(record(line).target, inside(None));
    let line = "pyspy-rs top -p 7 --in-container web1";
    assert_eq!(top(line).target, inside(Some(7)));
    usage_error_of("pyspy-rs record --in-container web1 -- python x.py");
}

/// A flame graph did not say how it was recorded.
#[test]
fn pictures_name_the_options_that_shape_them() {
    assert_eq!(record("pyspy-rs record -p 1").spelled(), "--rate 100");
    let all = record(
        "pyspy-rs record -d 2.5 -r 50 -F -t -s -g -i --gc --cpu -m --nonblocking --full-filenames \
         --min-width 3 -o secret.svg --show-secrets -- python3 app.py --password=x",
    );
    assert_eq!(
        all.spelled(),
        "--rate 50 --duration 2.5 --function --threads --subprocesses --gil --idle --gc --cpu --memory \
         --nonblocking --full-filenames --min-width 0.25%"
    );
}

#[test]
fn min_width_is_of_flame_graphs() {
    let resolved = |line: &str| {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        Action::resolve(cli.command).map_err(|error| error.to_string())
    };
    assert!(resolved("pyspy-rs record --min-width 0.5% -p 1").is_ok());
    let error = resolved("pyspy-rs record --min-width 3 -o x.json -p 1").unwrap_err();
    assert!(error.contains("--min-width is of flame graphs"), "{error}");
    let error = resolved("pyspy-rs record --min-width x -p 1").unwrap_err();
    assert!(error.contains("use pixels of 1200, such as 2"), "{error}");
}
