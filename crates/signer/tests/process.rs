//! The real process, with a real server's end: what it promises while it runs, is killed, or is attacked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use std::{
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anya_enclave::{
    ChannelKey, Dial, EnclaveProvider, Error as ChannelError, EvidencePolicy, KeyPin, Refusal, ReleaseSecret,
    SignerKey, UnixTransport, Verifier, channel,
    wire::{Answer, HANDSHAKE_FRAME, Request, RootState, read_frame},
};
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::Network;
use anya_provider::{
    Attestation, Error, Expected, Generated, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Message,
    Provider, ProviderKind, PublicMaterial, Residence, Rewrapped, SignAlgorithm, SignRequest, SignatureBytes,
    TransferScheme, Verifier as Signatures,
};
use bitcoin::bip32::DerivationPath;
use support::{PATIENCE, Process, Server, context, enrolled, ready, run, simulated, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const DIGEST: [u8; 32] = [0x5a; 32];

fn ecdsa() -> SignRequest<'static> {
    SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message: Message::Digest(DIGEST) }
}

fn check(public: &PublicMaterial, request: &SignRequest<'_>, signature: &SignatureBytes) {
    let expected = match public {
        PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
        other => Expected::Other(other),
    };
    Signatures::new().check(&expected, request.algorithm, request.message, signature).unwrap();
}

async fn sign_and_check(provider: &dyn Provider, ctx: &KeyContext, made: &Generated) {
    let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
    let signature = provider.sign(&ctx, &made.handle, &ecdsa()).await.unwrap();
    check(&made.public, &ecdsa(), &signature);
}

#[tokio::test]
async fn it_holds_every_sort_of_key_and_says_where() {
    let (_process, _server, provider) = enrolled().await;
    ready(&provider).await;
    let declared = provider.capabilities();
    assert_eq!(declared.kind, ProviderKind::Enclave);
    assert_eq!(declared.attestation, Attestation::Simulated);
    assert_eq!(declared.residences, [Residence::SignerProcess]);
    assert!(declared.product.contains("unattested"));
    assert!(provider.health(soon()).await.detail.contains("unattested"));

    for spec in KeySpec::ALL {
        let ctx = context(spec);
        let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
        assert_eq!((made.public.spec(), made.residence), (spec, Residence::SignerProcess));
        let algorithm = match spec {
            KeySpec::Secp256k1 => SignAlgorithm::EcdsaSecp256k1,
            KeySpec::Ed25519 => SignAlgorithm::Ed25519,
            KeySpec::P256 => SignAlgorithm::EcdsaP256,
            KeySpec::Rsa3072 => SignAlgorithm::RsaPssSha256,
            KeySpec::Bip32Seed => {
                let path: DerivationPath = "m/84h/0h/0h/0/7".parse().unwrap();
                let derived = provider.derive_public(&ctx, &made.handle, &path).await.unwrap();
                let request = SignRequest { path: Some(path), ..ecdsa() };
                let signature = provider.sign(&ctx, &made.handle, &request).await.unwrap();
                let expected = Expected::Curve(derived.xpub.public_key);
                Signatures::new().check(&expected, request.algorithm, request.message, &signature).unwrap();
                continue;
            }
            KeySpec::Aes256 => {
                let text = vec![7; 100_000];
                let sealed = provider.encrypt(&ctx, &made.handle, b"bound", &text).await.unwrap();
                let opened = provider.decrypt(&ctx, &made.handle, b"bound", &sealed).await.unwrap();
                assert_eq!(*opened, text);
                let other = provider.decrypt(&ctx, &made.handle, b"other", &sealed).await;
                assert!(matches!(other, Err(Error::Decrypt)), "{other:?}");
                continue;
            }
        };
        let message = match algorithm {
            SignAlgorithm::EcdsaSecp256k1 => Message::Digest(DIGEST),
            _ => Message::Bytes(b"a message"),
        };
        let request = SignRequest { algorithm, path: None, message };
        let signature = provider.sign(&ctx, &made.handle, &request).await.unwrap();
        check(&made.public, &request, &signature);
    }
}

