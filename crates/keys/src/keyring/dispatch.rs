//! Who computes, and who does when that one fails.
//!
//! A key that one provider holds is asked there, once. A key that several hold is asked at the first that is in use;
//! when that one fails the next is asked at once, and when it is slow the next is asked beside it. The first good
//! signature wins. What comes later only tells how the slow one is doing: its signature is dropped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_provider::{
    Error as Fault, Expected, KeyContext, Message, Provider, SignAlgorithm, SignRequest, Signature,
    SignatureBytes,
};
use bitcoin::bip32::DerivationPath;
use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, time::sleep_until};

use super::{Keyring, within, wrong};
use crate::{
    error::{Error, Result},
    key::KeyInfo,
    pool::member::Member,
    row::KeyRow,
};

/// A request that outlives its caller's wait.
#[derive(Clone)]
pub(super) struct Owned {
    algorithm: SignAlgorithm,
    path: Option<DerivationPath>,
    message: Text,
}

#[derive(Clone)]
enum Text {
    Digest([u8; 32]),
    Bytes(Arc<[u8]>),
}

impl Owned {
    pub(super) fn new(request: &SignRequest<'_>) -> Self {
        let message = match request.message {
            Message::Digest(digest) => Text::Digest(digest),
            Message::Bytes(bytes) => Text::Bytes(bytes.into()),
        };
        Self { algorithm: request.algorithm, path: request.path.clone(), message }
    }

    pub(super) fn borrow(&self) -> SignRequest<'_> {
        let message = match &self.message {
            Text::Digest(digest) => Message::Digest(*digest),
            Text::Bytes(bytes) => Message::Bytes(bytes),
        };
        SignRequest { algorithm: self.algorithm, path: self.path.clone(), message }
    }
}

/// Who was asked, and since when no answer has come.
struct Asked {
    member: Arc<Member>,
    since: Instant,
    answered: bool,
}

/// What became of one attempt.
struct Outcome {
    attempt: usize,
    began: Instant,
    took: Duration,
    result: anya_provider::Result<SignatureBytes>,
}

impl Keyring {
    /// A verified signature of one of the key's providers, and who made it.
    pub(super) async fn dispatch(
        &self,
        ctx: &KeyContext,
        row: &KeyRow,
        request: &SignRequest<'_>,
        expected: &Expected<'_>,
    ) -> Result<(Signature, Arc<Member>)> {
        let holders = self.ready(row)?;
        let computing = |member: &Member| {
            member.provider.capabilities().computes(ctx.spec, request.algorithm.algorithm())
        };
        let able: Vec<_> = holders.iter().filter(|(member, _)| computing(member)).collect();
        match able.as_slice() {
            [] => {
                let (member, _) = holders.first().ok_or(Error::internal("a key without holders"))?;
                let act = format!("compute {}", request.algorithm.algorithm());
                Err(member.provider.unsupported(act).into())
            }
            [(member, handle)] => {
                let signature = self.attempt(member, ctx, handle, request, expected).await?;
                Ok((signature, member.clone()))
            }
            several => {
                let several: Vec<_> =
                    several.iter().map(|(member, handle)| (member.clone(), handle.to_vec())).collect();
                self.race(ctx, &row.info, several, request, expected).await
            }
        }
    }

