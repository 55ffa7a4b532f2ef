//! Tables of functions and of their lines, on every interpreter and of hostile sources.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant, SystemTime};

use crate::support::require::has_root;
use crate::support::{
    Interpreter, Recording, Target, WATCHDOG, assert_pyspy_rs, at_once, fixtures,
    for_each_interpreter, for_each_kind, of_each_kind, until,
};

/// One row of a table, by heading.
type Row = HashMap<String, String>;

/// Runs `record OPTIONS -o a.csv TARGET` and reads the table.
fn csv(options: &[&str], target: &[OsString]) -> (Vec<Row>, Recording) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let output = Recording::command(&path, options, target).output().unwrap();
    let recording = Recording::finished(&path, &output);
    let mut rows = recording.file.split("\r\n").map(cells);
    let headings = rows.next().unwrap();
    let row = |cells: Vec<String>| {
        assert_eq!(cells.len(), headings.len(), "{cells:?}");
        headings.iter().cloned().zip(cells).collect()
    };
    let rows = rows.filter(|cells| cells.len() > 1).map(row).collect();
    (rows, recording)
}

/// The same of split.py, until there are so many samples that chance does not decide which function has most.
fn csv_of_split(options: &[&str], python: &Interpreter) -> (Vec<Row>, Recording) {
    let target = program(python, &["split.py", "0.4"]);
    let options = [&["-r", "1000"], options].concat();
    until(
        || csv(&options, &target),
        |(_, recording)| recording.samples() >= 150,
    )
}

/// The cells of a row that goes over one line.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => {
                cells.last_mut().unwrap().push('"')
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

fn program(python: &Interpreter, arguments: &[&str]) -> Vec<OsString> {
    let mut words = vec![python.fixture(arguments[0]).into_os_string()];
    words.extend(arguments[1..].iter().map(OsString::from));
    let mut target = vec![OsString::from("--")];
    target.extend(python.words(&words));
    target
}

fn number(row: &Row, column: &str) -> u64 {
    row[column]
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {row:?}"))
}

#[test]
fn lines_have_their_source_and_their_share() {
    let source = fs::read_to_string(fixtures().join("split.py")).unwrap();
    let source: Vec<&str> = source.lines().collect();
    for_each_interpreter("table-lines", .., |python| {
        // -F is about stacks' labels; a table has its lines.
        let (rows, _) = csv_of_split(&["-f", "lines", "-F"], python);
        // Most of its time is there.
        assert_eq!(rows[0]["function"], "sixty_percent", "{rows:#?}");
        let of = |name: &str| {
            rows.iter()
                .filter(|row| row["function"] == name)
                .collect::<Vec<_>>()
        };
        let sixty = of("sixty_percent");
        let lines: Vec<u64> = sixty.iter().map(|row| number(row, "line")).collect();
        assert_eq!(lines, [33, 34, 35, 36, 37]);
        let seen: Vec<u64> = sixty.iter().map(|row| number(row, "own_samples")).collect();
        let in_loop = seen[2] + seen[3];
        assert!(
            in_loop > 0 && seen[0] == 0 && seen[1] + seen[4] <= in_loop,
            "{seen:?}"
        );
        for row in &rows {
            assert!(number(row, "own_samples") <= number(row, "total_samples"));
            assert_eq!(row["total_grown_bytes"], "", "without --memory");
            if row["file"].ends_with("split.py") {
                let line = usize::try_from(number(row, "line")).unwrap();
                assert_eq!(row["contents"], source[line - 1]);
                assert_eq!(row["file"], python.fixture("split.py").to_str().unwrap());
            }
        }
    });
}

#[test]
fn functions_sum_up_to_the_samples() {
    for_each_interpreter("table-functions", .., |python| {
        let (rows, recording) = csv_of_split(&[], python);
        let own: u64 = rows.iter().map(|row| number(row, "own_samples")).sum();
        assert_eq!(own, recording.samples(), "{}", recording.stderr);
        assert_eq!(recording.summary["format"], "functions");
        assert_eq!(rows[0]["function"], "sixty_percent");
        assert_eq!(rows[0]["first_line"], "33");
        let order: Vec<u64> = rows.iter().map(|row| number(row, "own_samples")).collect();
        assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
        // Below it is all that split.py does.
        let module = rows
            .iter()
            .find(|row| row["function"] == "<module>" && row["file"].ends_with("split.py"));
        assert!(number(module.unwrap(), "total_samples") >= number(&rows[0], "total_samples"));
    });
}

