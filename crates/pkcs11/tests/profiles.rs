//! Every vendor's profile over a token with that vendor's quirks: what it declares it does, what it does not declare it
//! refuses, and nothing is lost over a restart.
//!
//! The quirks are modelled after documents (`anya_pkcs11_chaos::Personality`); none of this was run on the devices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod harm;

use std::time::Duration;

use anya_pkcs11::Pkcs11Provider;
use anya_pkcs11_chaos::{Chaos, Fault, FaultKind, Personality, SoftHsm};
use anya_provider::{
    Algorithm, Error, Evidence, Expected, Generated, HdMode, ImportMaterial, KeyContext, KeySpec,
    KeyTemplate, Message, Provider, PublicMaterial, Residence, Rewrapped, SignAlgorithm, SignRequest,
    TransferScheme, Verifier,
};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use bitcoin::{
    NetworkKind,
    bip32::{DerivationPath, Xpriv, Xpub},
    hex::FromHex,
    secp256k1::{PublicKey, Secp256k1, SecretKey},
};
use harm::{at, config, ctx, digest, leaving, living, personality_of, within};

const LONG: Duration = Duration::from_secs(20);
/// Those that are made in no time.
const CURVES: [KeySpec; 3] = [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519];
const SIGNERS: [KeySpec; 4] = [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Rsa3072];

/// A provider with a profile over a token with its vendor's quirks.
struct Stand {
    hsm: SoftHsm,
    chaos: Chaos,
    profile: &'static str,
    provider: Pkcs11Provider,
}

impl Stand {
    async fn new(profile: &'static str, personality: Personality) -> Self {
        let hsm = SoftHsm::new().unwrap();
        let chaos = hsm.chaos().unwrap();
        chaos.personality(personality).unwrap();
        chaos.trace().unwrap();
        let provider = Pkcs11Provider::open(config(&hsm, &chaos, profile)).await.unwrap();
        Self { hsm, chaos, profile, provider }
    }

    async fn of(profile: &'static str) -> Self {
        Self::new(profile, personality_of(profile)).await
    }

    /// Another provider, in another process, after this one is closed.
    async fn again(&mut self) {
        self.provider.close().await;
        let config = config(&self.hsm, &self.chaos, self.profile);
        self.provider = Pkcs11Provider::open(config).await.unwrap();
    }

    async fn sign(&self, ctx: &KeyContext, key: &Generated) -> Result<(), Error> {
        signs(&self.provider, ctx, key).await
    }

    fn places(&self, spec: KeySpec) -> Vec<Residence> {
        let all = self.provider.capabilities().residences.iter().copied();
        all.filter(|place| self.provider.capabilities().residence_for(spec, Some(*place)).is_some()).collect()
    }
}

/// Signs as the key's sort does, and has the keyring's check judge it.
async fn signs(provider: &Pkcs11Provider, ctx: &KeyContext, key: &Generated) -> Result<(), Error> {
    let (algorithm, message) = match ctx.spec {
        KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, Message::Digest(digest(1))),
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Bytes(b"a message")),
        KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Message::Bytes(b"a message")),
        KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, Message::Bytes(b"a message")),
        other => panic!("{other} keys do not sign by themselves"),
    };
    let request = SignRequest { algorithm, path: None, message };
    let bytes = provider.sign(&at(ctx, LONG), &key.handle, &request).await?;
    let expected = match &key.public {
        PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
        other => Expected::Other(other),
    };
    let good = Verifier::new().check(&expected, algorithm, message, &bytes);
    assert!(good.is_some(), "{}: the signature of a {} key verifies", provider.id(), ctx.spec);
    Ok(())
}

