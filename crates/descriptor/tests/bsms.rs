//! BIP129's vectors in its three modes, and what a changed record is refused for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use anya_descriptor::{
    Error, Keychain, Rules, SignerKey,
    bsms::{KeyRecord, Token, read_descriptor, write_descriptor},
};
use anya_primitives::Network;
use proptest::prelude::*;

const CLEAR_KEYS: [&str; 2] = [
    "BSMS 1.0\n00\n[59865f44/48'/0'/0'/2']026d15412460ba0d881c21837bb999233896085a9ed4e5445bd637c10e579768ba\nSigner 1 key\nH6DXgqkCb353BDPkzppMFpOcdJZlpur0WRetQhIBqSn6DFzoQWBtm+ibP5wERDRNi0bxxev9B+FIvyQWq0s6im4=",
    "BSMS 1.0\n00\n[b7044ca6/48'/0'/0'/2']030baf0497ab406ff50cb48b4013abac8a0338758d2fd54cd934927afa57cc2062\nSigner 2 key\nH08mGNGN+NxX/snt+6eX2Q1HjjfDkOtotglshHi7xdsBdIrTVMCQbgQ5SdACNZ0B2AJcifK11nJj43SvaitSemI=",
];
const CLEAR_KEYS_WALLET: &str = "BSMS 1.0\nwsh(sortedmulti(1,[59865f44/48'/0'/0'/2']026d15412460ba0d881c21837bb999233896085a9ed4e5445bd637c10e579768ba,[b7044ca6/48'/0'/0'/2']030baf0497ab406ff50cb48b4013abac8a0338758d2fd54cd934927afa57cc2062))#rzx9dffd\nNo path restrictions\nbc1quqy523xu3l8che3s8vja8n33qtg0uyugr9l5z092s3wa50p8t7rqy6zumf";

const CLEAR: [&str; 2] = [
    "BSMS 1.0\n00\n[1cf0bf7e/48'/0'/0'/2']xpub6FL8FhxNNUVnG64YurPd16AfGyvFLhh7S2uSsDqR3Qfcm6o9jtcMYwh6DvmcBF9qozxNQmTCVvWtxLpKTnhVLN3Pgnu2D3pAoXYFgVyd8Yz\nSigner 1 key\nIB7v+qi1b+Xrwm/3bF+Rjl8QbIJ/FMQ40kUsOOQo1SqUWn5QlFWbBD8BKPRetfo1L1N7DmYjVscZNsmMrqRJGWw=",
    "BSMS 1.0\n00\n[4fc1dd4a/48'/0'/0'/2']xpub6EebMbEps7ZcV3FYEnddRsvrFWDrt2tiPmCeM7pPXQEmphvq9ZfJ1LWFUDjf3vxCeBuPrfyGrMazWUsYsetrnHatQZVLJH7LsgCjtMqdzgj\nSigner 2 key\nHzUa4Z76PFHMl54flIIF3XKiHZ+KbWjjxCEG5G3ZqZSqTd6OgTiFFLqq9PXJXdfYm6/cnL8IVWQgjFF9DQhIqQs=",
];
const CLEAR_WALLET: &str = "BSMS 1.0\nwsh(sortedmulti(2,[1cf0bf7e/48'/0'/0'/2']xpub6FL8FhxNNUVnG64YurPd16AfGyvFLhh7S2uSsDqR3Qfcm6o9jtcMYwh6DvmcBF9qozxNQmTCVvWtxLpKTnhVLN3Pgnu2D3pAoXYFgVyd8Yz/**,[4fc1dd4a/48'/0'/0'/2']xpub6EebMbEps7ZcV3FYEnddRsvrFWDrt2tiPmCeM7pPXQEmphvq9ZfJ1LWFUDjf3vxCeBuPrfyGrMazWUsYsetrnHatQZVLJH7LsgCjtMqdzgj/**))\n/0/*,/1/*\nbc1qrgc6p3kylfztu06ysl752gwwuekhvtfh9vr7zg43jvu60mutamcsv948ej";

