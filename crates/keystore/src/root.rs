//! The generations of the root key in memory: one page that is never swapped out, dumped or inherited.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use crate::{
    aead::{KEY, fill_random},
    page::Page,
};
use anya_provider::{Error, KekStatus, Result};

/// The most generations at once: they fit into half of the smallest page.
pub(crate) const MAX_GENERATIONS: usize = 64;
/// Bytes of a generation's number.
const NUMBER: usize = 4;
/// Bytes of one generation where all are written down.
pub(crate) const RECORD: usize = KEY + NUMBER;

/// The keys under which every key's own key is wrapped. The newest wraps; the older ones still unwrap.
pub(crate) struct Roots {
    page: Page,
    /// Oldest first, strictly ascending, from 1; never empty. The key of each lies at its place in the page.
    generations: Vec<u32>,
}

impl Roots {
    /// The first generation: a new random root key.
    pub(crate) fn first() -> Result<Self> {
        let mut roots = Self { page: Page::new()?, generations: Vec::new() };
        roots.push(1, fill_random)?;
        Ok(roots)
    }

    /// The only root key of a keystore that knew no generations, or `None` where it has a wrong length.
    pub(crate) fn single(key: &[u8]) -> Result<Option<Self>> {
        Self::read(&[(1, key)])
    }

    /// What [`Roots::records`] wrote, or `None` where it did not.
    pub(crate) fn from_records(records: &[u8]) -> Result<Option<Self>> {
        let (records, rest) = records.as_chunks::<RECORD>();
        let mut parts: Vec<(u32, &[u8])> = Vec::with_capacity(records.len());
        for record in records.iter().rev() {
            let Some((key, number)) = record.split_last_chunk::<NUMBER>() else { return Ok(None) };
            parts.push((u32::from_be_bytes(*number), key));
        }
        if rest.is_empty() { Self::read(&parts) } else { Ok(None) }
    }

    fn read(parts: &[(u32, &[u8])]) -> Result<Option<Self>> {
        let numbers: Vec<u32> = parts.iter().map(|(number, _)| *number).collect();
        if !are_generations(&numbers) || parts.iter().any(|(_, key)| key.len() != KEY) {
            return Ok(None);
        }
        let mut roots = Self { page: Page::new()?, generations: Vec::new() };
        for (number, key) in parts {
            roots.push(*number, |slot| {
                slot.copy_from_slice(key);
                Ok(())
            })?;
        }
        Ok(Some(roots))
    }

    fn push(&mut self, generation: u32, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let at = self.generations.len() * KEY;
        let slot = self
            .page
            .bytes_mut()
            .get_mut(at..at + KEY)
            .filter(|_| self.generations.len() < MAX_GENERATIONS)
            .ok_or(Error::Internal("no room for another generation of the root key"))?;
        fill(slot)?;
        self.generations.push(generation);
        Ok(())
    }

    /// Every generation as key and number, newest first, to be sealed.
    pub(crate) fn records(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut records = Zeroizing::new(Vec::with_capacity(self.generations.len() * RECORD));
        for generation in self.generations.iter().rev() {
            records.extend_from_slice(self.key(*generation)?);
            records.extend_from_slice(&generation.to_be_bytes());
        }
        Ok(records)
    }

    /// These and a new random one, which becomes the newest; `None` where there is no room or no number for it.
    pub(crate) fn with_next(&self) -> Result<Option<Self>> {
        let Some(next) = self.current().checked_add(1) else { return Ok(None) };
        if self.generations.len() >= MAX_GENERATIONS {
            return Ok(None);
        }
        let mut roots = self.only(|_| true)?;
        roots.push(next, fill_random)?;
        Ok(Some(roots))
    }

    /// These but one.
    pub(crate) fn without(&self, generation: u32) -> Result<Self> {
        self.only(|held| held != generation)
    }

