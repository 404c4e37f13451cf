//! The published vectors of the descriptors' BIPs: what they make, and what must be refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use anya_descriptor::{Danger, Error, Keychain, Rules, WalletDescriptor, WalletPolicy};
use anya_primitives::Network;

fn loose() -> Rules {
    // Some of the published keys say that they lie elsewhere than their origin does.
    let rules = Rules::new(Network::Mainnet).one_address().shared_roots();
    Rules { foreign_origins: true, ..rules }
}

fn parse(text: &str) -> Result<WalletDescriptor, Error> {
    WalletDescriptor::parse(text, &loose())
}

fn scripts(text: &str, count: u32) -> Vec<String> {
    let descriptor = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (0..count)
        .map(|index| descriptor.at(Keychain::Receive, index).unwrap().script_pubkey().to_hex_string())
        .collect()
}

const KEY: &str = "03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd";
const UNCOMPRESSED: &str = "04a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd5b8dec5235a0fa8722476c7709c02559e3aa73aa03918ba2d492eea75abea235";
const XPUB_A: &str = "xpub6ERApfZwUNrhLCkDtcHTcxd75RbzS1ed54G1LkBUHQVHQKqhMkhgbmJbZRkrgZw4koxb5JaHWkY4ALHY2grBGRjaDMzQLcgJvLJuZZvRcEL";
const XPUB_B: &str = "xpub68NZiKmJWnxxS6aaHmn81bvJeTESw724CRDs6HbuccFQN9Ku14VQrADWgqbhhTHBaohPX4CjNLf9fq9MYo6oDaPPLPxSb7gwQN3ih19Zm4Y";
const XPUB_ROOT: &str = "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB";
const XPUB_OTHER: &str = "xpub661MyMwAqRbcGDZQUKLqmWodYLcoBQnQH33yYkkF3jjxeLvY8qr2wWGEWkiKFaaQfJCoi3HeEq3Dc5DptfbCyjD38fNhSqtKc1UHaP4ba3t";
const NOBODY: &str = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0";

/// BIP381, BIP382, BIP386.
#[test]
fn single_keys_make_the_published_scripts() {
    for (text, script) in [
        (format!("pkh({KEY})"), "76a9149a1c78a507689f6f54b847ad1cef1e614ee23f1e88ac"),
        (format!("pkh([deadbeef/1/2'/3/4']{KEY})"), "76a9149a1c78a507689f6f54b847ad1cef1e614ee23f1e88ac"),
        (format!("pkh([deadbeef/1/2h/3/4h]{KEY})"), "76a9149a1c78a507689f6f54b847ad1cef1e614ee23f1e88ac"),
        (format!("sh(pk({KEY}))"), "a9141857af51a5e516552b3086430fd8ce55f7c1a52487"),
        (format!("sh(pkh({KEY}))"), "a9141a31ad23bf49c247dd531a623c2ef57da3c400c587"),
        (
            "pkh([bd16bee5/2147483647h]xpub69H7F5dQzmVd3vPuLKtcXJziMEQByuDidnX3YdwgtNsecY5HRGtAAQC5mXTt4dsv9RzyjgDjAQs9VGVV6ydYCHnprc9vvaA5YtqWyL6hyds/0)".to_owned(),
            "76a914ebdc90806a9c4356c1c88e42216611e1cb4c1c1788ac",
        ),
        (format!("wpkh({KEY})"), "00149a1c78a507689f6f54b847ad1cef1e614ee23f1e"),
        (format!("wsh(pkh({KEY}))"), "0020338e023079b91c58571b20e602d7805fb808c22473cbc391a41b1bd3a192e75b"),
        (format!("wsh(pk({KEY}))"), "00202e271faa2325c199d25d22e1ead982e45b64eeb4f31e73dbdf41bd4b5fec23fa"),
        (format!("sh(wsh(pkh({KEY})))"), "a914b61b92e2ca21bac1e72a3ab859a742982bea960a87"),
        (format!("tr({})", &KEY[2..]), "512077aab6e066f8a7419c5ab714c12c67d25007ed55a43cadcacb4d7a970a093f11"),
        (
            format!("tr({},pk(669b8afcec803a0d323e9a17f3ea8e68e8abe5a278020a929adbec52421adbd0))", &KEY[2..]),
            "512017cf18db381d836d8923b1bdb246cfcd818da1a9f0e6e7907f187f0b2f937754",
        ),
    ] {
        assert_eq!(scripts(&text, 1), [script], "{text}");
    }
    let ranged = "wpkh([ffffffff/13']xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH/1/2/*)";
    assert_eq!(
        scripts(ranged, 3),
        [
            "0014326b2249e3a25d5dc60935f044ee835d090ba859",
            "0014af0bd98abc2f2cae66e36896a39ffe2d32984fb7",
            "00141fa798efd1cbf95cebf912c031b8a4a6e9fb9f27",
        ]
    );
}

