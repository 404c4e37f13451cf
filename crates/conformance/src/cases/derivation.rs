//! BIP32 trees.

use std::sync::Arc;

use anya_provider::{Algorithm, ImportMaterial, KeySpec, KeyTemplate, PublicMaterial};
use bitcoin::{
    Address, CompressedPublicKey, Network, NetworkKind,
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};
use secrecy::SecretString;

use crate::{
    ask::{Ask, HARD, path, random, variants},
    data::{ABOUT, ADDRESSES, BIP32, BIP39, Form},
    judge::Point,
    lab::{Key, Lab},
    verdict::{Stop, Verdict, fail, must, passed},
};

fn parsed(text: &str) -> Result<DerivationPath, Stop> {
    text.parse().or_else(|_| fail("the suite's own paths are damaged"))
}

/// The published extended keys, and those that another implementation derives from a random seed.
pub(crate) async fn bip32_vectors(lab: &Arc<Lab>) -> Verdict {
    lab.needs_hd().await?;
    lab.needs_import(KeySpec::Bip32Seed).await?;
    for (number, tree) in BIP32.iter().enumerate() {
        let key = lab.import(KeySpec::Bip32Seed, &hex::decode(tree.seed).unwrap_or_default()).await?;
        let root = key.public.clone();
        for (path, expected) in tree.keys {
            let made = lab.derive(&key, &parsed(path)?).await?;
            must(made.xpub.to_string() == *expected, || {
                format!("test vector {}: the key at {path} is another", number + 1)
            })?;
            must(
                matches!(&root, PublicMaterial::Bip32 { fingerprint, .. } if *fingerprint == made.root),
                || format!("test vector {}: the root's fingerprint changes at {path}", number + 1),
            )?;
        }
        let first = tree.keys.first().map(|(_, xpub)| *xpub);
        must(
            matches!(&root, PublicMaterial::Bip32 { xpub, .. } if Some(xpub.to_string().as_str()) == first),
            || format!("test vector {}: the root is another", number + 1),
        )?;
    }
    for length in [16, 32, 64] {
        let seed: [u8; 64] = random()?;
        let seed = seed.get(..length).unwrap_or_default();
        let key = lab.import(KeySpec::Bip32Seed, seed).await?;
        let secp = Secp256k1::new();
        let Ok(root) = Xpriv::new_master(NetworkKind::Main, seed) else {
            return fail("a random seed has no master key: run the suite again");
        };
        for steps in [
            &[84 | HARD, HARD, HARD][..],
            &[0x7fff_ffff][..],
            &[HARD | 0x7fff_ffff, 1][..],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..],
        ] {
            let path = path(steps);
            let made = lab.derive(&key, &path).await?;
            let theirs = root.derive_priv(&secp, &path).map(|child| Xpub::from_priv(&secp, &child));
            must(theirs.is_ok_and(|theirs| theirs == made.xpub), || {
                format!("the key at {path} of a seed of {length} bytes is another")
            })?;
        }
    }
    Ok(None)
}

async fn phrase(lab: &Arc<Lab>, words: &str, passphrase: Option<&str>) -> Result<Key, Stop> {
    let material = ImportMaterial::Mnemonic {
        phrase: SecretString::from(words.to_owned()),
        passphrase: passphrase.map(|text| SecretString::from(text.to_owned())),
    };
    lab.make(&lab.fresh(KeySpec::Bip32Seed), KeyTemplate::default(), Some(material)).await
}

fn address(form: Form, lab: &Lab, xpub: &Xpub) -> String {
    let key = CompressedPublicKey(xpub.public_key);
    match form {
        Form::Pkh => Address::p2pkh(key, Network::Bitcoin),
        Form::ShWpkh => Address::p2shwpkh(&key, Network::Bitcoin),
        Form::Wpkh => Address::p2wpkh(&key, Network::Bitcoin),
        Form::Tr => Address::p2tr(lab.judge.secp(), xpub.to_x_only_pub(), None, Network::Bitcoin),
    }
    .to_string()
}

