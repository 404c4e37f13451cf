//! Keys and their rules, translated between the words of the keyring and those of the API.

use anya_api::key::{
    self, ErasedShare, HdMode, Key, KeyDestruction, KeyEvidence, KeyKind, KeyReplica, KeyState,
};
use anya_keys::{DestructionProof, Evidence, KeyInfo, KeySpec, Keyring, PublicMaterial};
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// The same word in the other vocabulary: both write it alike.
pub(crate) fn same<T: DeserializeOwned>(word: &impl Serialize) -> Result<T, Error> {
    let unknown = |_| Error::internal("a word of the keyring's is none of the API's");
    serde_json::from_value(serde_json::to_value(word).map_err(unknown)?).map_err(unknown)
}

/// The key as the API shows it.
pub(crate) fn present(keyring: &Keyring, info: KeyInfo) -> Result<Key, Error> {
    let (public_key, fingerprint) = match &info.public {
        PublicMaterial::Secp256k1 { public_key } => (Some(public_key.to_string()), None),
        PublicMaterial::Bip32 { fingerprint, .. } => (None, Some(fingerprint.to_string())),
        PublicMaterial::Ed25519 { public_key } => (Some(hex::encode(public_key)), None),
        PublicMaterial::P256 { public_key } => (Some(hex::encode(public_key)), None),
        PublicMaterial::Rsa3072 { public_key } => (Some(hex::encode(public_key)), None),
        PublicMaterial::Aes256 => (None, None),
    };
    let holders: Vec<_> =
        info.replicas.iter().filter_map(|replica| keyring.capabilities(&replica.provider).ok()).collect();
    let algorithms = anya_keys::Algorithm::ALL
        .into_iter()
        .filter(|algorithm| info.usage.allows(*algorithm))
        .filter(|algorithm| holders.iter().any(|holder| holder.computes(info.spec, *algorithm)));
    let algorithms = algorithms.map(|algorithm| same(&algorithm)).collect::<Result<_, _>>()?;
    let hd = match (info.spec, holders.first()) {
        (KeySpec::Bip32Seed, Some(holder)) => Some(same::<HdMode>(&holder.hd)?),
        _ => None,
    };
    let replicas = info.replicas.iter().map(|replica| {
        Ok(KeyReplica {
            provider: replica.provider.clone(),
            residence: same(&replica.residence)?,
            custody: replica.residence.describe().to_owned(),
            proved_at: replica.proved_at,
            erased_at: replica.erased_at,
        })
    });
    let custody = info.replicas.first().map_or("", |replica| replica.residence.describe());
    Ok(Key {
        id: info.id,
        provider: info.provider().to_owned(),
        custody: custody.to_owned(),
        replicas: replicas.collect::<Result<_, Error>>()?,
        replicated: info.is_replicated(),
        kind: kind_of(info.spec),
        state: state_of(info.state),
        public_key,
        fingerprint,
        transferable: info.transferable,
        usage: same(&info.usage)?,
        algorithms,
        hd,
        created_at: info.created_at,
        updated_at: info.updated_at,
        activates_at: info.activates_at,
        deactivates_at: info.deactivates_at,
        rotate_after_seconds: info.rotate_seconds,
        compromised_at: info.compromised_at,
        destroyed_at: info.destroyed_at,
        predecessor: info.predecessor,
        successor: info.successor,
        name: info.name,
    })
}

