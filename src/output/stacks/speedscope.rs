//! Speedscope JSON (`-f speedscope`): one sampled profile per thread, all with the same list of frames.
//!
//! The weight of a sample is the sampling interval in seconds. With
//! [`time`](crate::profile::options::Weights::time) successive samples of a thread in one stack
//! are one entry, whose weight is their time in nanoseconds.
//!
//! With [`rss`](crate::profile::options::Weights::rss) the first two profiles are the RSS growth and
//! the released RSS of all threads by stack, in bytes.
//!
//! A stack of more than [`MAX_DEPTH`] frames has one that says how many are left out instead of its middle.
//!
//! The fields and their order are those of py-spy 0.4, with its `null`s for an unknown line and column: its users
//! read all four fields of a frame. The schema does not allow these `null`s; the viewer does. The additional field `memory` has the verdict on memory; the
//! schema allows additional fields. The schema is part of the speedscope npm package.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Write};

use serde::ser::{Serialize, Serializer};

use crate::output::empty;
use crate::output::memory_report::MemoryReport;
use crate::output::meta::Meta;
use crate::profile::Profile;
use crate::profile::tables::ids::{LabelId, StackId, ThreadId};
use crate::profile::tables::threads::Slice;
use crate::rss::attribution::Growth;

/// URL of the format's schema, by which the viewer recognises the file.
const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

/// Most frames of a stack. The viewer walks a stack by recursion, which fails somewhere above.
pub const MAX_DEPTH: usize = 4_000;

/// Longest recording name, in characters; the viewer shows it as its title.
const MAX_NAME_CHARS: usize = 200;

/// Writes one JSON object. The profile needs a
/// [timeline](crate::profile::options::ProfileOptions::timeline).
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let paths = Paths::new(profile);
    let file = File {
        schema: SCHEMA,
        profiles: Profiles {
            profile,
            paths: &paths,
        },
        shared: Shared {
            frames: Frames {
                profile,
                paths: &paths,
            },
        },
        active_profile_index: 0,
        exporter: concat!("pyspy-rs@", env!("CARGO_PKG_VERSION")),
        name: meta.title(MAX_NAME_CHARS),
        memory: MemoryReport::of(profile),
    };
    serde_json::to_writer(out, &file).map_err(io::Error::from)
}

/// Stacks as indices of frames, where those deeper than [`MAX_DEPTH`] have a frame instead of their middle.
struct Paths<'a> {
    profile: &'a Profile,
    /// How many frames the additional ones stand for, ascending. Their indices follow those of the labels.
    left_out: Vec<usize>,
}

impl<'a> Paths<'a> {
    fn new(profile: &'a Profile) -> Paths<'a> {
        let deep = deep_stacks(profile);
        let left_out: BTreeSet<usize> =
            deep.values().map(|depth| depth - (MAX_DEPTH - 1)).collect();
        Paths {
            profile,
            left_out: left_out.into_iter().collect(),
        }
    }

    /// Root first.
    fn of(&self, stack: StackId) -> Vec<usize> {
        let path = self.profile.stacks().path(stack);
        let index = |label: &LabelId| label.index();
        let Some(left_out) = path.len().checked_sub(MAX_DEPTH).filter(|over| *over > 0) else {
            return path.iter().map(index).collect();
        };
        // The additional frame takes the place of one more.
        let left_out = left_out + 1;
        let above = MAX_DEPTH / 2;
        let place = self.left_out.binary_search(&left_out).unwrap_or_default();
        let middle = self.profile.labels().len() + place;
        let below = path.iter().skip(above + left_out).map(index);
        let above = path.iter().take(above).map(index);
        above.chain([middle]).chain(below).collect()
    }

    /// The additional frames.
    fn entries(&self) -> impl Iterator<Item = FrameEntry<'a>> + '_ {
        self.left_out.iter().map(|count| FrameEntry {
            name: Cow::Owned(format!("… {count} frames left out …")),
            file: "",
            line: None,
            col: None,
        })
    }
}

/// Depths of the stacks in the file that are deeper than [`MAX_DEPTH`].
pub fn deep_stacks(profile: &Profile) -> BTreeMap<StackId, usize> {
    let stacks = profile.stacks();
    let threads = profile.threads().ids();
    let slices = threads.flat_map(|id| profile.slices(id));
    let sampled: HashSet<StackId> = slices.map(|slice| slice.stack).collect();
    let mut depths = vec![0_usize; stacks.len()];
    let mut deep = BTreeMap::new();
    // Parents come before children.
    for id in stacks.ids() {
        let above = depths.get(stacks.parent(id).index()).copied();
        let depth = above.unwrap_or_default() + 1;
        if let Some(slot) = depths.get_mut(id.index()) {
            *slot = depth;
        }
        let is_written = || sampled.contains(&id) || profile.growth(id) != Growth::default();
        if depth > MAX_DEPTH && is_written() {
            deep.insert(id, depth);
        }
    }
    deep
}

#[derive(serde::Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    profiles: Profiles<'a>,
    shared: Shared<'a>,
    #[serde(rename = "activeProfileIndex")]
    active_profile_index: u32,
    exporter: &'static str,
    name: String,
    /// Our extension, ignored by the viewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryReport>,
}