#[test]
fn a_table_is_printed_unless_there_is_a_file() {
    for_each_kind("table-stdout", |python| {
        let arguments = program(python, &["split.py", "0.3"]);
        let run = |only: &str| {
            let mut command = assert_pyspy_rs();
            command.args(["record", "-f", "lines", "-r", "1000", "--only", only]);
            let assert = command.args(&arguments).assert().success();
            let output = assert.get_output();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(&output.stdout), text(&output.stderr))
        };
        let (stdout, _) = run("split.py:sixty*");
        let heading = "Line #  Samples  Own %  Total %  RSS growth  RSS freed  Line contents\n";
        assert_eq!(stdout.matches(heading).count(), 1, "{stdout}");
        assert!(
            stdout.contains("\nFunction: sixty_percent (split.py:33)\n"),
            "{stdout}"
        );
        assert!(stdout.contains("    while cpu() < until:\n"), "{stdout}");
        let (stdout, stderr) = run("nobody");
        assert!(!stdout.contains(heading), "{stdout}");
        assert!(
            stderr.contains("No function named 'nobody' was sampled"),
            "{stderr}"
        );
    });
}

/// Spins in functions from these paths, and what `-f lines` says of each: the contents of its second
/// line, and the note.
fn said_of(
    python: &Interpreter,
    user: Option<&str>,
    paths: &[&str],
    meanwhile: impl FnOnce(),
) -> Vec<(String, String)> {
    let mut arguments = Vec::new();
    if let Some(user) = user {
        arguments.extend(["--user", user]);
    }
    arguments.extend(paths);
    let target = Target::start(python, "odd_sources.py", &arguments);
    meanwhile();
    let pid = ["--pid".into(), target.pid().to_string().into()];
    let options = [
        "-f", "lines", "-r", "200", "-d", "1", "--only", "path*", "--idle",
    ];
    // They take turns of 10 ms, which takes longer than a second on a crowded machine.
    let end = Instant::now() + WATCHDOG;
    loop {
        let (rows, _) = csv(&options, &pid);
        let said = |number: usize| {
            let name = format!("path{number}");
            let is_second = |row: &&Row| row["function"] == name && row["line"] == "2";
            let row = rows.iter().find(is_second)?;
            Some((row["contents"].clone(), row["note"].clone()))
        };
        let said: Option<Vec<_>> = (0..paths.len()).map(said).collect();
        if let Some(said) = said {
            return said;
        }
        assert!(
            Instant::now() < end,
            "one of {paths:?} was never seen: {rows:#?}"
        );
    }
}

