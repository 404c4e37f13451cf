//! Speaking with peers: one run of the library after another, for it ends when it has no peer left to try.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anya_chain::{BlockRef, Error, Watched};
use anya_primitives::{Clock, FeeRate, Timestamp};
use bip157::{
    Builder, Client, Event, HashCheckpoint, Requester, Warning,
    chain::{BlockHeaderChanges, ChainState, IndexedHeader},
};
use bitcoin::{BlockHash, block::Header, p2p::address::AddrV2};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{
    config::FiltersConfig,
    progress::{Progress, Refused},
};

/// The pause before the library is started again, and the longest that it grows to.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A run of this length was a good one.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// How often peers are counted and progress is looked at.
const TEND: Duration = Duration::from_secs(1);
/// Without progress for so long, filters are asked for once more.
const STALLED: Duration = Duration::from_secs(20);
/// For so long the last answer stands while peers are away.
const GRACE: Duration = Duration::from_secs(15);
/// How long a peer may take over a message.
const RESPONSE: Duration = Duration::from_secs(15);
/// How long a connection to a configured peer may last; those that were found are changed more often.
const LONG_CONNECTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most events taken in at once.
const EVENTS: usize = 2_000;

/// A peer that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    pub(crate) address: String,
    pub(crate) since: Timestamp,
}

/// What is known of the library's present run.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) requester: Option<Requester>,
    pub(crate) peers: Vec<Connected>,
    /// Why nothing was heard so far in this run, or why the last one ended.
    reason: String,
    /// Which peers said what cannot be believed, until things go on.
    trouble: Option<String>,
    /// Whether the headers were fetched in this run.
    headers: bool,
    /// Since when nobody answers.
    down_since: Option<Instant>,
    /// When something was last taken in, and what the count of steps was then.
    moved: (Instant, u64),
}

/// Everything that the source and its task share.
pub(crate) struct Shared {
    pub(crate) config: FiltersConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) watched: Mutex<Arc<Watched>>,
    pub(crate) averages: Mutex<Vec<(BlockHash, Option<FeeRate>)>>,
    progress: Mutex<Progress>,
    link: Mutex<Link>,
}

impl Shared {
    pub(crate) fn new(config: FiltersConfig, progress: Progress, clock: Arc<dyn Clock>) -> Self {
        let link = Link {
            requester: None,
            peers: Vec::new(),
            reason: "no peer was reached yet".to_owned(),
            trouble: None,
            headers: false,
            down_since: Some(Instant::now()),
            moved: (Instant::now(), 0),
        };
        Self {
            config,
            clock,
            watched: Mutex::default(),
            averages: Mutex::default(),
            progress: Mutex::new(progress),
            link: Mutex::new(link),
        }
    }

    /// Every change leaves it whole, so a panic elsewhere does not spoil it. Locked after the link, never before.
    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest block that can be answered for, or why there is none.
    pub(crate) fn tip(&self) -> Result<BlockRef, Error> {
        let link = self.link();
        let progress = self.progress();
        let (best, filtered) = (progress.best(), progress.filtered());
        let disbelieved = |trouble: &String| Error::BadAnswer {
            method: "getcfheaders".to_owned(),
            detail: trouble.clone(),
        };
        if let Some(since) = link.down_since
            && (filtered.is_none() || since.elapsed() > GRACE)
        {
            return Err(match &link.trouble {
                Some(trouble) => disbelieved(trouble),
                None if link.peers.is_empty() => {
                    Error::Unreachable { detail: link.reason.clone(), maybe_sent: false }
                }
                None => {
                    let height = best.map_or(0, |best| best.height);
                    Error::WarmingUp { message: format!("fetching headers, so far up to block {height}") }
                }
            });
        }
        let tip = filtered.ok_or_else(|| Error::WarmingUp { message: "fetching headers".to_owned() })?;
        if best.is_some_and(|best| best.hash != tip.hash) {
            if let Some(trouble) = &link.trouble {
                return Err(disbelieved(trouble));
            }
            if link.moved.0.elapsed() > STALLED * 2 {
                let (there, wanted) = (link.peers.len(), self.config.min_peers);
                let height = tip.height;
                return Err(Error::WarmingUp {
                    message: format!(
                        "waiting for filters beyond block {height}: {there} of {wanted} peers are connected"
                    ),
                });
            }
        }
        Ok(tip)
    }

