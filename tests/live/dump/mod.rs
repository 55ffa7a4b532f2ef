//! What a dump shows, of a process or of a core file.

mod code_counters;
mod core;
mod hostile_memory;
mod locals;
mod objects;
mod secrets;
mod stacks;
mod thread_list;
mod threads;
mod unanswered;
mod variants;
