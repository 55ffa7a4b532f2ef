//! Whole or not at all, on a real file system.
