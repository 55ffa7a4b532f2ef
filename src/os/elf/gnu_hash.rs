//! [`GnuHash`]: the hash table of the dynamic symbols, by which the dynamic loader finds them.
//!
//! The table (`DT_GNU_HASH`; elf/dl-lookup.c and sysdeps/generic/dl-hash.h of glibc) is four words (number
//! of buckets, first hashed symbol, number of Bloom words, Bloom shift), the Bloom filter in words of the
//! file's class, the buckets, and a word for each hashed symbol: its hash, with a lowest bit that is set at
//! the end of a chain. A symbol that is not in it cannot be found by the loader either.

use goblin::container::Ctx;

use super::error::ElfError;
use super::source::{Source, number};

/// Cap on the length of a chain; libpython's longest has 8.
const MAX_CHAIN: u64 = 1 << 12;
/// The size of all words but those of the filter.
const WORD: u64 = 4;
const HEADER: usize = 16;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct GnuHash {
    ctx: Ctx,
    buckets: u64,
    first: u64,
    bloom: u64,
    shift: u64,
    /// Its file offset.
    bloom_at: u64,
}

impl GnuHash {
    /// Reads its header at a file offset; `None` when it is not usable.
    ///
    /// # Errors
    /// When the header cannot be read.
    pub fn read(source: &Source<'_>, at: u64, ctx: Ctx) -> Result<Option<GnuHash>, ElfError> {
        let mut header = [0; HEADER];
        source.read(at, &mut header)?;
        let mut words = header.chunks_exact(4).map(|word| number(word, ctx));
        let mut next = || words.next().unwrap_or_default();
        let (buckets, first, bloom, shift) = (next(), next(), next(), next());
        let is_usable = buckets > 0 && bloom > 0;
        Ok(is_usable.then_some(GnuHash {
            ctx,
            buckets,
            first,
            bloom,
            shift,
            bloom_at: at.saturating_add(HEADER as u64),
        }))
    }

    /// The first symbol of this name that is accepted: `accept` is called with the indexes of those that
    /// have its hash.
    ///
    /// # Errors
    /// When a part of the table cannot be read.
    pub fn find<T>(
        &self,
        source: &Source<'_>,
        name: &str,
        mut accept: impl FnMut(u64) -> Result<Option<T>, ElfError>,
    ) -> Result<Option<T>, ElfError> {
        let hash = hash(name);
        let word_size = self.ctx.size() as u64;
        let bits = 8 * word_size;
        let at = self
            .bloom_at
            .saturating_add(word_size * (hash / bits % self.bloom));
        let word = self.number_at(source, at, word_size)?;
        let second = hash.checked_shr(u32::try_from(self.shift).unwrap_or(u32::MAX));
        let is_set = |bit: u64| word >> (bit % bits) & 1 == 1;
        if !is_set(hash) || !is_set(second.unwrap_or_default()) {
            return Ok(None);
        }
        let buckets_at = self.bloom_at.saturating_add(word_size * self.bloom);
        let at = buckets_at.saturating_add(WORD * (hash % self.buckets));
        let symbol = self.number_at(source, at, WORD)?;
        // A bucket without symbols has 0, which is never hashed.
        let Some(into) = symbol.checked_sub(self.first).filter(|_| symbol > 0) else {
            return Ok(None);
        };
        let chain_at = buckets_at.saturating_add(WORD * (self.buckets + into));
        for step in 0..MAX_CHAIN {
            let entry = self.number_at(source, chain_at.saturating_add(WORD * step), WORD)?;
            if entry | 1 == hash | 1
                && let Some(found) = accept(symbol + step)?
            {
                return Ok(Some(found));
            }
            if entry & 1 == 1 {
                break;
            }
        }
        Ok(None)
    }

    fn number_at(&self, source: &Source<'_>, at: u64, size: u64) -> Result<u64, ElfError> {
        let mut bytes = [0; 8];
        let word = bytes.get_mut(..usize::try_from(size).unwrap_or(8).min(8));
        let word = word.unwrap_or_default();
        source.read(at, word)?;
        Ok(number(word, self.ctx))
    }
}

/// The hash of a name, 32 bits (`_dl_new_hash`).
fn hash(name: &str) -> u64 {
    let add = |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte));
    u64::from(name.bytes().fold(5381, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_loader() {
        for (name, expected) in [
            ("", 0x0000_1505),
            ("printf", 0x156b_2bb8),
            ("exit", 0x7c96_7e3f),
            ("syscall", 0xbac2_12a0),
        ] {
            assert_eq!(hash(name), expected, "{name}");
        }
    }
}
