//! Published vectors and an independent implementation, through the keyring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use anya_keys::{KeySpec, Message, PublicMaterial, SignAlgorithm, SignRequest, Signature, TapTweak};
use bitcoin::{
    Address, CompressedPublicKey, Network, TapNodeHash,
    bip32::{Xpriv, Xpub},
    hashes::Hash as _,
    key::Secp256k1,
    secp256k1::SecretKey,
};
use common::{House, hexed, hexed32};
use k256::{
    ecdsa::{Signature as OtherEcdsa, SigningKey, VerifyingKey, signature::hazmat::PrehashSigner as _},
    schnorr,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

const ABOUT: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

async fn xpub(house: &House, key: &anya_keys::KeyInfo, path: &str) -> Xpub {
    house.keyring.account_xpub(house.tenant, key.id, &path.parse().unwrap()).await.unwrap().xpub
}

// BIP39, reference vectors (github.com/trezor/python-mnemonic, vectors.json), all with passphrase TREZOR.
#[tokio::test]
async fn bip39_phrases() {
    let house = House::new().await;
    let vectors = [
        (
            ABOUT,
            "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
        ),
        (
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c1069be3a3a5bd381ee6260e8d9739fce1f607",
        ),
        (
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo when",
            "0cd6e5d827bb62eb8fc1e262254223817fd068a74b5b449cc2f667c3f1f985a76379b43348d952e2265b4cd129090758b3e3c2c49103b5051aac2eaeb890a528",
        ),
        (
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
            "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
        ),
    ];
    for (index, (phrase, seed)) in vectors.into_iter().enumerate() {
        let by_phrase =
            house.import_phrase(&format!("phrase {index}"), phrase, Some("TREZOR")).await.unwrap();
        let by_seed = house.import(&format!("seed {index}"), KeySpec::Bip32Seed, &hexed(seed)).await.unwrap();
        assert_eq!(by_phrase.public, by_seed.public, "{phrase}");
    }
    let root: Xpriv = "xprv9s21ZrQH143K3h3fDYiay8mocZ3afhfULfb5GX8kCBdno77K4HiA15Tg23wpbeF1pLfs1c5SPmYHrEpTuuRhxMwvKDwqdKiGJS9XFKzUsAF".parse().unwrap();
    let first = house.keyring.find(house.tenant, "phrase 0").await.unwrap().unwrap();
    let expected = Xpub::from_priv(&Secp256k1::new(), &root);
    assert_eq!(first.public, PublicMaterial::Bip32 { fingerprint: expected.fingerprint(), xpub: expected });
}

#[tokio::test]
async fn a_phrase_is_read_kindly_and_a_wrong_one_refused() {
    let house = House::new().await;
    let good = house.import_phrase("good", ABOUT, None).await.unwrap();
    let untidy = format!("  {}\n", ABOUT.to_uppercase().replace(' ', "  "));
    let same = house.import_phrase("untidy", &untidy, None).await.unwrap();
    assert_eq!(good.public, same.public);
    // Composed and decomposed spelling of one passphrase are one passphrase (BIP39: NFKD).
    let composed = house.import_phrase("composed", ABOUT, Some("\u{e9}")).await.unwrap();
    let decomposed = house.import_phrase("decomposed", ABOUT, Some("e\u{301}")).await.unwrap();
    assert_eq!(composed.public, decomposed.public);
    assert_ne!(composed.public, good.public);
    let swapped = ABOUT.replacen("abandon", "zoo", 1);
    let unknown = ABOUT.replacen("abandon", "abandom", 1);
    for (bad, says) in [
        (swapped.as_str(), "checksum"),
        (unknown.as_str(), "word 1 is not"),
        ("abandon about", "12, 15, 18, 21 or 24"),
        ("", "12, 15, 18, 21 or 24"),
    ] {
        let error = house.import_phrase("bad", bad, None).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("abandom"), "{error}");
    }
}

#[tokio::test]
async fn generated_phrases_are_valid_and_differ() {
    use secrecy::ExposeSecret as _;
    let house = House::new().await;
    let mut seen = std::collections::HashSet::new();
    for words in [12, 15, 18, 21, 24] {
        let phrase = house.software.generate_mnemonic(words).await.unwrap();
        assert_eq!(phrase.expose_secret().split(' ').count(), words);
        assert!(seen.insert(phrase.expose_secret().to_owned()));
        house.import_phrase(&format!("{words}"), phrase.expose_secret(), None).await.unwrap();
    }
    assert!(house.software.generate_mnemonic(13).await.is_err());
}