#[test]
fn sources_that_are_no_files_are_refused_without_harm() {
    at_once("table-odd-sources", of_each_kind(..), |python| {
        let place = python.new_place("src");
        let path = |name: &str| place.seen.join(name).to_str().unwrap().to_owned();
        let on_host = |name: &str| place.host.join(name);
        let source = |number: usize| format!("def path{number}(until):\n    second = '\x1b[31m'\n");
        nix::unistd::mkfifo(&on_host("fifo.py"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("loop.py", on_host("loop.py")).unwrap();
        fs::write(on_host("large.py"), vec![b'#'; (8 << 20) + 1]).unwrap();
        fs::write(on_host("newer.py"), "").unwrap();
        fs::write(on_host("other.py"), "x = 1\n\n").unwrap();
        fs::write(on_host("link target.py"), source(6)).unwrap();
        symlink(path("link target.py"), on_host("link.py")).unwrap();
        let paths = [
            path("fifo.py"),
            "/dev/zero".to_owned(),
            path("loop.py"),
            path("large.py"),
            path("newer.py"),
            path("other.py"),
            path("link.py"),
            path("none.py"),
            "/proc/kmsg".to_owned(),
            "=cmd\x1b.py".to_owned(),
        ];
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let said = said_of(python, None, &paths, || {
            fs::write(on_host("newer.py"), source(4)).unwrap();
            let file = fs::File::options()
                .write(true)
                .open(on_host("newer.py"))
                .unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(60))
                .unwrap();
        });
        for (number, note) in [
            (0, "not a regular file"),
            (1, "not a regular file"),
            (2, "too many symbolic links"),
            (3, "too large"),
            (4, "newer than the process"),
            (5, "does not start on line 1"),
            (7, "no such file"),
            (8, "not a regular file"),
            (9, "no such file"),
        ] {
            assert!(
                said[number].1.contains(note),
                "{number}: {:?}",
                said[number]
            );
            let has_source = number == 4;
            assert_eq!(!said[number].0.is_empty(), has_source, "{:?}", said[number]);
        }
        // What is shown has no control characters.
        assert_eq!(said[4].0, "    second = '\u{fffd}[31m'");
        assert_eq!(said[6].0, said[4].0);
    });
}

#[test]
fn a_target_gets_no_file_shown_that_it_may_not_read() {
    if !has_root("reading what the target may not") {
        return;
    }
    at_once("table-secrets", of_each_kind(..), |python| {
        let place = python.new_place("src");
        // The folder above is its maker's only.
        for folder in place.host.ancestors().take(2) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let write = |name: &str, number: usize, mode: u32| {
            let text = format!("def path{number}(until):\n    second = {number}\n");
            fs::write(place.host.join(name), text).unwrap();
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(place.host.join(name), mode).unwrap();
            place.seen.join(name).to_str().unwrap().to_owned()
        };
        let (open, secret) = (write("open.py", 0, 0o644), write("secret.py", 1, 0o600));
        let said = said_of(python, Some("65534"), &[&open, &secret], || ());
        assert_eq!(said[0].0, "    second = 0");
        assert_eq!(said[1].0, "");
        assert!(said[1].1.contains("may not read it"), "{:?}", said[1]);
    });
}

#[test]
fn options_of_tables_are_refused_for_other_formats() {
    let refused = |arguments: &[&str], expected: &str| {
        let mut command = assert_pyspy_rs();
        command.arg("record").args(arguments).args(["--pid", "1"]);
        let assert = command.assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    };
    refused(&["--only", "f"], "--only and --sort need a table");
    refused(
        &["-f", "raw", "--sort", "own"],
        "--only and --sort need a table",
    );
    refused(&["-f", "functions", "--sort", "growth"], "--memory");
    refused(&["-f", "lines", "--function", "load"], "use --only load");
    refused(&["-f", "lines", "--only", ":"], "give a function");
}

/// The same of a recording that has most of its ticks, and names most of what grew. In a second without one the
/// program may go through all that it does.
fn csv_of_calm(options: &[&str], target: &[OsString]) -> Vec<Row> {
    let is_calm = |(rows, recording): &(Vec<Row>, Recording)| {
        let is_named = rows
            .first()
            .is_none_or(|row| row["function"] != "<between samples>");
        recording.missed() * 4 <= recording.samples() && is_named
    };
    until(|| csv(options, target), is_calm).0
}

#[test]
fn lines_and_functions_report_what_grew() {
    for_each_kind("table-memory", |python| {
        let target = program(python, &["growing.py", "2", "0.5", "burst"]);
        let rows = csv_of_calm(&["-f", "lines", "--memory"], &target);
        // It allocates there.
        assert_eq!(rows[0]["function"], "keep", "{rows:#?}");
        let grown = |row: &Row| number(row, "own_grown_bytes");
        let most = rows.iter().max_by_key(|row| grown(row)).unwrap();
        let contents = r#"    held.append(b"\x55" * size)"#;
        assert_eq!(most["contents"], contents, "{most:?}");
        assert_eq!(most["own_grown_bytes"], most["total_grown_bytes"]);

        // 64 to 16 to 4. Of bursts that last milliseconds a recording has the sum right and the parts less so:
        // the parts of three are added up, whatever they are.
        let recordings = [(); 3].map(|()| csv_of_calm(&["-f", "functions", "--memory"], &target));
        for rows in &recordings {
            assert_eq!(rows[0]["function"], "keep", "{rows:#?}");
        }
        let total = |name: &str| -> u64 {
            let rows = recordings.iter().flatten();
            let named = rows.filter(|row| row["function"] == name);
            named.map(|row| number(row, "total_grown_bytes")).sum()
        };
        let totals = ["main", "grow_64", "grow_16", "grow_4"].map(total);
        let [main, grow_64, grow_16, grow_4] = totals;
        assert!(grow_64 > 2 * grow_16 && grow_16 > grow_4, "{totals:?}");
        assert!(main >= grow_64 + grow_16, "{totals:?}");
    });
}