const STANDARD_TOKEN: (&str, &str) = ("a54044308ceac9b7", "11907592390080907703");
const STANDARD_KEY: &str = "BSMS 1.0\na54044308ceac9b7\n[b7868815/48'/0'/0'/2']xpub6FA5rfxJc94K1kNtxRby1hoHwi7YDyTWwx1KUR3FwskaF6HzCbZMz3zQwGnCqdiFeMTPV3YneTGS2YQPiuNYsSvtggWWMQpEJD4jXU7ZzEh\nSigner 1 key\nH8DYht5P6ko0bQqDV6MtUxpzBSK+aVHxbvMavA5byvLrOlCEGmO1WFR7k2wu42J6dxXD8vrmDQSnGq5MTMMbZ98=";
const STANDARD_SEALED: &str = "fbdbdb64e6a8231c342131d9f13dcd5a954b4c5021658fa5afcb3fc74dc8270653f491cfd1431c292d922ea5a5dec3eb8ddaa6ed38ae109e7b040f0f23013e89a89b4d27476761a01197a3277850b2bc1621ae626efe65f2081eec6eb571c4f787bf1c49d061b43f70fd73cb3f37fa591d2400973ac0644c8941a83f1d4155e98f01fa2fdeb9f86c2e2413154fd18566a28fb0d9d8bd6172efabcfa6dab09ee7029bf3dd43376df52c118a6d291ec168f4ec7f7df951dfc6135fd8cb4b234da62eaea6017dfe5ca418f083e02e3aba2962ba313ba17b6468c7672fb218329a9f3fe4e4887fb87dac57c63ebff0e715a44498d18de8afc10e1cfeb46a1fc65ce871fef8a43b289305433a90c342d025aa4c19454fcfbcf911e9e2f928d5affd0536a6ddc2e816";
const STANDARD_WALLET_SEALED: &str = "734ce791b466861945e1ef6f74c63faec590793de54831f0036b28d08714b71a273cad18a5e1eff37dba6d850749594c9a3fd32b2069e8c69983ea269c5044b6bcaea26d9dbc8ad5d28bb8abfa02e3bfc7632fcc5c2b76e9abb1982ff11295858cfe44a8b97110ae970f58fff3fb6477f38ca9609eec78eedb1d640eaba489fd5e41e787b8d0bde48f1fa99cca641cabbee0f513fb1040cb73df10a57c9a34e4efcb069cd4c75467442c15d878ed9f40e3dffb98294931a6da4f444ae46f739b7fe002ce19fcfe71b05b9783d797ba45d568febbc8a2b0850da67f349d8567342352e1712c3d2a7ea1b2721df5efdb844431f0e5dcfa4acacb194c20785c9bb6dde90d64352fc913e9073b3b416be713bcc7632c821bbfddafa6199d471c54fb899f347f5fc706787ccaa82332dc8b93aeb3de3497d8e5c75f0f5d718c74bc6f8194fe999948e517f1c98398d9cb907d200f1d045394704b074dfb10e587f54fd78e95ef4bcbe77bf1376b390c3f47c91c12b2ed14073ea56bceab41f924302e62183c456b06d96b3da30439cb4320c764a0d6d1b3dabc06fc";
const STANDARD_WALLET: &str = "BSMS 1.0\nwsh(sortedmulti(2,[b7868815/48'/0'/0'/2']xpub6FA5rfxJc94K1kNtxRby1hoHwi7YDyTWwx1KUR3FwskaF6HzCbZMz3zQwGnCqdiFeMTPV3YneTGS2YQPiuNYsSvtggWWMQpEJD4jXU7ZzEh/**,[eedff89a/48'/0'/0'/2']xpub6EhJvMneoLWAf8cuyLBLQiKiwh89RAmqXEqYeFuaCEHdHwxSRfzLrUxKXEBap7nZSHAYP7Jfq6gZmucotNzpMQ9Sb1nTqerqW8hrtmx6Y6o/**))\n/0/*,/1/*\nbc1qhs4u273g4azq7kqqpe6vh5wfhasfmrq7nheyzsnq77humd7rwtkqagvakf";

const EXTENDED_TOKEN: (&str, &str) =
    ("108a2360adb302774eb521daebbeda5e", "21984902443033505423410071144203475550");
