//! [`StringTable`]: every distinct text once, already safe to show.

use std::collections::HashMap;
use std::sync::Arc;

use crate::text::sanitize::clean;

/// Most bytes of text that are kept.
const MAX_BYTES: usize = 32 << 20;

/// A text in a [`StringTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StringId(u32);

/// Interned texts. What goes in is [cleaned](clean) first, so whatever comes out may be shown; each
/// format still escapes its own special characters. Nothing new goes in beyond a limit.
#[derive(Debug, Default)]
pub struct StringTable {
    strings: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, StringId>,
    bytes: usize,
}

impl StringTable {
    /// The id of this text, new or known; `None` for a new one when the table is full.
    pub fn intern(&mut self, text: &str) -> Option<StringId> {
        let text = clean(text);
        if let Some(id) = self.ids.get(text.as_ref()) {
            return Some(*id);
        }
        let bytes = self.bytes + text.len();
        if bytes > MAX_BYTES {
            return None;
        }
        self.bytes = bytes;
        let id = StringId(u32::try_from(self.strings.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = Arc::from(text.as_ref());
        self.strings.push(Arc::clone(&text));
        self.ids.insert(text, id);
        Some(id)
    }

    /// The text behind an id of this table; `?` for an id of another one.
    pub fn get(&self, id: StringId) -> &str {
        self.strings.get(id.0 as usize).map_or("?", |text| text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_clean() {
        let mut table = StringTable::default();
        let a = table.intern("spin").unwrap();
        let b = table.intern("evil\x07").unwrap();
        assert_eq!(table.intern("spin"), Some(a));
        assert_ne!(a, b);
        assert_eq!(table.get(a), "spin");
        assert_eq!(table.get(b), "evil\u{fffd}");
        assert_eq!(table.get(StringId(9)), "?");
    }
}
