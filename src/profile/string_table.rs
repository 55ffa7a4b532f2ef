//! [`StringTable`]: every distinct text once, already safe to show.

use std::collections::HashMap;
use std::sync::Arc;

use super::clean::clean;

/// A text in a [`StringTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StringId(u32);

/// Interned texts. What goes in is [cleaned](clean) first, so whatever comes out may be shown; each
/// format still escapes its own special characters.
#[derive(Debug, Default)]
pub struct StringTable {
    strings: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, StringId>,
}

impl StringTable {
    /// The id of this text, new or known.
    pub fn intern(&mut self, text: &str) -> StringId {
        let text = clean(text);
        if let Some(id) = self.ids.get(text.as_ref()) {
            return *id;
        }
        let id = StringId(u32::try_from(self.strings.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = Arc::from(text.as_ref());
        self.strings.push(Arc::clone(&text));
        self.ids.insert(text, id);
        id
    }

    /// The text behind an id of this table; `?` for an id of another one.
    pub fn get(&self, id: StringId) -> &str {
        self.strings.get(id.0 as usize).map_or("?", |text| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_clean() {
        let mut table = StringTable::default();
        let a = table.intern("spin");
        let b = table.intern("evil\x07");
        assert_eq!(table.intern("spin"), a);
        assert_ne!(a, b);
        assert_eq!(table.get(a), "spin");
        assert_eq!(table.get(b), "evil\u{fffd}");
        assert_eq!(table.get(StringId(9)), "?");
    }
}
