//! Frames and messages: what is written is read as it was, and nothing else is read at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::time::{Duration, Instant};

use anya_enclave::{
    Error,
    wire::{Answer, HANDSHAKE_FRAME, MAX_FRAME, Material, Request, RootState, read_frame},
};
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Error as ProviderError, Health, KekStatus, KeyContext, KeySpec, Message, Rewrapped, SignAlgorithm,
    SignRequest, TapTweak, TransferOffer, TransferScheme,
};
use bitcoin::{bip32::DerivationPath, hashes::Hash as _, taproot::TapNodeHash};
use proptest::prelude::*;

const HEAD: usize = 12;

fn contexts() -> impl Strategy<Value = KeyContext> {
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u32>(), 0..KeySpec::ALL.len()).prop_map(
        |(tenant, key, version, spec)| KeyContext {
            tenant: TenantId::from_bytes(tenant),
            key: KeyId::from_bytes(key),
            version,
            spec: KeySpec::ALL[spec],
            deadline: Instant::now() + Duration::from_secs(60),
        },
    )
}

fn algorithms() -> impl Strategy<Value = SignAlgorithm> {
    let tweaked = |merkle_root| SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root }) };
    prop_oneof![
        Just(SignAlgorithm::EcdsaSecp256k1),
        Just(SignAlgorithm::SchnorrSecp256k1 { tweak: None }),
        Just(tweaked(None)),
        any::<[u8; 32]>().prop_map(move |root| tweaked(Some(TapNodeHash::from_byte_array(root)))),
        Just(SignAlgorithm::Ed25519),
        Just(SignAlgorithm::EcdsaP256),
        Just(SignAlgorithm::RsaPssSha256),
    ]
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// The frame of a request, read again and written again.
fn again(request: &Request<'_>, id: u64) -> (Vec<u8>, Vec<u8>) {
    let frame = request.encode(id, Instant::now() + Duration::from_secs(60));
    assert_eq!(frame.len(), HEAD + u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize);
    assert_eq!(frame[4..HEAD], id.to_be_bytes());
    let (read, deadline) = Request::decode(&frame[HEAD..], Instant::now()).unwrap();
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
    // All but the time that is left.
    let second = read.encode(id, deadline);
    (frame[HEAD + 4..].to_vec(), second[HEAD + 4..].to_vec())
}

proptest! {
    #[test]
    fn a_request_to_sign_is_read_as_it_was_written(
        key in contexts(),
        handle in bytes(300),
        algorithm in algorithms(),
        path in prop::option::of(prop::collection::vec(any::<u32>(), 0..12)),
        digest in any::<[u8; 32]>(),
        message in prop::option::of(bytes(500)),
        id in any::<u64>(),
    ) {
        let path: Option<DerivationPath> =
            path.map(|steps| steps.into_iter().map(Into::into).collect::<Vec<_>>().into());
        let said = match &message {
            Some(message) => Message::Bytes(message),
            None => Message::Digest(digest),
        };
        let request = SignRequest { algorithm, path: path.clone(), message: said };
        let frame = Request::Sign { key: key.clone(), handle: &handle, request }
            .encode(id, Instant::now() + Duration::from_secs(60));
        match Request::decode(&frame[HEAD..], Instant::now()).unwrap().0 {
            Request::Sign { key: read, handle: found, request } => {
                prop_assert_eq!((read.tenant, read.key, read.version, read.spec), (key.tenant, key.key, key.version, key.spec));
                prop_assert_eq!(found, &handle[..]);
                prop_assert_eq!(request.algorithm, algorithm);
                prop_assert_eq!(request.path, path);
                prop_assert_eq!(request.message, said);
            }
            _ => prop_assert!(false, "another request"),
        }
    }

    #[test]
    fn every_request_is_read_as_it_was_written(
        key in contexts(), a in bytes(200), b in bytes(200), c in bytes(200), flag in any::<bool>(), id in any::<u64>(),
        part in any::<[u8; 32]>(), number in any::<u32>(), text in ".{0,40}", other in prop::option::of(".{0,40}"),
    ) {
        let scheme = TransferScheme::YubihsmWrap;
        let requests = [
            Request::Hello { nonce: part },
            Request::Release { part: &part, create: flag },
            Request::Health,
            Request::Generate { key: key.clone(), transferable: flag },
            Request::Import {
                key: key.clone(),
                transferable: flag,
                material: Material::Mnemonic { phrase: &text, passphrase: other.as_deref() },
            },
            Request::Import { key: key.clone(), transferable: flag, material: Material::Secret(&a) },
            Request::DerivePublic { key: key.clone(), handle: &a, path: "m/84h/1/2".parse().unwrap() },
            Request::Encrypt { key: key.clone(), handle: &a, aad: &b, plaintext: &c },
            Request::Decrypt { key: key.clone(), handle: &a, aad: &b, ciphertext: &c },
            Request::Destroy { key: key.clone(), handle: &a },
            Request::TransferOffer { key: key.clone(), scheme },
            Request::TransferOut { key: key.clone(), handle: &a, scheme, public: &b },
            Request::TransferIn { key: key.clone(), transferable: flag, ticket: &a, scheme, wrapped: &b },
            Request::KekStatus,
            Request::RotateKek { part: &part },
            Request::Rewrap { key: key.clone(), handle: &a },
            Request::RetireKek { generation: number, part: &part },
            Request::Attest { key: key.clone(), handle: &a, nonce: part },
        ];
        let mut seen = Vec::new();
        for request in &requests {
            let (first, second) = again(request, id);
            prop_assert_eq!(&first, &second);
            // Cut anywhere it is no request, nor with anything behind it.
            let whole = [&[0; 4], &first[..]].concat();
            for length in 0..whole.len() {
                prop_assert!(Request::decode(&whole[..length], Instant::now()).is_err(), "{}", length);
            }
            prop_assert!(Request::decode(&[&whole[..], &[0]].concat(), Instant::now()).is_err());
            seen.push(first);
        }
        seen.sort();
        seen.dedup();
        prop_assert!(seen.len() >= requests.len() - 1);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(body in bytes(400)) {
        let _ = Request::decode(&body, Instant::now());
        let _ = Answer::decode(&body, "signer");
        // With each of the codes, so that fields are reached.
        for code in 0..20 {
            let _ = Request::decode(&[&[0, 0, 0, 9, code][..], &body].concat(), Instant::now());
            let _ = Answer::decode(&[&[code][..], &body].concat(), "signer");
        }
    }

    #[test]
    fn arbitrary_streams_do_no_harm(stream in bytes(400), limit in 0..500_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut rest = &stream[..];
            while let Ok(Some(frame)) = read_frame(&mut rest, limit).await {
                assert!(frame.body.len() <= limit);
            }
        });
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(a in bytes(300), b in bytes(300), c in bytes(300), id in any::<u64>(), number in any::<u32>(), text in ".{0,60}") {
        let offer = TransferOffer { scheme: TransferScheme::RsaAesKeyWrap, public: a.clone(), ticket: b.clone() };
        let answers = [
            Answer::Health(Health { ready: true, detail: text }),
            Answer::Bytes(c.into()),
            Answer::Offer(offer),
            Answer::Kek(KekStatus { current: number, generations: vec![1, 7, number] }),
            Answer::Rewrapped(Rewrapped::Current),
            Answer::Rewrapped(Rewrapped::Handle(a)),
            Answer::Hello {
                evidence: anya_provider::Evidence::Dcap { quote: anya_provider::HexBytes(b) },
                root: RootState::Sealed,
            },
        ];
        for answer in answers {
            let first = Answer::encode(&Ok(answer), id);
            let read = Answer::decode(&first[HEAD..], "signer").unwrap();
            prop_assert_eq!(&*Answer::encode(&Ok(read), id), &*first);
            for length in 0..first.len() - HEAD {
                prop_assert!(Answer::decode(&first[HEAD..HEAD + length], "signer").is_err());
            }
        }
    }
}

