//! The ledger on SQLite, the index on RocksDB, and the lock on the data folder.
