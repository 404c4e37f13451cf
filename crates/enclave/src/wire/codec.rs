//! Writing and reading fields: fixed-size numbers, byte strings with their length before them.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Writes fields into a buffer that has its final size from the start, because growing one would leave secrets behind.
pub(crate) enum Writer {
    Count(usize),
    Fill(Zeroizing<Vec<u8>>),
}

impl Writer {
    /// A frame with what `write` puts into it. `write` runs twice: to measure, and to write.
    pub(super) fn frame(id: u64, write: impl Fn(&mut Self)) -> Zeroizing<Vec<u8>> {
        let mut counter = Self::Count(0);
        write(&mut counter);
        let Self::Count(length) = counter else { return Zeroizing::default() };
        let mut writer = Self::Fill(Zeroizing::new(Vec::with_capacity(super::frame::HEAD + length)));
        // The caller bounds what it writes far below four gigabytes.
        writer.u32(u32::try_from(length).unwrap_or(u32::MAX));
        writer.put(&id.to_be_bytes());
        write(&mut writer);
        match writer {
            Self::Fill(frame) => frame,
            Self::Count(_) => Zeroizing::default(),
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Count(length) => *length += bytes.len(),
            Self::Fill(buffer) => buffer.extend_from_slice(bytes),
        }
    }

    pub(super) fn u8(&mut self, number: u8) {
        self.put(&[number]);
    }

    pub(super) fn bool(&mut self, flag: bool) {
        self.u8(flag.into());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.put(bytes);
    }

    pub(super) fn option(&mut self, bytes: Option<&[u8]>) {
        self.bool(bytes.is_some());
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }
}

/// Reads fields. Nothing is copied, and nothing may be left at the end.
pub(crate) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Error::Protocol("a message ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Protocol("a flag is neither set nor clear")),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Protocol("a text is not UTF-8"))
    }

    pub(super) fn option(&mut self) -> Result<Option<&'a [u8]>> {
        match self.bool()? {
            true => self.bytes().map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_slice(self.bytes()?).map_err(|_| Error::Protocol("a value cannot be read"))
    }

    pub(super) fn end(self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Error::Protocol("a message goes on after its end")),
        }
    }
}
