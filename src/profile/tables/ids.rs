//! The handles of the tables: small numbers, dense from 0, valid for the table that made them.

/// A handle with a conversion from and to its index in the table.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The handle of the entry at this index; all tables are bounded far below 2^32.
            pub fn from_index(index: usize) -> $name {
                $name(u32::try_from(index).unwrap_or(u32::MAX))
            }

            /// The index in the table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A text in a [`StringTable`](super::strings::StringTable).
    StringId
}

id! {
    /// A label in a [`LabelTable`](super::labels::LabelTable).
    LabelId
}

id! {
    /// A node of a [`StackTable`](super::stacks::StackTable): one distinct stack, identified by its leaf.
    StackId
}

id! {
    /// A thread in a [`ThreadTable`](super::threads::ThreadTable).
    ThreadId
}

impl StackId {
    /// The empty stack, above all others.
    pub const ROOT: StackId = StackId(0);
}