    fn only(&self, wanted: impl Fn(u32) -> bool) -> Result<Self> {
        let mut roots = Self { page: Page::new()?, generations: Vec::new() };
        for generation in self.generations.iter().copied().filter(|held| wanted(*held)) {
            let key = self.key(generation)?;
            roots.push(generation, |slot| {
                slot.copy_from_slice(key);
                Ok(())
            })?;
        }
        Ok(roots)
    }

    /// The number of the newest.
    pub(crate) fn current(&self) -> u32 {
        self.generations.last().copied().unwrap_or_default()
    }

    /// Every generation held, oldest first.
    pub(crate) fn generations(&self) -> &[u32] {
        &self.generations
    }

    /// The key of a generation, where it lies, or `None` where it is not held.
    pub(crate) fn get(&self, generation: u32) -> Option<&[u8; KEY]> {
        let at = self.generations.binary_search(&generation).ok()?;
        self.page.bytes().as_chunks().0.get(at)
    }

    /// The key of a generation that is held.
    pub(crate) fn key(&self, generation: u32) -> Result<&[u8; KEY]> {
        self.get(generation).ok_or(Error::Internal("a generation of the root key has no key"))
    }

    /// Whether these, read from the file, are the ones that are open, or what became of them: they hold the newest that
    /// is open, and no generation differs.
    pub(crate) fn continue_from(&self, open: &Self) -> bool {
        let same = |generation: &u32| match (self.get(*generation), open.get(*generation)) {
            (Some(mine), Some(theirs)) => verify_slices_are_equal(mine, theirs).is_ok(),
            _ => true,
        };
        self.get(open.current()).is_some() && open.generations.iter().all(same)
    }

    /// As the provider reports them.
    pub(crate) fn status(&self) -> KekStatus {
        KekStatus { current: self.current(), generations: self.generations.clone() }
    }
}

/// Whether these can be the numbers of all generations, oldest first.
pub(crate) fn are_generations(numbers: &[u32]) -> bool {
    (1..=MAX_GENERATIONS).contains(&numbers.len())
        && numbers.first().is_some_and(|first| *first > 0)
        && numbers.is_sorted_by(|one, next| one < next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_come_go_and_are_written_down() {
        let one = Roots::first().unwrap();
        let two = one.with_next().unwrap().unwrap();
        assert_eq!(two.status(), KekStatus { current: 2, generations: vec![1, 2] });
        assert_eq!(two.key(1).unwrap(), one.key(1).unwrap());
        assert_ne!(two.key(1).unwrap(), two.key(2).unwrap());
        let three = two.with_next().unwrap().unwrap().without(2).unwrap();
        assert_eq!(three.generations(), [1, 3]);
        assert!(three.get(2).is_none());

        let records = three.records().unwrap();
        assert_eq!(records[..KEY], three.key(3).unwrap()[..], "the newest comes first");
        let read = Roots::from_records(&records).unwrap().unwrap();
        assert_eq!((read.generations(), read.key(1).unwrap()), ([1, 3].as_slice(), one.key(1).unwrap()));
        assert!(Roots::from_records(&records[1..]).unwrap().is_none());
        assert!(Roots::from_records(&[]).unwrap().is_none());
        let backwards = [&records[RECORD..], &records[..RECORD]].concat();
        assert!(Roots::from_records(&backwards).unwrap().is_none());

        assert!(two.continue_from(&one) && three.continue_from(&one));
        assert!(!one.continue_from(&two), "an older file lacks what is in use");
        assert!(!Roots::first().unwrap().continue_from(&one), "another keystore");
    }

    #[test]
    fn there_is_a_most() {
        let mut roots = Roots::first().unwrap();
        for _ in 1..MAX_GENERATIONS {
            roots = roots.with_next().unwrap().unwrap();
        }
        assert!(roots.with_next().unwrap().is_none());
        assert!(roots.without(1).unwrap().with_next().unwrap().is_some());
    }
}
