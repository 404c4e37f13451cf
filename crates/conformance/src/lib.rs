//! One suite of cases for every provider.
