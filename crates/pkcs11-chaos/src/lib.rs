//! A PKCS#11 module for tests that forwards to another and does it harm.