const EXTENDED_KEY: &str = "BSMS 1.0\n108a2360adb302774eb521daebbeda5e\n[793cc70b/48'/0'/0'/1']xpub6ErVmcYYHmavsMgxEcTZyzN5sqth1ZyRpFNJC26ij1wYGC2SBKYrgt9yariSbn7HLRoZUvhUhmPfsRTPrdhhGFscpPZzmch6UTdmRP1aZUj\nSigner 1 key\nILG47LpCtjoD9UxL87jo5QFqA90t8g9fDQp/KBojdKgPPGB1pMx2bf9hPdORNZIOdCc/2+Gs6AOs3BEK9ubIuBw=";
const EXTENDED_SEALED: &str = "ea12776c73de4bd5ea57c2d19eb8e0be856ac0d7f5651f7b74be4563d61ba5b1a36f34232bff47a853092654a718fea4f5f57d6a1f3d38fede04e2414da12c90cefc24ef662f736886d9a7fd6e7db636ca47217803c86b7fbcebe4ad6b71cffc261069c135bd2b2430fb2b446ff0203df34fbbc6801243e8a930b9d0cd3a9b160b8dcdc9131ce6e97641e6314b3285ff341013f302e308c1b2eba7ced0103a8999fe2bd86f844392938e7926cd26d023b764d0b8ff92b2fbdf995884c738414b83563ef2a0050279bf46d0e8271ea5d6af8154847c5736129a7a83a35a3cc747b2be4b389886cb57456678353b60473ebc4ab85d9c9131a17a1e288717343d9008825b16c48d7e93927f37b530033192c67b70dec0411a3e5952d2525c7eb80721676e1a6299248c17f8078202f3bb0932e9f263b0ab";
const EXTENDED_WALLET: &str = "BSMS 1.0\nsh(wsh(multi(2,[793cc70b/48'/0'/0'/1']xpub6ErVmcYYHmavsMgxEcTZyzN5sqth1ZyRpFNJC26ij1wYGC2SBKYrgt9yariSbn7HLRoZUvhUhmPfsRTPrdhhGFscpPZzmch6UTdmRP1aZUj/**,[b3118e52/48'/0'/0'/1']xpub6Du5Jn6eYZE96ccmAc1ZTFPzdnzrvqfG4mpamDun2qZYKywoiQJMCbS3kWWMr6U3XW6s125RLsaPABWgv2yA749ieaMe67FxkTjMsbcxCch/**,[842bd2ed/48'/0'/0'/1']xpub6Ex81KopPkEt9hJiWHabYy8LNsSR4A7sUQoFBk9dR8XxHrr4p9HrYWN3NCf5uwfopHnQkCG7FYnZMztKbtRtbh6tzZC4xtHPbmVVxRSN7ic/**)))\n/0/*,/1/*\n3GzMtFXahiu4TpGNGFc4bHMvAcvz5vVQrT";
const EXTENDED_WALLET_SEALED: &str = "01bf557b6d44b3fbf07f8ec155cbdec42d85d856e174342563dd83b40ad7c025617ed25b4b8fd88b806cbebcc1731b071465514a805f7ba2de60e291bc9493f31aa0f9b0665ba822cf9a2e21c02649b5c3f7dbad317ae898292cb6fe992520f68c0ebe9d1434b348af10453f1be0a392a616d43ba21e5e7fa3c995dce54db947fe5dbad4a9a77f37b3aef58c54ee3e496c8312d3033359aed0de8cf28b82035ee7a38c9b23c9d95682fb15936bf2247546d2ba9b3ada605f5c89f0a3bbaa86cb4b5dded9a65004912c0afbbfd01f0115447f5625e8523f9de16165d32c4b21103d8ac965e2f7e17641ee1a8c5902e8dbb461c6c7d05141f7bba66b8b3608037fb251b55fa461c9441c6427921545a34a1798127d5bf9cc92423f7e62c769e232c65db8cc5124577012d49941143c3b4758212a8afa0475c9b3597da2e99d585039339b7d73611aa277878d212875051683053db9c630391e0b32356523e9fa8a58a334e16fe6650472f336ddaa8c587992b6c0c0e480b680261579a11cf9d036614abc113dde53653273f5ce82ea0bc10e38ca52ac66838aa49ff46c3a7d5096db439c15d3c2e8de55e4ac7315a57eb9997f219c378af86c858867ce583ed84e4d9c68aecfbca9ebff16b0ac91531125e273b215db688ffe52c8033eb78914b87c0fa2001c52e90c92765712e50384ddcf4d0953ac3cc8137abcb2a85d603a6cc207472677";

fn rules() -> Rules {
    Rules::new(Network::Mainnet)
}

#[test]
fn key_records_verify_and_go_both_ways() {
    for record in CLEAR_KEYS.into_iter().chain(CLEAR).chain([STANDARD_KEY, EXTENDED_KEY]) {
        let read = KeyRecord::parse(record, Network::Mainnet).unwrap();
        assert_eq!(read.to_string(), record);
        let message = KeyRecord::message(&read.token, &read.key, &read.description).unwrap();
        assert!(record.starts_with(&message));
    }
    // Another description, another key, another signature.
    let [one, other] = CLEAR_KEYS;
    let forged = one.replace("Signer 1 key", "Signer 1 Key");
    assert!(matches!(KeyRecord::parse(&forged, Network::Mainnet), Err(Error::BadSignature { .. })));
    let key = other.lines().nth(2).unwrap();
    let forged = one.replace(one.lines().nth(2).unwrap(), key);
    assert!(matches!(KeyRecord::parse(&forged, Network::Mainnet), Err(Error::BadSignature { .. })));
    let forged = one.replace(one.lines().last().unwrap(), other.lines().last().unwrap());
    assert!(matches!(KeyRecord::parse(&forged, Network::Mainnet), Err(Error::BadSignature { .. })));
    let version = one.replace("BSMS 1.0", "BSMS 2.0");
    assert!(matches!(KeyRecord::parse(&version, Network::Mainnet), Err(Error::Unsupported { .. })));
    assert!(matches!(KeyRecord::parse(CLEAR[0], Network::Regtest), Err(Error::WrongNetwork { .. })));
    let secret = one.replace(
        "026d15412460ba0d881c21837bb999233896085a9ed4e5445bd637c10e579768ba",
        "L5TXU4SdD9e6QGgBjxeegJKxt4FgATLG1TCnFM8JLyEkFuyHEqNM",
    );
    assert!(matches!(KeyRecord::parse(&secret, Network::Mainnet), Err(Error::PrivateKey { .. })));
    assert!(matches!(KeyRecord::parse("BSMS 1.0\n00", Network::Mainnet), Err(Error::Invalid { .. })));
}

