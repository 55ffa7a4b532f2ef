//! Memory in a profile: growth per stack and per function over time, and which stacks may leak.

pub mod growth_table;

pub mod timeline;

pub mod checkpoints;

pub mod tracking;

pub mod weights;

pub mod by_function;

pub mod suspects;
