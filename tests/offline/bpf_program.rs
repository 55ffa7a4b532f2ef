//! The BPF program that is committed is what its source compiles to.

use std::fs;
use std::process::Command;

use crate::support::checkout;
use crate::support::require::has_program;

/// The compiler of the committed object; another one's may differ and still be right.
const CLANG: &str = "clang-14";

#[test]
fn the_committed_object_is_what_the_source_compiles_to() {
    if !has_program(CLANG) {
        return;
    }
    let room = checkout().join("src/os/bpf");
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("sampler.bpf.o");
    let mut clang = Command::new(CLANG);
    clang.args([
        "-O2", "-target", "bpf", "-mcpu=v2", "-Wall", "-Werror", "-c",
    ]);
    clang.arg("sampler.bpf.c").arg("-o").arg(&object);
    let status = clang.current_dir(&room).status().unwrap();
    assert!(status.success(), "{status}");
    let committed = fs::read(room.join("sampler.bpf.o")).unwrap();
    assert!(
        fs::read(&object).unwrap() == committed,
        "compile sampler.bpf.c again, as CONTRIBUTING.md says"
    );
}
