//! A YubiHSM2 in software, for tests.
