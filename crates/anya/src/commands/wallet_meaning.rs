//! What a wallet is, in words.

use std::fmt::Write as _;

use anya_api::wallet::{AddressCheck, KeyRole, WalletKeychain, WalletMeaning};

use crate::output::{fields, or_dash, plain};

/// A wallet's descriptor, its ways to spend, its signers and its first addresses.
pub(crate) fn show(meaning: &WalletMeaning) -> String {
    let mut out = fields(&[
        ("descriptor", plain(&meaning.descriptor)),
        ("checksum", plain(&meaning.checksum)),
        ("who can spend", plain(&meaning.words)),
    ]);
    for (number, way) in meaning.ways.iter().enumerate() {
        let mut notes = vec![format!("at most {} weight units an input", way.max_weight)];
        if way.default {
            notes.push("taken unless another is named".into());
        }
        if let Some(obstacle) = &way.obstacle {
            notes.push(format!("cannot be taken here: {}", plain(obstacle)));
        }
        let _ = writeln!(out, "  way {number}: {} ({})", plain(&way.words), notes.join("; "));
    }
    for signer in &meaning.signers {
        let held = match signer.role {
            KeyRole::Active => "signs when an operation executes",
            KeyRole::Reserve => "kept in reserve",
            KeyRole::Outside => "outside",
        };
        let key = or_dash(signer.keyring_key);
        let _ = writeln!(out, "  {}: {held}, key {key}, {}", plain(&signer.name), plain(&signer.key));
    }
    for (name, addresses) in [("receive", &meaning.receive), ("change", &meaning.change)] {
        for (index, address) in addresses.iter().enumerate() {
            let _ = writeln!(out, "  {name} {index}: {}", plain(address));
        }
    }
    out
}

/// One address, and what every signer should find of it.
pub(crate) fn check(check: &AddressCheck) -> String {
    let keychain = match check.keychain {
        WalletKeychain::Receive => "receive",
        WalletKeychain::Change => "change",
    };
    let mut out = fields(&[
        ("address", plain(&check.address)),
        ("place", format!("{keychain} {}", check.index)),
        ("descriptor checksum", plain(&check.checksum)),
    ]);
    for signer in &check.signers {
        let root = signer.fingerprint.as_deref().map_or_else(|| "unknown root".into(), plain);
        let (name, path, key) = (plain(&signer.name), plain(&signer.path), plain(&signer.public_key));
        let _ = writeln!(out, "  {name}: {root} {path}, key {key}");
    }
    out
}
