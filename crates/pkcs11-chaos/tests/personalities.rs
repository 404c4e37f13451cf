//! Each vendor's device, as far as it is modelled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use anya_pkcs11_chaos::{
    CK_BIP32_CHILD_DERIVE_PARAMS, CK_BIP32_MASTER_DERIVE_PARAMS, CKA_BIP32_CHAIN_CODE, CKA_BIP32_CHILD_DEPTH,
    CKA_BIP32_CHILD_INDEX, CKA_BIP32_FINGERPRINT, CKA_BIP32_PARENT_FINGERPRINT, CKK_BIP32,
    CKM_BIP32_CHILD_DERIVE, CKM_BIP32_MASTER_DERIVE, Personality,
};
use bitcoin::{
    NetworkKind,
    bip32::{ChainCode, ChildNumber, Fingerprint, Xpub},
};
use common::{Bench, P256, SECP256K1, isolated, pair, point, refusal, sign, verifies};
use cryptoki::{
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        aead::GcmParams,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
        vendor_defined::VendorDefinedMechanism,
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    types::Ulong,
};
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RSA_AES_KEY_WRAP_PARAMS, CK_RSA_PKCS_OAEP_PARAMS,
    CK_ULONG, CKA_DERIVE, CKA_KEY_TYPE, CKA_SIGN, CKA_TOKEN, CKG_MGF1_SHA1, CKM_RSA_AES_KEY_WRAP, CKM_SHA_1,
    CKZ_DATA_SPECIFIED,
};

const DIGEST: [u8; 32] = [0x77; 32];

fn vendor(code: CK_ULONG) -> Mechanism<'static> {
    let kind = MechanismType::new_vendor_defined(code).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<u8>(kind, None))
}

fn bench(personality: Personality) -> Bench {
    let bench = Bench::new();
    bench.chaos.personality(personality).unwrap();
    bench
}

fn flag(session: &Session, object: ObjectHandle, kind: AttributeType) -> bool {
    match session.get_attributes(object, &[kind]).unwrap().remove(0) {
        Attribute::AlwaysSensitive(value)
        | Attribute::NeverExtractable(value)
        | Attribute::Sensitive(value)
        | Attribute::Extractable(value)
        | Attribute::Local(value) => value,
        other => panic!("{other:?}"),
    }
}

fn kek(session: &Session, token: bool) -> ObjectHandle {
    let template = [
        Attribute::Token(token),
        Attribute::Private(true),
        Attribute::ValueLen(Ulong::new(32)),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap()
}

fn extractable_pair(session: &Session) -> (ObjectHandle, ObjectHandle) {
    let public = [Attribute::Private(true), Attribute::EcParams(SECP256K1.to_vec())];
    let private = [Attribute::Private(true), Attribute::Sign(true), Attribute::Extractable(true)];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap()
}

fn unwrapped() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
        Attribute::Label(b"unwrapped".to_vec()),
    ]
}

#[test]
fn cloudhsm_shows_points_on_private_keys_only() {
    isolated("cloudhsm_shows_points_on_private_keys_only", || {
        let bench = bench(Personality::CloudHsm);
        bench.chaos.quorum_delay(Duration::ZERO).unwrap();
        let session = &bench.session;
        let (public, private) = pair(session, true).unwrap();
        assert!(session.get_attributes(public, &[AttributeType::EcPoint]).unwrap().is_empty());
        assert!(verifies(&point(session, private), DIGEST, &sign(session, private, DIGEST).unwrap()));

        // A key that was unwrapped knows its point as well, and what hides it is hidden.
        let (_, source) = extractable_pair(session);
        let expected = point(session, source);
        let kek = kek(session, false);
        let pad = vendor(0x8000_216f);
        let wrapped = session.wrap_key(&pad, kek, source).unwrap();
        let copy = session.unwrap_key(&pad, kek, &wrapped, &unwrapped()).unwrap();
        assert_eq!(point(session, copy), expected);
        assert!(verifies(&expected, DIGEST, &sign(session, copy, DIGEST).unwrap()));
        match session.get_attributes(copy, &[AttributeType::Subject]).unwrap().as_slice() {
            [] => (),
            [Attribute::Subject(subject)] => assert!(subject.is_empty()),
            other => panic!("{other:?}"),
        }
        assert_eq!(session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap().len(), 3);
        assert_eq!(
            refusal(session.wrap_key(&Mechanism::AesKeyWrapPad, kek, source)),
            RvError::MechanismInvalid
        );
    });
}

