//! Going from one kind of key to another through a whole descriptor.

use miniscript::TranslateErr;

use crate::{check, error::Error};

/// What a translation failed for.
pub(crate) fn error(error: TranslateErr<Error>) -> Error {
    match error {
        TranslateErr::TranslatorErr(error) => error,
        TranslateErr::OuterError(error) => check::refusal(error),
    }
}
