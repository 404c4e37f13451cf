//! One connection: evidence, release, then many requests at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_enclave::{
    Binding,
    channel::{Stream, TlsStream, accept},
    wire::{Answer, Features, Frame, HANDSHAKE_FRAME, MAX_FRAME, Request, read_frame},
};
use anya_keystore::SoftwareProvider;
use anya_provider::{Error as ProviderError, Provider as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, WriteHalf},
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    dispatch::{Desk, evidence},
    service::{Signer, told},
};

/// The longest that each of `Hello` and `Release` may keep the signer waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that the server may leave an answer unread.
const STUCK: Duration = Duration::from_secs(10);
/// The longest that requests under way may take to end after the signer was told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Answers that wait to be read.
const ANSWERS: usize = 64;
/// What is under way on one connection, in units of [`UNIT`] bytes: 512 short requests, or 15 of the longest.
const UNITS: usize = 512;
const UNIT: usize = 64 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves one connection to its end.
pub(crate) async fn serve(
    signer: Arc<Signer>,
    stream: impl Stream + 'static,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    // A root that was entered has to be left, so nothing may be awaited between the two but `answer`.
    let (stream, keys) = tokio::select! {
        greeted = greet(&signer, stream) => match greeted? {
            Some(entered) => entered,
            None => return Ok(()),
        },
        () = told(&mut stop) => return Ok(()),
    };
    let desk = Arc::new(Desk {
        vault: Arc::clone(&signer.vault),
        keys,
        attestor: Arc::clone(&signer.attestor),
        channel: signer.key.pin(),
    });
    let outcome = answer(desk, stream, stop).await;
    signer.vault.leave().await;
    outcome
}

/// Evidence and release. Returns the open root, or nothing when it was refused.
async fn greet<S: Stream>(signer: &Signer, stream: S) -> Result<Option<Entered<S>>, Failure> {
    let mut stream = accept(stream, &signer.key, signer.server).await?;

    let hello = next(&mut stream).await?;
    let Request::Hello { nonce } = Request::decode(&hello.body, Instant::now())?.0 else {
        return Err("the first request was not a greeting".into());
    };
    let binding = Binding { channel: signer.key.pin(), nonce, subject: None };
    let root = signer.vault.state().await;
    let shown = evidence(&signer.attestor, binding).await;
    let refused = shown.is_err();
    let shown = shown.map(|evidence| Answer::Hello { evidence, root });
    send(&mut stream, &Answer::encode(&shown, hello.id)).await?;
    if refused {
        return Ok(None);
    }

    let release = next(&mut stream).await?;
    let entered = match Request::decode(&release.body, Instant::now())?.0 {
        Request::Release { part, create } => signer.vault.enter(part, create).await,
        _ => return Err("the second request released nothing".into()),
    };
    match entered {
        Ok(keys) => Ok(Some(((stream, release.id), keys))),
        Err(error) => {
            tracing::warn!(%error, "a released part was refused");
            send(&mut stream, &Answer::encode(&Err(error), release.id)).await?;
            Ok(None)
        }
    }
}

/// The channel with the number of the request that is still to be answered, and the keys.
type Entered<S> = ((TlsStream<S>, u64), Arc<SoftwareProvider>);

async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Result<Frame, Failure> {
    match timeout(PATIENCE, read_frame(stream, HANDSHAKE_FRAME)).await? {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err("the server left".into()),
        Err(error) => Err(error.into()),
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), Failure> {
    timeout(STUCK, async {
        stream.write_all(frame).await?;
        stream.flush().await
    })
    .await??;
    Ok(())
}

/// Answers requests until the server leaves, breaks the protocol, or the signer is told to stop.
async fn answer<S: Stream + 'static>(
    desk: Arc<Desk>,
    (stream, release): (TlsStream<S>, u64),
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let features = Answer::Released(Features::of(desk.keys.capabilities()));
    send(&mut writing, &Answer::encode(&Ok(features), release)).await?;
    tracing::info!("the server released the root");
    let (answers, queue) = mpsc::channel(ANSWERS);
    let mut writer = tokio::spawn(write(writing, queue));
    let room = Arc::new(Semaphore::new(UNITS));
    let broken = Arc::new(Notify::new());
    let mut under_way = JoinSet::new();
    let ended = loop {
        // What has ended is let go of; nothing waits here.
        while under_way.try_join_next().is_some() {}
        let frame = tokio::select! {
            frame = read_frame(&mut reading, MAX_FRAME) => frame,
            () = told(&mut stop) => break Ok(()),
            _ = &mut writer => break Err("the server reads no answers".into()),
            () = broken.notified() => break Err("the server broke the protocol".into()),
        };
        match frame {
            Ok(Some(frame)) => {
                let (desk, answers, broken) = (Arc::clone(&desk), answers.clone(), Arc::clone(&broken));
                let units = u32::try_from(1 + frame.body.len() / UNIT).unwrap_or(u32::MAX);
                let room = Arc::clone(&room).try_acquire_many_owned(units);
                under_way.spawn(async move {
                    let Ok(_room) = room else {
                        let busy = Err(ProviderError::Busy(String::new()));
                        let _ = answers.send(Answer::encode(&busy, frame.id)).await;
                        return;
                    };
                    match one(&desk, &frame).await {
                        // A closed queue means that the connection ends anyway.
                        Some(answer) => drop(answers.send(answer).await),
                        None => broken.notify_one(),
                    }
                });
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    if ended.is_ok() && *stop.borrow() {
        let _ = timeout(GRACE, async { while under_way.join_next().await.is_some() {} }).await;
    }
    under_way.shutdown().await;
    drop(answers);
    if timeout(STUCK, &mut writer).await.is_err() {
        writer.abort();
    }
    ended
}

/// The answer to one frame, or nothing when it is none of the protocol.
async fn one(desk: &Desk, frame: &Frame) -> Option<Zeroizing<Vec<u8>>> {
    let (request, deadline) = Request::decode(&frame.body, Instant::now()).ok()?;
    let outcome = match tokio::time::timeout_at(deadline.into(), desk.answer(request, deadline)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProviderError::Timeout(String::new())),
    };
    Some(Answer::encode(&outcome, frame.id))
}

async fn write<S: AsyncWrite>(mut stream: WriteHalf<S>, mut queue: mpsc::Receiver<Zeroizing<Vec<u8>>>) {
    while let Some(frame) = queue.recv().await {
        if send(&mut stream, &frame).await.is_err() {
            return;
        }
    }
    let _ = timeout(STUCK, stream.shutdown()).await;
}