const SIXTEEN: &str = "03669b8afcec803a0d323e9a17f3ea8e68e8abe5a278020a929adbec52421adbd0,0260b2003c386519fc9eadf2b5cf124dd8eea4c4e68d5e154050a9346ea98ce600,0362a74e399c39ed5593852a30147f2959b56bb827dfa3e60e464b02ccf87dc5e8,0261345b53de74a4d721ef877c255429961b7e43714171ac06168d7e08c542a8b8,02da72e8b46901a65d4374fe6315538d8f368557dda3a1dcf9ea903f3afe7314c8,0318c82dd0b53fd3a932d16e0ba9e278fcc937c582d5781be626ff16e201f72286,0297ccef1ef99f9d73dec9ad37476ddb232f1238aff877af19e72ba04493361009,02e502cfd5c3f972fe9a3e2a18827820638f96b6f347e54d63deb839011fd5765d,03e687710f0e3ebe81c1037074da939d409c0025f17eb86adb9427d28f0f7ae0e9,02c04d3a5274952acdbc76987f3184b346a483d43be40874624b29e3692c1df5af,02ed06e0f418b5b43a7ec01d1d7d27290fa15f75771cb69b642a51471c29c84acd,036d46073cbb9ffee90473f3da429abc8de7f8751199da44485682a989a4bebb24,02f5d1ff7c9029a80a4e36b9a5497027ef7f3e73384a4a94fbfe7c4e9164eec8bc,02e41deffd1b7cce11cde209a781adcffdabd1b91c0ba0375857a2bfd9302419f3,02d76625f7956a7fc505ab02556c23ee72d832f1bac391bcd2d3abce5710a13d06,0399eb0a5487515802dc14544cf10b3666623762fbed2ec38a3975716e2c29c232";

/// BIP383 and BIP387. The script of the first is inside `sh(wsh)`; BIP383 lists the sorted one at the top, where it has no
/// address, so that it is asked for by its witness script.
#[test]
fn multisigs_make_the_published_scripts() {
    let text = format!("sh(wsh(multi(16,{SIXTEEN})))");
    assert_eq!(scripts(&text, 1), ["a9147fc63e13dc25e8a95a3cee3d9a714ac3afd96f1e87"]);
    let sorted = parse(&format!("wsh(sortedmulti(2,{XPUB_A}/*,{XPUB_B}/0/0/*))")).unwrap();
    for (index, script) in [
        "5221025d5fc65ebb8d44a5274b53bac21ff8307fec2334a32df05553459f8b1f7fe1b62102fbd47cc8034098f0e6a94c6aeee8528abf0a2153a5d8e46d325b7284c046784652ae",
        "52210264fd4d1f5dea8ded94c61e9641309349b62f27fbffe807291f664e286bfbe6472103f4ece6dfccfa37b211eb3d0af4d0c61dba9ef698622dc17eecdf764beeb005a652ae",
        "5221022ccabda84c30bad578b13c89eb3b9544ce149787e5b538175b1d1ba259cbb83321024d902e1a2fc7a8755ab5b694c575fce742c48d9ff192e63df5193e4c7afe1f9c52ae",
    ]
    .into_iter()
    .enumerate()
    {
        let derived = sorted.at(Keychain::Receive, u32::try_from(index).unwrap()).unwrap();
        assert_eq!(derived.descriptor().explicit_script().unwrap().to_hex_string(), script);
    }
    let leaf = "669b8afcec803a0d323e9a17f3ea8e68e8abe5a278020a929adbec52421adbd0";
    assert_eq!(
        scripts(&format!("tr({},multi_a(1,{leaf}))", &KEY[2..]), 1),
        ["5120eb5bd3894327d75093891cc3a62506df7d58ec137fcd104cdd285d67816074f3"]
    );
    // BIP387's keys are private there; these are their public ones.
    assert_eq!(
        scripts(&format!("tr({NOBODY},multi_a(2,{XPUB_A},{XPUB_B}/0))"), 1),
        ["51202eea93581594a43c0c8423b70dc112e5651df63984d108d4fc8ccd3b63b4eafa"]
    );
}