async fn encrypts(provider: &Pkcs11Provider, ctx: &KeyContext, key: &Generated) {
    let ctx = at(ctx, LONG);
    let sealed = provider.encrypt(&ctx, &key.handle, b"aad", b"plaintext").await.unwrap();
    let again = provider.encrypt(&ctx, &key.handle, b"aad", b"plaintext").await.unwrap();
    assert_eq!(sealed.len(), 12 + 9 + 16, "nonce, text, tag");
    assert_ne!(sealed[..12], again[..12], "a fresh nonce each time");
    assert_ne!(sealed[..12], [0; 12]);
    assert_eq!(provider.decrypt(&ctx, &key.handle, b"aad", &sealed).await.unwrap().as_slice(), b"plaintext");
    assert!(matches!(provider.decrypt(&ctx, &key.handle, b"daa", &sealed).await, Err(Error::Decrypt)));
}

/// Makes a key of every sort in every place that is declared, and uses it before and after a restart.
async fn makes_and_keeps_what_it_declares(stand: &mut Stand) {
    let mut keys = Vec::new();
    for spec in stand.provider.capabilities().specs.clone() {
        if spec == KeySpec::Bip32Seed {
            continue;
        }
        let places = stand.places(spec);
        assert!(!places.is_empty(), "{spec} is declared and has no place");
        for place in places {
            let ctx = ctx(spec);
            let key = match stand.provider.generate(&ctx, living(place)).await {
                Ok(key) => key,
                // Not every sort lives in every place: then it is refused by name.
                Err(Error::Unsupported { .. }) if place != Residence::Device => continue,
                Err(error) => panic!("{}: {spec} as {place}: {error}", stand.profile),
            };
            assert_eq!((key.residence, key.public.spec()), (place, spec));
            keys.push((ctx, key));
        }
    }
    assert!(!keys.is_empty());
    for _ in 0..2 {
        for (ctx, key) in &keys {
            match ctx.spec {
                KeySpec::Aes256 => encrypts(&stand.provider, ctx, key).await,
                _ => stand.sign(ctx, key).await.unwrap(),
            }
        }
        stand.again().await;
    }
    let in_device = keys.iter().filter(|(_, key)| key.residence == Residence::Device).count();
    assert_eq!(stand.provider.inventory(within(LONG)).await.unwrap().len(), in_device);

    // Claims name the device's own words and prove nothing.
    let (first, key) = &keys[0];
    let evidence = stand.provider.attest(&at(first, LONG), &key.handle, &[7; 32]).await.unwrap();
    assert!(matches!(&evidence, Evidence::Claims { claims } if !claims.is_empty()), "{evidence:?}");

    for (ctx, key) in &keys {
        stand.provider.destroy(&at(ctx, LONG), &key.handle).await.unwrap();
    }
    assert!(stand.provider.inventory(within(LONG)).await.unwrap().is_empty());
    for (ctx, key) in keys.iter().filter(|(ctx, _)| SIGNERS.contains(&ctx.spec)) {
        if key.residence == Residence::Device {
            let error = stand.sign(ctx, key).await.unwrap_err();
            assert!(matches!(error, Error::Missing(_)), "{error}");
        }
    }
}

/// Secrets whose public parts are known beforehand.
fn known(spec: KeySpec) -> Option<(Vec<u8>, PublicMaterial)> {
    let scalar = [0x21; 32];
    Some(match spec {
        KeySpec::Secp256k1 => {
            let secret = SecretKey::from_slice(&scalar).unwrap();
            let public_key = PublicKey::from_secret_key(&Secp256k1::new(), &secret);
            (scalar.to_vec(), PublicMaterial::Secp256k1 { public_key })
        }
        KeySpec::P256 => {
            let secret = p256_point(&scalar);
            (scalar.to_vec(), PublicMaterial::P256 { public_key: secret })
        }
        KeySpec::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&scalar).unwrap();
            let public_key = pair.public_key().as_ref().try_into().unwrap();
            (scalar.to_vec(), PublicMaterial::Ed25519 { public_key })
        }
        KeySpec::Rsa3072 => {
            let pair = KeyPair::generate(KeySize::Rsa3072).unwrap();
            let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
            let public_key = pair.public_key().as_ref().to_vec();
            (pkcs8.as_ref().to_vec(), PublicMaterial::Rsa3072 { public_key })
        }
        KeySpec::Aes256 => (scalar.to_vec(), PublicMaterial::Aes256),
        KeySpec::Bip32Seed => return None,
    })
}