// BIP32, test vectors 1 and 3 (the latter keeps leading zeros).
#[tokio::test]
async fn bip32_trees() {
    let house = House::new().await;
    let first =
        house.import("first", KeySpec::Bip32Seed, &hexed("000102030405060708090a0b0c0d0e0f")).await.unwrap();
    for (path, expected) in [
        (
            "m",
            "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8",
        ),
        (
            "m/0'",
            "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
        ),
        (
            "m/0'/1",
            "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
        ),
        (
            "m/0'/1/2'",
            "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        ),
        (
            "m/0'/1/2'/2",
            "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
        ),
        (
            "m/0'/1/2'/2/1000000000",
            "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
        ),
    ] {
        assert_eq!(xpub(&house, &first, path).await.to_string(), expected, "{path}");
    }
    let third = house.import("third", KeySpec::Bip32Seed, &hexed("4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be")).await.unwrap();
    for (path, expected) in [
        (
            "m",
            "xpub661MyMwAqRbcEZVB4dScxMAdx6d4nFc9nvyvH3v4gJL378CSRZiYmhRoP7mBy6gSPSCYk6SzXPTf3ND1cZAceL7SfJ1Z3GC8vBgp2epUt13",
        ),
        (
            "m/0'",
            "xpub68NZiKmJWnxxS6aaHmn81bvJeTESw724CRDs6HbuccFQN9Ku14VQrADWgqbhhTHBaohPX4CjNLf9fq9MYo6oDaPPLPxSb7gwQN3ih19Zm4Y",
        ),
    ] {
        assert_eq!(xpub(&house, &third, path).await.to_string(), expected, "{path}");
    }
}

// The example accounts of BIP84 and BIP86.
#[tokio::test]
async fn bip84_and_bip86_addresses() {
    let house = House::new().await;
    let key = house.import_phrase("root", ABOUT, None).await.unwrap();
    let first = xpub(&house, &key, "m/84'/0'/0'/0/0").await;
    assert_eq!(
        Address::p2wpkh(&CompressedPublicKey(first.public_key), Network::Bitcoin).to_string(),
        "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"
    );
    assert_eq!(
        xpub(&house, &key, "m/86'/0'/0'").await.to_string(),
        "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ"
    );
    let first = xpub(&house, &key, "m/86'/0'/0'/0/0").await;
    assert_eq!(
        Address::p2tr(&Secp256k1::new(), first.to_x_only_pub(), None, Network::Bitcoin).to_string(),
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"
    );
    assert!(xpub(&house, &key, "m/84'/1'/0'").await.to_string().starts_with("tpub"));
}

// RFC 8032, 7.1, tests 1 to 3.
#[tokio::test]
async fn ed25519() {
    let house = House::new().await;
    for (seed, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let key = house.import(message, KeySpec::Ed25519, &hexed(seed)).await;
        let key = match key {
            Ok(key) => key,
            // An empty message is no name.
            Err(_) => house.import("empty", KeySpec::Ed25519, &hexed(seed)).await.unwrap(),
        };
        assert_eq!(key.public, PublicMaterial::Ed25519 { public_key: hexed32(public) });
        let message = hexed(message);
        let request =
            SignRequest { algorithm: SignAlgorithm::Ed25519, path: None, message: Message::Bytes(&message) };
        let made = common::sign(&house.keyring, house.tenant, key.id, &request).await.unwrap();
        assert_eq!(hex::encode(made.to_vec()), signature);
    }
}

// BIP341, wallet test vectors, keyPathSpending: the tweaked private keys say which output key must verify.
#[tokio::test]
async fn bip341_key_path() {
    let house = House::new().await;
    for (name, internal, root, tweaked, sighash) in [
        (
            "bare",
            "6b973d88838f27366ed61c9ad6367663045cb456e28335c109e30717ae0c6baa",
            None,
            "2405b971772ad26915c8dcdf10f238753a9b837e5f8e6a86fd7c0cce5b7296d9",
            "2514a6272f85cfa0f45eb907fcb0d121b808ed37c6ea160a5a9046ed5526d555",
        ),
        (
            "scripts",
            "1e4da49f6aaf4e5cd175fe08a32bb5cb4863d963921255f33d3bc31e1343907f",
            Some("5b75adecf53548f3ec6ad7d78383bf84cc57b55a3127c72b9a2481752dd88b21"),
            "ea260c3b10e60f6de018455cd0278f2f5b7e454be1999572789e6a9565d26080",
            "325a644af47e8a5a2591cda0ab0723978537318f10e6a63d4eed783b96a71a4d",
        ),
    ] {
        let key = house.import(name, KeySpec::Secp256k1, &hexed(internal)).await.unwrap();
        let merkle_root = root.map(|root| TapNodeHash::from_byte_array(hexed32(root)));
        let digest = hexed32(sighash);
        let request = SignRequest {
            algorithm: SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root }) },
            path: None,
            message: Message::Digest(digest),
        };
        let made = common::sign(&house.keyring, house.tenant, key.id, &request).await.unwrap().to_vec();
        let output = schnorr::SigningKey::from_bytes(&hexed(tweaked)).unwrap();
        let made = schnorr::Signature::try_from(made.as_slice()).unwrap();
        output.verifying_key().verify_raw(&digest, &made).unwrap();
    }
}