/// BIP67. The third vector has keys that are each other's negatives: whoever holds one can sign for both.
#[test]
fn keys_are_sorted_as_bip67_says() {
    for (keys, address) in [
        (
            "02ff12471208c14bd580709cb2358d98975247d8765f92bc25eab3b2763ed605f8,02fe6f0a5a297eb38c391581c4413e084773ea23954d93f7753db7dc0adc188b2f",
            "39bgKC7RFbpoCRbtD5KEdkYKtNyhpsNa3Z",
        ),
        (
            "02632b12f4ac5b1d1b72b2a3b508c19172de44f6f46bcee50ba33f3f9291e47ed0,027735a29bae7780a9755fae7a1c4374c656ac6a69ea9f3697fda61bb99a4f3e77,02e2cc6bd5f45edd43bebe7cb9b675f0ce9ed3efe613b177588290ad188d11b404",
            "3CKHTjBKxCARLzwABMu9yD85kvtm7WnMfH",
        ),
        (
            "022df8750480ad5b26950b25c7ba79d3e37d75f640f8e5d9bcd5b150a0f85014da,03e3818b65bcc73a7d64064106a859cc1a5a728c4345ff0b641209fba0d90de6e9,021f2f6e1e50cb6a953935c3601284925decd3fd21bc445712576873fb8c6ebc18",
            "3Q4sF6tv9wsdqu2NtARzNCpQgwifm2rAba",
        ),
    ] {
        let descriptor = parse(&format!("sh(sortedmulti(2,{keys}))")).unwrap();
        assert_eq!(descriptor.address(Keychain::Receive, 0).unwrap().to_string(), address);
    }
    let negatives = "030000000000000000000000000000000000004141414141414141414141414141,020000000000000000000000000000000000004141414141414141414141414141,020000000000000000000000000000000000004141414141414141414141414140,030000000000000000000000000000000000004141414141414141414141414140";
    assert!(matches!(parse(&format!("sh(sortedmulti(2,{negatives}))")), Err(Error::SameKey { .. })));
}