/// The point of a P-256 scalar, by aws-lc.
fn p256_point(scalar: &[u8]) -> [u8; 65] {
    use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
    let secret = PrivateKey::from_private_key(&ECDH_P256, scalar).unwrap();
    secret.compute_public_key().unwrap().as_ref().try_into().unwrap()
}

async fn takes_in_what_it_declares(stand: &Stand) {
    let imports = stand.provider.capabilities().imports.clone();
    for spec in KeySpec::ALL {
        let Some((secret, public)) = known(spec) else { continue };
        let ctx = ctx(spec);
        let material = ImportMaterial::Secret(secret.into());
        let outcome = stand.provider.import(&ctx, KeyTemplate::default(), material).await;
        if !imports.contains(&spec) {
            assert!(matches!(outcome, Err(Error::Unsupported { .. })), "{}: {spec}", stand.profile);
            continue;
        }
        let key = outcome.unwrap_or_else(|error| panic!("{}: import of {spec}: {error}", stand.profile));
        assert_eq!(key.public, public, "{}: {spec}", stand.profile);
        match spec {
            KeySpec::Aes256 => encrypts(&stand.provider, &ctx, &key).await,
            _ => stand.sign(&ctx, &key).await.unwrap(),
        }
    }
    // Scalars that are no keys.
    for scalar in [[0; 32], [0xff; 32]] {
        let material = ImportMaterial::Secret(scalar.to_vec().into());
        let outcome = stand.provider.import(&ctx(KeySpec::Secp256k1), KeyTemplate::default(), material).await;
        assert!(matches!(outcome, Err(Error::Invalid { .. })), "{}: {outcome:?}", stand.profile);
    }
}

/// BIP32's second test vector, and trees that the device makes itself.
async fn derives(stand: &mut Stand, mode: HdMode) {
    assert_eq!(stand.provider.capabilities().hd, mode);
    let seed = Vec::from_hex(
        "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a29f9c999693908d8a8784817e7b7875726f6c696663605d5a57\
         5451\
         4e4b484542",
    )
    .unwrap();
    let root = Xpriv::new_master(NetworkKind::Main, &seed).unwrap();
    let secp = Secp256k1::new();
    let imported = ctx(KeySpec::Bip32Seed);
    let material = ImportMaterial::Secret(seed.into());
    let tree = stand.provider.import(&imported, KeyTemplate::default(), material).await.unwrap();
    let PublicMaterial::Bip32 { fingerprint, xpub } = &tree.public else { panic!("{:?}", tree.public) };
    assert_eq!(*xpub, Xpub::from_priv(&secp, &root));
    assert_eq!(*fingerprint, root.fingerprint(&secp));
    let residence = if mode == HdMode::InDevice { Residence::Device } else { Residence::WorkerMemory };
    assert_eq!(tree.residence, residence);

    let made = ctx(KeySpec::Bip32Seed);
    let own = stand.provider.generate(&made, KeyTemplate::default()).await.unwrap();
    for path in
        ["m", "m/0", "m/0/2147483647'", "m/84'/0'/0'", "m/84'/0'/0'/1/17", "m/0/2147483647'/1/2147483646'/2"]
    {
        let path: DerivationPath = path.parse().unwrap();
        let expected = Xpub::from_priv(&secp, &root.derive_priv(&secp, &path).unwrap());
        let derived = stand.provider.derive_public(&at(&imported, LONG), &tree.handle, &path).await.unwrap();
        assert_eq!(derived.xpub, expected, "{}: {path}", stand.profile);
        assert_eq!(derived.root, *fingerprint);
        for (ctx, key) in [(&imported, &tree), (&made, &own)] {
            signs_at(stand, ctx, key, &path).await;
        }
    }
    // What the device makes itself is a tree too: children derived softly from the public parent are the same.
    let account: DerivationPath = "m/84'/0'/0'".parse().unwrap();
    let parent = stand.provider.derive_public(&at(&made, LONG), &own.handle, &account).await.unwrap().xpub;
    let leaf = account.extend([0.into(), 7.into()]);
    let by_device = stand.provider.derive_public(&at(&made, LONG), &own.handle, &leaf).await.unwrap().xpub;
    assert_eq!(by_device, parent.derive_pub(&secp, &[0.into(), 7.into()]).unwrap());

    stand.again().await;
    signs_at(stand, &imported, &tree, &leaf).await;
    signs_at(stand, &made, &own, &leaf).await;

    // BIP340 can be had of a seed that the worker opens, and not of a device that has no such mechanism.
    let declared = stand.provider.capabilities().computes(KeySpec::Bip32Seed, Algorithm::SchnorrSecp256k1);
    assert_eq!(declared, mode == HdMode::Sealed);
    let algorithm = SignAlgorithm::SchnorrSecp256k1 { tweak: None };
    let message = Message::Digest(digest(1));
    let request = SignRequest { algorithm, path: Some(leaf), message };
    match stand.provider.sign(&at(&made, LONG), &own.handle, &request).await {
        Ok(bytes) => {
            let expected = Expected::Curve(by_device.public_key);
            assert!(declared && Verifier::new().check(&expected, algorithm, message, &bytes).is_some());
        }
        Err(error) => assert!(!declared && matches!(error, Error::Unsupported { .. }), "{error}"),
    }
    for (ctx, key) in [(&imported, &tree), (&made, &own)] {
        stand.provider.destroy(&at(ctx, LONG), &key.handle).await.unwrap();
    }
}

