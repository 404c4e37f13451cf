//! Signing keys behind providers.
