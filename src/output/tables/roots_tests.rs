//! Files of two containers at one path.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may fail by panicking.

use std::collections::HashMap;

use super::lines;
use super::tests::{in_first, written};
use crate::cpython::code::frame_table::FrameTable;
use crate::os::Pid;
use crate::output::format::Format;
use crate::output::table_options::TableOptions;
use crate::output::table_options::source::{FileKey, Source};
use crate::profile::Profile;
use crate::profile::options::{ProcessLabel, ProfileOptions};
use crate::testing::{frame_in, main_thread, process, sample_of};
use crate::text::secrets::Secrets;

const PATH: &str = "/srv/app.py";

/// A sample of a process and its two children, all in `serve` on line 2. The second child has another file
/// system.
fn pool() -> Profile {
    let mut frames = FrameTable::default();
    let mut profile = Profile::new(ProfileOptions {
        subprocesses: true,
        keep_first_lines: true,
        ..ProfileOptions::default()
    });
    let serve = frames.intern(frame_in(PATH, "serve", 2));
    let process = |pid: Pid| process(pid, vec![main_thread(pid).stack(&[serve])]);
    for (pid, root) in [(7, 0), (8, 0), (9, 1)] {
        profile.set_fs_root(pid, root);
    }
    let sample = sample_of(0, [7, 8, 9].map(process).to_vec());
    profile.add(&sample, &frames, &|pid| {
        Some(ProcessLabel {
            pid,
            parent: (pid != 7).then_some(7),
            command: "python app.py".into(),
        })
    });
    profile.finish();
    profile
}

#[test]
fn files_at_one_path_are_separate_by_file_system() {
    let profile = pool();
    let (first, second) = (
        in_first(PATH),
        FileKey {
            root: 1,
            ..in_first(PATH)
        },
    );
    let files = lines::source_files(&profile, &TableOptions::default());
    assert_eq!(files, [first.clone(), second.clone()]);
    let source = |text: &str| Source::of_bytes(text.as_bytes(), None, Secrets::Hidden);
    let options = TableOptions {
        sources: HashMap::from([
            (first, source("def serve():\n    return 'old'\n")),
            (second, source("def serve():\n    return 'new'\n")),
        ]),
        ..TableOptions::default()
    };
    let text = written(Format::Lines, &profile, options);
    let blocks: Vec<&str> = text
        .split("\nFunction: serve (app.py:1)\n")
        .skip(1)
        .collect();
    assert_eq!(blocks.len(), 2, "{text}");
    for (block, owner, samples, contents) in [
        (blocks[0], "process 7:\"python app.py\"", 2, "'old'"),
        (blocks[1], "process 9:\"python app.py\"", 1, "'new'"),
    ] {
        let note = format!("this is the one that {owner} sees\n");
        assert!(block.contains(&note), "{block}");
        assert!(
            block.contains(&format!("\nSamples: {samples}, ")),
            "{block}"
        );
        assert!(block.contains(contents), "{block}");
    }
    // Without lines, the files do not matter.
    let text = written(Format::Functions, &profile, TableOptions::default());
    assert_eq!(text.matches("serve (app.py:1)").count(), 1, "{text}");
}
