//! A transaction to every node that may be asked, and one answer.
//!
//! Success is settled as soon as one node has the transaction; the others are given a moment to say their part and go on
//! by themselves. A refusal is settled only when every node has answered: one that may have taken the transaction
//! without saying so leaves the outcome open, and the caller is told that.

use std::{sync::Arc, time::Duration};

use bitcoin::Transaction;
use tokio::{sync::mpsc, time};

use super::{Inner, NodePool, node::Node};
use crate::{BroadcastOutcome, ChainSource, Error, KnownIn};

/// How long the others may take once one node has the transaction.
const OTHERS: Duration = Duration::from_millis(500);

/// What one node said to a broadcast.
#[derive(Debug)]
pub struct NodeVerdict {
    /// The node's name.
    pub node: String,
    /// Its answer; `None` when it had not come in time.
    pub answer: Option<Result<BroadcastOutcome, Error>>,
}

/// What became of a broadcast, node by node.
#[derive(Debug)]
pub struct BroadcastReport {
    /// What each node said that it was sent to.
    pub verdicts: Vec<NodeVerdict>,
}

impl BroadcastReport {
    /// How many nodes took it into their mempool or had it already.
    pub fn held_by(&self) -> usize {
        self.outcomes().filter(|outcome| is_held(outcome)).count()
    }

    /// Whether nodes that answered differ on whether the transaction can be had.
    pub fn is_disputed(&self) -> bool {
        let held = self.held_by();
        held > 0 && self.outcomes().count() > held
    }

    /// The one answer.
    ///
    /// # Errors
    /// When no node holds it and not all have refused it: [`Error::maybe_sent`] says whether one of them may have it.
    pub fn settle(self) -> Result<BroadcastOutcome, Error> {
        let answered = self.verdicts.into_iter().map(|verdict| (verdict.node, verdict.answer));
        let (mut known, mut refused, mut unanswered) = (None, Vec::new(), None::<Error>);
        for (node, answer) in answered {
            match answer {
                Some(Ok(BroadcastOutcome::Accepted)) => return Ok(BroadcastOutcome::Accepted),
                Some(Ok(BroadcastOutcome::AlreadyKnown(place))) => {
                    // The chain is the stronger word.
                    if known != Some(KnownIn::Chain) {
                        known = Some(place);
                    }
                }
                Some(Ok(BroadcastOutcome::Rejected { reason, kind })) => refused.push((node, reason, kind)),
                Some(Err(error)) => {
                    if unanswered.as_ref().is_none_or(|before| !before.maybe_sent()) {
                        unanswered = Some(error);
                    }
                }
                // A node says what it makes of it; who does not may have it.
                Some(Ok(BroadcastOutcome::Sent)) | None => {
                    let method = "sendrawtransaction".to_owned();
                    unanswered = Some(Error::Timeout { method, maybe_sent: true });
                }
            }
        }
        if let Some(place) = known {
            return Ok(BroadcastOutcome::AlreadyKnown(place));
        }
        match unanswered {
            // One of them may have it: that it was refused elsewhere is not the whole truth.
            Some(error) if error.maybe_sent() || refused.is_empty() => return Err(error),
            _ => {}
        }
        let Some((_, first, kind)) = refused.first().cloned() else {
            let detail = "the transaction was sent to none".to_owned();
            return Err(Error::NoNode { detail });
        };
        if refused.iter().all(|(_, reason, _)| *reason == first) {
            return Ok(BroadcastOutcome::Rejected { reason: first, kind });
        }
        let reasons: Vec<String> =
            refused.iter().map(|(node, reason, _)| format!("{node}: {reason}")).collect();
        Ok(BroadcastOutcome::Rejected { reason: reasons.join("; "), kind })
    }

    fn outcomes(&self) -> impl Iterator<Item = &BroadcastOutcome> {
        self.verdicts.iter().filter_map(|verdict| verdict.answer.as_ref()?.as_ref().ok())
    }
}

fn is_held(outcome: &BroadcastOutcome) -> bool {
    matches!(outcome, BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown(_))
}

impl NodePool {
    /// Hands a transaction to every node that may be asked, and says what each of them made of it.
    ///
    /// # Errors
    /// When no node may be asked; nothing was sent then.
    pub async fn broadcast_to_all(&self, transaction: &Transaction) -> Result<BroadcastReport, Error> {
        self.inner.broadcast(transaction).await
    }
}

