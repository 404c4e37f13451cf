//! A signer in a process of its own, attested before it gets a key.
