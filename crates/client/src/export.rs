//! Downloads: the audit log as JSON Lines, straight to a writer.

use http_body_util::BodyExt;
use hyper::Method;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    client::Client,
    error::Error,
    transport::{Call, innermost},
};

impl Client {
    /// Downloads the audit log of the token's tenant (or of the server) and answers the number of bytes.
    ///
    /// Memory stays bounded however long the log is. `Ok` means that the server ended the stream by itself behind a
    /// whole line; a stream that ends in any other way is [`Error::Cut`], whatever was written until then.
    pub async fn audit_export(&self, out: &mut (impl AsyncWrite + Unpin)) -> Result<u64, Error> {
        let transport = self.transport();
        let call =
            Call { method: Method::GET, path: "/v1/audit/export".into(), body: None, idempotency_key: None };
        let mut body = transport.within(transport.send(call)).await?.into_body();
        let (mut bytes, mut last) = (0u64, b'\n');
        let cut = |bytes, reason| Error::Cut { endpoint: transport.endpoint(), bytes, reason };
        loop {
            let next = tokio::time::timeout(transport.deadlines.call, body.frame()).await;
            let frame = match next {
                Err(_) => return Err(cut(bytes, "the server fell silent".into())),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(cut(bytes, innermost(&error))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            if let Some(byte) = data.last() {
                last = *byte;
            }
            out.write_all(&data).await?;
            bytes += data.len() as u64;
        }
        out.flush().await?;
        if bytes == 0 || last != b'\n' {
            return Err(cut(bytes, "it does not end with a whole line".into()));
        }
        Ok(bytes)
    }
}
