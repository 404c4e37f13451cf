//! The threads that read the ledger: each has a connection of its own that cannot write and never checkpoints.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::{error::Error, job::Job, sqlite::translate, tx::Core};

/// How many steps of SQLite's virtual machine pass between looks at the clock: well under a millisecond.
const STEPS_BETWEEN_CHECKS: i32 = 10_000;

/// The queue that the readers share.
pub(crate) type SharedQueue = Arc<Mutex<Receiver<Box<dyn Job>>>>;

/// One reader's thread state.
pub(crate) struct Reader {
    connection: Connection,
    path: PathBuf,
    queue: SharedQueue,
    limit: Arc<Limit>,
    deadline: Duration,
}

/// When the statement that runs now must end.
struct Limit {
    start: Instant,
    /// Milliseconds after `start`.
    end: AtomicU64,
}

impl Limit {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Reader {
    pub(crate) fn new(
        mut connection: Connection,
        path: PathBuf,
        queue: SharedQueue,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let limit = Arc::new(Limit { start: Instant::now(), end: AtomicU64::new(u64::MAX) });
        let watched = Arc::clone(&limit);
        // A runaway query would otherwise keep its thread, and the log from being folded, for ever.
        connection
            .progress_handler(
                STEPS_BETWEEN_CHECKS,
                Some(move || watched.now() > watched.end.load(Ordering::Relaxed)),
            )
            .map_err(|error| translate(error, &path, "open"))?;
        Ok(Self { connection, path, queue, limit, deadline })
    }

    /// Serves the queue until every sender is gone and the queue is empty.
    pub(crate) fn run(self) {
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut job) = next else { break };
            if job.start() {
                let fate = self.snapshot(job.as_mut());
                job.deliver(fate);
            }
        }
    }

    fn snapshot(&self, job: &mut dyn Job) -> Result<(), Error> {
        let span = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        self.limit.end.store(self.limit.now().saturating_add(span), Ordering::Relaxed);
        let ran = self.statement("BEGIN").map(|()| {
            job.run(&Core::new(&self.connection, &self.path, false));
        });
        self.limit.end.store(u64::MAX, Ordering::Relaxed);
        if !self.connection.is_autocommit() {
            self.statement("ROLLBACK")?;
        }
        ran
    }

    fn statement(&self, sql: &str) -> Result<(), Error> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.raw_execute())
            .map(drop)
            .map_err(|error| translate(error, &self.path, sql))
    }
}
