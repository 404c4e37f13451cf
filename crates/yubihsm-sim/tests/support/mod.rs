//! Yubico's shell as a process, and the judges of what it brings back.

use std::{fs, path::PathBuf, process::Command};

use anya_yubihsm_sim::{Simulator, yubico};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};
use bitcoin::{
    hashes::{Hash, sha256},
    secp256k1::{Message, PublicKey, Secp256k1, ecdsa},
};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

/// Yubico's shell, pointed at one simulator.
pub(crate) struct Shell {
    url: String,
    folder: TempDir,
}

impl Shell {
    pub(crate) fn new(simulator: &Simulator) -> Self {
        Self { url: simulator.url(), folder: tempfile::tempdir().unwrap() }
    }

    /// A file of the shell's own folder; none is there yet.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let _ = fs::remove_file(&path);
        path
    }

    /// Runs one action and gives what it said and whether it succeeded.
    pub(crate) fn try_run(&self, key: u16, password: &str, action: &str, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(yubico::shell());
        command
            .args(["-C", &self.url, "--authkey", &key.to_string(), "-p", password, "-a", action])
            .args(words);
        let output = command.current_dir(self.folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs one action as the default key; it must succeed.
    pub(crate) fn run(&self, action: &str, words: &[&str]) -> String {
        let (good, said) = self.try_run(1, "password", action, words);
        assert!(good, "{action} {words:?}: {said}");
        said
    }

    /// Runs one action as the default key; it must fail for this reason.
    pub(crate) fn refuse(&self, action: &str, words: &[&str], reason: &str) {
        let (good, said) = self.try_run(1, "password", action, words);
        assert!(!good && said.contains(reason), "{action} {words:?}: {said}");
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.file(name), bytes).unwrap();
    }

    /// The public key of an object, as `SubjectPublicKeyInfo` in DER.
    pub(crate) fn public_key(&self, id: &str) -> Vec<u8> {
        let file = self.file("public.pem");
        self.run("get-public-key", &["-i", id, "--out", "public.pem"]);
        unpem(&fs::read(file).unwrap())
    }

    /// A signature over `message`, which the shell hashes itself.
    pub(crate) fn sign(&self, action: &str, id: &str, algorithm: &str, message: &[u8]) -> Vec<u8> {
        self.write("message", message);
        let file = self.file("signature");
        let words =
            ["-i", id, "-A", algorithm, "--in", "message", "--out", "signature", "--outformat", "bin"];
        self.run(action, &words);
        fs::read(file).unwrap()
    }
}

pub(crate) fn unpem(pem: &[u8]) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem).unwrap().1.contents
}

/// Whether `signature` is one over `message`, judged by code that has no part in the simulator's.
pub(crate) fn is_good(algorithm: &str, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = SubjectPublicKeyInfo::from_der(spki).unwrap().1.subject_public_key.data.into_owned();
    match algorithm {
        "eck256" => {
            let mut signature = ecdsa::Signature::from_der(signature).unwrap();
            signature.normalize_s();
            let digest = Message::from_digest(sha256::Hash::hash(message).to_byte_array());
            let key = PublicKey::from_slice(&key).unwrap();
            Secp256k1::verification_only().verify_ecdsa(&digest, &signature, &key).is_ok()
        }
        "ecp256" => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature).is_ok(),
        "ed25519" => UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok(),
        "rsa-pss" => {
            UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify(message, signature).is_ok()
        }
        "rsa-pkcs1" => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature).is_ok()
        }
        _ => panic!("{algorithm}?"),
    }
}
