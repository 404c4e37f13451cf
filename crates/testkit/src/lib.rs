//! Real components for the tests: a bitcoind on regtest, temporary folders.
