//! Which transactions count.
//!
//! Transactions in blocks stand by themselves. All others hang together in heaps: by spending each other's outputs, or the
//! same coin. A change concerns the heaps that it touches, and each of them is judged anew as a whole:
//!
//! 1. What a confirmed transaction builds on is confirmed as well.
//! 2. What conflicts with a confirmed one does not count, nor does what builds on it.
//! 3. Of the rest the one that entered the mempool last counts first, with all that it builds on; what conflicts with
//!    those does not count, nor does what builds on that. Then the next. Of two that entered at the same time the one
//!    with the greater id is taken first.
//! 4. What the mempool does not have counts only as a part of what another one builds on.
//!
//! One that would count only together with its own conflict (it builds on both) does not count.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::{
    node::{Graph, Status},
    types::MAX_CHAIN,
};

/// Judges the heaps that `seeds` touch. Returns what changed: the seeds, and every other transaction with a new status.
pub(crate) fn judge(graph: &mut Graph, seeds: &HashSet<u32>) -> Vec<u32> {
    let heap = heap(graph, seeds);
    let mut judge = Judge { graph, heap: &heap, counting: HashMap::new(), refused: HashSet::new() };
    judge.confirmed();
    judge.pending();
    let Judge { counting, .. } = judge;

    let mut fresh: Vec<(u32, Status)> = Vec::with_capacity(heap.len());
    for number in &heap {
        let own_block = graph.node(*number).and_then(|node| node.height);
        let status = match (own_block, counting.get(number)) {
            (Some(height), _) | (None, Some(&Some(height))) => Status::Confirmed { height },
            (None, Some(&None)) => Status::Pending { trusted: false },
            (None, None) => Status::Absent,
        };
        fresh.push((*number, status));
    }
    let mut old: HashMap<u32, Status> = HashMap::with_capacity(fresh.len());
    for (number, status) in &fresh {
        old.insert(*number, graph.status(*number));
        if let Some(node) = graph.node_mut(*number) {
            node.status = *status;
        }
    }
    for (number, status) in fresh {
        if matches!(status, Status::Pending { .. })
            && is_trusted(graph, number)
            && let Some(node) = graph.node_mut(number)
        {
            node.status = Status::Pending { trusted: true };
        }
    }
    let mut changed: Vec<u32> = heap
        .into_iter()
        .filter(|number| seeds.contains(number) || old.get(number) != Some(&graph.status(*number)))
        .collect();
    changed.sort_unstable();
    changed
}

fn is_in_block(graph: &Graph, number: u32) -> bool {
    graph.node(number).is_some_and(|node| node.height.is_some())
}

/// The seeds, and all transactions outside blocks that hang together with them.
fn heap(graph: &Graph, seeds: &HashSet<u32>) -> HashSet<u32> {
    let mut heap: HashSet<u32> = seeds.clone();
    let mut open: Vec<u32> = seeds.iter().copied().collect();
    while let Some(number) = open.pop() {
        let Some(node) = graph.node(number) else { continue };
        let near = graph.parents(node).chain(graph.children(node)).chain(graph.conflicts(number, node));
        for other in near {
            if !is_in_block(graph, other) && heap.insert(other) {
                open.push(other);
            }
        }
    }
    heap
}

struct Judge<'a> {
    graph: &'a Graph,
    heap: &'a HashSet<u32>,
    /// What counts, with the height at or below which it is confirmed.
    counting: HashMap<u32, Option<u32>>,
    refused: HashSet<u32>,
}

impl Judge<'_> {
    /// Steps 1 and 2.
    fn confirmed(&mut self) {
        let mut by_child: Vec<(u32, u32)> = Vec::new();
        let mut against: Vec<u32> = Vec::new();
        for number in self.heap {
            let Some(node) = self.graph.node(*number).filter(|node| node.height.is_none()) else { continue };
            let height = |other| self.graph.node(other).and_then(|node| node.height);
            let lowest = self.graph.children(node).filter_map(height).min();
            by_child.extend(lowest.map(|height| (height, *number)));
            if self.graph.conflicts(*number, node).any(|other| height(other).is_some()) {
                against.push(*number);
            }
        }
        for number in against {
            self.refuse(number);
        }
        // The lowest first, so that what two of them build on is confirmed at the lower height.
        by_child.sort_unstable();
        for (height, number) in by_child {
            self.count(number, Some(height));
        }
    }

    /// Steps 3 and 4.
    fn pending(&mut self) {
        let mut seen: Vec<_> = self
            .heap
            .iter()
            .filter_map(|number| {
                let node = self.graph.node(*number).filter(|node| node.height.is_none())?;
                Some((node.seen?, node.record.txid(), *number))
            })
            .collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        for (_, _, number) in seen {
            self.count(number, None);
        }
    }

    /// Lets a transaction count with all that it builds on, unless that would contradict itself.
    fn count(&mut self, first: u32, height: Option<u32>) {
        if self.counting.contains_key(&first) || self.refused.contains(&first) {
            return;
        }
        let mut counted = Vec::new();
        let mut refused = Vec::new();
        let mut open = VecDeque::from([first]);
        let mut contradicts = false;
        while let Some(number) = open.pop_front() {
            let Some(node) = self.graph.node(number).filter(|node| node.height.is_none()) else { continue };
            if self.counting.contains_key(&number) {
                continue;
            }
            for other in self.graph.conflicts(number, node) {
                self.refuse_into(other, &mut refused);
            }
            if self.refused.contains(&number) {
                contradicts = true;
                continue;
            }
            self.counting.insert(number, height);
            counted.push(number);
            open.extend(self.graph.parents(node));
        }
        if contradicts {
            for number in counted {
                self.counting.remove(&number);
            }
            for number in refused {
                self.refused.remove(&number);
            }
        }
    }

    fn refuse(&mut self, number: u32) {
        self.refuse_into(number, &mut Vec::new());
    }

    /// Refuses a transaction and all that builds on it.
    fn refuse_into(&mut self, number: u32, refused: &mut Vec<u32>) {
        let mut open = vec![number];
        while let Some(number) = open.pop() {
            let Some(node) = self.graph.node(number).filter(|node| node.height.is_none()) else { continue };
            if self.refused.insert(number) {
                refused.push(number);
                open.extend(self.graph.children(node));
            }
        }
    }
}

/// The unconfirmed transactions that one builds on, itself first, as far as they are own; none when one of them does not
/// count. The walk ends beyond `most`.
pub(crate) fn unconfirmed_chain(graph: &Graph, number: u32, most: usize) -> Option<Vec<u32>> {
    let mut chain = Vec::new();
    let mut seen = HashSet::from([number]);
    let mut open = vec![number];
    while let Some(number) = open.pop() {
        let node = graph.node(number)?;
        match node.status {
            Status::Absent => return None,
            Status::Confirmed { .. } => continue,
            Status::Pending { .. } => {}
        }
        chain.push(number);
        if chain.len() > most {
            break;
        }
        if node.is_own() {
            for outpoint in node.record.inputs() {
                let parent = graph.number(outpoint.txid)?;
                if seen.insert(parent) {
                    open.push(parent);
                }
            }
        }
    }
    Some(chain)
}

fn is_trusted(graph: &Graph, number: u32) -> bool {
    unconfirmed_chain(graph, number, MAX_CHAIN).is_some_and(|chain| {
        chain.len() <= MAX_CHAIN
            && chain.iter().all(|member| graph.node(*member).is_some_and(|node| node.is_own()))
    })
}