async fn signs_at(stand: &Stand, ctx: &KeyContext, key: &Generated, path: &DerivationPath) {
    let public = stand.provider.derive_public(&at(ctx, LONG), &key.handle, path).await.unwrap();
    let message = Message::Digest(digest(3));
    let algorithm = SignAlgorithm::EcdsaSecp256k1;
    let request = SignRequest { algorithm, path: Some(path.clone()), message };
    let bytes = stand.provider.sign(&at(ctx, LONG), &key.handle, &request).await.unwrap();
    let expected = Expected::Curve(public.xpub.public_key);
    assert!(
        Verifier::new().check(&expected, algorithm, message, &bytes).is_some(),
        "{}: {path}",
        stand.profile
    );
}

/// Moves keys of every sort from one device to another, where that is declared, and refuses it elsewhere.
async fn moves_keys(from: &Stand, to: &Stand, specs: &[KeySpec]) {
    let scheme = TransferScheme::RsaAesKeyWrap;
    let declared = [from, to].map(|stand| stand.provider.capabilities().transfers.contains(&scheme));
    let mut moved = 0;
    for &spec in specs {
        if ![from, to].iter().all(|stand| stand.provider.capabilities().specs.contains(&spec)) {
            continue;
        }
        let ctx = ctx(spec);
        let offer = to.provider.transfer_offer(&ctx, scheme).await;
        if !declared[1] {
            assert!(matches!(offer, Err(Error::Unsupported { .. })), "{}", to.profile);
            continue;
        }
        let key = match from.provider.generate(&ctx, leaving(Residence::Device)).await {
            Ok(key) => key,
            Err(Error::Unsupported { .. }) => continue,
            Err(error) => panic!("{}: {spec}: {error}", from.profile),
        };
        let offer = offer.unwrap();
        let sent = from.provider.transfer_out(&at(&ctx, LONG), &key.handle, scheme, &offer.public).await;
        if !declared[0] {
            assert!(matches!(sent, Err(Error::Unsupported { .. })), "{}", from.profile);
            continue;
        }
        let sent = sent.unwrap_or_else(|error| panic!("{} sends {spec}: {error}", from.profile));
        let template = living(Residence::Device);
        let taken = to.provider.transfer_in(&at(&ctx, LONG), template, &offer.ticket, &sent).await;
        let taken = taken.unwrap_or_else(|error| {
            panic!(
                "{} takes {spec} from {}: {error}\n{}",
                to.profile,
                from.profile,
                to.chaos.traced().unwrap_or_default()
            )
        });
        assert_eq!(taken.public, key.public, "{spec} from {} to {}", from.profile, to.profile);
        to.sign(&ctx, &taken).await.unwrap();
        from.sign(&ctx, &key).await.unwrap();
        moved += 1;

        // One that was not made to leave does not.
        let stays = harm::ctx(spec);
        let key = from.provider.generate(&stays, living(Residence::Device)).await.unwrap();
        let refused = from.provider.transfer_out(&at(&stays, LONG), &key.handle, scheme, &offer.public).await;
        assert!(matches!(refused, Err(Error::NotTransferable(_))), "{}: {spec}", from.profile);
    }
    if declared == [true, true] {
        assert!(moved > 0, "nothing moved from {} to {}", from.profile, to.profile);
    }
}