#[test]
fn cloudhsm_refuses_what_its_documents_say() {
    isolated("cloudhsm_refuses_what_its_documents_say", || {
        let bench = bench(Personality::CloudHsm);
        let session = &bench.session;
        let create = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(SECP256K1.to_vec()),
            Attribute::Value(vec![1; 32]),
        ];
        assert_eq!(refusal(session.create_object(&create)), RvError::TemplateInconsistent);
        let edwards = [Attribute::EcParams(vec![0x06, 0x03, 0x2b, 0x65, 0x70])];
        let made = session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &edwards, &[]);
        assert_eq!(refusal(made), RvError::MechanismInvalid);
        let public = [Attribute::Private(false), Attribute::EcParams(SECP256K1.to_vec())];
        let made = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &[]);
        assert_eq!(refusal(made), RvError::AttributeValueInvalid);
        let (_, private) = pair(session, true).unwrap();
        let read_only = bench.module.open_ro_session(bench.slot).unwrap();
        assert_eq!(refusal(sign(&read_only, private, DIGEST)), RvError::SessionReadOnly);
        // A new token key is not on two devices yet.
        assert_eq!(refusal(sign(session, private, DIGEST)), RvError::FunctionFailed);
        std::thread::sleep(Duration::from_millis(200));
        sign(session, private, DIGEST).unwrap();

        let derive = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &[4; 65]));
        let secret = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::GENERIC_SECRET)];
        assert_eq!(refusal(session.derive_key(&derive, private, &secret)), RvError::MechanismParamInvalid);

        let list = bench.module.get_mechanism_list(bench.slot).unwrap();
        assert!(!list.contains(&MechanismType::EDDSA) && list.contains(&MechanismType::ECDSA));
        let zero_pad = MechanismType::new_vendor_defined(0x8000_216f).unwrap();
        assert!(bench.module.get_mechanism_info(bench.slot, zero_pad).unwrap().wrap());
    });
}

#[test]
fn cloudhsm_makes_the_nonces_of_gcm() {
    isolated("cloudhsm_makes_the_nonces_of_gcm", || {
        let bench = bench(Personality::CloudHsm);
        let session = &bench.session;
        let key = kek(session, false);
        let seal = |nonce: &mut [u8; 12]| {
            let params = GcmParams::new(nonce, b"aad", Ulong::new(128)).unwrap();
            session.encrypt(&Mechanism::AesGcm(params), key, b"plaintext")
        };
        assert_eq!(refusal(seal(&mut [1; 12])), RvError::MechanismParamInvalid);
        let (mut first, mut second) = ([0; 12], [0; 12]);
        let ciphertext = seal(&mut first).unwrap();
        seal(&mut second).unwrap();
        assert_ne!(first, second);
        let params = GcmParams::new(&mut first, b"aad", Ulong::new(128)).unwrap();
        assert_eq!(session.decrypt(&Mechanism::AesGcm(params), key, &ciphertext).unwrap(), b"plaintext");
    });
}

/// `CKM_RSA_AES_KEY_WRAP` with its parameter, which the library has no words for.
fn rsa_aes<T>(run: impl FnOnce(&Mechanism<'_>) -> T) -> T {
    let mut oaep = CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: CKM_SHA_1,
        mgf: CKG_MGF1_SHA1,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: std::ptr::null_mut(),
        ulSourceDataLen: 0,
    };
    let params = CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, pOAEPParams: &raw mut oaep };
    // The number is the standard's; the library passes on whatever it is given.
    let made =
        VendorDefinedMechanism::new(MechanismType::new_vendor_defined(0x8000_0000).unwrap(), Some(&params));
    // SAFETY: the mechanism is `CK_MECHANISM` and a marker; its number alone is changed.
    let made = unsafe {
        let mut made = made;
        (*(&raw mut made).cast::<CK_MECHANISM>()).mechanism = CKM_RSA_AES_KEY_WRAP;
        made
    };
    run(&Mechanism::VendorDefined(made))
}

