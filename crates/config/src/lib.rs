//! Configuration: defaults, file, environment and flags, with the source of each value.
