//! How far a long figure has come, on stderr.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Progress {
    what: &'static str,
    of: usize,
    began: Instant,
    told: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new(what: &'static str, of: usize) -> Self {
        let now = Instant::now();
        eprintln!("{what} ...");
        Self { what, of, began: now, told: Cell::new(now) }
    }

    pub(crate) fn tick(&self, done: usize) {
        if self.told.get().elapsed() >= EVERY {
            self.told.set(Instant::now());
            eprintln!("{}: {done} of {} after {} s", self.what, self.of, self.began.elapsed().as_secs());
        }
    }
}
