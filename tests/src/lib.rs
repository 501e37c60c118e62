//! Compiles the programs of the README, so that they stay true.
#![doc = include_str!("../../README.md")]
