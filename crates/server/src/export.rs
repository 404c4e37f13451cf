//! The audit log as a stream of JSON Lines.
//!
//! Chunks are read from the treasury as fast as the peer takes them, one ahead at most. A chunk that cannot be read in
//! mid-stream breaks the connection off: without the closing chunk of the HTTP encoding the peer knows that its copy is
//! not whole. That the first chunk can be read is known before the answer begins, so refusals are problem documents.

use std::{io, sync::Arc, time::Duration};

use anya_treasury::{AuditChunk, Principal, Treasury};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::{Stream, stream};
use tracing::{Instrument, Span, error};

use crate::problem::Failure;

/// Entries per chunk: some hundred kilobytes.
const CHUNK: u32 = 500;

/// Media type of JSON Lines.
pub(crate) const MEDIA_TYPE: &str = "application/x-ndjson";

/// Where the stream stands.
enum Next {
    Ready(AuditChunk),
    Ask(u64),
    Done,
}

/// The log of `who`'s chain after entry `after`, as a response.
pub(crate) async fn stream(
    treasury: Treasury,
    who: Principal,
    after: u64,
    deadline: Duration,
) -> Result<Response, Failure> {
    let first = treasury.audit_export(&who, after, CHUNK).await?;
    let chunks = chunks(first, deadline, move |after| {
        let (treasury, who) = (treasury.clone(), who.clone());
        async move { treasury.audit_export(&who, after, CHUNK).await }
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

/// The chunks from `first` on, each as lines; `ask` gets the next one within `deadline`, or the stream ends in an error.
fn chunks<F, A, E>(
    first: AuditChunk,
    deadline: Duration,
    ask: F,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static
where
    F: Fn(u64) -> A + Send + Sync + 'static,
    A: Future<Output = Result<AuditChunk, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    let (ask, span) = (Arc::new(ask), Span::current());
    stream::try_unfold(Next::Ready(first), move |next| {
        let ask = Arc::clone(&ask);
        async move {
            let chunk = match next {
                Next::Done => return Ok(None),
                Next::Ready(chunk) => chunk,
                Next::Ask(after) => match tokio::time::timeout(deadline, ask(after)).await {
                    Ok(Ok(chunk)) => chunk,
                    Ok(Err(cause)) => {
                        error!(after, %cause, "the export broke off");
                        return Err(io::Error::other(cause));
                    }
                    Err(_) => {
                        error!(after, "the export broke off: no chunk in time");
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                },
            };
            let bytes = lines(&chunk)?;
            Ok(Some((bytes, chunk.next.map_or(Next::Done, Next::Ask))))
        }
        .instrument(span.clone())
    })
}

fn lines(chunk: &AuditChunk) -> Result<Bytes, io::Error> {
    let mut bytes = Vec::new();
    for line in &chunk.lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use anya_api::audit::{Chain, Header, Line};
    use futures_util::{StreamExt, TryStreamExt};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn chunk(number: u64, next: Option<u64>) -> AuditChunk {
        let header = Header {
            format: Header::FORMAT.to_owned(),
            version: Header::VERSION,
            chain: Chain::Server,
            verifier_key: number.to_string(),
        };
        AuditChunk { lines: vec![Line::Header(header)], next }
    }

    #[tokio::test]
    async fn chunks_follow_each_other_as_they_are_taken() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let ask = move |after| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, io::Error>(chunk(after, (after < 3).then_some(after + 1))) }
        };
        let mut chunks = Box::pin(chunks(chunk(0, Some(1)), DEADLINE, ask));
        assert!(chunks.next().await.unwrap().is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing is read before it is asked for");
        let rest: Vec<Bytes> = chunks.try_collect().await.unwrap();
        assert_eq!((rest.len(), asked.load(Ordering::SeqCst)), (3, 3));
        let last = String::from_utf8(rest[2].to_vec()).unwrap();
        assert!(last.ends_with('\n') && last.contains("\"verifier_key\":\"3\""), "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_fails_or_does_not_come_ends_the_stream_in_an_error() {
        let fails = |_| async { Err::<AuditChunk, _>(io::Error::other("the disk is gone")) };
        let result: Result<Vec<Bytes>, _> = chunks(chunk(0, Some(1)), DEADLINE, fails).try_collect().await;
        assert!(result.is_err());
        let hangs = |_| std::future::pending::<Result<AuditChunk, io::Error>>();
        let result: Result<Vec<Bytes>, _> = chunks(chunk(0, Some(1)), DEADLINE, hangs).try_collect().await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
