//! The thread that folds the write-ahead log into the file, beside the writer.
//!
//! A commit that had to fold would keep everyone waiting whose changes it holds, for as long as hundreds of pages take to
//! be written and synced. Here that is done while the writer goes on; it folds by itself only what is left when the log
//! has grown long all the same.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;
use rustix::process::setpriority_process;

/// The least time between two folds. A page that changes with each commit is then written once for hundreds of them.
const PAUSE: Duration = Duration::from_millis(500);

/// The priority of what nobody waits for. On Linux it is a thread's own.
const LEAST: i32 = 19;

/// Held while the log is folded: SQLite turns a second one away at once.
pub(crate) type Turn = Arc<Mutex<()>>;

/// The thread's state.
pub(crate) struct Folder {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    /// Something was committed. Ends with the writer.
    pub(crate) committed: Receiver<()>,
    pub(crate) turn: Turn,
}

impl Folder {
    /// Folds after commits, until the writer is gone.
    pub(crate) fn run(self) {
        // Folding keeps a processor busy for ten milliseconds at a time, and nobody waits for it.
        if let Err(error) = setpriority_process(None, LEAST) {
            tracing::debug!(%error, "the ledger's log is folded at the usual priority");
        }
        while self.committed.recv().is_ok() {
            let until = Instant::now() + PAUSE;
            loop {
                match self.committed.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(()) => (),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let folded = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            if let Err(error) = folded {
                // Nothing is lost: the log holds what the file lacks, and the writer meets the same trouble.
                tracing::warn!(%error, ledger = %self.path.display(), "the ledger's log could not be folded");
            }
        }
    }
}
