//! [`RemoteAddr`]: an address in the target, for arithmetic but never dereferenced.

use std::fmt;

/// An address in another process. It is read from that process's memory, so it can be any value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteAddr(pub u64);

impl RemoteAddr {
    /// The null pointer.
    pub const NULL: RemoteAddr = RemoteAddr(0);

    /// Whether this is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on, saturating: an address past the end fails when it is read.
    #[must_use]
    pub fn offset(self, bytes: u64) -> RemoteAddr {
        RemoteAddr(self.0.saturating_add(bytes))
    }

    /// The address moved by a signed distance, saturating at both ends.
    #[must_use]
    pub fn offset_signed(self, bytes: i64) -> RemoteAddr {
        RemoteAddr(self.0.saturating_add_signed(bytes))
    }

    /// The distance in bytes from `start`; `None` when this is before it.
    pub fn distance_from(self, start: RemoteAddr) -> Option<u64> {
        self.0.checked_sub(start.0)
    }

    /// The address without the bits of `mask`, such as a pointer's tag.
    #[must_use]
    pub fn without_bits(self, mask: u64) -> RemoteAddr {
        RemoteAddr(self.0 & !mask)
    }
}

impl fmt::Display for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(RemoteAddr(u64::MAX).offset(8), RemoteAddr(u64::MAX));
        assert_eq!(RemoteAddr(4).offset_signed(-8), RemoteAddr::NULL);
        assert_eq!(RemoteAddr(4).distance_from(RemoteAddr(8)), None);
        assert_eq!(RemoteAddr(0x1003).without_bits(3), RemoteAddr(0x1000));
    }
}