#[tokio::test]
async fn refusals_come_through_as_they_are() {
    let (_process, _server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let elsewhere = KeyContext { tenant: anya_primitives::TenantId::new(), ..ctx.clone() };
    let outcome = provider.sign(&elsewhere, &made.handle, &ecdsa()).await;
    assert!(matches!(outcome, Err(Error::HandleDamaged)), "{outcome:?}");
    let ed = SignRequest { algorithm: SignAlgorithm::Ed25519, ..ecdsa() };
    let outcome = provider.sign(&ctx, &made.handle, &ed).await;
    assert!(matches!(outcome, Err(Error::WrongSpec { .. })), "{outcome:?}");
    let template = KeyTemplate { residence: Some(Residence::Enclave), ..KeyTemplate::default() };
    let outcome = provider.generate(&context(KeySpec::P256), template).await;
    assert!(matches!(outcome, Err(Error::Unsupported { .. })), "{outcome:?}");
    let late = KeyContext { deadline: Instant::now(), ..ctx.clone() };
    let outcome = provider.sign(&late, &made.handle, &ecdsa()).await;
    assert!(matches!(outcome, Err(Error::Timeout(_))), "{outcome:?}");
    let huge = vec![0; anya_provider::MAX_MESSAGE + 1];
    let outcome = provider.encrypt(&context(KeySpec::Aes256), &made.handle, b"", &huge).await;
    assert!(matches!(outcome, Err(Error::Invalid { field: "plaintext", .. })), "{outcome:?}");
    let outcome = provider.transfer_out(&ctx, &made.handle, TransferScheme::RsaAesKeyWrap, &[]).await;
    assert!(outcome.is_err());
    let word = ImportMaterial::Mnemonic { phrase: "not a phrase".into(), passphrase: None };
    let outcome = provider.import(&context(KeySpec::Bip32Seed), KeyTemplate::default(), word).await;
    assert!(matches!(outcome, Err(Error::Invalid { .. })), "{:?}", outcome.err());
}

#[tokio::test]
async fn many_requests_are_under_way_at_once() {
    let (_process, _server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let provider = Arc::new(provider);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200_u8 {
        let (provider, ctx, made) = (Arc::clone(&provider), ctx.clone(), made.clone());
        tasks.spawn(async move {
            let request = SignRequest { message: Message::Digest([number; 32]), ..ecdsa() };
            let signature = provider.sign(&ctx, &made.handle, &request).await.unwrap();
            check(&made.public, &request, &signature);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn keys_survive_a_kill_and_callers_learn_of_it_at_once() {
    let (mut process, _server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    sign_and_check(&provider, &ctx, &made).await;

    // A request is under way: RSA takes the signer long enough.
    let provider = Arc::new(provider);
    let waiting = {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move {
            let mut made = 0;
            loop {
                let ctx = context(KeySpec::Rsa3072);
                match provider.generate(&ctx, KeyTemplate::default()).await {
                    Ok(_) => made += 1,
                    Err(error) => return (error, Instant::now(), made),
                }
            }
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let killed = Instant::now();
    process.kill();
    let (error, learned, _) = waiting.await.unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(learned.saturating_duration_since(killed) < Duration::from_secs(5), "its deadline was 30 s away");

    let down = Instant::now();
    let outcome =
        provider.sign(&KeyContext { deadline: soon(), ..ctx.clone() }, &made.handle, &ecdsa()).await;
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
    assert!(down.elapsed() < Duration::from_secs(5));

    process.start();
    ready(&provider).await;
    sign_and_check(provider.as_ref(), &ctx, &made).await;
}

#[tokio::test]
async fn a_signer_that_hangs_costs_no_more_than_the_deadline() {
    let (process, _server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    process.signal("-STOP");
    let begun = Instant::now();
    let hurried = KeyContext { deadline: begun + Duration::from_millis(100), ..ctx.clone() };
    let outcome = provider.sign(&hurried, &made.handle, &ecdsa()).await;
    assert!(matches!(outcome, Err(Error::Timeout(_))), "{outcome:?}");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(begun.elapsed() < Duration::from_secs(5));
    process.signal("-CONT");
    // The late answer is nobody's; the next is the right one.
    sign_and_check(&provider, &ctx, &made).await;
}

#[tokio::test]
async fn only_the_server_it_knows_gets_in_and_only_the_signer_it_knows_gets_a_part() {
    let (process, server, provider) = enrolled().await;
    ready(&provider).await;

    let stranger = Server::new();
    let error = EnclaveProvider::enrol("vault", &stranger.plain(&process)).await.unwrap_err();
    // In TLS 1.3 a client's end is open before the other end has judged its key.
    assert!(matches!(error, ChannelError::Handshake(_) | ChannelError::Unreachable(_)), "{error}");

    let other = KeyPin::of(b"another signer's key");
    let dial = server.dial(&process.socket(), SignerKey::Pinned(other), Verifier::new(simulated()));
    let error = EnclaveProvider::enrol("vault", &dial).await.unwrap_err();
    assert!(matches!(error, ChannelError::Handshake(_)), "{error}");
    assert!(error.to_string().contains(&process.pin.to_string()), "{error}");

    let dial = server.dial(&process.socket(), SignerKey::ByEvidence, Verifier::new(simulated()));
    let error = EnclaveProvider::enrol("vault", &dial).await.unwrap_err();
    assert!(error.to_string().contains("simulated evidence binds no key"), "{error}");
    ready(&provider).await;
}

#[tokio::test]
async fn a_plain_process_gets_nothing_unless_the_policy_names_it() {
    let server = Server::new();
    let mut process = Process::init(server.key.pin());
    process.start();
    let policies = [
        (EvidencePolicy::new(Network::Regtest), Refusal::Simulated),
        (EvidencePolicy { network: Network::Mainnet, ..simulated() }, Refusal::SimulatedOnMainnet),
    ];
    for (policy, expected) in policies {
        let dial = server.dial(&process.socket(), SignerKey::Pinned(process.pin), Verifier::new(policy));
        match EnclaveProvider::enrol("vault", &dial).await {
            Err(ChannelError::Refused(refusal)) => assert_eq!(refusal, expected),
            other => panic!("{other:?}"),
        }
        let provider = EnclaveProvider::start("vault", dial);
        let health = provider.health(soon()).await;
        assert!(!health.ready && health.detail.contains("simulated"), "{}", health.detail);
    }
    assert!(!process.data().join("keystore.json").exists(), "a part was released to it");
    let mainnet =
        EvidencePolicy { network: Network::Mainnet, allow_simulated_on_mainnet: true, ..simulated() };
    let dial = server.dial(&process.socket(), SignerKey::Pinned(process.pin), Verifier::new(mainnet));
    EnclaveProvider::enrol("vault", &dial).await.unwrap();
}

#[tokio::test]
async fn a_root_is_made_once_and_opened_by_both_parts_alone() {
    let (mut process, server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    // Once more it is the same root, and with another secret none.
    EnclaveProvider::enrol("vault", &server.plain(&process)).await.unwrap();
    sign_and_check(&provider, &ctx, &made).await;
    let other = Dial { secret: ReleaseSecret::random().unwrap(), ..server.plain(&process) };
    let refused = EnclaveProvider::enrol("vault", &other).await.unwrap_err();
    assert!(matches!(refused, ChannelError::Signer(Error::Credential { .. })), "{refused}");

    // The right server with the wrong part, while the root is open for another connection and while it is not.
    let wrong = Dial { secret: ReleaseSecret::random().unwrap(), ..server.plain(&process) };
    let confused = EnclaveProvider::start("vault", wrong);
    assert!(confused.health(soon()).await.detail.contains("does not open the root"));
    sign_and_check(&provider, &ctx, &made).await;
    provider.close().await;
    drop(provider);
    let outcome = confused.sign(&context(KeySpec::Secp256k1), &made.handle, &ecdsa()).await;
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
    drop(confused);

    // The signer's part is as necessary: the same root in the folder of another signer does not open.
    let keystore = std::fs::read(process.data().join("keystore.json")).unwrap();
    process.kill();
    let mut other = Process::init(server.key.pin());
    std::fs::write(other.data().join("keystore.json"), keystore).unwrap();
    other.start();
    let stolen = EnclaveProvider::start("vault", server.plain(&other));
    assert!(stolen.health(soon()).await.detail.contains("does not open the root"));

    process.start();
    let provider = EnclaveProvider::start("vault", server.plain(&process));
    sign_and_check(&provider, &ctx, &made).await;
}

#[tokio::test]
async fn a_signer_without_a_root_is_not_given_one_by_accident() {
    let server = Server::new();
    let mut process = Process::init(server.key.pin());
    process.start();
    let provider = EnclaveProvider::start("vault", server.plain(&process));
    let health = provider.health(soon()).await;
    assert!(!health.ready && health.detail.contains("enrol it"), "{}", health.detail);
    assert!(!process.data().join("keystore.json").exists());
    EnclaveProvider::enrol("vault", &server.plain(&process)).await.unwrap();
    ready(&provider).await;
}

/// The root's state, as the signer tells anybody who has the server's key.
async fn root_of(process: &Process, server: &Server) -> RootState {
    let stream = tokio::net::UnixStream::connect(process.socket()).await.unwrap();
    let (mut stream, _) = channel::connect(Box::new(stream), &server.key, Some(process.pin)).await.unwrap();
    let hello = Request::Hello { nonce: [1; 32] }.encode(1, soon());
    stream.write_all(&hello).await.unwrap();
    stream.flush().await.unwrap();
    let frame = read_frame(&mut stream, HANDSHAKE_FRAME).await.unwrap().unwrap();
    match Answer::decode(&frame.body, "vault").unwrap() {
        Answer::Hello { root, .. } => root,
        _ => panic!("another answer"),
    }
}

#[tokio::test]
async fn the_root_is_open_while_a_server_is_there_and_wiped_when_the_last_leaves() {
    let (process, server, first) = enrolled().await;
    ready(&first).await;
    let second = EnclaveProvider::start("vault", server.plain(&process));
    ready(&second).await;
    let ctx = context(KeySpec::Secp256k1);
    let made = first.generate(&ctx, KeyTemplate::default()).await.unwrap();
    sign_and_check(&second, &ctx, &made).await;
    drop(first);
    sign_and_check(&second, &ctx, &made).await;
    assert_eq!(root_of(&process, &server).await, RootState::Open);
    drop(second);
    let begun = Instant::now();
    while root_of(&process, &server).await != RootState::Sealed {
        assert!(begun.elapsed() < PATIENCE, "the root stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn no_key_is_touched_before_a_release() {
    let (process, server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    // The server's key alone, without a greeting and without a part.
    for greeted in [false, true] {
        let stream = tokio::net::UnixStream::connect(process.socket()).await.unwrap();
        let (mut stream, _) =
            channel::connect(Box::new(stream), &server.key, Some(process.pin)).await.unwrap();
        if greeted {
            let hello = Request::Hello { nonce: [1; 32] }.encode(1, soon());
            stream.write_all(&hello).await.unwrap();
            stream.flush().await.unwrap();
            read_frame(&mut stream, HANDSHAKE_FRAME).await.unwrap().unwrap();
        }
        let sign = Request::Sign { key: ctx.clone(), handle: &made.handle, request: ecdsa() };
        stream.write_all(&sign.encode(2, soon())).await.unwrap();
        stream.flush().await.unwrap();
        let answer = read_frame(&mut stream, HANDSHAKE_FRAME).await;
        assert!(!matches!(answer, Ok(Some(_))), "greeted: {greeted}");
    }
    sign_and_check(&provider, &ctx, &made).await;
}

#[tokio::test]
async fn its_sealing_key_is_renewed_without_a_passphrase() {
    let (mut process, _server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let before = provider.kek_status(soon()).await.unwrap();
    let refused = provider.rotate_kek(Some("a passphrase".into()), soon()).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "passphrase", .. })), "{refused:?}");
    let after = provider.rotate_kek(None, soon()).await.unwrap();
    assert_eq!(after.current, before.current + 1);
    let Rewrapped::Handle(handle) = provider.rewrap(&ctx, &made.handle).await.unwrap() else { panic!() };
    assert_eq!(provider.rewrap(&ctx, &handle).await.unwrap(), Rewrapped::Current);
    let retired = provider.retire_kek(before.current, None, soon()).await.unwrap();
    assert_eq!(retired.generations, [after.current]);
    let outcome = provider.sign(&ctx, &made.handle, &ecdsa()).await;
    assert!(outcome.is_err(), "a handle under a retired generation opens");
    process.kill();
    process.start();
    ready(&provider).await;
    sign_and_check(&provider, &ctx, &Generated { handle, ..made }).await;
}

#[tokio::test]
async fn keys_move_between_it_and_the_servers_own_keystore() {
    let (_process, _server, provider) = enrolled().await;
    let folder = tempfile::TempDir::new().unwrap();
    let software = SoftwareProvider::init(
        folder.path().join("keystore.json"),
        "a long passphrase".into(),
        KdfCost::insecure_for_tests(),
    )
    .await
    .unwrap();
    let scheme = TransferScheme::RsaAesKeyWrap;
    let template = KeyTemplate { transferable: true, residence: None };
    let ways: [(&dyn Provider, &dyn Provider); 2] = [(&provider, &software), (&software, &provider)];
    for (from, to) in ways {
        let ctx = context(KeySpec::Secp256k1);
        let made = from.generate(&ctx, template).await.unwrap();
        let offer = to.transfer_offer(&ctx, scheme).await.unwrap();
        let transfer = from.transfer_out(&ctx, &made.handle, scheme, &offer.public).await.unwrap();
        let copy = to.transfer_in(&ctx, template, &offer.ticket, &transfer).await.unwrap();
        assert_eq!(copy.public, made.public);
        sign_and_check(to, &ctx, &copy).await;

        let fixed = from.generate(&context(KeySpec::Secp256k1), KeyTemplate::default()).await.unwrap();
        let stays = from.transfer_out(&ctx, &fixed.handle, scheme, &offer.public).await;
        assert!(stays.is_err());
    }
}

#[tokio::test]
async fn evidence_of_a_key_names_the_key_the_channel_and_the_nonce() {
    let (_process, _server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let evidence = provider.attest(&ctx, &made.handle, &[9; 32]).await.unwrap();
    let (_, channel) = provider.attested().unwrap();
    let subject = Some(anya_enclave::key_subject(&ctx, &made.handle));
    let binding = anya_enclave::Binding { channel, nonce: [9; 32], subject };
    let verifier = Verifier::new(simulated());
    let now = "2030-01-15T00:00:00Z".parse().unwrap();
    assert!(verifier.verify(&evidence, &binding, now).is_ok());
    let other = KeyContext { version: 2, ..ctx.clone() };
    let subject = Some(anya_enclave::key_subject(&other, &made.handle));
    let elsewhere = anya_enclave::Binding { subject, ..binding };
    assert_eq!(verifier.verify(&evidence, &elsewhere, now), Err(Refusal::Binding));
    // It speaks of no key that it could not open.
    let outcome = provider.attest(&other, &made.handle, &[9; 32]).await;
    assert!(matches!(outcome, Err(Error::HandleDamaged)), "{outcome:?}");
}

/// Carries bytes between server and signer, and keeps them.
async fn tap(from: &Path, to: std::path::PathBuf) -> Arc<Mutex<Vec<u8>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::UnixListener::bind(from).unwrap();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::UnixStream::connect(&to).await.unwrap();
            let ((mut a, mut b), (mut c, mut d)) = (near.into_split(), far.into_split());
            let (one, two) = (Arc::clone(&kept), Arc::clone(&kept));
            tokio::spawn(async move { carry(&mut a, &mut d, &one).await });
            tokio::spawn(async move { carry(&mut c, &mut b, &two).await });
        }
    });
    seen
}

async fn carry(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    seen: &Mutex<Vec<u8>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_planted_secret_is_in_no_file_in_no_handle_and_not_on_the_wire() {
    let server = Server::new();
    let mut process = Process::init(server.key.pin());
    process.start();
    let tapped = process.home.path().join("tapped");
    let seen = tap(&tapped, process.socket()).await;
    let dial = || server.dial(&tapped, SignerKey::Pinned(process.pin), Verifier::new(simulated()));
    EnclaveProvider::enrol("vault", &dial()).await.unwrap();
    let provider = EnclaveProvider::start("vault", dial());

    let seed: Vec<u8> = (0..64).map(|number| number * 3 + 17).collect();
    let phrase = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let ctx = context(KeySpec::Bip32Seed);
    let imported = provider
        .import(&ctx, KeyTemplate::default(), ImportMaterial::Secret(seed.clone().into()))
        .await
        .unwrap();
    let mnemonic = ImportMaterial::Mnemonic { phrase: phrase.into(), passphrase: Some("TREZOR".into()) };
    let words = context(KeySpec::Bip32Seed);
    let from_words = provider.import(&words, KeyTemplate::default(), mnemonic).await.unwrap();
    let PublicMaterial::Bip32 { xpub, .. } = &from_words.public else { panic!() };
    // The public vector of BIP39 for this phrase, so that what was sealed is what was sent.
    let vector = bitcoin::bip32::Xpriv::new_master(
        bitcoin::NetworkKind::Main,
        &hex::decode(
            "2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c1069be3a3a5bd381ee6260e8d9739fce1f607",
        )
        .unwrap(),
    )
    .unwrap();
    let secp = bitcoin::secp256k1::Secp256k1::new();
    assert_eq!(xpub.public_key, vector.private_key.public_key(&secp));
    let path: DerivationPath = "m/0".parse().unwrap();
    let request = SignRequest { path: Some(path), ..ecdsa() };
    provider.sign(&ctx, &imported.handle, &request).await.unwrap();

    let part = std::fs::read(process.data().join("part.key")).unwrap();
    let mut planted = vec![seed.clone(), phrase.as_bytes().to_vec(), b"legal winner".to_vec()];
    planted.push(hex::encode(&seed).into_bytes());
    let wire = seen.lock().unwrap().clone();
    assert!(wire.len() > 3000, "the tap saw {} bytes", wire.len());
    let handles = [imported.handle.clone(), from_words.handle.clone()];
    for secret in &planted {
        assert!(!contains(&wire, secret), "a secret was on the wire");
        assert!(handles.iter().all(|handle| !contains(handle, secret)), "a secret is in a handle");
    }
    assert!(!contains(&wire, &part), "the signer's part was on the wire");
    // Handles are on the wire all the time, and they are sealed in the channel as well.
    assert!(!contains(&wire, &imported.handle[..32]));
    planted.push(imported.handle[..32].to_vec());
    let mut files = 0;
    for entry in std::fs::read_dir(process.data()).unwrap() {
        let file = entry.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.path());
        let bytes = std::fs::read(file.path()).unwrap();
        files += 1;
        assert!(planted.iter().all(|secret| !contains(&bytes, secret)), "{:?} holds a secret", file.path());
    }
    assert_eq!(files, 4, "part, channel key, root and lock");
    process.signal("-TERM");
    let (_, log) = process.wait();
    assert!(!log.contains(phrase) && !log.contains(&hex::encode(&seed)), "{log}");
}

#[tokio::test]
async fn noise_and_silence_on_its_socket_do_not_stop_it() {
    let (process, server, provider) = enrolled().await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    // Silent connections, which it drops after a while, are fewer than it has room for.
    let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(process.socket()).unwrap()).collect();
    for length in [1, 5, 100, 10_000] {
        let mut noise = UnixStream::connect(process.socket()).unwrap();
        let bytes: Vec<u8> =
            (0..length).map(|place: u32| place.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let _ = noise.write_all(&bytes);
    }
    // Noise inside the channel, by somebody who has the server's key: that connection ends, and only that.
    let stream = tokio::net::UnixStream::connect(process.socket()).await.unwrap();
    let (mut stream, _) = channel::connect(Box::new(stream), &server.key, Some(process.pin)).await.unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    stream.flush().await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    sign_and_check(&provider, &ctx, &made).await;
    drop(silent);
}

#[tokio::test]
async fn it_ends_on_sigterm_after_it_has_answered() {
    let (mut process, _server, provider) = enrolled().await;
    let provider = Arc::new(provider);
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    sign_and_check(provider.as_ref(), &ctx, &made).await;
    let silent = UnixStream::connect(process.socket()).unwrap();
    let told = Instant::now();
    process.signal("-TERM");
    let (code, log) = process.wait();
    assert!(told.elapsed() < Duration::from_secs(5), "it waits for somebody who says nothing");
    drop(silent);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("keystore locked"), "the root was not wiped: {log}");
    assert!(!process.socket().exists());
    process.start();
    ready(&provider).await;
    sign_and_check(provider.as_ref(), &ctx, &made).await;
}

#[test]
fn its_folder_is_made_once_held_by_one_and_shown_to_nobody() {
    let mut process = Process::init(ChannelKey::ephemeral().unwrap().pin());
    let data = process.data();
    let data = data.to_str().unwrap();
    let fails = |arguments: &[&str], because: &str| {
        let output = run(arguments);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {log}");
        assert!(log.contains(because), "{arguments:?}: {log}");
        assert!(output.stdout.is_empty());
    };
    fails(&["init", "--data", data], "there is a signer in it already");
    let shown = run(&["pin", "--data", data]);
    assert_eq!(String::from_utf8(shown.stdout).unwrap().trim(), process.pin.to_string());
    let empty = process.home.path().join("empty");
    let empty = empty.to_str().unwrap();
    let pin = process.pin.to_string();
    let socket = process.home.path().join("other");
    let serve = |data| ["serve", "--data", data, "--socket", socket.to_str().unwrap(), "--server-key", &pin];
    fails(&serve(empty), "there is no signer in it");
    process.start();
    fails(&serve(data), "another signer works with this folder");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    process.kill();
    std::fs::set_permissions(process.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    fails(&serve(data), "others may look into this folder");
    std::fs::set_permissions(process.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let part = process.data().join("part.key");
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o640)).unwrap();
    fails(&serve(data), "others may read or write this secret");
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(process.home.path().join("other"), "a file").unwrap();
    fails(&serve(data), "it is no socket");
}

#[test]
fn hardware_that_is_not_there_is_an_error_and_never_a_simulation() {
    let process = Process::init(ChannelKey::ephemeral().unwrap().pin());
    let (data, socket) = (process.data(), process.socket());
    let pin = process.pin.to_string();
    for evidence in ["sgx", "tdx"] {
        let output = run(&[
            "serve",
            "--data",
            data.to_str().unwrap(),
            "--socket",
            socket.to_str().unwrap(),
            "--server-key",
            &pin,
            "--evidence",
            evidence,
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("no evidence from"), "{output:?}");
    }
    assert_eq!(run(&["serve"]).status.code(), Some(2));
    assert_eq!(run(&["serve", "--server-key", "abc"]).status.code(), Some(2));
    let help = run(&["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
}

#[tokio::test]
async fn nobody_listens() {
    let server = Server::new();
    let process = Process::init(server.key.pin());
    let begun = Instant::now();
    let provider = EnclaveProvider::start("vault", server.plain(&process));
    let outcome = provider.generate(&context(KeySpec::P256), KeyTemplate::default()).await;
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let transport = UnixTransport::new("/nonexistent/socket");
    let dial = Dial { transport: Box::new(transport), ..server.plain(&process) };
    let error = EnclaveProvider::enrol("vault", &dial).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/socket"), "{error}");
    provider.close().await;
    let outcome = provider.kek_status(soon()).await;
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
}