#[derive(serde::Serialize)]
struct Shared<'a> {
    frames: Frames<'a>,
}

/// All labels of the profile, each at its index, and the additional frames of deep stacks.
struct Frames<'a> {
    profile: &'a Profile,
    paths: &'a Paths<'a>,
}

impl Serialize for Frames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let profile = self.profile;
        let labels = profile.labels().ids().map(|id| FrameEntry {
            name: profile.name(id),
            file: profile.file(id).unwrap_or_default(),
            line: profile.json_line(id),
            col: None,
        });
        serializer.collect_seq(labels.chain(self.paths.entries()))
    }
}

#[derive(serde::Serialize)]
struct FrameEntry<'a> {
    name: Cow<'a, str>,
    file: &'a str,
    line: Option<u32>,
    /// As in py-spy, which never has one.
    col: Option<u32>,
}

/// Profiles of the threads that have samples.
struct Profiles<'a> {
    profile: &'a Profile,
    paths: &'a Paths<'a>,
}

impl Serialize for Profiles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (profile, paths) = (self.profile, self.paths);
        let memory: Vec<MemoryProfile> = if profile.options().weights.rss {
            vec![
                MemoryProfile::new(paths, "RSS growth", |growth| growth.grown_bytes),
                MemoryProfile::new(paths, "RSS given back", |growth| growth.released_bytes),
            ]
        } else {
            Vec::new()
        };
        let memory = memory.into_iter().map(Entry::Memory);
        if profile.counts().samples == 0 && !profile.options().weights.rss {
            // The viewer rejects a file without a profile, and shows the name of an empty one.
            return serializer.collect_seq([SampledProfile::new(
                paths,
                empty::reason(profile),
                None,
                0,
            )]);
        }
        let mut threads: Vec<(String, ThreadId, u64)> = Vec::new();
        threads.extend(profile.threads().ids().filter_map(|id| {
            let weights = profile.slices(id).map(|slice| {
                if profile.options().weights.time.is_some() {
                    slice.time_ns
                } else {
                    u64::from(slice.samples)
                }
            });
            let sum = weights.reduce(u64::saturating_add)?;
            Some((thread_name(profile, id), id, sum))
        }));
        // The order of py-spy's files.
        threads.sort_by(|one, other| one.0.cmp(&other.0));
        let threads = threads
            .into_iter()
            .map(|(name, id, sum)| Entry::Time(SampledProfile::new(paths, name, Some(id), sum)));
        serializer.collect_seq(memory.chain(threads))
    }
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Memory(MemoryProfile),
    Time(SampledProfile<'a>),
}