    fn note_down(&self, reason: String) {
        let mut link = self.link();
        link.requester = None;
        link.peers.clear();
        link.headers = false;
        link.reason = reason;
        link.down_since.get_or_insert_with(Instant::now);
    }
}

/// Ends the library's task when this run is given up.
struct Running(JoinHandle<Result<(), bip157::NodeError>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let reason = tokio::select! {
            reason = once(&shared) => reason,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        pause = if began.elapsed() > GOOD_RUN { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tracing::info!(%reason, "no peers are left; they are tried again");
        shared.note_down(reason);
        tokio::select! {
            () = time::sleep(pause) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

/// One run of the library; returns why it ended.
async fn once(shared: &Shared) -> String {
    let builder = match builder(shared) {
        Ok(builder) => builder,
        Err(error) => return error.to_string(),
    };
    let (node, client) = builder.build();
    let Client { requester, mut info_rx, mut warn_rx, mut event_rx } = client;
    let mut node = Running(tokio::spawn(node.run()));
    shared.link().requester = Some(requester.clone());
    let mut events = Vec::with_capacity(EVENTS);
    let mut tick = time::interval(TEND);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            taken = event_rx.recv_many(&mut events, EVENTS) => {
                if taken == 0 {
                    return ended(&mut node).await;
                }
                if let Err(refused) = take(shared, &requester, events.drain(..)) {
                    tracing::error!(%refused, "what peers sent does not stand");
                    if !matches!(refused, Refused::Store(_)) {
                        shared.link().trouble = Some(refused.to_string());
                    }
                    return refused.to_string();
                }
            }
            Some(warning) = warn_rx.recv() => note(shared, &warning),
            // They say what events say too.
            Some(_) = info_rx.recv() => {}
            _ = tick.tick() => tend(shared, &requester).await,
        }
    }
}

async fn ended(node: &mut Running) -> String {
    match (&mut node.0).await {
        Ok(Ok(())) => "the library ended".to_owned(),
        Ok(Err(bip157::NodeError::NoReachablePeers)) => {
            "no peer that was named or found can be reached, or all were dropped: check the peers and the network"
                .to_owned()
        }
        Err(_) => "the library failed in an unforeseen way".to_owned(),
    }
}

fn builder(shared: &Shared) -> Result<Builder, Error> {
    let config = &shared.config;
    let mut builder = Builder::new(bitcoin::Network::from(config.network))
        .required_peers(config.min_peers)
        .response_timeout(RESPONSE)
        .handshake_timeout(RESPONSE)
        .fetch_witness_data()
        .headers_only_sync();
    if !config.peers.is_empty() {
        let peers = config.peers.iter().map(crate::Peer::trusted);
        builder = builder.add_peers(peers).whitelist_only().maximum_connection_time(LONG_CONNECTION);
    }
    if let Some(proxy) = config.proxy {
        builder = builder.socks5_proxy(proxy);
    }
    let progress = shared.progress();
    let (first, headers) = progress.snapshot()?;
    let snapshot: Vec<IndexedHeader> =
        (first..).zip(headers).map(|(height, header)| IndexedHeader { height, header }).collect();
    let state = match (snapshot.is_empty(), progress.checkpoint()) {
        (false, _) => ChainState::Snapshot(snapshot),
        (true, Some((height, hash))) => ChainState::Checkpoint(HashCheckpoint::new(height, hash)),
        (true, None) => return Ok(builder),
    };
    Ok(builder.chain_state(state))
}

/// Takes in what the library found, in its order; headers and filters many at a time.
fn take(shared: &Shared, requester: &Requester, events: impl Iterator<Item = Event>) -> Result<(), Refused> {
    let mut link = shared.link();
    let mut progress = shared.progress();
    let mut headers: Vec<(u32, Header)> = Vec::new();
    let mut filters = Vec::new();
    for event in events {
        match event {
            Event::ChainUpdate(BlockHeaderChanges::Connected(at)) => headers.push((at.height, at.header)),
            Event::ChainUpdate(BlockHeaderChanges::ForkAdded(at)) => {
                progress.extend(&std::mem::take(&mut headers))?;
                progress.aside(at.height, at.header)?;
            }
            Event::ChainUpdate(BlockHeaderChanges::Reorganized { accepted, .. }) => {
                progress.extend(&std::mem::take(&mut headers))?;
                let accepted: Vec<(u32, Header)> = accepted.iter().map(|at| (at.height, at.header)).collect();
                progress.extend(&accepted)?;
            }
            Event::IndexedFilter(filter) => {
                filters.push((filter.height(), filter.block_hash(), filter.into_contents()));
            }
            Event::FiltersSynced(_) => {
                progress.extend(&std::mem::take(&mut headers))?;
                progress.filters(std::mem::take(&mut filters))?;
                if !link.headers {
                    link.headers = true;
                    link.down_since = None;
                    progress.headers_are_there(shared.config.begin)?;
                    ask_for_filters(&progress, requester);
                }
            }
        }
    }
    progress.extend(&headers)?;
    if !filters.is_empty() {
        progress.filters(filters)?;
    }
    link.moved = (Instant::now(), progress.steps());
    if progress.filtered().is_some() && progress.filtered() == progress.best() {
        link.trouble = None;
    }
    Ok(())
}

/// The library starts with filters from the newest block on; those below are asked for.
fn ask_for_filters(progress: &Progress, requester: &Requester) {
    if let (Some(best), Some(filtered)) = (progress.best(), progress.filtered())
        && filtered.height < best.height
    {
        // It fails only when the run has ended; the next one asks again.
        let _ = requester.rescan_from(filtered.height);
    }
}

fn note(shared: &Shared, warning: &Warning) {
    match warning {
        Warning::UnexpectedSyncError { warning } => {
            tracing::warn!(%warning, "a peer was dropped");
            if warning.contains("conflict") {
                let trouble =
                    "peers commit to different filters, so that one of them lies or is broken: look at \
                               them, and remove the one that is wrong"
                        .to_owned();
                shared.link().trouble = Some(trouble);
            }
        }
        // It is said a hundred times a second while peers are looked for.
        Warning::NeedConnections { .. } => {}
        other => tracing::debug!(warning = %other, "peers"),
    }
}

/// Counts the peers, and asks again for what does not come.
async fn tend(shared: &Shared, requester: &Requester) {
    let peers = match time::timeout(TEND / 2, requester.peer_info()).await {
        Ok(Ok(peers)) => peers,
        // It is connecting to somebody, or has ended.
        _ => return,
    };
    let now = shared.clock.now();
    let mut link = shared.link();
    let connected = peers.into_iter().map(|(address, _)| {
        let address = plain(&address);
        let since = link.peers.iter().find(|peer| peer.address == address).map_or(now, |peer| peer.since);
        Connected { address, since }
    });
    link.peers = connected.collect();
    if link.peers.is_empty() {
        link.down_since.get_or_insert_with(Instant::now);
    } else if link.headers {
        link.down_since = None;
    }
    let progress = shared.progress();
    if progress.steps() != link.moved.1 {
        link.moved = (Instant::now(), progress.steps());
    } else if link.headers && link.moved.0.elapsed() > STALLED {
        ask_for_filters(&progress, requester);
    }
}

fn plain(address: &AddrV2) -> String {
    match address {
        AddrV2::Ipv4(ip) => ip.to_string(),
        AddrV2::Ipv6(ip) => ip.to_string(),
        AddrV2::TorV3(_) => "a Tor onion service".to_owned(),
        _ => "another network".to_owned(),
    }
}