/// BIP389, with two alternatives; what has more is no wallet's pair of keychains.
#[test]
fn multipath_descriptors_are_split() {
    for (text, receive, change) in [
        (
            "wpkh([ffffffff/13h]xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH/<1;3>/2/*)".to_owned(),
            "wpkh([ffffffff/13h]xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH/1/2/*)".to_owned(),
            "wpkh([ffffffff/13h]xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH/3/2/*)".to_owned(),
        ),
        (
            format!("sh(multi(2,{XPUB_A}/<1;2>/*,{XPUB_B}/<3;4>/0/*))"),
            format!("sh(multi(2,{XPUB_A}/1/*,{XPUB_B}/3/0/*))"),
            format!("sh(multi(2,{XPUB_A}/2/*,{XPUB_B}/4/0/*))"),
        ),
        (format!("pkh({XPUB_ROOT}/<0;1>)"), format!("pkh({XPUB_ROOT}/0)"), format!("pkh({XPUB_ROOT}/1)")),
    ] {
        let whole = parse(&text).unwrap();
        let (one, other) = (parse(&receive).unwrap(), parse(&change).unwrap());
        assert_eq!(whole.keychain(Keychain::Receive), one.keychain(Keychain::Receive));
        assert_eq!(whole.keychain(Keychain::Change), other.keychain(Keychain::Receive));
        assert_eq!(WalletDescriptor::from_pair(&receive, &change, &loose()).unwrap(), whole);
        assert!(WalletDescriptor::from_pair(&receive, &receive, &loose()).is_err());
    }
    for text in [
        format!("pkh({XPUB_ROOT}/<0;1>/<2;3>)"),
        format!("pkh([deadbeef/<0;1>]{XPUB_ROOT}/0)"),
        format!("tr({XPUB_ROOT}/<6;7;8;9>/*,{{pk({XPUB_A}/<1;2;3>/0/*),pk({XPUB_OTHER}/0/0/<3;4;5>/*)}})"),
        format!("sh(multi(2,{XPUB_A}/<1;2;3>/0/*,{XPUB_B}/0/*,{XPUB_OTHER}/0/0/<3;4>/*))"),
        format!("wpkh({XPUB_ROOT}/<>/*)"),
        format!("wpkh({XPUB_ROOT}/0>/*)"),
        format!("wpkh({XPUB_ROOT}/<0/*)"),
        format!("wpkh({XPUB_ROOT}/<0;>/*)"),
        format!("wpkh({XPUB_ROOT}/<0;0>/*)"),
        format!("pkh({XPUB_ROOT}/<0;1;2>)"),
    ] {
        assert!(matches!(parse(&text), Err(Error::Invalid { .. })), "{text}");
    }
}

/// BIP380's own cases, over a script that has an address.
#[test]
fn checksums_and_key_expressions_are_strict() {
    let good = parse(&format!("pkh({KEY})")).unwrap().to_string();
    let (body, sum) = good.split_once('#').unwrap();
    parse(&good).unwrap();
    for bad in [
        format!("{body}#"),
        format!("{body}#{sum}x"),
        format!("{body}#{}", &sum[..7]),
        format!("{body}##{}", &sum[1..]),
        good.replace("03a34b", "03a34c"),
    ] {
        assert!(matches!(parse(&bad), Err(Error::Checksum { .. })), "{bad}");
    }
    assert!(matches!(parse("pkh(Ü)#00000000"), Err(Error::Invalid { .. })));
    let key = "0260b2003c386519fc9eadf2b5cf124dd8eea4c4e68d5e154050a9346ea98ce600";
    for good in ["[deadbeef/0h/0h/0h]", "[deadbeef/0'/0'/0']", "[deadbeef/0'/0h/0']", "[deadbeef]", ""] {
        parse(&format!("pkh({good}{key})")).unwrap();
    }
    for bad in [
        "[deadbeef/0h/0h/0h/*]",
        "[deadbeef/0h/0h/0h/]",
        "[deadbef/0h/0h/0h]",
        "[deadbeeef/0h/0h/0h]",
        "[deadbeef/0f/0f/0f]",
        "[deadbeef/-0/-0/-0]",
        "[aaaaaaaa][aaaaaaaa]",
        "aaaaaaaa]",
        "[gaaaaaaa]",
    ] {
        assert!(parse(&format!("pkh({bad}{key})")).is_err(), "{bad}");
    }
    for bad in ["/2147483648", "/1aa", "/0h", "/*h", "/3h/4h/5h/*"] {
        assert!(parse(&format!("pkh({XPUB_ROOT}{bad})")).is_err(), "{bad}");
    }
    assert!(parse("pkh([deadbeef])").is_err());
}