impl Inner {
    pub(super) async fn broadcast(&self, transaction: &Transaction) -> Result<BroadcastReport, Error> {
        let mut nodes: Vec<&Arc<Node>> = self.nodes.iter().filter(|node| node.is_usable()).collect();
        if nodes.is_empty() {
            self.ready().await?;
            nodes = self.nodes.iter().filter(|node| node.is_usable()).collect();
        }
        let leader = self.leader.load(std::sync::atomic::Ordering::Relaxed);
        // Where reasons differ, the leader's comes first.
        nodes.sort_by_key(|node| node.index != leader);
        let (told, mut answers) = mpsc::channel(nodes.len().max(1));
        let transaction = Arc::new(transaction.clone());
        for (place, node) in nodes.iter().enumerate() {
            let (node, told, transaction) = (Arc::clone(node), told.clone(), Arc::clone(&transaction));
            // A task of its own: it goes on when the answer is settled without it.
            tokio::spawn(async move {
                let answer = node.source.broadcast(&transaction).await;
                if let Err(error) = &answer {
                    node.failed(error);
                    node.wake.notify_one();
                }
                // Nobody listens any more once the answer is settled.
                let _ = told.send((place, answer)).await;
            });
        }
        drop(told);
        let verdict = |node: &&Arc<Node>| NodeVerdict { node: node.name.clone(), answer: None };
        let mut verdicts: Vec<NodeVerdict> = nodes.iter().map(verdict).collect();
        let mut until = None;
        loop {
            let next = async {
                match until {
                    Some(until) => time::timeout_at(until, answers.recv()).await.ok().flatten(),
                    None => answers.recv().await,
                }
            };
            let Some((place, answer)) = next.await else { break };
            if until.is_none() && answer.as_ref().is_ok_and(is_held) {
                until = Some(time::Instant::now() + OTHERS);
            }
            if let Some(verdict) = verdicts.get_mut(place) {
                verdict.answer = Some(answer);
            }
        }
        let report = BroadcastReport { verdicts };
        if report.is_disputed() {
            tracing::warn!(?report, "the nodes do not agree on a transaction");
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectKind;

    fn rejected(reason: &str, kind: RejectKind) -> Option<Result<BroadcastOutcome, Error>> {
        Some(Ok(BroadcastOutcome::Rejected { reason: reason.to_owned(), kind }))
    }

    fn settle(answers: Vec<Option<Result<BroadcastOutcome, Error>>>) -> Result<BroadcastOutcome, Error> {
        let verdicts = answers
            .into_iter()
            .enumerate()
            .map(|(place, answer)| NodeVerdict { node: format!("n{place}"), answer })
            .collect();
        BroadcastReport { verdicts }.settle()
    }

    #[test]
    fn one_node_that_has_it_is_success_and_an_open_answer_is_no_refusal() {
        let accepted = || Some(Ok(BroadcastOutcome::Accepted));
        let known = |place| Some(Ok(BroadcastOutcome::AlreadyKnown(place)));
        let lost = |maybe_sent| Some(Err(Error::Unreachable { detail: "gone".to_owned(), maybe_sent }));
        let dust = || rejected("dust", RejectKind::Policy);

        assert_eq!(settle(vec![dust(), accepted(), None]).unwrap(), BroadcastOutcome::Accepted);
        let in_chain = BroadcastOutcome::AlreadyKnown(KnownIn::Chain);
        assert_eq!(settle(vec![known(KnownIn::Chain), known(KnownIn::Mempool), dust()]).unwrap(), in_chain);
        assert!(settle(vec![dust(), None]).unwrap_err().maybe_sent());
        assert!(settle(vec![lost(false), dust(), lost(true)]).unwrap_err().maybe_sent());
        assert!(!settle(vec![lost(false), lost(false)]).unwrap_err().maybe_sent());
        let BroadcastOutcome::Rejected { reason, kind } = settle(vec![dust(), lost(false), dust()]).unwrap()
        else {
            panic!("a node that was never sent it has no say");
        };
        assert_eq!((reason.as_str(), kind), ("dust", RejectKind::Policy));
        let differing = settle(vec![dust(), rejected("min relay fee not met", RejectKind::Fee)]).unwrap();
        let BroadcastOutcome::Rejected { reason, kind } = differing else { panic!("both refuse") };
        assert_eq!((reason.as_str(), kind), ("n0: dust; n1: min relay fee not met", RejectKind::Policy));
    }
}
