//! Keys in devices behind a PKCS#11 module, each in a worker process of its own.
