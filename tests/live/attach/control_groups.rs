//! Control groups that freeze the target, and one that lets us use little CPU time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::bench::python;
use crate::support::doctor::examine;
use crate::support::require::has_root;
use crate::support::{Recording, Target, pyspy_rs, said, wait_until};

/// A new control group, gone when dropped.
struct Group {
    folder: PathBuf,
}

impl Group {
    /// Below one of these hierarchies. None without root, or where no group can be made.
    fn make(hierarchies: &[&str], name: &str, needs: &str) -> Option<Group> {
        if !has_root("making a control group") {
            return None;
        }
        let name = format!("pyspy-rs-{name}-{}", std::process::id());
        let mut folders = hierarchies.iter().map(|one| Path::new(one).join(&name));
        let made = folders.find(|folder| {
            fs::create_dir(folder).is_ok()
                && (folder.join(needs).exists() || fs::remove_dir(folder).is_err())
        });
        if made.is_none() {
            println!("SKIPPED: no control group with {needs} can be made here");
        }
        made.map(|folder| Group { folder })
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    fn says(&self, file: &str, text: &str) -> bool {
        let found = fs::read_to_string(self.folder.join(file)).unwrap();
        found.lines().any(|line| line == text)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let file = self.folder.join(file);
            if file.exists() {
                let _ = fs::write(file, thawed);
            }
        }
        let above = self.folder.parent().unwrap().join("cgroup.procs");
        for pid in fs::read_to_string(self.folder.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            let _ = fs::write(&above, pid);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// What dump, record and doctor say of a target that `freeze` has frozen.
fn says_so(target: &Target, group: &Group, remedy: &str) {
    let id = target.pid().to_string();
    let name = group.folder.file_name().unwrap().to_str().unwrap();
    let warning = format!("process {id} is frozen by its control group");
    let (status, stdout, stderr) = said(pyspy_rs().args(["dump", "--pid", &id]));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("spin ("), "{stdout}");
    for what in [&warning, name, remedy] {
        assert!(stderr.contains(what), "{stderr}");
    }
    let options = ["-d", "0.2", "-f", "raw"];
    let recording = Recording::of_pid(target.pid(), &options);
    assert!(recording.stderr.contains(&warning), "{}", recording.stderr);
    let page = examine(pyspy_rs(), target.pid());
    assert_eq!(page["process"]["state"], "frozen by its control group");
    let by = page["process"]["frozen_by"].as_str().unwrap();
    assert!(by.ends_with(name), "{page:#}");
    let fixes = page["problems"][0]["fixes"].to_string();
    assert!(fixes.contains(remedy), "{page:#}");
}

#[test]
fn a_frozen_process_of_v1() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let Some(group) = Group::make(&["/sys/fs/cgroup/freezer"], "frozen", "freezer.state") else {
        return;
    };
    group.write("cgroup.procs", &target.pid().to_string());
    group.write("freezer.state", "FROZEN");
    wait_until("it is frozen", || group.says("freezer.state", "FROZEN"));
    says_so(&target, &group, "echo THAWED > ");
}

#[test]
fn a_frozen_process_of_v2() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let hierarchies = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let Some(group) = Group::make(&hierarchies, "frozen", "cgroup.freeze") else {
        return;
    };
    group.write("cgroup.procs", &target.pid().to_string());
    group.write("cgroup.freeze", "1");
    wait_until("it is frozen", || group.says("cgroup.events", "frozen 1"));
    says_so(&target, &group, "echo 0 > ");
}

/// A thread that was paused when our quota was used up stayed so for the rest of the period: 98 ms.
#[test]
fn a_cpu_quota_that_is_used_up_ends_the_pausing() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let Some(group) = Group::make(&["/sys/fs/cgroup/cpu"], "quota", "cpu.cfs_quota_us") else {
        return;
    };
    group.write("cpu.cfs_period_us", "100000");
    group.write("cpu.cfs_quota_us", "5000");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.txt");
    let limited = |ours: &Command| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(group.folder.join("cgroup.procs"));
        command.arg(ours.get_program()).args(ours.get_args());
        command.stdin(Stdio::null());
        command
    };
    let pid = ["--pid".into(), target.pid().to_string().into()];
    let ours = Recording::command(&file, &["-d", "2", "-r", "500", "-f", "raw"], &pid);
    let output = limited(&ours).output().unwrap();
    let recording = Recording::finished(&file, &output);
    let stderr = &recording.stderr;
    assert_eq!(stderr.matches("may use 0.05 CPUs").count(), 1, "{stderr}");
    assert!(stderr.contains("going on without pausing"), "{stderr}");
    assert_eq!(recording.summary["engine"], "nonblocking");
    // Usually attaching uses up the quota; if not, samples are taken with pauses for a period of it, or some on a
    // crowded machine.
    let pauses = recording.summary["pauses"]["count"].as_u64().unwrap();
    assert!(pauses * 2 < recording.samples(), "{}", recording.summary);
    // Its own group can be frozen without the target, too.
    let mut doctor = pyspy_rs();
    doctor.args(["doctor", "--json", "--pid", &target.pid().to_string()]);
    let (status, page, stderr) = said(&mut limited(&doctor));
    assert_eq!(status, Some(0), "{stderr}");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["pyspy_rs"]["cpu_quota"], 0.05, "{page:#}");
}

#[test]
fn doctor_says_whether_only_we_can_be_frozen() {
    let target = Target::start(python(), "gil.py", &["1"]);
    let hierarchies = [
        "/sys/fs/cgroup/freezer",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup",
    ];
    let Some(group) = Group::make(&hierarchies, "ours", "cgroup.procs") else {
        return;
    };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
    command.arg(group.folder.join("cgroup.procs"));
    command.arg(pyspy_rs().get_program());
    let page = examine(command, target.pid());
    let name = group.folder.file_name().unwrap().to_str().unwrap();
    let found = page["process"]["freezes_without"].as_str().unwrap();
    assert!(found.ends_with(name), "{page:#}");
    // Both in one group: it freezes both.
    group.write("cgroup.procs", &target.pid().to_string());
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
    command.arg(group.folder.join("cgroup.procs"));
    command.arg(pyspy_rs().get_program());
    let page = examine(command, target.pid());
    assert_ne!(
        page["process"]["freezes_without"].as_str(),
        Some(found),
        "{page:#}"
    );
}
