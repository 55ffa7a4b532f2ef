//! [`IdMap`]: a hash table whose keys are our own small numbers.
//!
//! Every sample looks up some ten nodes of the prefix tree, so a look-up must cost a nanosecond or two,
//! not the twenty of the standard hash. That one withstands keys that somebody chose to collide; ours are
//! counted up by us, and are mixed with a number that is another one in every run.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A hash table by handles such as [`StackId`](super::StackId).
pub(super) type IdMap<K, V> = HashMap<K, V, IdState>;

/// Makes [`IdHasher`]s that agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdState(u64);

impl Default for IdState {
    fn default() -> Self {
        IdState(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for IdState {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.0)
    }
}

/// Mixes numbers by a long multiplication whose halves are put together, as wyhash (Wang Yi, 2019) does.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdHasher(u64);

impl IdHasher {
    fn mix(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pairs_of_small_numbers_spread_over_the_places() {
        let state = IdState::default();
        // As the hash table takes them: the low bits for the place, the high seven beside it.
        let places = |bits: fn(u64) -> u64| {
            let mut seen = HashSet::new();
            for (a, b) in (0..512_u32).flat_map(|a| (0..128_u32).map(move |b| (a, b))) {
                seen.insert(bits(state.hash_one((a, b))));
            }
            seen.len()
        };
        // 65,536 balls in as many places leave 1/e of them empty.
        let hit = places(|hash| hash & 0xffff);
        assert!((37_000..46_000).contains(&hit), "{hit} of 65,536 places");
        assert_eq!(places(|hash| hash >> 57), 128);
    }
}
