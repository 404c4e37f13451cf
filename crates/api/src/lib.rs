//! The words spoken between Anya and its callers.