/// What the log says of a new key.
pub(crate) fn birth(info: &KeyInfo) -> serde_json::Value {
    let replicas: Vec<_> = info
        .replicas
        .iter()
        .map(|replica| serde_json::json!({ "provider": replica.provider, "residence": replica.residence.name() }))
        .collect();
    let mut detail = serde_json::json!({
        "name": info.name, "kind": info.spec.name(), "provider": info.provider(), "public": info.public,
        "replicas": replicas, "transferable": info.transferable, "usage": info.usage, "state": info.state.name(),
    });
    let dates = [
        ("activates_at", info.activates_at.map(|at| at.to_string().into())),
        ("deactivates_at", info.deactivates_at.map(|at| at.to_string().into())),
        ("rotate_after_seconds", info.rotate_seconds.map(Into::into)),
        ("predecessor", info.predecessor.map(|key| key.to_string().into())),
    ];
    if let Some(fields) = detail.as_object_mut() {
        fields.extend(dates.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    detail
}

pub(crate) fn destruction(proof: DestructionProof) -> KeyDestruction {
    let shares = proof.shares.into_iter().map(|share| ErasedShare {
        provider: share.provider,
        erased_at: share.erased_at,
        statement: share.statement,
    });
    KeyDestruction {
        key: proof.key,
        ordered_at: proof.ordered_at,
        complete: proof.complete,
        shares: shares.collect(),
    }
}

pub(crate) fn evidence(evidence: Evidence) -> Result<KeyEvidence, Error> {
    Ok(match evidence {
        Evidence::Claims { claims } => KeyEvidence::Claims { claims },
        Evidence::Certificate { chain } => {
            KeyEvidence::Certificate { chain: chain.iter().map(|der| hex::encode(&der.0)).collect() }
        }
        Evidence::Dcap { quote } => KeyEvidence::Dcap { quote: hex::encode(quote.0) },
        Evidence::Nitro { document } => KeyEvidence::Nitro { document: hex::encode(document.0) },
        Evidence::Simulated { statement } => KeyEvidence::Simulated { statement: hex::encode(statement.0) },
        _ => return Err(Error::Unsupported("the API has no words for this form of evidence".to_owned())),
    })
}

/// The dates, with a bound on what the API promises.
pub(crate) fn dates(dates: key::KeyDates) -> Result<anya_keys::KeyDates, Error> {
    if dates.rotate_after_seconds.is_some_and(|seconds| !(60..=key::MAX_ROTATE_AFTER).contains(&seconds)) {
        let message = format!("use 60 to {} seconds", key::MAX_ROTATE_AFTER);
        return Err(Error::invalid("rotate_after_seconds", message));
    }
    Ok(anya_keys::KeyDates {
        activates_at: dates.activates_at,
        deactivates_at: dates.deactivates_at,
        rotate_after: dates
            .rotate_after_seconds
            .map(|seconds| std::time::Duration::from_secs(seconds.into())),
    })
}

pub(crate) fn spec_of(kind: KeyKind) -> KeySpec {
    match kind {
        KeyKind::Bip32Seed => KeySpec::Bip32Seed,
        KeyKind::Secp256k1 => KeySpec::Secp256k1,
        KeyKind::Ed25519 => KeySpec::Ed25519,
        KeyKind::P256 => KeySpec::P256,
        KeyKind::Rsa3072 => KeySpec::Rsa3072,
        KeyKind::Aes256 => KeySpec::Aes256,
    }
}

pub(crate) fn kind_of(spec: KeySpec) -> KeyKind {
    match spec {
        KeySpec::Bip32Seed => KeyKind::Bip32Seed,
        KeySpec::Secp256k1 => KeyKind::Secp256k1,
        KeySpec::Ed25519 => KeyKind::Ed25519,
        KeySpec::P256 => KeyKind::P256,
        KeySpec::Rsa3072 => KeyKind::Rsa3072,
        KeySpec::Aes256 => KeyKind::Aes256,
    }
}

pub(crate) fn state_in(state: KeyState) -> anya_keys::KeyState {
    match state {
        KeyState::PreActivation => anya_keys::KeyState::PreActivation,
        KeyState::Active => anya_keys::KeyState::Active,
        KeyState::Suspended => anya_keys::KeyState::Suspended,
        KeyState::Deactivated => anya_keys::KeyState::Deactivated,
        KeyState::Compromised => anya_keys::KeyState::Compromised,
        KeyState::Destroyed => anya_keys::KeyState::Destroyed,
    }
}

fn state_of(state: anya_keys::KeyState) -> KeyState {
    match state {
        anya_keys::KeyState::PreActivation => KeyState::PreActivation,
        anya_keys::KeyState::Active => KeyState::Active,
        anya_keys::KeyState::Suspended => KeyState::Suspended,
        anya_keys::KeyState::Deactivated => KeyState::Deactivated,
        anya_keys::KeyState::Compromised => KeyState::Compromised,
        anya_keys::KeyState::Destroyed => KeyState::Destroyed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_vocabularies_write_the_same_words() {
        for word in anya_keys::Algorithm::ALL {
            assert_eq!(same::<key::KeyAlgorithm>(&word).unwrap().name(), word.name());
        }
        for word in anya_keys::Residence::ALL {
            assert_eq!(same::<key::Residence>(&word).unwrap().name(), word.name());
        }
        for word in [anya_keys::HdMode::None, anya_keys::HdMode::Sealed, anya_keys::HdMode::InDevice] {
            same::<HdMode>(&word).unwrap();
        }
    }
}
