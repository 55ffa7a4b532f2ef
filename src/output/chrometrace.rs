//! Chrome trace JSON (`-f chrometrace`): begin and end events, for Perfetto and `chrome://tracing`.
//!
//! The file is the array form of the "Trace Event Format": each element has a phase (`B`, `E`), a
//! time in microseconds, process, thread and name. The fields and their order are those of py-spy
//! 0.4's files. Unlike there, a call ends when its thread goes idle or away, not at the end of the
//! recording.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Meta;
use crate::profile::{LabelId, Profile, StackId, ThreadId};

/// Scripts pick their events by this category, so it is py-spy's.
const CATEGORY: &str = "py-spy";

/// Writes one JSON array, events in the order of time. The profile needs a
/// [timeline](crate::profile::ProfileOptions::timeline).
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, _meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let mut changes: Vec<Change> = Vec::new();
    for id in profile.threads().ids() {
        add_changes(profile, id, &mut changes);
    }
    // Stable: a thread's own changes keep their order.
    changes.sort_by_key(|change| change.at_us);

    let mut events = Events {
        profile,
        out,
        is_first: true,
    };
    events.out.write_all(b"[")?;
    for change in &changes {
        events.write_change(change)?;
    }
    events.out.write_all(b"]")
}

/// A thread leaves one stack for another one; [`StackId::ROOT`] stands for none.
struct Change {
    at_us: u64,
    thread: ThreadId,
    from: StackId,
    to: StackId,
}

fn add_changes(profile: &Profile, thread: ThreadId, changes: &mut Vec<Change>) {
    let mut from = StackId::ROOT;
    let mut until_us = 0;
    for slice in profile.slices(thread) {
        if from != StackId::ROOT && until_us < slice.start_us {
            changes.push(Change {
                at_us: until_us,
                thread,
                from,
                to: StackId::ROOT,
            });
            from = StackId::ROOT;
        }
        changes.push(Change {
            at_us: slice.start_us,
            thread,
            from,
            to: slice.stack,
        });
        (from, until_us) = (slice.stack, slice.end_us);
    }
    if from != StackId::ROOT {
        changes.push(Change {
            at_us: until_us,
            thread,
            from,
            to: StackId::ROOT,
        });
    }
}

struct Events<'a> {
    profile: &'a Profile,
    out: &'a mut dyn Write,
    is_first: bool,
}

impl Events<'_> {
    /// Ends the calls that only the old stack has, leaf first, and begins those that only the new
    /// one has, root first.
    fn write_change(&mut self, change: &Change) -> io::Result<()> {
        let stacks = self.profile.stacks();
        let (old, new) = (stacks.path(change.from), stacks.path(change.to));
        let shared = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        for label in old.iter().skip(shared).rev() {
            self.write_event("E", *label, change)?;
        }
        for label in new.iter().skip(shared) {
            self.write_event("B", *label, change)?;
        }
        Ok(())
    }

    fn write_event(
        &mut self,
        phase: &'static str,
        label: LabelId,
        change: &Change,
    ) -> io::Result<()> {
        let profile = self.profile;
        let Some(thread) = profile.threads().get(change.thread) else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.write_all(b",")?;
        }
        let event = Event {
            args: Args {
                filename: profile.file(label).unwrap_or_default(),
                line: profile.json_line(label),
            },
            cat: CATEGORY,
            name: profile.name(label),
            ph: phase,
            pid: thread.pid,
            tid: thread.pthread_id,
            ts: change.at_us,
        };
        serde_json::to_writer(&mut *self.out, &event).map_err(io::Error::from)
    }
}

#[derive(serde::Serialize)]
struct Event<'a> {
    args: Args<'a>,
    cat: &'static str,
    name: Cow<'a, str>,
    ph: &'static str,
    pid: i32,
    tid: u64,
    ts: u64,
}

#[derive(serde::Serialize)]
struct Args<'a> {
    filename: &'a str,
    line: Option<u32>,
}