/// Renews the sealing key: old handles open until the old generation is retired, rewrapped ones for ever.
async fn renews_its_sealing_key(stand: &mut Stand) {
    if !stand.provider.capabilities().kek_rotation {
        assert!(matches!(
            stand.provider.rotate_kek(None, within(LONG)).await,
            Err(Error::Unsupported { .. })
        ));
        return;
    }
    let place = stand.provider.capabilities().residence_for(KeySpec::Bip32Seed, None);
    if place != Some(Residence::WorkerMemory) {
        return;
    }
    let tree = ctx(KeySpec::Bip32Seed);
    let old = stand.provider.generate(&tree, KeyTemplate::default()).await.unwrap();
    let before = stand.provider.kek_status(within(LONG)).await.unwrap();
    let after = stand.provider.rotate_kek(None, within(LONG)).await.unwrap();
    assert!(after.current > before.current);
    let Rewrapped::Handle(handle) = stand.provider.rewrap(&at(&tree, LONG), &old.handle).await.unwrap()
    else {
        panic!("an old handle was called current")
    };
    let new = Generated { handle, ..old.clone() };
    let path: DerivationPath = "m/84'/0'/0'/0/0".parse().unwrap();
    for key in [&old, &new] {
        signs_at(stand, &tree, key, &path).await;
    }
    stand.again().await;
    stand.provider.retire_kek(before.current, None, within(LONG)).await.unwrap();
    signs_at(stand, &tree, &new, &path).await;
    let gone = stand.provider.derive_public(&at(&tree, LONG), &old.handle, &path).await;
    assert!(gone.is_err(), "what is sealed under a retired key stays shut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn softhsm2() {
    let mut stand = Stand::of("softhsm2").await;
    let declared = stand.provider.capabilities().clone();
    assert_eq!(declared.specs.len(), KeySpec::ALL.len());
    makes_and_keeps_what_it_declares(&mut stand).await;
    takes_in_what_it_declares(&stand).await;
    derives(&mut stand, HdMode::Sealed).await;
    renews_its_sealing_key(&mut stand).await;
    moves_keys(&stand, &Stand::of("softhsm2").await, &SIGNERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloudhsm() {
    let mut stand = Stand::of("cloudhsm").await;
    let declared = stand.provider.capabilities().clone();
    assert!(
        !declared.specs.contains(&KeySpec::Ed25519) && !declared.algorithms.contains(&Algorithm::Ed25519)
    );
    assert!(declared.imports.contains(&KeySpec::Secp256k1), "keys come in by unwrapping");
    let refused = stand.provider.generate(&ctx(KeySpec::Ed25519), KeyTemplate::default()).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    makes_and_keeps_what_it_declares(&mut stand).await;
    takes_in_what_it_declares(&stand).await;
    derives(&mut stand, HdMode::Sealed).await;
    renews_its_sealing_key(&mut stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloudhsm_waits_until_a_new_key_is_on_two_devices() {
    let stand = Stand::of("cloudhsm").await;
    stand.chaos.quorum_delay(Duration::from_millis(700)).unwrap();
    let made = ctx(KeySpec::Secp256k1);
    let key = stand.provider.generate(&made, living(Residence::Device)).await.unwrap();
    stand.sign(&made, &key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn luna_with_bip32_in_the_device() {
    let mut stand = Stand::of("luna").await;
    let declared = stand.provider.capabilities().clone();
    assert_eq!(declared.residence_for(KeySpec::Bip32Seed, None), Some(Residence::Device));
    makes_and_keeps_what_it_declares(&mut stand).await;
    takes_in_what_it_declares(&stand).await;
    derives(&mut stand, HdMode::InDevice).await;
    let moved = ctx(KeySpec::Bip32Seed);
    let refused = stand.provider.generate(&moved, leaving(Residence::Device)).await;
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "a root in the device cannot leave: {refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn luna_in_fips_mode_seals_seeds() {
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    chaos.personality(Personality::Luna).unwrap();
    let hide = vec![0x8000_0E00, 0x8000_0E01];
    chaos.set(Fault::everywhere(FaultKind::Mechanisms { hide, claim: vec![] })).unwrap();
    let provider = Pkcs11Provider::open(config(&hsm, &chaos, "luna")).await.unwrap();
    let mut stand = Stand { hsm, chaos, profile: "luna", provider };
    derives(&mut stand, HdMode::Sealed).await;
    renews_its_sealing_key(&mut stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yubihsm2() {
    let mut stand = Stand::of("yubihsm2").await;
    let declared = stand.provider.capabilities().clone();
    assert!(!declared.residences.contains(&Residence::DeviceWrapped), "nothing is loaded for a moment");
    assert!(!declared.specs.contains(&KeySpec::Aes256) && declared.transfers.is_empty());
    assert!(declared.max_keys.is_some());
    for place in [Residence::DeviceWrapped, Residence::ServerMemory] {
        let refused = stand.provider.generate(&ctx(KeySpec::Secp256k1), living(place)).await;
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{place}: {refused:?}");
    }
    makes_and_keeps_what_it_declares(&mut stand).await;
    takes_in_what_it_declares(&stand).await;
    derives(&mut stand, HdMode::Sealed).await;
    renews_its_sealing_key(&mut stand).await;
    moves_keys(&stand, &Stand::of("softhsm2").await, &SIGNERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_over_a_plain_token() {
    let mut stand = Stand::of("generic").await;
    makes_and_keeps_what_it_declares(&mut stand).await;
    takes_in_what_it_declares(&stand).await;
    derives(&mut stand, HdMode::Sealed).await;
    renews_its_sealing_key(&mut stand).await;
}

/// Whatever device stands behind a profile that was not made for it: what is declared is true, what fails has a name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_profile_is_refused_by_name_and_never_wrong() {
    let personalities = [Personality::CloudHsm, Personality::Luna, Personality::YubiHsm];
    for personality in personalities {
        for profile in ["generic", "softhsm2"] {
            let stand = Stand::new(profile, personality).await;
            stand.chaos.quorum_delay(Duration::from_millis(20)).unwrap();
            for spec in CURVES {
                for place in [Residence::Device, Residence::DeviceWrapped] {
                    let ctx = ctx(spec);
                    let Ok(key) = stand.provider.generate(&ctx, living(place)).await else { continue };
                    stand.sign(&ctx, &key).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_between_vendors() {
    let (soft, cloud, luna) =
        (Stand::of("softhsm2").await, Stand::of("cloudhsm").await, Stand::of("luna").await);
    for (from, to) in [(&soft, &cloud), (&cloud, &luna), (&luna, &soft)] {
        moves_keys(from, to, &[KeySpec::Secp256k1]).await;
    }
}