/// BIP381 to BIP387: invalid there, or nothing that a wallet can hold money in.
#[test]
fn what_is_no_wallet_is_refused() {
    for text in [
        format!("pkh(pk({KEY}))"),
        format!("sh({KEY})"),
        format!("sh(sh(pkh({KEY})))"),
        format!("wpkh({UNCOMPRESSED})"),
        format!("pkh({UNCOMPRESSED})"),
        format!("sh(wpkh({UNCOMPRESSED}))"),
        format!("wsh(pk({UNCOMPRESSED}))"),
        format!("tr({UNCOMPRESSED})"),
        format!("wsh(wpkh({KEY}))"),
        format!("wsh(wsh(pkh({KEY})))"),
        format!("sh(wsh(wsh(pkh({KEY}))))"),
        format!("wpkh(wsh(pkh({KEY})))"),
        format!("wsh({KEY})"),
        format!("wsh(tr({}))", &KEY[2..]),
        format!("sh(tr({}))", &KEY[2..]),
        format!("wsh(multi(a,{KEY}))"),
        format!("wsh(multi(0,{KEY}))"),
        format!("wsh(multi(2,{KEY}))"),
        format!("sh(multi_a(1,{KEY}))"),
        format!("wsh(multi_a(1,{KEY}))"),
        format!("tr({NOBODY},multi(1,{KEY}))"),
        format!("tr({NOBODY},multi_a(a,{KEY}))"),
        format!("tr({NOBODY},multi_a(0,{KEY}))"),
        format!("tr({NOBODY},multi_a(3,{KEY}))"),
        format!("tr({NOBODY},multi_a(1,{UNCOMPRESSED}))"),
        format!("wpkh({})", &KEY[2..]),
    ] {
        assert!(matches!(parse(&text), Err(Error::Invalid { .. })), "{text}: {:?}", parse(&text));
    }
    for text in [
        format!("pk({KEY})"),
        format!("multi(1,{KEY})"),
        format!("combo({KEY})"),
        "raw(deadbeef)#89f8spxm".to_owned(),
        "addr(3P14159f73E4gFr7JterCCQh9QjiTjiZrG)".to_owned(),
        format!("rawtr({})", &KEY[2..]),
        format!("tr({NOBODY},sortedmulti_a(2,{XPUB_A}/*,{XPUB_B}/0/0/*))"),
        // BIP390.
        format!("tr(musig({XPUB_A},{XPUB_B})/0/*)"),
        format!("tr({NOBODY},pk(musig({XPUB_A}/*,{XPUB_B}/*)))"),
    ] {
        assert!(matches!(parse(&text), Err(Error::Unsupported { .. })), "{text}: {:?}", parse(&text));
    }
    let large = format!("sh(multi(16,{SIXTEEN}))");
    assert!(matches!(parse(&large), Err(Error::ScriptTooLarge { .. })), "{:?}", parse(&large));
}

#[test]
fn private_keys_are_refused_and_not_repeated() {
    // BIP380's and BIP382's own.
    for secret in [
        "xprvA1RpRA33e1JQ7ifknakTFpgNXPmW2YvmhqLQYMmrj4xJXXWYpDPS3xz7iAxn8L39njGVyuoseXzU6rcxFLJ8HFsTjSyQbLYnMpCqE2VbFWc",
        "L4rK1yDtCWekvXuE6oXD9jCYfFNV2cWRpVuPLBcCU2z8TrisoyY1",
        "5KYZdUEo39z3FPrtuX2QbbwGnNP5zTd7yyr2SC1j299sBCnWjss",
    ] {
        for text in
            [format!("wpkh({secret})"), format!("pkh({secret}/0)"), format!("wpkh({secret})#00000000")]
        {
            let error = parse(&text).unwrap_err();
            assert!(matches!(error, Error::PrivateKey { .. }), "{error}");
            assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret));
        }
    }
}