#[test]
fn rsa_aes_key_wrap_is_what_the_standard_says() {
    isolated("rsa_aes_key_wrap_is_what_the_standard_says", || {
        let bench = bench(Personality::Luna);
        let session = &bench.session;
        let public = [
            Attribute::ModulusBits(Ulong::new(2048)),
            Attribute::PublicExponent(vec![1, 0, 1]),
            Attribute::Wrap(true),
            Attribute::Encrypt(true),
        ];
        let private = [Attribute::Unwrap(true), Attribute::Decrypt(true)];
        let (wrapping, unwrapping) =
            session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private).unwrap();
        let (public, source) = extractable_pair(session);
        let expected = point(session, public);
        let wrapped = rsa_aes(|mechanism| session.wrap_key(mechanism, wrapping, source)).unwrap();
        let copy =
            rsa_aes(|mechanism| session.unwrap_key(mechanism, unwrapping, &wrapped, &unwrapped())).unwrap();
        assert!(verifies(&expected, DIGEST, &sign(session, copy, DIGEST).unwrap()));

        // In two steps, by hand: the same key.
        let aes = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Unwrap(true),
        ];
        let oaep = PkcsOaepParams::new(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1, PkcsOaepSource::empty());
        let transport =
            session.unwrap_key(&Mechanism::RsaPkcsOaep(oaep), unwrapping, &wrapped[..256], &aes).unwrap();
        let copy =
            session.unwrap_key(&Mechanism::AesKeyWrapPad, transport, &wrapped[256..], &unwrapped()).unwrap();
        assert!(verifies(&expected, DIGEST, &sign(session, copy, DIGEST).unwrap()));
    });
}

#[test]
fn luna_gives_points_bare_and_curves_spelt_out() {
    isolated("luna_gives_points_bare_and_curves_spelt_out", || {
        let bench = bench(Personality::Luna);
        let session = &bench.session;
        let (public, private) = pair(session, true).unwrap();
        let attributes =
            session.get_attributes(public, &[AttributeType::EcPoint, AttributeType::EcParams]).unwrap();
        let [Attribute::EcPoint(raw), Attribute::EcParams(params)] = attributes.as_slice() else {
            panic!("{attributes:?}")
        };
        assert_eq!((raw.len(), raw[0]), (65, 4));
        assert_eq!((params.len(), params[0]), (227, 0x30));
        assert!(verifies(&point(session, public), DIGEST, &sign(session, private, DIGEST).unwrap()));
        // What it gives it also takes.
        assert_eq!(
            session
                .find_objects(&[
                    Attribute::EcParams(params.clone()),
                    Attribute::Class(ObjectClass::PUBLIC_KEY)
                ])
                .unwrap(),
            [public]
        );
        assert_eq!(session.find_objects(&[Attribute::EcPoint(raw.clone())]).unwrap(), [public]);
        let again = [Attribute::EcParams(params.clone())];
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &again, &[]).unwrap();
        let p256 = [Attribute::EcParams(P256.to_vec())];
        let (public, _) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &p256, &[]).unwrap();
        let params = session.get_attributes(public, &[AttributeType::EcParams]).unwrap();
        assert!(matches!(params.as_slice(), [Attribute::EcParams(params)] if params.len() > 200));
    });
}

/// A template in C.
struct Template(Vec<(CK_ULONG, Vec<u8>)>);

impl Template {
    fn key(token: bool, sign: bool) -> Self {
        let flag = |value: bool| vec![u8::from(value)];
        Self(vec![
            (CKA_TOKEN, flag(token)),
            (CKA_KEY_TYPE, CKK_BIP32.to_ne_bytes().to_vec()),
            (CKA_DERIVE, flag(true)),
            (CKA_SIGN, flag(sign)),
        ])
    }

    fn raw(&mut self) -> Vec<CK_ATTRIBUTE> {
        let raw = |(kind, value): &mut (CK_ULONG, Vec<u8>)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        };
        self.0.iter_mut().map(raw).collect()
    }
}

