//! The one thread that changes the ledger, with group commit.
//!
//! Closures that arrive while a commit is being synced wait together; the next transaction takes them all, each in a
//! savepoint of its own unless it is alone, and one sync makes them durable. Results are handed back after COMMIT, never
//! before: an answer of `Err` too, since what it was based on may be a neighbour's change in the same group.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        PoisonError,
        mpsc::{Receiver, SyncSender, TryRecvError},
    },
};

use rusqlite::Connection;

use crate::{error::Error, folder::Turn, job::Job, sqlite::translate, tx::Core};

/// The writer's thread state.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) queue: Receiver<Box<dyn Job>>,
    /// The most closures that share one commit.
    pub(crate) group: usize,
    /// Tells the thread that folds the log.
    pub(crate) committed: SyncSender<()>,
    pub(crate) turn: Turn,
}

impl Writer {
    /// Serves the queue until every sender is gone and the queue is empty, then folds the log into the file.
    pub(crate) fn run(self) {
        let mut open = true;
        while open {
            let Ok(first) = self.queue.recv() else { break };
            let mut waiting = VecDeque::from([first]);
            while waiting.len() < self.group {
                match self.queue.try_recv() {
                    Ok(job) => waiting.push_back(job),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            while !waiting.is_empty() {
                self.transaction(&mut waiting);
            }
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let folded = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = folded {
            // The log stays beside the file and is read at the next start.
            tracing::warn!(%error, "the ledger's log could not be folded into its file at shutdown");
        }
    }

    /// Runs waiting closures in one transaction: all of them, or those up to the one that lost the transaction.
    fn transaction(&self, waiting: &mut VecDeque<Box<dyn Job>>) {
        let mut done: Vec<Box<dyn Job>> = Vec::with_capacity(waiting.len());
        let fate = self.fill(waiting, &mut done);
        if fate.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.statement("ROLLBACK")
        {
            tracing::error!(%error, "rolling back a failed commit failed");
        }
        for job in done {
            job.deliver(fate.clone());
        }
        // One that was told already and has not looked yet will see this commit too.
        let _ = self.committed.try_send(());
    }

    fn fill(&self, waiting: &mut VecDeque<Box<dyn Job>>, done: &mut Vec<Box<dyn Job>>) -> Result<(), Error> {
        if let Err(error) = self.statement("BEGIN IMMEDIATE") {
            done.extend(waiting.drain(..).filter(|job| job.start()));
            return Err(error);
        }
        let alone = waiting.len() == 1;
        let mut keep = true;
        while let Some(mut job) = waiting.pop_front() {
            if !job.start() {
                continue;
            }
            let ran = if alone { self.run_job(job.as_mut()) } else { self.savepoint(job.as_mut()) };
            done.push(job);
            keep = ran? || !alone;
        }
        self.statement(if keep { "COMMIT" } else { "ROLLBACK" })
    }

    /// Runs one closure in a savepoint of its own; an error means that the whole transaction is lost.
    fn savepoint(&self, job: &mut dyn Job) -> Result<bool, Error> {
        self.statement("SAVEPOINT closure")?;
        let keep = self.run_job(job)?;
        if !keep {
            self.statement("ROLLBACK TO closure")?;
        }
        self.statement("RELEASE closure")?;
        Ok(keep)
    }

    /// Runs one closure; whether its changes are to be kept.
    fn run_job(&self, job: &mut dyn Job) -> Result<bool, Error> {
        let core = Core::new(&self.connection, &self.path, true);
        let keep = job.run(&core);
        if self.connection.is_autocommit() {
            // A full disk or an I/O error makes SQLite roll back everything at once.
            return Err(core.fault().unwrap_or(Error::Sql {
                detail: "the transaction was rolled back by the engine".into(),
                sql: "SAVEPOINT".into(),
            }));
        }
        Ok(keep)
    }

    fn statement(&self, sql: &str) -> Result<(), Error> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.raw_execute())
            .map(drop)
            .map_err(|error| translate(error, &self.path, sql))
    }
}