fn many(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// Random keys and digests: the same bytes as `k256` where the algorithm is deterministic (RFC 6979), a signature
/// that `k256` accepts where it is not; low-S always.
#[test]
fn secp256k1_agrees_with_another_implementation() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let house = runtime.block_on(House::new());
    let next = std::cell::Cell::new(0);
    many(64)
        .run(&(any::<[u8; 32]>(), any::<[u8; 32]>()), |(secret, digest)| {
            prop_assume!(SecretKey::from_slice(&secret).is_ok());
            next.set(next.get() + 1);
            let name = format!("key {}", next.get());
            let key = runtime.block_on(house.import(&name, KeySpec::Secp256k1, &secret)).unwrap();
            let sign = |algorithm| {
                let request = SignRequest { algorithm, path: None, message: Message::Digest(digest) };
                runtime.block_on(common::sign(&house.keyring, house.tenant, key.id, &request)).unwrap()
            };
            let other = SigningKey::from_slice(&secret).unwrap();
            let PublicMaterial::Secp256k1 { public_key } = key.public else { panic!("not a point") };
            let point = VerifyingKey::from(&other).to_encoded_point(true);
            prop_assert_eq!(point.as_bytes(), &public_key.serialize()[..]);
            let theirs: OtherEcdsa = other.sign_prehash(&digest).unwrap();
            let theirs = theirs.normalize_s().unwrap_or(theirs);
            let ours = sign(SignAlgorithm::EcdsaSecp256k1).to_vec();
            prop_assert_eq!(&ours[..], &theirs.to_bytes()[..]);
            let ours = OtherEcdsa::from_slice(&ours).unwrap();
            prop_assert!(ours.normalize_s().is_none(), "high-S");

            let ours = sign(SignAlgorithm::SchnorrSecp256k1 { tweak: None }).to_vec();
            let other = schnorr::SigningKey::from_bytes(&secret).unwrap();
            let ours = schnorr::Signature::try_from(ours.as_slice()).unwrap();
            prop_assert!(other.verifying_key().verify_raw(&digest, &ours).is_ok());
            Ok(())
        })
        .unwrap();
}

/// Keys of a tree sign for the public keys that anyone derives from the account.
#[tokio::test]
async fn hd_signatures_verify_under_the_account() {
    let house = House::new().await;
    let key = house.generate("root", KeySpec::Bip32Seed).await;
    let account = xpub(&house, &key, "m/84'/1'/0'").await;
    let secp = Secp256k1::verification_only();
    for index in 0..20u32 {
        let digest = [u8::try_from(index).unwrap(); 32];
        let request = SignRequest {
            algorithm: SignAlgorithm::EcdsaSecp256k1,
            path: Some(format!("m/84'/1'/0'/1/{index}").parse().unwrap()),
            message: Message::Digest(digest),
        };
        let signature = common::sign(&house.keyring, house.tenant, key.id, &request).await.unwrap();
        let Signature::EcdsaSecp256k1(signature) = signature else { panic!("not ECDSA") };
        let steps: bitcoin::bip32::DerivationPath = format!("1/{index}").parse().unwrap();
        let child = account.derive_pub(&secp, &steps).unwrap();
        let message = bitcoin::secp256k1::Message::from_digest(digest);
        secp.verify_ecdsa(&message, &signature, &child.public_key).unwrap();
    }
}
