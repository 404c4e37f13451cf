//! Descriptors, coins and PSBTs.