#[test]
fn sealed_records_are_the_published_ones() {
    for ((token, decimal), extended, record, sealed) in [
        (STANDARD_TOKEN, false, STANDARD_KEY, STANDARD_SEALED),
        (STANDARD_TOKEN, false, STANDARD_WALLET, STANDARD_WALLET_SEALED),
        (EXTENDED_TOKEN, true, EXTENDED_KEY, EXTENDED_SEALED),
        (EXTENDED_TOKEN, true, EXTENDED_WALLET, EXTENDED_WALLET_SEALED),
    ] {
        let token = Token::parse(token).unwrap();
        assert_eq!(Token::parse_decimal(decimal, extended).unwrap(), token);
        assert_eq!(token.seal(record).unwrap(), sealed);
        assert_eq!(token.open(sealed).unwrap(), record);
        let other = Token::parse("a54044308ceac9b8").unwrap();
        assert!(matches!(other.open(sealed), Err(Error::Forged { .. })));
        for at in [0, 10, 64, 70, sealed.len() - 1] {
            let mut changed = sealed.to_owned();
            let digit = if &changed[at..=at] == "0" { "1" } else { "0" };
            changed.replace_range(at..=at, digit);
            assert!(matches!(token.open(&changed), Err(Error::Forged { .. })), "{at}");
        }
        assert!(!format!("{token:?}").contains("a540") && !format!("{token:?}").contains("108a"));
    }
    for bad in ["", "0", "01", "a54044308ceac9", "zz"] {
        assert!(Token::parse(bad).is_err(), "{bad}");
    }
    assert!(matches!(Token::parse("a54044308ceac9b7").unwrap().open("00"), Err(Error::Invalid { .. })));
}

#[test]
fn descriptor_records_are_read_and_written() {
    for (record, rules) in [
        (CLEAR_KEYS_WALLET, rules().one_address()),
        (CLEAR_WALLET, rules()),
        (STANDARD_WALLET, rules()),
        (EXTENDED_WALLET, rules()),
    ] {
        let descriptor = read_descriptor(record, &rules).unwrap();
        assert_eq!(write_descriptor(&descriptor).unwrap(), record);
        assert_eq!(descriptor.keychain(Keychain::Change).is_some(), descriptor.is_ranged());
    }
    let foreign =
        CLEAR_WALLET.replace(CLEAR_WALLET.lines().last().unwrap(), STANDARD_WALLET.lines().last().unwrap());
    let refused = read_descriptor(&foreign, &rules());
    assert!(matches!(&refused, Err(Error::Invalid { field, .. }) if field == "first_address"), "{refused:?}");
    for (from, to) in [
        ("/0/*,/1/*", "No path restrictions"),
        ("/0/*,/1/*", "/0h/*,/1h/*"),
        ("/0/*,/1/*", "/0/*,/0/*"),
        ("/0/*,/1/*", "/0/*,/1/*,/2/*"),
        ("bc1q", "tb1q"),
    ] {
        assert!(read_descriptor(&CLEAR_WALLET.replace(from, to), &rules()).is_err(), "{to}");
    }
    let one = CLEAR_WALLET.replace("/0/*,/1/*", "/0/*");
    assert!(read_descriptor(&one, &rules()).unwrap().keychain(Keychain::Change).is_none());
}

proptest! {
    #[test]
    fn reading_never_panics(text in "(BSMS 1.0\n)?[ -~\n]{0,200}", token in any::<[u8; 8]>()) {
        let _ = read_descriptor(&text, &rules());
        let _ = KeyRecord::parse(&text, Network::Mainnet);
        let _ = SignerKey::parse("key", &text, Network::Mainnet);
        let token = Token::Standard(token);
        let _ = token.open(&text);
    }
}