    /// The key's providers that are in use, in the order in which they are asked; after them those that are out of use for
    /// slowness alone.
    fn ready<'r>(&self, row: &'r KeyRow) -> Result<Vec<(Arc<Member>, &'r [u8])>> {
        let mut holders = self.pool.holders(&row.handles);
        if holders.is_empty() {
            return Err(Error::ProviderAbsent(row.info.provider().to_owned()));
        }
        if holders.iter().all(|(member, _)| member.is_ready()) {
            return Ok(holders);
        }
        let reasons = |holders: &[(Arc<Member>, &[u8])]| {
            let each = holders.iter().map(|(member, _)| {
                format!(
                    "`{}`: {}",
                    member.id(),
                    member.why_not().unwrap_or_else(|| "it is in use".to_owned())
                )
            });
            each.collect::<Vec<_>>().join("; ")
        };
        let all = reasons(&holders);
        holders.retain(|(member, _)| member.is_ready() || member.is_last_resort());
        holders.sort_by_key(|(member, _)| !member.is_ready());
        match holders.is_empty() {
            true => Err(Error::Unavailable { key: row.info.id, reasons: all }),
            false => Ok(holders),
        }
    }

    /// Asks one provider, and nobody else.
    pub(super) async fn attempt(
        &self,
        member: &Arc<Member>,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
        expected: &Expected<'_>,
    ) -> Result<Signature> {
        let _in_flight = member.begin();
        let began = Instant::now();
        let wait = ctx.deadline.saturating_duration_since(began);
        let result = within(member.id(), wait, member.provider.sign(ctx, handle, request)).await;
        let took = began.elapsed();
        self.judge(member, request, expected, (began, took), result).map_err(Error::from)
    }

    /// Believes an answer only after checking it, and keeps the book on the provider.
    fn judge(
        &self,
        member: &Member,
        request: &SignRequest<'_>,
        expected: &Expected<'_>,
        (began, took): (Instant, Duration),
        result: anya_provider::Result<SignatureBytes>,
    ) -> anya_provider::Result<Signature> {
        let verified = result.and_then(|bytes| {
            self.verifier
                .check(expected, request.algorithm, request.message, &bytes)
                .ok_or_else(|| wrong(member.id(), "a signature that does not verify"))
        });
        match &verified {
            Ok(_) => member.signed(request.algorithm.algorithm(), took),
            Err(error) => {
                if member.failed(error, began) {
                    self.pool.trouble.notify_one();
                }
            }
        }
        verified
    }

    async fn race(
        &self,
        ctx: &KeyContext,
        info: &KeyInfo,
        holders: Vec<(Arc<Member>, Vec<u8>)>,
        request: &SignRequest<'_>,
        expected: &Expected<'_>,
    ) -> Result<(Signature, Arc<Member>)> {
        let algorithm = request.algorithm.algorithm();
        let owned = Owned::new(request);
        let (answers, mut answered) = mpsc::channel::<Outcome>(holders.len().max(1));
        let mut waiting = holders.into_iter().enumerate();
        let mut asked: Vec<Asked> = Vec::new();
        let mut open = 0_usize;
        let mut first_fault: Option<Fault> = None;
        let mut hedge = ctx.deadline;
        loop {
            if open == 0 || Instant::now() >= hedge {
                match waiting.next() {
                    Some((attempt, (member, handle))) => {
                        let objective = member.provider.capabilities().objective;
                        hedge = (Instant::now() + member.latency.hedge_after(algorithm, objective))
                            .min(ctx.deadline);
                        asked.push(Asked { member: member.clone(), since: Instant::now(), answered: false });
                        open += 1;
                        self.ask(member, attempt, ctx, handle, owned.clone(), answers.clone());
                    }
                    None if open == 0 => {
                        return Err(first_fault.map_or(
                            Error::Unavailable { key: info.id, reasons: "nobody holds it".to_owned() },
                            Error::from,
                        ));
                    }
                    None => hedge = ctx.deadline,
                }
            }
            let outcome = tokio::select! {
                outcome = answered.recv() => outcome,
                () = sleep_until(hedge.into()) => {
                    if Instant::now() >= ctx.deadline {
                        let slow = asked.last().map_or("", |asked| asked.member.id());
                        return Err(first_fault.unwrap_or_else(|| Fault::Timeout(slow.to_owned())).into());
                    }
                    continue;
                }
            };
            let Some(Outcome { attempt, began, took, result }) = outcome else {
                return Err(Error::internal("an attempt ended without an answer"));
            };
            open -= 1;
            let Some(Asked { member, answered: slot, .. }) = asked.get_mut(attempt) else { continue };
            *slot = true;
            let member = member.clone();
            match self.judge(&member, request, expected, (began, took), result) {
                Ok(signature) => {
                    // Only one that was overtaken was slow; on a busy machine all are.
                    for overtaken in asked.iter().take(attempt).filter(|asked| !asked.answered) {
                        if overtaken.member.too_slow(overtaken.since) {
                            self.pool.trouble.notify_one();
                        }
                    }
                    return Ok((signature, member));
                }
                // Every replica would refuse it.
                Err(error) if !error.is_fault() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(provider = member.id(), key = %info.id, %error, "a replica is asked instead");
                    first_fault.get_or_insert(error);
                    hedge = Instant::now();
                }
            }
        }
    }

    /// Asks on a task of its own, which goes on when nobody waits any more: a call that hangs must be seen to.
    fn ask(
        &self,
        member: Arc<Member>,
        attempt: usize,
        ctx: &KeyContext,
        handle: Vec<u8>,
        request: Owned,
        answers: mpsc::Sender<Outcome>,
    ) {
        let objective = member.provider.capabilities().objective;
        let patience = self.deadlines.attempt.max(objective.p99.saturating_mul(4));
        let mut ctx = ctx.clone();
        ctx.deadline = ctx.deadline.min(Instant::now() + patience);
        tokio::spawn(async move {
            let _in_flight = member.begin();
            let began = Instant::now();
            let wait = ctx.deadline.saturating_duration_since(began);
            let result =
                within(member.id(), wait, member.provider.sign(&ctx, &handle, &request.borrow())).await;
            let outcome = Outcome { attempt, began, took: began.elapsed(), result };
            if let Err(unheard) = answers.send(outcome).await
                && let Err(error) = unheard.0.result
            {
                member.failed(&error, began);
            }
        });
    }

    /// As [`Keyring::dispatch`], for what is not a signature: one provider after the other.
    pub(super) async fn on_any<'c, T>(
        &self,
        row: &KeyRow,
        ctx: &KeyContext,
        call: impl Fn(Arc<dyn Provider>, KeyContext, Vec<u8>) -> BoxFuture<'c, anya_provider::Result<T>>,
    ) -> Result<T> {
        let holders = self.ready(row)?;
        let alone = holders.len() == 1;
        let mut first_fault = None;
        for (member, handle) in holders {
            let _in_flight = member.begin();
            let mut ctx = ctx.clone();
            let now = Instant::now();
            if !alone {
                let patience = self
                    .deadlines
                    .attempt
                    .max(member.provider.capabilities().objective.p99.saturating_mul(4));
                ctx.deadline = ctx.deadline.min(now + patience);
            }
            let wait = ctx.deadline.saturating_duration_since(now);
            match within(member.id(), wait, call(member.provider.clone(), ctx, handle.to_vec())).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    if member.failed(&error, now) {
                        self.pool.trouble.notify_one();
                    }
                    if !error.is_fault() && !matches!(error, Fault::Unsupported { .. }) {
                        return Err(error.into());
                    }
                    first_fault.get_or_insert(error);
                }
            }
        }
        Err(first_fault.map_or(Error::internal("a key without holders"), Error::from))
    }
}
