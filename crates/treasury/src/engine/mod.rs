//! Carries approved operations out, resumes them after a crash, and follows them on the chain.
//!
//! Two loops run over the ledger, and the ledger alone remembers what they do:
//!
//! * **Execution** claims operations that are due, by a lease, so that of several servers on one ledger one works on
//!   an operation at a time, and takes them step by step: approved, prepared, signed, broadcast. Each step is recorded
//!   before the side effect that follows it. The transaction is fixed, with its id, before the first signature, so that
//!   repeating a step can only repeat the same transaction. Should two servers overlap all the same (a lease ran out
//!   under a stopped process), the revision check lets one of them record, and both hold the same transaction.
//! * **Settlement** looks at every operation that the chain can still change whenever the wallets have followed to
//!   another block, and at intervals.

pub(crate) mod crash;
mod execute;
pub(crate) mod gate;
mod outlook;
mod payment;
mod psbt;
mod settle;
mod turns;

use std::{sync::Arc, time::Duration};

use anya_primitives::{Classified, OperationId, TenantId, Timestamp};
use anya_store::params;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

pub(crate) use turns::Turns;

use crate::{Error, Treasury};

/// How long a claimed operation is ours. A step that takes longer is abandoned before.
const LEASE: Duration = Duration::from_secs(60);

/// The longest that one step may take; well inside [`LEASE`].
const STEP_DEADLINE: Duration = Duration::from_secs(40);

/// How many operations are worked on at a time.
const PARALLEL: usize = 16;

/// How often due operations are looked for when nothing rings.
const IDLE: Duration = Duration::from_millis(500);

/// How often watched operations are looked at when no block comes.
const WATCH: Duration = Duration::from_secs(10);

/// How often chains with new entries get a signed checkpoint.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// Works on a treasury's operations until it is stopped.
pub struct Engine {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Engine {
    /// Starts the loops in the one process that has the ledger, as the lock of its folder ensures. Leases that are found
    /// belong to a process that has ended: they are void, and its operations go on at once.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn start_alone(treasury: &Treasury) -> Result<Self, Error> {
        let freed = treasury.inner.ledger.write_system(|tx| -> Result<usize, Error> {
            Ok(tx.execute(
                "UPDATE operations SET lease_owner = NULL, lease_until = 0 WHERE lease_until > 0",
                &[],
            )?)
        });
        let freed = freed.await?;
        if freed > 0 {
            tracing::info!(operations = freed, "going on with what an earlier run left unfinished");
        }
        Ok(Self::start(treasury))
    }

    /// Starts the loops. What another process has leased is left to it until the lease runs out.
    pub fn start(treasury: &Treasury) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let worker = Arc::new(Worker {
            treasury: treasury.clone(),
            name: OperationId::new().to_string(),
            slots: Arc::new(Semaphore::new(PARALLEL)),
        });
        tasks.spawn(Worker::execution(worker.clone(), stopped.clone()));
        tasks.spawn(Worker::settlement(worker.clone(), stopped.clone()));
        tasks.spawn(Worker::checkpoints(worker, stopped));
        Self { stop, tasks }
    }

    /// Lets the steps under way end, signs the heads of the logs, and stops.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Worker {
    treasury: Treasury,
    /// In whose name operations are leased: new for each start.
    name: String,
    slots: Arc<Semaphore>,
}