/// RSS growth of all threads by stack.
#[derive(serde::Serialize)]
struct MemoryProfile {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start_value: u64,
    #[serde(rename = "endValue")]
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

impl MemoryProfile {
    fn new(paths: &Paths<'_>, name: &'static str, side: impl Fn(Growth) -> u64) -> Self {
        let profile = paths.profile;
        let stacks = profile.stacks();
        let grown = || {
            let all = stacks.ids().map(|id| (id, side(profile.growth(id))));
            all.filter(|(_, bytes)| *bytes > 0)
        };
        MemoryProfile {
            kind: "sampled",
            name,
            unit: "bytes",
            start_value: 0,
            end_value: grown().map(|(_, bytes)| bytes).fold(0, u64::saturating_add),
            samples: grown().map(|(id, _)| paths.of(id)).collect(),
            weights: grown().map(|(_, bytes)| bytes).collect(),
        }
    }
}

#[derive(serde::Serialize)]
struct SampledProfile<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start_value: Weight,
    #[serde(rename = "endValue")]
    end_value: Weight,
    samples: Samples<'a>,
    weights: Weights<'a>,
}

impl<'a> SampledProfile<'a> {
    /// `sum` is the total weight of the thread's samples: their number or their nanoseconds.
    fn new(paths: &'a Paths<'a>, name: String, thread: Option<ThreadId>, sum: u64) -> Self {
        let profile = paths.profile;
        let is_time = profile.options().weights.time.is_some();
        let weight = |value: u64| {
            if is_time {
                Weight::Nanoseconds(value)
            } else {
                Weight::Seconds(value as f64 / f64::from(profile.options().rate_hz.max(1)))
            }
        };
        SampledProfile {
            kind: "sampled",
            name,
            unit: if is_time { "nanoseconds" } else { "seconds" },
            start_value: weight(0),
            end_value: weight(sum),
            samples: Samples { paths, thread },
            weights: Weights { profile, thread },
        }
    }
}

/// A number in the unit of the profile.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Weight {
    Seconds(f64),
    Nanoseconds(u64),
}

fn thread_name(profile: &Profile, id: ThreadId) -> String {
    let Some(thread) = profile.threads().get(id) else {
        return "?".to_owned();
    };
    let name = thread.name().unwrap_or_default();
    let process = if profile.options().subprocesses {
        format!("Process {} ", thread.pid)
    } else {
        String::new()
    };
    format!("{process}Thread {} \"{name}\"", thread.number())
}

/// Entries of a thread: for each, the indices of its frames, root first.
struct Samples<'a> {
    paths: &'a Paths<'a>,
    thread: Option<ThreadId>,
}

impl Serialize for Samples<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let profile = self.paths.profile;
        let is_time = profile.options().weights.time.is_some();
        serializer.collect_seq(
            self.thread
                .into_iter()
                .flat_map(|id| profile.slices(id))
                .flat_map(|slice| {
                    let path = self.paths.of(slice.stack);
                    std::iter::repeat_n(path, entries(&slice, is_time))
                }),
        )
    }
}

/// Number of entries of a slice.
fn entries(slice: &Slice, is_time: bool) -> usize {
    if is_time { 1 } else { slice.samples as usize }
}

/// Weights of the entries: the sampling interval, or the time of the thread.
struct Weights<'a> {
    profile: &'a Profile,
    thread: Option<ThreadId>,
}

impl Serialize for Weights<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = self.profile.options();
        let interval = 1.0 / f64::from(options.rate_hz.max(1));
        serializer.collect_seq(
            self.thread
                .into_iter()
                .flat_map(|id| self.profile.slices(id))
                .flat_map(|slice| {
                    (0..entries(&slice, options.weights.time.is_some())).map(move |_| {
                        if options.weights.time.is_some() {
                            Weight::Nanoseconds(slice.time_ns)
                        } else {
                            Weight::Seconds(interval)
                        }
                    })
                }),
        )
    }
}
