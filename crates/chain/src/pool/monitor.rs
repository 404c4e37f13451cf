//! One task for each node: looks at it again and again, sooner when somebody asks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{self, Instant};

use super::{Inner, judge::Trouble, node::Node};
use crate::Error;

/// Version and peers are asked for each time after so many looks.
const IDENTITY_EVERY: u64 = 10;
/// Between two looks at one node lies at least this, however many ask for one.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// Looks at `node` until the pool is gone.
pub(super) async fn watch(inner: Arc<Inner>, node: Arc<Node>) {
    loop {
        look(&inner, &node).await;
        let pause = {
            let record = node.record();
            let more_to_check =
                record.checked_to.is_some_and(|height| height > 0) && record.distrust.is_none();
            match record.breaker.pause(Instant::now()) {
                Some(pause) => pause,
                None if more_to_check => LEAST_PAUSE,
                None => inner.config.poll,
            }
        };
        time::sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = node.wake.notified() => {}
            () = time::sleep(pause.saturating_sub(LEAST_PAUSE)) => {}
        }
    }
}

async fn look(inner: &Inner, node: &Node) {
    let patience = if inner.nodes.len() == 1 { node.call } else { inner.config.look_within.min(node.call) };
    let ticket = node.looks.fetch_add(1, Ordering::Relaxed);
    let wants_identity = {
        let mut record = node.record();
        record.breaker.try_out();
        record.identity.is_none() || record.looked.is_multiple_of(IDENTITY_EVERY)
    };
    let found = async {
        let identity = if wants_identity { Some(node.source.identity().await?) } else { None };
        Ok((inner.examine(node).await?, identity))
    };
    let found = match time::timeout(patience, found).await {
        Ok(found) => found,
        Err(_) => {
            let detail = format!("it did not answer within {} ms", patience.as_millis());
            Err(Trouble::Failed(Error::Unreachable { detail, maybe_sent: false }))
        }
    };
    inner.conclude(node, ticket, found);
}
