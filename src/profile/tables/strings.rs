//! [`StringTable`]: each distinct text once, sanitised.

use std::collections::HashMap;
use std::sync::Arc;

use super::ids::StringId;
use crate::text::sanitize::clean;

/// Most bytes of text: those of a [full table of frames](crate::cpython::code::frame_table).
const MAX_BYTES: usize = 16 << 20;

/// Interned texts. Each is [cleaned](clean) when it is added, so all of them may be shown; each format
/// still escapes its own special characters. A full table takes no new texts.
#[derive(Debug, Default)]
pub struct StringTable {
    strings: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, StringId>,
    bytes: usize,
}

impl StringTable {
    /// The id of this text; `None` for a new text if the table is full.
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
        let id = StringId::from_index(self.strings.len());
        let text: Arc<str> = Arc::from(text.as_ref());
        self.strings.push(Arc::clone(&text));
        self.ids.insert(text, id);
        Some(id)
    }

    /// The text of an id; `?` for an id of another table.
    pub fn get(&self, id: StringId) -> &str {
        self.strings.get(id.index()).map_or("?", |text| text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use super::*;

    #[test]
    fn a_text_is_stored_once_and_clean() {
        let mut table = StringTable::default();
        let a = table.intern("spin").unwrap();
        let b = table.intern("evil\x07").unwrap();
        assert_eq!(table.intern("spin"), Some(a));
        assert_ne!(a, b);
        assert_eq!(table.get(a), "spin");
        assert_eq!(table.get(b), "evil\u{fffd}");
        assert_eq!(table.get(StringId::from_index(9)), "?");
    }
}
