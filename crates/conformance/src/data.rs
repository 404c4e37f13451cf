//! Published answers. The tests below hold them to an implementation that no provider is.

/// A step of BIP32's test vectors.
pub(crate) struct Tree {
    /// The seed.
    pub(crate) seed: &'static str,
    /// Paths and their extended public keys.
    pub(crate) keys: &'static [(&'static str, &'static str)],
}

/// BIP32, test vectors 1 to 4. The third and fourth keep leading zeros.
pub(crate) const BIP32: [Tree; 4] = [
    Tree {
        seed: "000102030405060708090a0b0c0d0e0f",
        keys: &[
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
        ],
    },
    Tree {
        seed: "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a29f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542",
        keys: &[
            (
                "m",
                "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB",
            ),
            (
                "m/0",
                "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
            ),
            (
                "m/0/2147483647'",
                "xpub6ASAVgeehLbnwdqV6UKMHVzgqAG8Gr6riv3Fxxpj8ksbH9ebxaEyBLZ85ySDhKiLDBrQSARLq1uNRts8RuJiHjaDMBU4Zn9h8LZNnBC5y4a",
            ),
            (
                "m/0/2147483647'/1",
                "xpub6DF8uhdarytz3FWdA8TvFSvvAh8dP3283MY7p2V4SeE2wyWmG5mg5EwVvmdMVCQcoNJxGoWaU9DCWh89LojfZ537wTfunKau47EL2dhHKon",
            ),
            (
                "m/0/2147483647'/1/2147483646'",
                "xpub6ERApfZwUNrhLCkDtcHTcxd75RbzS1ed54G1LkBUHQVHQKqhMkhgbmJbZRkrgZw4koxb5JaHWkY4ALHY2grBGRjaDMzQLcgJvLJuZZvRcEL",
            ),
            (
                "m/0/2147483647'/1/2147483646'/2",
                "xpub6FnCn6nSzZAw5Tw7cgR9bi15UV96gLZhjDstkXXxvCLsUXBGXPdSnLFbdpq8p9HmGsApME5hQTZ3emM2rnY5agb9rXpVGyy3bdW6EEgAtqt",
            ),
        ],
    },
    Tree {
        seed: "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be",
        keys: &[
            (
                "m",
                "xpub661MyMwAqRbcEZVB4dScxMAdx6d4nFc9nvyvH3v4gJL378CSRZiYmhRoP7mBy6gSPSCYk6SzXPTf3ND1cZAceL7SfJ1Z3GC8vBgp2epUt13",
            ),
            (
                "m/0'",
                "xpub68NZiKmJWnxxS6aaHmn81bvJeTESw724CRDs6HbuccFQN9Ku14VQrADWgqbhhTHBaohPX4CjNLf9fq9MYo6oDaPPLPxSb7gwQN3ih19Zm4Y",
            ),
        ],
    },
    Tree {
        seed: "3ddd5602285899a946114506157c7997e5444528f3003f6134712147db19b678",
        keys: &[
            (
                "m",
                "xpub661MyMwAqRbcGczjuMoRm6dXaLDEhW1u34gKenbeYqAix21mdUKJyuyu5F1rzYGVxyL6tmgBUAEPrEz92mBXjByMRiJdba9wpnN37RLLAXa",
            ),
            (
                "m/0'",
                "xpub69AUMk3qDBi3uW1sXgjCmVjJ2G6WQoYSnNHyzkmdCHEhSZ4tBok37xfFEqHd2AddP56Tqp4o56AePAgCjYdvpW2PU2jbUPFKsav5ut6Ch1m",
            ),
            (
                "m/0'/1'",
                "xpub6BJA1jSqiukeaesWfxe6sNK9CCGaujFFSJLomWHprUL9DePQ4JDkM5d88n49sMGJxrhpjazuXYWdMf17C9T5XnxkopaeS7jGk1GyyVziaMt",
            ),
        ],
    },
];

/// A BIP39 phrase.
pub(crate) const ABOUT: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// Phrases, each with the passphrase `TREZOR`, and their seeds (BIP39, reference vectors).
pub(crate) const BIP39: [(&str, &str); 4] = [
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

/// The address forms of the purposes in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// BIP44.
    Pkh,
    /// BIP49.
    ShWpkh,
    /// BIP84.
    Wpkh,
    /// BIP86.
    Tr,
}

/// Addresses of [`ABOUT`] without a passphrase, on mainnet (the examples of BIP84 and BIP86, and the first addresses
/// that wallets show for BIP44 and BIP49).
pub(crate) const ADDRESSES: [(&str, Form, &str); 8] = [
    ("m/44'/0'/0'/0/0", Form::Pkh, "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA"),
    ("m/49'/0'/0'/0/0", Form::ShWpkh, "37VucYSaXLCAsxYyAPfbSi9eh4iEcbShgf"),
    ("m/84'/0'/0'/0/0", Form::Wpkh, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
    ("m/84'/0'/0'/0/1", Form::Wpkh, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"),
    ("m/84'/0'/0'/1/0", Form::Wpkh, "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"),
    ("m/86'/0'/0'/0/0", Form::Tr, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"),
    ("m/86'/0'/0'/0/1", Form::Tr, "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh"),
    ("m/86'/0'/0'/1/0", Form::Tr, "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"),
];

/// Seed, public key, message, signature (RFC 8032, 7.1, tests 1 to 3).
pub(crate) const RFC8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

/// Scalar and public point of P-256 (RFC 6979, A.2.5).
pub(crate) const RFC6979_P256: [&str; 3] = [
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
];

/// Key, nonce, associated data, plaintext, ciphertext and tag (the GCM specification of McGrew and Viega, test cases
/// 13, 14 and 16).
pub(crate) const GCM: [[&str; 5]; 3] = [
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    ],
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "00000000000000000000000000000000",
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    ],
];

#[cfg(test)]
mod tests {
    use bitcoin::{
        NetworkKind,
        bip32::{DerivationPath, Xpriv, Xpub},
        secp256k1::Secp256k1,
    };
    use ed25519_dalek::Signer as _;

    use super::*;
    use crate::judge;

    #[test]
    fn trees() {
        let secp = Secp256k1::new();
        for tree in &BIP32 {
            let root = Xpriv::new_master(NetworkKind::Main, &hex::decode(tree.seed).unwrap()).unwrap();
            for (path, expected) in tree.keys {
                let child = root.derive_priv(&secp, &path.parse::<DerivationPath>().unwrap()).unwrap();
                assert_eq!(Xpub::from_priv(&secp, &child).to_string(), *expected, "{path}");
            }
        }
    }

    #[test]
    fn signatures() {
        for [seed, public, message, signature] in RFC8032 {
            let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
            let key = ed25519_dalek::SigningKey::from_bytes(&seed);
            assert_eq!(hex::encode(key.verifying_key().as_bytes()), public);
            assert_eq!(hex::encode(key.sign(&hex::decode(message).unwrap()).to_bytes()), signature);
        }
        let [secret, x, y] = RFC6979_P256;
        let point =
            crate::arithmetic::p256_public(&hex::decode(secret).unwrap().try_into().unwrap()).unwrap();
        assert_eq!(hex::encode(point), format!("04{x}{y}"));
    }

    #[test]
    fn ciphertexts() {
        for [key, nonce, aad, text, sealed] in GCM.map(|case| case.map(|field| hex::decode(field).unwrap())) {
            let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
            let made = judge::seal(&key, &nonce, &aad, &text).unwrap();
            assert_eq!(made[12..], sealed);
            assert_eq!(judge::open(&key, &aad, &made).unwrap(), text);
        }
    }
}
