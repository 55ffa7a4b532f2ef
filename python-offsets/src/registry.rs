//! The supported minor versions, one line each.

use crate::minor::{Minor, Source};

macro_rules! registry {
    ($($name:ident = $path:literal,)*) => {
        $(#[path = $path] mod $name;)*

        /// Every minor version that can be described, oldest first.
        pub(crate) const REGISTRY: &[&Minor] = &[$(&$name::MINOR),*];
    };
}

registry! {
    v2_7 = "versions/v2_7.rs",
    v3_3 = "versions/v3_3.rs",
    v3_4 = "versions/v3_4.rs",
    v3_5 = "versions/v3_5.rs",
    v3_6 = "versions/v3_6.rs",
    v3_7 = "versions/v3_7.rs",
    v3_8 = "versions/v3_8.rs",
    v3_9 = "versions/v3_9.rs",
    v3_10 = "versions/v3_10.rs",
    v3_11 = "versions/v3_11.rs",
    v3_12 = "versions/v3_12.rs",
    v3_13 = "versions/v3_13.rs",
    v3_14 = "versions/v3_14.rs",
    v3_15 = "versions/v3_15.rs",
}

/// The number of values in the longest of the targets' own tables.
pub(crate) const LONGEST_ORDER: usize = {
    let mut longest = 0;
    let mut minors = REGISTRY;
    while let [minor, rest @ ..] = minors {
        if let Source::DebugOffsets(order) = &minor.source
            && order.slots.len() > longest
        {
            longest = order.slots.len();
        }
        minors = rest;
    }
    longest
};
