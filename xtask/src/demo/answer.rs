//! What a command answered, and what the demo reads in it.

use std::process::ExitStatus;

use serde_json::Value;

use crate::error::Error;

/// The end of a command.
#[derive(Debug)]
pub(super) struct Answer {
    /// The command line as one would type it.
    pub(super) command: String,
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Answer {
    pub(super) fn into_error(self) -> Error {
        let output = if self.stderr.trim().is_empty() { self.stdout } else { self.stderr };
        Error::Command { command: self.command, status: self.status, output }
    }

    /// Standard output as one JSON document.
    ///
    /// # Errors
    /// [`Error::Answer`] when it is none.
    pub(super) fn json(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.stdout)
            .map_err(|error| self.unexpected("the answer", "JSON", &error.to_string()))
    }

    /// The value at a JSON pointer (RFC 6901).
    ///
    /// # Errors
    /// [`Error::Answer`] when there is none.
    pub(super) fn at(&self, pointer: &str) -> Result<Value, Error> {
        let document = self.json()?;
        document.pointer(pointer).cloned().ok_or_else(|| self.unexpected(pointer, "a value", "nothing"))
    }

    /// The text at a JSON pointer.
    ///
    /// # Errors
    /// [`Error::Answer`] when there is none.
    pub(super) fn text(&self, pointer: &str) -> Result<String, Error> {
        match self.at(pointer)? {
            Value::String(text) => Ok(text),
            other => Err(self.unexpected(pointer, "text", &other.to_string())),
        }
    }

    /// The whole number at a JSON pointer.
    ///
    /// # Errors
    /// [`Error::Answer`] when there is none.
    pub(super) fn number(&self, pointer: &str) -> Result<u64, Error> {
        let value = self.at(pointer)?;
        value.as_u64().ok_or_else(|| self.unexpected(pointer, "a whole number", &value.to_string()))
    }

    /// Checks the value at a JSON pointer.
    ///
    /// # Errors
    /// [`Error::Answer`] when it is another.
    pub(super) fn expect(&self, pointer: &str, expected: impl Into<Value>) -> Result<&Self, Error> {
        let (found, expected) = (self.at(pointer)?, expected.into());
        if found == expected {
            Ok(self)
        } else {
            Err(self.unexpected(pointer, &expected.to_string(), &found.to_string()))
        }
    }

    /// Checks that standard error says this.
    ///
    /// # Errors
    /// [`Error::Answer`] when it does not.
    pub(super) fn expect_said(&self, words: &str) -> Result<&Self, Error> {
        if self.stderr.contains(words) {
            Ok(self)
        } else {
            Err(self.unexpected("standard error", &format!("`{words}`"), self.stderr.trim()))
        }
    }

    /// An error that says what is otherwise than it should be.
    pub(super) fn unexpected(&self, what: &str, expected: &str, found: &str) -> Error {
        Error::Answer {
            command: self.command.clone(),
            what: what.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            output: self.stderr.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str) -> Answer {
        Answer {
            command: "anya pay".to_owned(),
            status: ExitStatus::default(),
            stdout: stdout.to_owned(),
            stderr: "entry 7 was altered".to_owned(),
        }
    }

    #[test]
    fn values_are_read_and_deviations_named() {
        let answer = answer(r#"{"operation": {"state": "settled", "revision": 6}, "list": [1]}"#);
        assert_eq!(answer.text("/operation/state").unwrap(), "settled");
        assert_eq!(answer.number("/list/0").unwrap(), 1);
        answer.expect("/operation/state", "settled").unwrap().expect("/operation/revision", 6).unwrap();
        let error = answer.expect("/operation/state", "broadcast").unwrap_err().to_string();
        for part in ["anya pay", "/operation/state", "\"settled\"", "\"broadcast\"", "entry 7"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(answer.text("/operation/revision").is_err() && answer.number("/nothing").is_err());
        answer.expect_said("entry 7").unwrap();
        assert!(answer.expect_said("entry 8").is_err());
        assert!(super::tests::answer("no JSON").json().is_err());
    }
}