/// The library wants a template and gives the handle that the device does not write here.
fn derive<T>(session: &Session, code: CK_ULONG, params: &T, base: ObjectHandle) -> Result<(), Error> {
    let mechanism =
        VendorDefinedMechanism::new(MechanismType::new_vendor_defined(code).unwrap(), Some(params));
    session.derive_key(&Mechanism::VendorDefined(mechanism), base, &[]).map(drop)
}

/// Public and private master key.
fn master(session: &Session, seed: ObjectHandle) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let (mut public, mut private) = (Template::key(false, false), Template::key(true, true));
    public.0.retain(|(kind, _)| *kind != CKA_SIGN);
    let (mut public, mut private) = (public.raw(), private.raw());
    // Written by the device through a pointer that the library takes for one to constant data.
    let params = std::cell::UnsafeCell::new(CK_BIP32_MASTER_DERIVE_PARAMS {
        pPublicKeyTemplate: public.as_mut_ptr(),
        ulPublicKeyAttributeCount: public.len() as CK_ULONG,
        pPrivateKeyTemplate: private.as_mut_ptr(),
        ulPrivateKeyAttributeCount: private.len() as CK_ULONG,
        hPublicKey: 0,
        hPrivateKey: 0,
    });
    derive(session, CKM_BIP32_MASTER_DERIVE, &params, seed)?;
    let params = params.into_inner();
    Ok((handle(session, params.hPublicKey), handle(session, params.hPrivateKey)))
}

fn child(
    session: &Session,
    base: ObjectHandle,
    path: &[u32],
) -> Result<(ObjectHandle, ObjectHandle), (Error, CK_ULONG)> {
    let (mut public, mut private) = (Template::key(false, false), Template::key(false, true));
    public.0.retain(|(kind, _)| *kind != CKA_SIGN);
    let (mut public, mut private) = (public.raw(), private.raw());
    let mut path: Vec<CK_ULONG> = path.iter().map(|step| CK_ULONG::from(*step)).collect();
    let params = std::cell::UnsafeCell::new(CK_BIP32_CHILD_DERIVE_PARAMS {
        pPublicKeyTemplate: public.as_mut_ptr(),
        ulPublicKeyAttributeCount: public.len() as CK_ULONG,
        pPrivateKeyTemplate: private.as_mut_ptr(),
        ulPrivateKeyAttributeCount: private.len() as CK_ULONG,
        pulPath: path.as_mut_ptr(),
        ulPathLen: path.len() as CK_ULONG,
        hPublicKey: 0,
        hPrivateKey: 0,
        ulPathErrorIndex: 999,
    });
    let outcome = derive(session, CKM_BIP32_CHILD_DERIVE, &params, base);
    let params = params.into_inner();
    outcome.map_err(|error| (error, params.ulPathErrorIndex))?;
    Ok((handle(session, params.hPublicKey), handle(session, params.hPrivateKey)))
}

/// A handle from a number: the library has no way but to look it up.
fn handle(session: &Session, number: CK_OBJECT_HANDLE) -> ObjectHandle {
    let all = [KeyType::EC, KeyType::new_vendor_defined(CKK_BIP32).unwrap()]
        .into_iter()
        .flat_map(|kind| session.find_objects(&[Attribute::KeyType(kind)]).unwrap());
    all.into_iter().find(|object| object.handle() == number).unwrap_or_else(|| panic!("no object {number}"))
}

