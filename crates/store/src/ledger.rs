//! The ledger: a cheap handle on the writer and the readers.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anya_primitives::TenantId;

use crate::{
    backup,
    error::{Error, StorageFault},
    folder::{Folder, Turn},
    job::{Job, submit},
    migrate::{Migration, migrate},
    readers::Reader,
    sqlite::{Role, Settings, connect, create_private, folder_of, translate},
    tx::{Core, SystemTx, TenantTx},
    under_way::UnderWay,
    writer::Writer,
};

/// How a ledger is run. The defaults fit a server with a few thousand operations a second.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// Threads that read, at least 1.
    pub readers: usize,
    /// Closures that may wait for the writer, and as many for the readers; more are refused as exhausted.
    pub queue: usize,
    /// The most closures that share one commit, at least 1.
    pub group: usize,
    /// How long a closure may wait to start, and how long it may run once started.
    pub deadline: Duration,
    /// How long a backup may take.
    pub backup_deadline: Duration,
    /// How long to wait for another process that holds the file.
    pub busy_timeout: Duration,
    /// Page cache of each connection, in KiB.
    pub cache_kib: u32,
    /// Pages (of 4 KiB) after which the writer itself folds the log into the file, should the thread that does so all the
    /// time not keep up.
    pub checkpoint_pages: u32,
    /// The most pages (of 4 KiB) that the file may have; none: as many as the disk holds.
    pub max_pages: Option<u32>,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            readers: 2,
            queue: 1024,
            group: 64,
            deadline: Duration::from_secs(10),
            backup_deadline: Duration::from_secs(600),
            busy_timeout: Duration::from_secs(5),
            cache_kib: 16 * 1024,
            checkpoint_pages: 8000,
            max_pages: None,
        }
    }
}

impl LedgerOptions {
    fn settings(&self) -> Settings {
        Settings {
            busy_timeout: self.busy_timeout,
            cache_kib: self.cache_kib,
            max_pages: self.max_pages,
            checkpoint_pages: self.checkpoint_pages,
        }
    }
}

/// What must never be lost: every acknowledged write survives a crash and a power cut.
///
/// Cloning is cheap; the last clone to go drains the writer and closes the file.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

type Queue = Mutex<Option<SyncSender<Box<dyn Job>>>>;