#[test]
fn what_is_unsafe_is_refused_with_its_reason() {
    let (a, b) = (format!("{XPUB_A}/<0;1>/*"), format!("{XPUB_B}/<0;1>/*"));
    for (text, reason) in [
        (format!("wsh(or_d(pk({a}),older(144)))"), Danger::Unsigned),
        (format!("wsh(and_v(v:pk({a}),and_v(v:older(144),older(4194305))))"), Danger::MixedLocks),
        (format!("wsh(andor(sha256({}),pk({a}),pk({b})))", "ab".repeat(32)), Danger::Malleable),
    ] {
        match parse(&text) {
            Err(Error::Unsafe { reason: found, .. }) if found == reason => {}
            other => panic!("{text}: {other:?}"),
        }
    }
    let same = [
        format!("wsh(multi(2,{a},{a}))"),
        format!("wsh(multi(2,{XPUB_A}/<0;1>/*,{XPUB_A}/<1;2>/*))"),
        // The same root and path through another extended key.
        format!("wsh(multi(2,[d34db33f/44h/0h/0h]{XPUB_A}/0/*,[d34db33f/44h/0h/0h]{XPUB_A}/0/*))"),
        format!("tr({a},pk({a}))"),
    ];
    for text in same {
        assert!(matches!(parse(&text), Err(Error::SameKey { .. })), "{text}: {:?}", parse(&text));
    }
    // Other branches of one account are other keys.
    parse(&format!("tr({XPUB_A}/<0;1>/*,pk({XPUB_A}/<2;3>/*))")).unwrap();
    let test_network = Rules::new(Network::Regtest);
    let foreign = WalletDescriptor::parse(&format!("wpkh({a})"), &test_network);
    assert!(matches!(foreign, Err(Error::WrongNetwork { .. })));
    let strict = Rules::new(Network::Mainnet);
    assert!(matches!(
        WalletDescriptor::parse(&format!("wpkh({KEY})"), &strict),
        Err(Error::NotRanged { .. })
    ));
    let few = Rules { max_keys: 1, ..strict };
    let text = format!("wsh(multi(2,{a},{b}))");
    assert!(matches!(WalletDescriptor::parse(&text, &few), Err(Error::TooLarge { .. })));
}

