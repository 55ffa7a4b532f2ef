//! Ctrl-Z and SIGSTOP: we are stopped only while no thread of the target is paused, and go on as if nothing had
//! been.

use std::fs;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::bench::{python, wait};
use crate::support::{
    Recording, Target, pyspy_rs, read_summary, wait_until, wait_until_it_samples,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The states of all threads of a process, none if it has ended.
fn states(pid: u32) -> Vec<u8> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let stats = tasks.into_iter().flatten().flatten();
    let stats = stats.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats
        .filter_map(|stat| Some(stat.rsplit_once(") ")?.1.as_bytes()[0]))
        .collect()
}

fn send(process: &Child, signal: Signal) {
    kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
}

/// Lets a random time pass that is shorter than this.
fn pass(random: &mut u64, most: Duration) {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    let part = (*random >> 33) as f64 / (1u64 << 31) as f64;
    let until = Instant::now() + most.mul_f64(part);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Sends SIGTSTP and waits until the process is stopped, and so for two thousandths of a second, or has
/// ended. Returns whether it is stopped; no thread of the target may be.
fn stop(process: &mut Child, target: &Target) -> bool {
    send(process, Signal::SIGTSTP);
    let mut is_stopped = false;
    wait_until("it is stopped", || {
        let states = states(process.id());
        is_stopped = !states.is_empty() && states.iter().all(|state| *state == b'T');
        is_stopped || process.try_wait().unwrap().is_some()
    });
    if is_stopped && states(target.pid()).contains(&b't') {
        // Before the check fails: a target that a stopped tracer holds cannot be killed and reaped.
        send(process, Signal::SIGKILL);
        let _ = process.wait();
        panic!("we are stopped, and so is a thread of the target");
    }
    is_stopped
}

/// Waits until `record` says that it samples; the rest of what it says.
fn until_it_samples(record: &mut Child) -> BufReader<ChildStdout> {
    let mut said = BufReader::new(record.stdout.take().unwrap());
    wait_until_it_samples(&mut said);
    said
}

#[test]
fn a_stopped_recording_pauses_nothing() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.txt");
    let pid = ["--pid".into(), target.pid().to_string().into()];
    let mut command = Recording::command(&file, &["-r", "5000", "-f", "raw"], &pid);
    // A group of its own with its parent outside, as a shell's job has: else the kernel ignores SIGTSTP.
    let mut record = command
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _said = until_it_samples(&mut record);
    let mut random = u64::from(target.pid());
    for _ in 0..300 {
        pass(&mut random, Duration::from_millis(4));
        assert!(stop(&mut record, &target));
        send(&record, Signal::SIGCONT);
    }
    send(&record, Signal::SIGINT);
    assert_eq!(wait(&mut record).code(), Some(0));
    let summary = read_summary(&folder.path().join("out.txt.summary.json"));
    // The kernel goes on meanwhile.
    let has_missed = summary["missed_ticks"].as_u64().unwrap() > 0;
    assert!(has_missed || summary["engine"] == "kernel", "{summary}");
    assert!(fs::read_to_string(&file).unwrap().contains("spin ("));
}

/// SIGSTOP cannot be caught: the watchdog process continues us until the thread is resumed. Without it, one in
/// twenty of these stops held a thread of the target until we were continued.
#[test]
fn sigstop_ends_a_pause() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.txt");
    let pid = ["--pid".into(), target.pid().to_string().into()];
    let mut command = Recording::command(&file, &["-r", "5000", "-f", "raw"], &pid);
    let mut record = command.stdout(Stdio::piped()).spawn().unwrap();
    let _said = until_it_samples(&mut record);
    let mut random = u64::from(target.pid());
    for _ in 0..200 {
        pass(&mut random, Duration::from_millis(4));
        send(&record, Signal::SIGSTOP);
        let deadline = Instant::now() + Duration::from_secs(20);
        // In this order: what a stopped process does not hold, it cannot hold later.
        while states(record.id()).iter().any(|state| *state != b'T')
            || states(target.pid()).contains(&b't')
        {
            if Instant::now() > deadline {
                // Before the test fails: a target that a stopped tracer holds cannot be killed and reaped.
                send(&record, Signal::SIGKILL);
                let _ = record.wait();
                panic!("it is not stopped, or a thread of the target is");
            }
            std::thread::yield_now();
        }
        send(&record, Signal::SIGCONT);
    }
    send(&record, Signal::SIGINT);
    // The last SIGCONT may have met the stop that the watchdog had asked for: it is sent again, as a user would.
    wait_until("it ends", || {
        if states(record.id()).contains(&b'T') {
            send(&record, Signal::SIGCONT);
        }
        record.try_wait().unwrap().is_some()
    });
    assert_eq!(wait(&mut record).code(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("spin ("));
}

#[test]
fn a_stopped_dump_pauses_nothing() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let id = target.pid().to_string();
    let mut random = u64::from(target.pid());
    let mut stops = 0;
    for _ in 0..40 {
        let mut dump = pyspy_rs();
        dump.args(["dump", "-ll", "--pid", &id]).process_group(0);
        let mut dump = dump.stdout(Stdio::null()).spawn().unwrap();
        pass(&mut random, Duration::from_millis(60));
        if stop(&mut dump, &target) {
            stops += 1;
            send(&dump, Signal::SIGCONT);
        }
        assert_eq!(wait(&mut dump).code(), Some(0));
    }
    assert!(stops > 0);
}

/// A recording of `gil.py` by a shell script that ends in it; SIGTSTP must not stop it.
fn records_on(script: &str, program: &str) {
    let target = Target::start(python(), "gil.py", &["1"]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    // A group of its own with its parent outside, as a shell's job has; or a session, for which setsid
    // must not lead a group yet, or it forks.
    match program {
        "sh" => command.process_group(0),
        _ => command.arg("sh"),
    };
    let mut record = command
        .args(["-c", script])
        .arg(pyspy_rs().get_program())
        .args([
            "record",
            "-f",
            "raw",
            "-o",
            "out.txt",
            "--pid",
            &target.pid().to_string(),
        ])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _said = until_it_samples(&mut record);
    send(&record, Signal::SIGTSTP);
    // If it were stopped, this would not end it.
    send(&record, Signal::SIGINT);
    assert_eq!(wait(&mut record).code(), Some(0));
    assert!(folder.path().join("out.txt").exists());
}

#[test]
fn an_ignored_ctrl_z_stays_ignored() {
    records_on("trap '' TSTP; exec \"$0\" \"$@\"", "sh");
}

/// A session of its own, in which there is no shell that would continue it.
#[test]
fn without_job_control_ctrl_z_is_ignored() {
    records_on("exec \"$0\" \"$@\"", "setsid");
}
