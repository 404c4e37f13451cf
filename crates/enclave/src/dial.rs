//! From nothing to a link: connect, ask for evidence, verify it, and only then release what opens the signer's root.

use std::{sync::Arc, time::Duration};

use anya_primitives::Clock;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};

use crate::{
    binding::{Binding, KeyPin},
    channel::{ChannelKey, Transport, connect},
    error::{Error, Result},
    link::Link,
    policy::EvidenceKind,
    release::ReleaseSecret,
    verifier::Verifier,
    wire::{Answer, Features, HANDSHAKE_FRAME, Request, RootState, read_frame},
};

/// The longest that connecting, evidence and opening the root may take together. A quote takes a processor up to a
/// second, and opening a root is slow on purpose.
const WITHIN: Duration = Duration::from_secs(30);

/// How the server knows the signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerKey {
    /// By its channel key, as `anya-signer init` prints it.
    Pinned(KeyPin),
    /// By its evidence alone, which binds the channel key. Simulated evidence cannot stand for this.
    ByEvidence,
}

/// All that it takes to reach a signer and to trust it.
pub struct Dial {
    /// The way there.
    pub transport: Box<dyn Transport>,
    /// The server's own key of the channel.
    pub own: ChannelKey,
    /// The signer's.
    pub signer: SignerKey,
    /// What the signer has to prove.
    pub verifier: Verifier,
    /// The server's part of what opens the signer's root.
    pub secret: ReleaseSecret,
    /// Whose time it is.
    pub clock: Arc<dyn Clock>,
}

impl Dial {
    /// Opens a link. `create` makes a root where the signer has none; without it such a signer is an error, because
    /// its keys are elsewhere.
    pub(crate) async fn open(&self, provider: &str, wanted: &Features, create: bool) -> Result<Arc<Link>> {
        let deadline = Instant::now() + WITHIN;
        let late = |_| Error::Unreachable("it does not answer in time".to_owned());
        timeout_at(deadline, self.attempt(provider, wanted, create, deadline)).await.map_err(late)?
    }

    async fn attempt(
        &self,
        provider: &str,
        wanted: &Features,
        create: bool,
        deadline: Instant,
    ) -> Result<Arc<Link>> {
        let stream = self
            .transport
            .connect()
            .await
            .map_err(|error| Error::Unreachable(format!("{}: {error}", self.transport.address())))?;
        let expected = match self.signer {
            SignerKey::Pinned(pin) => Some(pin),
            SignerKey::ByEvidence => None,
        };
        let (mut stream, pin) = connect(stream, &self.own, expected).await?;

        let mut nonce = [0; 32];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Internal("the random generator failed"))?;
        let hello = Request::Hello { nonce };
        let Answer::Hello { evidence, root } = ask(&mut stream, provider, &hello, 1, deadline).await? else {
            return Err(Error::Protocol("an answer to another question"));
        };
        let binding = Binding { channel: pin, nonce, subject: None };
        let verified = self.verifier.verify(&evidence, &binding, self.clock.now())?;
        if verified.kind == EvidenceKind::Simulated && self.signer == SignerKey::ByEvidence {
            return Err(Error::Handshake(
                "simulated evidence binds no key: pin the signer's, as `anya-signer init` prints it"
                    .to_owned(),
            ));
        }
        if root == RootState::Absent && !create {
            return Err(Error::Handshake(
                "the signer has no root: enrol it, or restore its folder from a backup".to_owned(),
            ));
        }
        // A root that is there already may be the one of an enrolment whose answer was lost: the part tells.
        let create = root == RootState::Absent;

        // What a link holds is bound to what the policy guarantees, not to what the signer happens to be better at.
        let part = self.secret.part(self.verifier.residence())?;
        let release = Request::Release { part: &part, create };
        let Answer::Released(features) = ask(&mut stream, provider, &release, 2, deadline).await? else {
            return Err(Error::Protocol("an answer to another question"));
        };
        if !features.cover(wanted) {
            return Err(Error::Handshake("the signer is of an older release: upgrade it".to_owned()));
        }
        Ok(Link::start(provider, stream, verified, pin))
    }
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    provider: &str,
    request: &Request<'_>,
    id: u64,
    deadline: Instant,
) -> Result<Answer> {
    let lost = |error: std::io::Error| Error::Unreachable(error.to_string());
    let frame = request.encode(id, deadline.into_std());
    stream.write_all(&frame).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    match read_frame(stream, HANDSHAKE_FRAME).await.map_err(lost)? {
        Some(frame) if frame.id == id => Answer::decode(&frame.body, provider),
        Some(_) => Err(Error::Protocol("an answer to another question")),
        None => Err(Error::Unreachable("it closed the connection".to_owned())),
    }
}