/// BIP388's valid policies, but those of MuSig2 and `sortedmulti_a`, which are refused by name.
#[test]
fn wallet_policies_go_both_ways() {
    const A: &str = "[6738736c/48'/0'/0'/100']xpub6FC1fXFP1GXQpyRFfSE1vzzySqs3Vg63bzimYLeqtNUYbzA87kMNTcuy9ubr7MmavGRjW2FRYHP4WGKjwutbf1ghgkUW9H7e3ceaPLRcVwa";
    const B: &str = "[b2b1f0cf/44'/0'/0'/100']xpub6EYajCJHe2CK53RLVXrN14uWoEttZgrRSaRztujsXg7yRhGtHmLBt9ot9Pd5ugfwWEu6eWyJYKSshyvZFKDXiNbBcoK42KRZbxwjRQpm5Js";
    const C: &str = "[a666a867/44'/0'/0'/100']xpub6Dgsze3ujLi1EiHoCtHFMS9VLS1UheVqxrHGfP7sBJ2DBfChEUHV4MDwmxAXR2ayeytpwm3zJEU3H3pjCR6q6U5sP2p2qzAD71x9z5QShK2";
    const D: &str = "[bb641298/44'/0'/0'/100']xpub6Dz8PHFmXkYkykQ83ySkruky567XtJb9N69uXScJZqweYiQn6FyieajdiyjCvWzRZ2GoLHMRE1cwDfuJZ6461YvNRGVBJNnLA35cZrQKSRJ";
    let cases: [(&str, &[&str]); 7] = [
        (
            "pkh(@0/**)",
            &[
                "[6738736c/44'/0'/0']xpub6Br37sWxruYfT8ASpCjVHKGwgdnYFEn98DwiN76i2oyY6fgH1LAPmmDcF46xjxJr22gw4jmVjTE2E3URMnRPEPYyo1zoPSUba563ESMXCeb",
            ],
        ),
        (
            "sh(wpkh(@0/**))",
            &[
                "[6738736c/49'/0'/1']xpub6Bex1CHWGXNNwGVKHLqNC7kcV348FxkCxpZXyCWp1k27kin8sRPayjZUKDjyQeZzGUdyeAj2emoW5zStFFUAHRgd5w8iVVbLgZ7PmjAKAm9",
            ],
        ),
        (
            "wpkh(@0/**)",
            &[
                "[6738736c/84'/0'/2']xpub6CRQzb8u9dmMcq5XAwwRn9gcoYCjndJkhKgD11WKzbVGd932UmrExWFxCAvRnDN3ez6ZujLmMvmLBaSWdfWVn75L83Qxu1qSX4fJNrJg2Gt",
            ],
        ),
        (
            "tr(@0/**)",
            &[
                "[6738736c/86'/0'/0']xpub6CryUDWPS28eR2cDyojB8G354izmx294BdjeSvH469Ty3o2E6Tq5VjBJCn8rWBgesvTJnyXNAJ3QpLFGuNwqFXNt3gn612raffLWfdHNkYL",
            ],
        ),
        (
            "wsh(sortedmulti(2,@0/**,@1/**))",
            &[
                "[6738736c/48'/0'/0'/2']xpub6FC1fXFP1GXLX5TKtcjHGT4q89SDRehkQLtbKJ2PzWcvbBHtyDsJPLtpLtkGqYNYZdVVAjRQ5kug9CsapegmmeRutpP7PW4u4wVF9JfkDhw",
                "[b2b1f0cf/48'/0'/0'/2']xpub6EWhjpPa6FqrcaPBuGBZRJVjzGJ1ZsMygRF26RwN932Vfkn1gyCiTbECVitBjRCkexEvetLdiqzTcYimmzYxyR1BZ79KNevgt61PDcukmC7",
            ],
        ),
        ("wsh(thresh(3,pk(@0/**),s:pk(@1/**),s:pk(@2/**),sln:older(12960)))", &[A, B, C]),
        ("wsh(or_d(pk(@0/**),and_v(v:multi(2,@1/**,@2/**,@3/**),older(65535))))", &[A, B, C, D]),
    ];
    let rules = Rules::new(Network::Mainnet);
    let policy = |template: &str, keys: &[&str]| WalletPolicy {
        name: None,
        descriptor_template: template.to_owned(),
        keys_info: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    for (template, keys) in cases {
        let policy = policy(template, keys);
        let descriptor = policy.descriptor(&rules).unwrap();
        let mut expected = template.replace("/**", "/<0;1>/*");
        for (at, key) in keys.iter().enumerate().rev() {
            expected = expected.replace(&format!("@{at}"), key);
        }
        assert_eq!(descriptor.to_string().split('#').next(), Some(expected.as_str()));
        assert_eq!(WalletPolicy::of(&descriptor).unwrap(), policy);
    }
    for template in [
        "tr(@0/**,{sortedmulti_a(1,@0/<2;3>/*,@1/**),or_b(pk(@2/**),s:pk(@3/**))})",
        "tr(musig(@0,@1,@2,@3)/**)",
    ] {
        let refused = policy(template, &[A, B, C, D]).descriptor(&rules);
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    }
    for (template, keys) in [
        ("pkh(@0)", 1),
        ("pkh(@0/0/**)", 1),
        ("sh(multi(1,@1/**,@0/**))", 2),
        ("sh(multi(1,@0/**,@2/**))", 3),
        ("sh(multi(1,@0/**,@0/**))", 1),
        ("sh(multi(1,@0/<0;1>/*,@0/<1;2>/*))", 1),
        (
            "sh(multi(1,@0/**,xpub6AHA9hZDN11k2ijHMeS5QqHx2KP9aMBRhTDqANMnwVtdyw2TDYRmF8PjpvwUFcL1Et8Hj59S3gTSMcUQ5gAqTz3Wd8EsMTmF3DChhqPQBnU/<0;1>/*))",
            1,
        ),
        ("pkh(@0/<0;1;2>/*)", 1),
        ("pkh(@00/**)", 1),
        ("pkh(@0/**)", 2),
        ("pkh(@0/<2147483648;1>/*)", 1),
    ] {
        let refused = policy(template, &[A, B, C][..keys]).descriptor(&rules);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{template}: {refused:?}");
    }
    let twice = policy("wsh(multi(1,@0/**,@1/**))", &[A, A]).descriptor(&rules);
    assert!(matches!(twice, Err(Error::SameKey { .. })));
    let musig = policy("tr(musig(@0/**,@1/**))", &[A, B]).descriptor(&rules);
    assert!(matches!(musig, Err(Error::Unsupported { .. })));
}