impl Worker {
    async fn execution(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            let free = self.slots.available_permits();
            let claimed = match self.claim(free).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(%error, "cannot claim operations; trying again");
                    tokio::time::sleep(IDLE).await;
                    Vec::new()
                }
            };
            let more = claimed.len() == free && free > 0;
            for (tenant, id) in claimed {
                crash::point("claimed");
                let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
                let worker = self.clone();
                running.spawn(async move {
                    worker.work_on(tenant, id).await;
                    drop(slot);
                    worker.treasury.inner.work.notify_one();
                });
            }
            if more {
                continue;
            }
            tokio::select! {
                () = self.treasury.inner.work.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
                () = asked(&mut stopped) => break,
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Leases up to `most` due operations.
    async fn claim(&self, most: usize) -> Result<Vec<(TenantId, OperationId)>, Error> {
        let now = self.treasury.now();
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let due = "SELECT tenant, id FROM operations \
                   WHERE state IN ('pending_approval', 'approved', 'prepared', 'awaiting_signatures', 'signed') \
                   AND due_at <= :now AND lease_until <= :now ORDER BY due_at, id LIMIT :most";
        let read =
            move |row: &anya_store::Row<'_>| -> Result<_, Error> { Ok((row.get("tenant")?, row.get("id")?)) };
        // Most rounds find nothing; they need not wait for the writer.
        let ledger = &self.treasury.inner.ledger;
        let found: Vec<(TenantId, OperationId)> = ledger
            .read_system(move |tx| tx.query(due, &params! { "now" => now, "most" => most }, read))
            .await?;
        if found.is_empty() {
            return Ok(found);
        }
        let (owner, until) = (self.name.clone(), now.saturating_add(LEASE));
        ledger
            .write_system(move |tx| {
                let found: Vec<(TenantId, OperationId)> =
                    tx.query(due, &params! { "now" => now, "most" => most }, read)?;
                for (tenant, id) in &found {
                    tx.execute(
                        "UPDATE operations SET lease_owner = :owner, lease_until = :until \
                         WHERE tenant = :tenant AND id = :id",
                        &params! { "owner" => &owner, "until" => until, "tenant" => *tenant, "id" => *id },
                    )?;
                }
                Ok::<_, Error>(found)
            })
            .await
    }

    /// Takes an operation as far as it goes now.
    async fn work_on(&self, tenant: TenantId, id: OperationId) {
        // What the first step finds may have been begun by a process that died.
        let mut resumed = true;
        loop {
            let step = tokio::time::timeout(STEP_DEADLINE, self.treasury.step(tenant, id, resumed)).await;
            resumed = false;
            let error = match step {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => error,
                Err(_) => Error::Unavailable("the step took too long".to_owned()),
            };
            // Somebody else changed it: a cancellation, or another server. The next claim sees what it is now.
            if matches!(error, Error::Conflict(_)) {
                tracing::debug!(operation = %id, %error, "left to the next claim");
            } else {
                tracing::warn!(operation = %id, kind = error.kind().name(), %error, "a step failed; it is tried again");
            }
            if let Err(error) = self.put_off(tenant, id).await {
                tracing::error!(operation = %id, %error, "cannot put the operation off; its lease will run out");
            }
            return;
        }
    }

    /// Gives the lease back, and tries again after a pause that grows with each failure: 0.2 s, 0.4 s, … 30 s.
    async fn put_off(&self, tenant: TenantId, id: OperationId) -> Result<(), Error> {
        let now = self.treasury.now();
        self.treasury
            .inner
            .ledger
            .write(tenant, move |tx| {
                let attempts = tx.query_opt::<u32, Error>(
                    "SELECT attempts FROM operations WHERE tenant = :tenant AND id = :id",
                    &params! { "id" => id },
                    |row| Ok(row.get("attempts")?),
                )?;
                let due_at = retry_at(now, attempts.unwrap_or(0));
                tx.execute(
                    "UPDATE operations SET attempts = attempts + 1, lease_owner = NULL, lease_until = 0, \
                     due_at = CASE WHEN due_at > :due_at THEN due_at ELSE :due_at END \
                     WHERE tenant = :tenant AND id = :id",
                    &params! { "id" => id, "due_at" => due_at },
                )?;
                Ok(())
            })
            .await
    }

    async fn settlement(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut follower = self.treasury.inner.follower.clone();
        let mut resends = settle::Resends::default();
        loop {
            if let Err(error) = self.treasury.settle(&mut resends).await {
                tracing::warn!(%error, "cannot look after operations on the chain; trying again");
            }
            tokio::select! {
                changed = follower.changed() => if changed.is_err() {
                    // The follower is gone, as it is while the server stops.
                    tokio::time::sleep(IDLE).await;
                },
                () = tokio::time::sleep(WATCH) => {}
                () = asked(&mut stopped) => return,
            }
        }
    }

    async fn checkpoints(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            let last = tokio::select! {
                () = tokio::time::sleep(CHECKPOINT) => false,
                () = asked(&mut stopped) => true,
            };
            if let Err(error) = self.sign_checkpoints().await {
                tracing::warn!(%error, "cannot sign audit checkpoints; trying again");
            }
            if last {
                return;
            }
        }
    }

    async fn sign_checkpoints(&self) -> Result<(), Error> {
        let inner = &self.treasury.inner;
        // Not the tenants that stand in the log: to find those, all of it would be read.
        let tenants: Vec<TenantId> = inner
            .ledger
            .read_system(|tx| tx.query::<_, Error>("SELECT id FROM tenants", &[], |row| Ok(row.get("id")?)))
            .await?;
        for chain in tenants.into_iter().chain([TenantId::SERVER]) {
            let now = self.treasury.now();
            inner.checkpoint_key.sign_head(&inner.ledger, &inner.keyring, chain, now).await?;
        }
        Ok(())
    }
}

/// When to try again after `attempts` failures.
fn retry_at(now: Timestamp, attempts: u32) -> Timestamp {
    let pause = Duration::from_millis(200).saturating_mul(1 << attempts.min(8));
    now.saturating_add(pause.min(Duration::from_secs(30)))
}

/// Until the engine is asked to stop.
async fn asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}
