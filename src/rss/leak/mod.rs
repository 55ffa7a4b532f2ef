//! The leak verdict: whether resident memory grows, and how sure that is.

pub mod baseline;
pub mod drift;
pub mod plateau;
pub mod robust_stats;
pub mod trend;
pub mod verdict;