fn vendor_bytes(session: &Session, object: ObjectHandle, kind: CK_ULONG) -> Vec<u8> {
    match session.get_attributes(object, &[AttributeType::VendorDefined(kind)]).unwrap().remove(0) {
        Attribute::VendorDefined((_, bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::try_from(CK_ULONG::from_ne_bytes(bytes.try_into().unwrap())).unwrap()
}

fn xpub(session: &Session, public: ObjectHandle) -> Xpub {
    let parent: [u8; 4] = vendor_bytes(session, public, CKA_BIP32_PARENT_FINGERPRINT).try_into().unwrap();
    let chain_code: [u8; 32] = vendor_bytes(session, public, CKA_BIP32_CHAIN_CODE).try_into().unwrap();
    Xpub {
        network: NetworkKind::Main,
        depth: u8::try_from(number(&vendor_bytes(session, public, CKA_BIP32_CHILD_DEPTH))).unwrap(),
        parent_fingerprint: Fingerprint::from(parent),
        child_number: ChildNumber::from(number(&vendor_bytes(session, public, CKA_BIP32_CHILD_INDEX))),
        public_key: point(session, public),
        chain_code: ChainCode::from(chain_code),
    }
}

fn seed(session: &Session, bytes: &[u8]) -> ObjectHandle {
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Derive(true),
            Attribute::Value(bytes.to_vec()),
        ])
        .unwrap()
}

const HARD: u32 = 1 << 31;

// BIP32, test vector 1.
#[test]
fn luna_derives_bip32_keys_in_the_device() {
    isolated("luna_derives_bip32_keys_in_the_device", || {
        let bench = bench(Personality::Luna);
        let session = &bench.session;
        let bytes: Vec<u8> = (0..16).collect();
        let seed = seed(session, &bytes);
        let (public, private) = master(session, seed).unwrap();
        assert_eq!(
            xpub(session, public).to_string(),
            "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EG\
             Mcet8"
        );
        let path = [HARD, 1, HARD | 2, 2, 1_000_000_000];
        let (leaf, signer) = child(session, private, &path).unwrap();
        assert_eq!(
            xpub(session, leaf).to_string(),
            "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodr\
             THy"
        );
        assert!(verifies(&point(session, leaf), DIGEST, &sign(session, signer, DIGEST).unwrap()));
        let own = xpub(session, leaf).fingerprint();
        assert_eq!(vendor_bytes(session, leaf, CKA_BIP32_FINGERPRINT), own.to_bytes());

        // In two steps the same.
        let (_, upper) = child(session, private, &path[..3]).unwrap();
        let (again, _) = child(session, upper, &path[3..]).unwrap();
        assert_eq!(xpub(session, again), xpub(session, leaf));

        // From a public key, softly only.
        let (soft, _) = child(session, private, &[HARD]).unwrap();
        let expected = xpub(session, child(session, private, &[HARD, 1]).unwrap().0);
        let params = child_of_public(session, soft, &[1]);
        assert_eq!(xpub(session, handle(session, params.unwrap())), expected);
        let (error, place) = child_of_public(session, soft, &[1, HARD]).unwrap_err();
        assert!(matches!(error, Error::Pkcs11(RvError::VendorDefined(0x8000_0084), _)), "{error:?}");
        assert_eq!(place, 1);
        assert!(child(session, private, &[]).is_err());
    });
}

/// The number of the one key that comes of a public base key.
fn child_of_public(
    session: &Session,
    base: ObjectHandle,
    path: &[u32],
) -> Result<CK_OBJECT_HANDLE, (Error, CK_ULONG)> {
    let mut path: Vec<CK_ULONG> = path.iter().map(|step| CK_ULONG::from(*step)).collect();
    let params = std::cell::UnsafeCell::new(CK_BIP32_CHILD_DERIVE_PARAMS {
        pPublicKeyTemplate: std::ptr::null_mut(),
        ulPublicKeyAttributeCount: 0,
        pPrivateKeyTemplate: std::ptr::null_mut(),
        ulPrivateKeyAttributeCount: 0,
        pulPath: path.as_mut_ptr(),
        ulPathLen: path.len() as CK_ULONG,
        hPublicKey: 0,
        hPrivateKey: 999,
        ulPathErrorIndex: 999,
    });
    let outcome = derive(session, CKM_BIP32_CHILD_DERIVE, &params, base);
    let params = params.into_inner();
    outcome.map_err(|error| (error, params.ulPathErrorIndex))?;
    assert_eq!(params.hPrivateKey, 0);
    Ok(params.hPublicKey)
}

#[test]
fn luna_keeps_seeds_and_trees_to_itself() {
    isolated("luna_keeps_seeds_and_trees_to_itself", || {
        let bench = bench(Personality::Luna);
        let session = &bench.session;
        let bip32 = KeyType::new_vendor_defined(CKK_BIP32).unwrap();
        let seed_key = seed(session, &[7; 32]);
        let (_, private) = master(session, seed_key).unwrap();
        for object in [seed_key, private] {
            let value = session.get_attributes(object, &[AttributeType::Value]).unwrap();
            assert!(value.is_empty(), "{value:?}");
            assert!(flag(session, object, AttributeType::Sensitive));
            assert!(!flag(session, object, AttributeType::Extractable));
            let kek = kek(session, false);
            let refused = refusal(session.wrap_key(&Mechanism::AesKeyWrapPad, kek, object));
            assert!(matches!(refused, RvError::KeyUnextractable | RvError::KeyNotWrappable), "{refused:?}");
        }
        // It is a BIP32 key for searches too, and no EC key.
        pair(session, true).unwrap();
        let private_keys = |kind: KeyType| {
            session
                .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(kind)])
                .unwrap()
        };
        assert_eq!(private_keys(bip32), [private]);
        assert_eq!(private_keys(KeyType::EC).len(), 1);
        assert!(matches!(
            session.get_attributes(private, &[AttributeType::KeyType]).unwrap().as_slice(),
            [Attribute::KeyType(kind)] if *kind == bip32
        ));
        // Seeds of a wrong length, and keys that are no seeds.
        let short = seed(session, &[7; 15]);
        assert!(matches!(master(session, short), Err(Error::Pkcs11(RvError::VendorDefined(0x8000_0085), _))));
        let (_, ec) = pair(session, false).unwrap();
        assert_eq!(refusal(master(session, ec)), RvError::KeyTypeInconsistent);
        // After the module is loaded anew the tree is still there.
        let before = xpub(session, child(session, private, &[HARD | 84]).unwrap().0);
        let fresh = bench.log_in();
        let again = fresh
            .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(bip32)])
            .unwrap();
        assert_eq!(xpub(&fresh, child(&fresh, again[0], &[HARD | 84]).unwrap().0), before);
    });
}