/// From words to addresses.
pub(crate) async fn mnemonic_addresses(lab: &Arc<Lab>) -> Verdict {
    lab.needs_hd().await?;
    lab.needs_import(KeySpec::Bip32Seed).await?;
    for (words, seed) in BIP39 {
        let by_phrase = phrase(lab, words, Some("TREZOR")).await?;
        let by_seed = lab.import(KeySpec::Bip32Seed, &hex::decode(seed).unwrap_or_default()).await?;
        must(by_phrase.public == by_seed.public, || {
            "a phrase of BIP39's vectors leads to another seed than theirs".to_owned()
        })?;
    }
    let composed = phrase(lab, ABOUT, Some("\u{e9}")).await?;
    let decomposed = phrase(lab, ABOUT, Some("e\u{301}")).await?;
    must(composed.public == decomposed.public, || {
        "two spellings of one passphrase give two keys: it is not brought into the form NFKD".to_owned()
    })?;
    let root = phrase(lab, ABOUT, None).await?;
    must(root.public != composed.public, || "the passphrase changes nothing".to_owned())?;
    for (path, form, expected) in ADDRESSES {
        let made = lab.derive(&root, &parsed(path)?).await?;
        must(address(form, lab, &made.xpub) == expected, || format!("the address at {path} is another"))?;
    }
    Ok(None)
}

/// What the provider derives below an account is what its extended public key yields.
pub(crate) async fn agrees(lab: &Arc<Lab>) -> Verdict {
    lab.needs_hd().await?;
    let key = lab.shared(KeySpec::Bip32Seed).await?;
    let PublicMaterial::Bip32 { fingerprint, xpub } = &key.public else {
        return fail("a BIP32 root came with another public part");
    };
    let root = lab.derive(&key, &DerivationPath::master()).await?;
    must(root.xpub == *xpub && root.root == *fingerprint, || {
        "the key at m is not the root it named when it made it".to_owned()
    })?;
    for steps in [&[][..], &[48 | HARD, HARD, HARD, 2 | HARD][..], &[86 | HARD, HARD, 7 | HARD][..]] {
        let account = lab.derive(&key, &path(steps)).await?;
        must(account.root == *fingerprint, || "the root's fingerprint changes".to_owned())?;
        must(usize::from(account.xpub.depth) == steps.len(), || {
            format!("the key at {} says that it lies at depth {}", path(steps), account.xpub.depth)
        })?;
        for below in [&[0][..], &[1, 0][..], &[0, 19][..], &[0x7fff_ffff][..], &[3, 2, 1, 0][..]] {
            let all = path(&[steps, below].concat());
            let theirs = account.xpub.derive_pub(lab.judge.secp(), &path(below));
            let made = lab.derive(&key, &all).await?;
            must(theirs.is_ok_and(|theirs| theirs == made.xpub), || {
                format!("the key at {all} is not the child of its account")
            })?;
        }
    }
    Ok(None)
}

/// Signatures at hardened and other paths, each of which verifies under its own key and no other's.
pub(crate) async fn signs_for_its_path(lab: &Arc<Lab>) -> Verdict {
    lab.needs_hd().await?;
    let key = lab.shared(KeySpec::Bip32Seed).await?;
    let mut made = 0;
    for algorithm in [Algorithm::EcdsaSecp256k1, Algorithm::SchnorrSecp256k1] {
        if !lab.capabilities.computes(KeySpec::Bip32Seed, algorithm) {
            continue;
        }
        let paths = [
            &[][..],
            &[0][..],
            &[HARD][..],
            &[84 | HARD, HARD, HARD, 0, 0][..],
            &[84 | HARD, HARD, HARD, 1, 0][..],
            &[84 | HARD, HARD, HARD, 0, HARD][..],
            &[48 | HARD, HARD, HARD, 2 | HARD, 0, 5][..],
        ];
        let mut points = Vec::new();
        for steps in paths {
            let Some(variant) = variants(algorithm)?.into_iter().next() else { continue };
            let mut ask = Ask::random(KeySpec::Bip32Seed, variant)?;
            ask.path = Some(path(steps));
            let (bytes, _) = lab.sign(&key, &ask).await?;
            made += 1;
            let Point::Curve(point) = lab.point(&key, ask.path.as_ref()).await? else { continue };
            must(!points.contains(&point), || format!("{} has the key of another path", path(steps)))?;
            let other =
                points.iter().find(|other| lab.judge.check(&Point::Curve(**other), &ask, &bytes).is_ok());
            must(other.is_none(), || format!("{} signs for another path", path(steps)))?;
            points.push(point);
        }
    }
    passed(format!("{made} signatures"))
}
