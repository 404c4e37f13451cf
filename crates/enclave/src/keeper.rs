//! Keeps a link to the signer: connects again after a loss, and proves it anew from time to time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{dial::Dial, error::Error, link::Link, policy::EvidenceKind, wire::Features};

/// The waits between attempts double from the first to the last.
const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(5);

/// How long before collateral expires its age is worth a warning.
const AGEING: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the link stands.
#[derive(Clone)]
pub(crate) enum Standing {
    /// The first attempt is under way.
    Beginning,
    /// There is a link.
    Up(Arc<Link>),
    /// There is none, and why.
    Down(Arc<str>),
    /// The provider was closed.
    Closed,
}

/// Runs until the provider lets go of it. `standing` always says what is true now.
pub(crate) async fn keep(
    provider: String,
    dial: Dial,
    wanted: Features,
    renew: Duration,
    standing: watch::Sender<Standing>,
) {
    let mut wait = FIRST;
    loop {
        match dial.open(&provider, &wanted, false).await {
            Ok(link) => {
                wait = FIRST;
                tracing::info!(
                    provider,
                    evidence = %link.verified.kind,
                    label = label(&link),
                    "the signer is connected"
                );
                warn_of_age(&provider, &dial, &link);
                standing.send_replace(Standing::Up(Arc::clone(&link)));
                // Requests under way on the link before keep it until they are answered.
                if hold(&provider, &dial, &wanted, renew, link, &standing).await {
                    tracing::warn!(provider, "the connection to the signer is lost");
                    standing.send_replace(Standing::Down("the connection to the signer is lost".into()));
                }
            }
            Err(error) => down(&provider, &standing, &error),
        }
        sleep(wait).await;
        wait = (wait * 2).min(LAST);
    }
}

/// Holds a link until it is gone or its evidence cannot be renewed. Returns whether the loss is still to be told.
async fn hold(
    provider: &str,
    dial: &Dial,
    wanted: &Features,
    renew: Duration,
    mut link: Arc<Link>,
    standing: &watch::Sender<Standing>,
) -> bool {
    loop {
        tokio::select! {
            () = link.gone() => return true,
            () = sleep(renew) => {}
        }
        match dial.open(provider, wanted, false).await {
            Ok(renewed) => {
                warn_of_age(provider, dial, &renewed);
                standing.send_replace(Standing::Up(Arc::clone(&renewed)));
                link = renewed;
            }
            // A signer that cannot prove itself any more is not asked any more.
            Err(error) => {
                down(provider, standing, &error);
                return false;
            }
        }
    }
}

fn down(provider: &str, standing: &watch::Sender<Standing>, error: &Error) {
    let reason: Arc<str> = error.to_string().into();
    let known = matches!(&*standing.borrow(), Standing::Down(before) if *before == reason);
    if !known {
        tracing::warn!(provider, reason = %reason, "no connection to the signer");
    }
    standing.send_replace(Standing::Down(reason));
}

/// A month passes quickly, and keys are out of reach when collateral has expired.
fn warn_of_age(provider: &str, dial: &Dial, link: &Link) {
    let dcap = matches!(link.verified.kind, EvidenceKind::Sgx | EvidenceKind::Tdx);
    let Some(until) = link.verified.until.filter(|_| dcap) else { return };
    if until.since(dial.clock.now()) < AGEING {
        tracing::warn!(provider, %until, "the collateral expires soon: fetch newer, or the signer cannot be attested");
    }
}

fn label(link: &Link) -> &'static str {
    match link.verified.measurement {
        Some(_) => "attested",
        None => "unattested",
    }
}
