//! [`DeferredCpuTime`]: CPU time of a thread that no stack has been found for yet.

use crate::cpython::stack::trace::ThreadInfo;

/// How many looks in a row that find a thread waiting for a CPU without the GIL are passed over.
const MAX_WAITS: u8 = 30;

/// What one thread has used on a CPU since it was last seen at work, in nanoseconds.
///
/// A thread that is seen asleep though it has run since the last look used that time for the work
/// before its sleep, not in the sleep. So the time waits for the next look that finds the thread at
/// work. One that waits for a CPU is at work if it holds the GIL: it was interrupted. Without the GIL it
/// may just have woken up, with the stack of its sleep, and is passed over; on a crowded machine half of
/// the time would be laid on sleeps otherwise. But code that runs without the GIL may never be met on
/// a CPU, where the only one is ours whenever we look: then such looks count at last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeferredCpuTime {
    ns: u64,
    waits: u8,
}

impl DeferredCpuTime {
    /// The nanoseconds that this sight of the thread stands for: all that it has used and that was not
    /// counted yet. `None` for one that is not at work, whose time has to wait.
    pub fn take(&mut self, thread: &ThreadInfo) -> Option<u64> {
        let all = self.ns.saturating_add(thread.cpu_ns.unwrap_or_default());
        let may_have_woken = thread.waits_for_cpu && !thread.owns_gil;
        if !thread.active || (may_have_woken && self.waits < MAX_WAITS) {
            self.waits += u8::from(thread.active);
            self.ns = all;
            return None;
        }
        self.ns = 0;
        if !may_have_woken {
            self.waits = 0;
        }
        Some(all)
    }

    /// What waits, in nanoseconds.
    pub fn ns(self) -> u64 {
        self.ns
    }
}
