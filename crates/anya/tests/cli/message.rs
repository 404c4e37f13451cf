//! Signed messages, with the vectors of BIP322 and of Bitcoin Core.

use crate::support::anya;

/// BIP322, basic-test-vectors.json.
const ADDRESS: &str = "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l";
const SIGNATURE: &str = "smpAkcwRAIgZRfIY3p7/DoVTty6YZbWS71bc5Vct9p9Fia83eRmw2QCICK/ENGfwLtptFluMGs2KsqoNSk89pO7F29zJLUx9a/sASECx/EgAxlkQpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI=";
/// Bitcoin Core, src/test/util_tests.cpp.
const LEGACY: [&str; 3] = [
    "15CRxFdyRpGZLW9w8HnHvVduizdL5jKNbs",
    "Trust no one",
    "IPojfrX2dfPnH26UegfbGQQLrdK844DlHq5157/P6h57WyuS/Qsl+h/WSVGDF4MUi4rWSswW38oimDYfNNUBUOk=",
];

fn verify<'a>(address: &'a str, message: &'a str, signature: &'a str) -> [&'a str; 10] {
    let network = "mainnet";
    [
        "message",
        "verify",
        "--address",
        address,
        "--message",
        message,
        "--signature",
        signature,
        "--network",
        network,
    ]
}

#[test]
fn an_address_s_signature_is_told_from_any_other() {
    let signed = anya(&[&verify(ADDRESS, "Hello World", SIGNATURE)[..], &["--json"]].concat());
    let shown = signed.ok().json();
    assert_eq!((&shown["valid"], &shown["kind"]), (&true.into(), &"bip322".into()));
    assert!(shown["lock_time"].is_null() && shown["sequence"].is_null(), "{shown}");
    let [address, message, signature] = LEGACY;
    let signed = anya(&verify(address, message, signature));
    assert!(signed.ok().stdout.contains("bip137"), "{}", signed.stdout);

    anya(&verify(ADDRESS, "Hello world", SIGNATURE)).refused(9, "does not hold");
    anya(&verify(address, "Trust noone", signature)).refused(9, "does not hold");
    anya(&verify(ADDRESS, "Hello World", "smpAA")).refused(9, "signature");
    anya(&verify(ADDRESS, "Hello World", "pofAkcw")).refused(11, "needs the chain");
    anya(&verify("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "x", SIGNATURE)).refused(3, "--network");
    anya(&verify("bc1qnonsense", "x", SIGNATURE)).refused(3, "--address");
    let both = [&verify(ADDRESS, "x", SIGNATURE)[..], &["--file", "-"]].concat();
    anya(&both).refused(2, "--file");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("statement.txt");
    std::fs::write(&file, "Hello World").unwrap();
    let file = file.to_str().unwrap();
    let of_file = [
        "message",
        "verify",
        "--address",
        ADDRESS,
        "--file",
        file,
        "--signature",
        SIGNATURE,
        "--network",
        "mainnet",
    ];
    anya(&of_file).ok();
    // A line's end more is another message.
    std::fs::write(file, "Hello World\n").unwrap();
    anya(&of_file).refused(9, "does not hold");
}
