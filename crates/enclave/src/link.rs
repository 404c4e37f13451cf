//! One live connection to a signer that proved itself: many requests under way, each with its deadline.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anya_provider::Error as ProviderError;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    binding::KeyPin,
    error::Error,
    verifier::Verified,
    wire::{Answer, MAX_FRAME, Request, read_frame},
};

/// Requests under way at once; more are refused as busy.
const IN_FLIGHT: usize = 512;
/// The longest that the socket may refuse to take a frame before the signer counts as gone.
const STUCK: Duration = Duration::from_secs(5);

type Body = Zeroizing<Vec<u8>>;
/// `None` once the connection is gone: then nobody may begin to wait.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Body>>>>;

/// A connection. It ends when the last of its users lets go, or when the other end does.
pub(crate) struct Link {
    provider: String,
    waiting: Arc<Waiting>,
    outgoing: mpsc::Sender<Body>,
    next: AtomicU64,
    gone: watch::Receiver<bool>,
    tasks: [JoinHandle<()>; 2],
    pub(crate) verified: Verified,
    pub(crate) pin: KeyPin,
}

impl Link {
    /// Takes over a stream on which the root was released.
    pub(crate) fn start<S>(provider: &str, stream: S, verified: Verified, pin: KeyPin) -> Arc<Self>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reading, writing) = tokio::io::split(stream);
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let (outgoing, queue) = mpsc::channel(IN_FLIGHT);
        let (end, gone) = watch::channel(false);
        let end = Arc::new(end);
        let tasks = [
            tokio::spawn(read(reading, Arc::clone(&waiting), Arc::clone(&end))),
            tokio::spawn(write(writing, queue, Arc::clone(&waiting), end)),
        ];
        Arc::new(Self {
            provider: provider.to_owned(),
            waiting,
            outgoing,
            // Hello and Release had the first two.
            next: AtomicU64::new(3),
            gone,
            tasks,
            verified,
            pin,
        })
    }

    /// Asks, and waits for the answer until `deadline`.
    pub(crate) async fn ask(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Answer, ProviderError> {
        if deadline <= Instant::now() {
            return Err(ProviderError::Timeout(self.provider.clone()));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = request.encode(id, deadline);
        let answer = self.wait(id)?;
        // From here on the entry is removed however this ends: also when the caller stops waiting.
        let _entry = Entry { id, waiting: &self.waiting };
        self.outgoing.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProviderError::Busy(self.provider.clone()),
            mpsc::error::TrySendError::Closed(_) => self.lost(),
        })?;
        let body = match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(self.lost()),
            Err(_) => return Err(ProviderError::Timeout(self.provider.clone())),
        };
        Answer::decode(&body, &self.provider).map_err(|error| match error {
            Error::Signer(refusal) => refusal,
            _ => ProviderError::WrongAnswer {
                provider: self.provider.clone(),
                what: "an answer that the protocol has no room for",
            },
        })
    }

    /// Returns when the connection is gone.
    pub(crate) async fn gone(&self) {
        let mut gone = self.gone.clone();
        // An error says that both tasks have ended, which is the same.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    fn wait(&self, id: u64) -> Result<oneshot::Receiver<Body>, ProviderError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.as_mut().ok_or_else(|| self.lost())?;
        if waiting.len() >= IN_FLIGHT {
            return Err(ProviderError::Busy(self.provider.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(id, sender);
        Ok(receiver)
    }

    fn lost(&self) -> ProviderError {
        ProviderError::Unavailable {
            provider: self.provider.clone(),
            reason: "the connection to the signer is lost".to_owned(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Entry<'a> {
    id: u64,
    waiting: &'a Waiting,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            waiting.remove(&self.id);
        }
    }
}

/// Hands answers to those who wait. Whoever waits when the stream ends learns it at once.
async fn read<S: AsyncRead>(mut stream: ReadHalf<S>, waiting: Arc<Waiting>, end: Arc<watch::Sender<bool>>) {
    // A protocol error ends the connection as well: after it, no frame's beginning is known.
    while let Ok(Some(frame)) = read_frame(&mut stream, MAX_FRAME).await {
        let receiver = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|waiting| waiting.remove(&frame.id));
        // Nobody waits for an answer that came too late.
        if let Some(receiver) = receiver {
            let _ = receiver.send(frame.body);
        }
    }
    close(&waiting, &end);
}

async fn write<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    mut queue: mpsc::Receiver<Body>,
    waiting: Arc<Waiting>,
    end: Arc<watch::Sender<bool>>,
) {
    while let Some(frame) = queue.recv().await {
        let sent = timeout(STUCK, async {
            stream.write_all(&frame).await?;
            stream.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) {
            break;
        }
    }
    close(&waiting, &end);
    let _ = timeout(STUCK, stream.shutdown()).await;
}

fn close(waiting: &Waiting, end: &watch::Sender<bool>) {
    drop(waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
    end.send_replace(true);
}
