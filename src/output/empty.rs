//! Why a profile is empty.

use crate::profile::Profile;
use crate::profile::options::{Counts, TimeWeight};

/// Why a profile has no weight, and which option would give it some.
pub fn reason(profile: &Profile) -> String {
    let Counts {
        samples,
        idle,
        without_gil,
        torn,
        ..
    } = *profile.counts();
    if profile.options().weights.rss && profile.rss().first().is_some() {
        match samples {
            0 => "RSS has not grown, and no thread ran".to_owned(),
            _ => format!(
                "RSS has not grown; record without --memory to see where the time goes ({samples} samples)"
            ),
        }
    } else if samples > 0 {
        match profile.options().weights.time {
            Some(TimeWeight::Wall) => format!(
                "No time was counted in {samples} samples: the time between two is needed; record for longer"
            ),
            _ => format!(
                "No time on a CPU was counted in {samples} samples; record without --cpu to see them"
            ),
        }
    } else if idle > 0 {
        // Idle threads hold no GIL and use no CPU time: with either option --idle would show none.
        let options = profile.options();
        let advice = match (
            options.selection.gil_only,
            options.weights.time == Some(TimeWeight::Cpu),
        ) {
            (false, false) => "record with --idle to see them",
            (true, false) => "record without --gil and with --idle to see them",
            (false, true) => "record without --cpu and with --idle to see them",
            (true, true) => "record without --gil and --cpu, and with --idle, to see them",
        };
        format!("No samples: every thread was idle ({idle} idle samples; {advice})")
    } else if without_gil > 0 {
        format!(
            "No samples: no thread held the GIL ({without_gil} samples without; leave out --gil to see them)"
        )
    } else if torn > 0 {
        format!("No samples: all {torn} stack traces changed while they were read")
    } else {
        "No samples: no thread ran Python during the recording".to_owned()
    }
}
