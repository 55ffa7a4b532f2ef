//! The tables of a profile: strings, labels, stacks, threads, functions. Each entry has a handle.

pub mod ids;

pub mod strings;

pub mod labels;

pub mod stacks;

pub mod threads;

pub mod functions;