#[test]
fn refusals_keep_their_sort_and_get_the_providers_name() {
    let name = || "here".to_owned();
    let there = || "there".to_owned();
    let reason = || "a reason".to_owned();
    let pairs = [
        (
            ProviderError::Locked,
            ProviderError::Unavailable { provider: name(), reason: "the signer is locked".to_owned() },
        ),
        (
            ProviderError::Invalid { field: "path", reason: reason() },
            ProviderError::Invalid { field: "path", reason: reason() },
        ),
        (
            ProviderError::Invalid { field: "colour", reason: reason() },
            ProviderError::Invalid { field: "request", reason: "colour: a reason".to_owned() },
        ),
        (
            ProviderError::WrongSpec { spec: KeySpec::P256, act: "sign with this algorithm" },
            ProviderError::WrongSpec { spec: KeySpec::P256, act: "sign with this algorithm" },
        ),
        (
            ProviderError::Unsupported { provider: there(), act: reason() },
            ProviderError::Unsupported { provider: name(), act: reason() },
        ),
        (ProviderError::Busy(there()), ProviderError::Busy(name())),
        (ProviderError::Missing(there()), ProviderError::Missing(name())),
        (ProviderError::NotTransferable(there()), ProviderError::NotTransferable(name())),
        (ProviderError::Timeout(there()), ProviderError::Timeout(name())),
        (ProviderError::HandleDamaged, ProviderError::HandleDamaged),
        (ProviderError::Decrypt, ProviderError::Decrypt),
        (
            ProviderError::Full { provider: there(), reason: reason() },
            ProviderError::Full { provider: name(), reason: reason() },
        ),
        (
            ProviderError::KeystoreMissing { path: "/x".into() },
            ProviderError::Unavailable {
                provider: name(),
                reason: ProviderError::KeystoreMissing { path: "/x".into() }.to_string(),
            },
        ),
    ];
    for (sent, expected) in pairs {
        let fault = sent.is_fault();
        let frame = Answer::encode(&Err(sent), 1);
        match Answer::decode(&frame[HEAD..], "here") {
            Err(Error::Signer(read)) => {
                assert_eq!(format!("{read:?}"), format!("{expected:?}"));
                assert_eq!(read.is_fault(), fault, "{read}");
            }
            _ => panic!("{expected}"),
        }
    }
}

#[tokio::test]
async fn a_frame_is_bounded_before_it_is_read() {
    for limit in [HANDSHAKE_FRAME, MAX_FRAME] {
        let mut head = u32::try_from(limit + 1).unwrap().to_be_bytes().to_vec();
        head.extend([0; 8]);
        let error = read_frame(&mut &head[..], limit).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    assert!(read_frame(&mut &[][..], 10).await.unwrap().is_none());
    let cut = read_frame(&mut &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 9][..], 10).await;
    assert_eq!(cut.err().unwrap().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_path_is_no_longer_than_bip32_allows() {
    let key = KeyContext {
        tenant: TenantId::new(),
        key: KeyId::new(),
        version: 1,
        spec: KeySpec::Bip32Seed,
        deadline: Instant::now(),
    };
    for (length, fits) in [(255, true), (256, false)] {
        let path: DerivationPath = vec![bitcoin::bip32::ChildNumber::from(1); length].into();
        let frame = Request::DerivePublic { key: key.clone(), handle: &[], path }.encode(1, Instant::now());
        assert_eq!(Request::decode(&frame[HEAD..], Instant::now()).is_ok(), fits);
    }
}
