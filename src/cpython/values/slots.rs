//! [`Slot`]: a variable of a code object, before its value is read.

/// One variable of a code object, in the order of `f_localsplus`.
pub(crate) struct Slot {
    pub name: String,
    /// Its index among the arguments, if it is one.
    pub argument: Option<usize>,
    /// Stored in a cell that is shared with an inner function.
    pub in_cell: bool,
}

/// The approximate size in bytes.
pub(crate) fn size_of_slots(slots: &[Slot]) -> usize {
    let names: usize = slots.iter().map(|slot| slot.name.len()).sum();
    names.saturating_add(size_of_val(slots))
}
