//! Checks of short texts that people give things.

use crate::Error;

/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// A name: 1 to 64 characters, no control characters, no white space at the ends.
pub(crate) fn name(field: &str, text: &str) -> Result<String, Error> {
    let length = text.chars().count();
    if length == 0 || length > MAX_NAME {
        return Err(Error::invalid(field, "must have 1 to 64 characters"));
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            "must not begin or end with white space nor hold control characters",
        ));
    }
    Ok(text.to_owned())
}

/// A note of at most `max` characters without control characters other than line breaks.
pub(crate) fn note(field: &str, text: Option<String>, max: usize) -> Result<Option<String>, Error> {
    match text {
        Some(text) if text.chars().count() > max => {
            Err(Error::invalid(field, format!("must have at most {max} characters")))
        }
        Some(text) if text.chars().any(|c| c.is_control() && c != '\n') => {
            Err(Error::invalid(field, "must not hold control characters"))
        }
        text => Ok(text),
    }
}
