//! The HTTP face: REST, authentication, problems.