struct Inner {
    path: PathBuf,
    options: LedgerOptions,
    writes: Queue,
    reads: Queue,
    threads: Mutex<Threads>,
    backup: Arc<tokio::sync::Mutex<()>>,
    turn: Turn,
    writes_under_way: UnderWay,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    folder: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the ledger in the file at `path`, creates it where it does not exist, and applies what is new in
    /// `migrations`. It blocks for the time of the migrations.
    ///
    /// The caller holds the [`DataDirLock`](crate::DataDirLock): the ledger itself does not keep a second process
    /// out.
    pub fn open(path: &Path, migrations: &[Migration], options: LedgerOptions) -> Result<Self, Error> {
        create_private(path)?;
        let settings = options.settings();
        let mut connection = connect(path, Role::Writer, settings)?;
        migrate(&mut connection, path, migrations)?;

        let (writes, queue) = sync_channel(options.queue.max(1));
        let (committed, commits) = sync_channel(1);
        let turn = Turn::default();
        let folder = Folder {
            connection: connect(path, Role::Writer, settings)?,
            path: path.to_path_buf(),
            committed: commits,
            turn: Arc::clone(&turn),
        };
        let writer = Writer {
            connection,
            path: path.to_path_buf(),
            queue,
            group: options.group.max(1),
            committed,
            turn: Arc::clone(&turn),
        };
        let mut threads = Threads {
            folder: Some(spawn("ledger-fold".to_owned(), path, move || folder.run())?),
            ..Threads::default()
        };

        let (reads, queue) = sync_channel(options.queue.max(1));
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..options.readers.max(1) {
            let connection = connect(path, Role::Reader, settings)?;
            let reader = Reader::new(connection, path.to_path_buf(), Arc::clone(&queue), options.deadline)?;
            threads.readers.push(spawn(format!("ledger-read-{number}"), path, move || reader.run())?);
        }
        threads.writer = Some(spawn("ledger-write".to_owned(), path, move || writer.run())?);
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_path_buf(),
                options,
                writes: Mutex::new(Some(writes)),
                reads: Mutex::new(Some(reads)),
                threads: Mutex::new(threads),
                backup: Arc::default(),
                turn,
                writes_under_way: UnderWay::default(),
            }),
        })
    }

    /// Runs `act` in a transaction of one tenant. `Ok` is answered once the change is durable; after `Err` nothing of
    /// it is left, but for [`Error::Timeout`] with `outcome_unknown`.
    ///
    /// A future that is dropped before `act` has started withdraws it.
    pub async fn write<T, E, F>(&self, tenant: TenantId, act: F) -> Result<T, E>
    where
        F: FnOnce(&mut TenantTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit_write(move |core: &Core<'_>| act(&mut TenantTx::new(core, tenant))).await
    }

    /// Runs `act` on a consistent snapshot of one tenant's rows.
    pub async fn read<T, E, F>(&self, tenant: TenantId, act: F) -> Result<T, E>
    where
        F: FnOnce(&TenantTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit_read(move |core: &Core<'_>| act(&TenantTx::new(core, tenant))).await
    }

    /// As [`write`](Self::write), for acts that cross tenants.
    pub async fn write_system<T, E, F>(&self, act: F) -> Result<T, E>
    where
        F: FnOnce(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit_write(move |core: &Core<'_>| act(&mut SystemTx::new(core))).await
    }

    /// As [`read`](Self::read), for acts that cross tenants.
    pub async fn read_system<T, E, F>(&self, act: F) -> Result<T, E>
    where
        F: FnOnce(&SystemTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit_read(move |core: &Core<'_>| act(&SystemTx::new(core))).await
    }

    /// Copies the ledger as it is now into a new file at `path`, while it goes on serving. The copy is checked, and
    /// appears under its name only when it is whole and durable.
    pub async fn backup_to(&self, path: &Path) -> Result<(), Error> {
        let Ok(turn) = Arc::clone(&self.inner.backup).try_lock_owned() else {
            return Err(Error::QueueFull { queue: "backup" });
        };
        let (source, target) = (self.inner.path.clone(), path.to_path_buf());
        let (settings, deadline) = (self.inner.options.settings(), self.inner.options.backup_deadline);
        let copy = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            backup::copy(&source, &target, settings, deadline)
        });
        copy.await.unwrap_or(Err(Error::Panicked))
    }

    /// Folds the write-ahead log into the file and empties it, so that what was overwritten stands in neither. Waits for
    /// readers as long as for another process.
    ///
    /// # Errors
    /// [`Error::Storage`] when readers or another fold are in the way for longer; it can be repeated.
    pub async fn fold(&self) -> Result<(), Error> {
        let (path, settings) = (self.inner.path.clone(), self.inner.options.settings());
        let turn = Arc::clone(&self.inner.turn);
        let folded = tokio::task::spawn_blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            fold(&path, settings)
        });
        folded.await.unwrap_or(Err(Error::Panicked))
    }

    /// Finishes what is queued, folds the log into the file and closes it. It blocks until that is done; later calls
    /// on any clone answer [`Error::Closed`].
    pub fn close(&self) {
        self.inner.close();
    }

    async fn submit_write<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&Core<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let inner = &self.inner;
        let write = submit("write", sender(&inner.writes), inner.options.deadline, closure);
        inner.writes_under_way.wait_for(write).await
    }

    async fn submit_read<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&Core<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        submit("read", sender(&self.inner.reads), self.inner.options.deadline, closure).await
    }
}

fn fold(path: &Path, settings: Settings) -> Result<(), Error> {
    const FOLD: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
    let connection = connect(path, Role::Writer, settings)?;
    let busy: i64 =
        connection.query_row(FOLD, [], |row| row.get(0)).map_err(|error| translate(error, path, FOLD))?;
    if busy != 0 {
        return Err(Error::Storage {
            folder: folder_of(path).to_path_buf(),
            fault: StorageFault::Busy,
            detail: "readers held the write-ahead log".to_owned(),
        });
    }
    Ok(())
}

fn sender(queue: &Queue) -> Option<SyncSender<Box<dyn Job>>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn spawn(name: String, path: &Path, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new().name(name).spawn(body).map_err(Error::io("start a thread for", path))
}

impl Inner {
    fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // Readers first: the writer can fold the whole log only when nobody reads from it.
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).take();
        for reader in threads.readers.drain(..) {
            join(reader);
        }
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The writer's end is the folder's.
        for thread in [threads.writer.take(), threads.folder.take()].into_iter().flatten() {
            join(thread);
        }
    }
}

/// Waits for a thread, unless it is this one: a closure may own the last clone of the ledger.
fn join(handle: JoinHandle<()>) {
    if handle.thread().id() != std::thread::current().id() && handle.join().is_err() {
        tracing::error!("a ledger thread had panicked");
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
