//! The leak verdict: whether resident memory grows, and how certain that is.
//!
//! [`trend`] decides, [`thresholds`] has every number that it decides by.

pub mod thresholds;

pub mod robust_stats;

pub mod baseline;

pub mod drift;

pub mod verdict;

pub mod plateau;

pub mod trend;

pub mod kinds;