#[test]
fn yubihsm_has_its_own_mind() {
    isolated("yubihsm_has_its_own_mind", || {
        let bench = bench(Personality::YubiHsm);
        let session = &bench.session;
        assert_eq!(refusal(pair(session, false)), RvError::AttributeValueInvalid);
        let (public, private) = pair(session, true).unwrap();
        assert!(verifies(&point(session, public), DIGEST, &sign(session, private, DIGEST).unwrap()));

        let printable = b"\x13\x0cedwards25519".to_vec();
        let edwards = |params: Vec<u8>| {
            let public = [Attribute::EcParams(params)];
            session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &[Attribute::Sign(true)])
        };
        assert_eq!(refusal(edwards(vec![0x06, 0x03, 0x2b, 0x65, 0x70])), RvError::CurveNotSupported);
        let (public, _) = edwards(printable.clone()).unwrap();
        let params = session.get_attributes(public, &[AttributeType::EcParams]).unwrap();
        assert!(matches!(params.as_slice(), [Attribute::EcParams(params)] if *params == printable));

        // Attributes are no attestation.
        let imported = session
            .create_object(&[
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::KeyType(KeyType::EC),
                Attribute::EcParams(SECP256K1.to_vec()),
                Attribute::Value(vec![1; 32]),
            ])
            .unwrap();
        assert!(!flag(session, imported, AttributeType::Local));
        assert!(flag(session, imported, AttributeType::AlwaysSensitive));
        assert!(flag(session, imported, AttributeType::NeverExtractable));
        let list = bench.module.get_mechanism_list(bench.slot).unwrap();
        assert!(!list.contains(&MechanismType::AES_GCM) && !list.contains(&MechanismType::AES_KEY_WRAP_PAD));
        assert_eq!(bench.module.get_token_info(bench.slot).unwrap().model(), "YubiHSM");
    });
}

#[test]
fn a_personality_is_put_on_and_off_while_it_runs() {
    isolated("a_personality_is_put_on_and_off_while_it_runs", || {
        let bench = Bench::new();
        let model = || bench.module.get_token_info(bench.slot).unwrap().model().to_owned();
        let plain = model();
        for (personality, name) in [
            (Personality::CloudHsm, "LS2"),
            (Personality::Luna, "Luna K7"),
            (Personality::YubiHsm, "YubiHSM"),
        ] {
            bench.chaos.personality(personality).unwrap();
            assert_eq!(model(), name);
            // The faults' end is not the personality's.
            bench.chaos.clear().unwrap();
            assert_eq!(model(), name);
        }
        bench.chaos.personality(Personality::Plain).unwrap();
        assert_eq!(model(), plain);
    });
}
