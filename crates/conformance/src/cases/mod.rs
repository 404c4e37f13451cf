//! The cases, by name.

mod attest;
mod cipher;
mod concurrency;
mod deadlines;
mod derivation;
mod handles;
mod health;
pub(crate) mod imports;
mod kek;
mod known;
mod life;
mod nonces;
mod proof;
mod residences;
mod sign;
mod tenants;
pub(crate) mod transfer;
mod truth;

use std::sync::Arc;

use anya_provider::{Algorithm::*, KeySpec::*};

use crate::{lab::Lab, subject::Boxed, verdict::Verdict};

/// One thing to show.
pub(crate) struct Case {
    /// Its name: what it is about, then what of it.
    pub(crate) id: &'static str,
    /// What a provider that passes it does.
    pub(crate) shows: &'static str,
    pub(crate) run: fn(Arc<Lab>) -> Boxed<Verdict>,
}

macro_rules! cases {
    ($($id:literal $shows:literal $room:ident::$case:ident($($argument:expr),*);)*) => {
        vec![$(Case {
            id: $id,
            shows: $shows,
            run: |lab| Box::pin(async move { $room::$case(&lab $(, $argument)*).await }),
        }),*]
    };
}

/// Every case. Those that a provider which hangs would fail stand first, so that a run of one ends early.
pub(crate) fn all() -> Vec<Case> {
    cases! {
        "health/ready" "it says that it is ready, and signs" health::ready();
        "deadline/past" "work is not begun after its deadline" deadlines::past();
        "deadline/kept" "a call is answered by its deadline, or refused as too late" deadlines::kept();
        "deadline/abandoned" "a caller that stops waiting disturbs nobody else's answer" deadlines::abandoned();

        "truth/declared" "its declared capabilities fit each other" truth::declared();
        "truth/undeclared/specs" "sorts of keys that it does not declare are `unsupported`" truth::specs();
        "truth/undeclared/imports" "so are imports" truth::imports();
        "truth/undeclared/algorithms" "so are algorithms" truth::algorithms();
        "truth/undeclared/hd" "so is BIP32" truth::hd();
        "truth/undeclared/residences" "so are places for keys to live" truth::residences();
        "truth/undeclared/transfers" "so are transfers" truth::transfers();
        "truth/undeclared/kek" "so is renewing the sealing key" truth::kek();
        "truth/undeclared/attestation" "so is attestation" truth::attestation();
        "residence/as-asked" "a key lives where it was asked to, or where the capabilities say" residences::as_asked();
        "residence/device-keys-are-held" "a key said to live in the device is listed and erased by it" residences::device_keys_are_held();

        "keys/distinct" "no two generated keys are the same" known::distinct();
        "keys/public-form" "each public part is of its key's sort" known::public_form();

        "sign/cross-verify/ecdsa-secp256k1" "signatures verify under the key, by two implementations" sign::cross_verify(EcdsaSecp256k1);
        "sign/cross-verify/schnorr-secp256k1" "so do BIP340 signatures, tweaked (BIP341) and not" sign::cross_verify(SchnorrSecp256k1);
        "sign/cross-verify/ed25519" "so do Ed25519 signatures" sign::cross_verify(Ed25519Signature);
        "sign/cross-verify/ecdsa-p256" "so do P-256 signatures" sign::cross_verify(EcdsaP256);
        "sign/cross-verify/rsa-pss-sha256" "so do RSA-PSS signatures, by one" sign::cross_verify(RsaPssSha256);
        "sign/edge-digests/ecdsa-secp256k1" "digests of zeros, of ones and about the group's order are signed as they are" sign::edge_digests(EcdsaSecp256k1);
        "sign/edge-digests/schnorr-secp256k1" "the same with Schnorr" sign::edge_digests(SchnorrSecp256k1);
        "sign/edge-digests/ecdsa-p256" "the same on P-256" sign::edge_digests(EcdsaP256);
        "sign/message-lengths" "messages from none to the longest are signed whole, or refused as too long" sign::message_lengths();
        "sign/wrong-requests" "other algorithms, forms of message and paths than the key's are refused" sign::wrong_requests();

        "nonce/ecdsa-secp256k1" "no nonce serves twice or is biased: shared nonces give the key away" nonces::fresh(EcdsaSecp256k1);
        "nonce/schnorr-secp256k1" "the same with Schnorr" nonces::fresh(SchnorrSecp256k1);
        "nonce/ecdsa-p256" "the same on P-256" nonces::fresh(EcdsaP256);
        "nonce/ed25519" "the same with Ed25519" nonces::fresh(Ed25519Signature);

        "import/known-answers/secp256k1" "imported scalars have their public keys, to the edges of the range" known::curve_import(Secp256k1);
        "import/known-answers/p256" "the same on P-256" known::curve_import(P256);
        "import/known-answers/ed25519" "RFC 8032's seeds have its public keys and signatures" known::ed25519_import();
        "import/known-answers/rsa3072" "an imported RSA key is the one that was made elsewhere" known::rsa_import();
        "import/refused" "what is no key is refused, and not repeated in the refusal" imports::refused();

        "derive/bip32-vectors" "BIP32's test vectors" derivation::bip32_vectors();
        "derive/mnemonic-addresses" "phrases lead to the seeds of BIP39 and the addresses of BIP44, 49, 84 and 86" derivation::mnemonic_addresses();
        "derive/agrees-with-public-derivation" "children are those that anyone derives from the account" derivation::agrees();
        "derive/signs-for-its-path" "signatures at a path verify under the key of that path and no other" derivation::signs_for_its_path();

        "cipher/round-trip" "what was encrypted decrypts, at every length" cipher::round_trip();
        "cipher/tampered" "no altered ciphertext, associated data or key opens anything" cipher::tampered();
        "cipher/nonces" "no two encryptions of one text are alike" cipher::nonces();
        "cipher/cross-decrypt" "it is AES-256-GCM: another implementation opens and seals the same" cipher::cross_decrypt();
        "cipher/known-answers" "the GCM specification's vectors decrypt" cipher::known_answers();
        "cipher/wycheproof" "so do Project Wycheproof's, and its invalid ones do not" cipher::wycheproof();

        "handle/garbage" "bytes that are no handle are refused" handles::garbage();
        "handle/altered" "a handle that was cut, lengthened or altered in one bit is refused" handles::altered();
        "handle/another-key" "a key's handle in the place of another's is refused" handles::another_key();
        "handle/holds-no-secret" "a handle does not hold the secret in the clear" handles::holds_no_secret();

        "tenant/another-tenant" "no other tenant can use a key by its handle" tenants::another_tenant();
        "tenant/another-key" "nor does it work under another key's id" tenants::another_key();
        "tenant/another-version" "nor as another version" tenants::another_version();
        "tenant/another-spec" "nor as a key of another sort" tenants::another_spec();
        "tenant/destroy" "nor can it be destroyed under another's name" tenants::destroy();
        "tenant/inventory" "the device's list names each key's own tenant, id and version" tenants::inventory();

        "concurrency/signatures" "32 callers get signatures over what each asked, by the key each asked" concurrency::signatures();
        "concurrency/keys" "keys that are made at once are all there, each its own" concurrency::keys();

        "life/destroyed" "a destroyed key works no more, and its destruction can be repeated" life::destroyed();
        "life/destroyed-alone" "the others live" life::destroyed_alone();

        "transfer/replica" "a key that is sent signs at its target under the same public key" transfer::replica();
        "transfer/tampered" "a wrapped key that was altered is refused" transfer::tampered();
        "transfer/offers" "nothing is wrapped for an offer that is none, or too weak" transfer::offers();
        "transfer/confined" "a key that was not made transferable stays" transfer::confined();

        "kek/rotation" "old handles work and are wrapped again under the new sealing key; retired ones are dead" kek::rotation();

        "attest/kind" "the evidence is of the declared kind" attest::kind();
        "attest/nonce" "the nonce is bound where the evidence can bind one" attest::nonce();
        "attest/names-the-key" "the evidence is about this key" attest::names_the_key();

        "restart/keys-survive" "keys and ciphertexts work when the provider was closed and opened again" life::restart();
        "restart/health-after-close" "a closed provider says that it is not ready, or works" life::after_close();
    }
}

use anya_provider::Algorithm::Ed25519 as Ed25519Signature;
