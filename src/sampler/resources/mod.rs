//! CPU times and memory of the sampled threads and processes.

pub mod cpu_times;
pub mod memory_poll;
pub mod rss;
pub mod wall_times;
