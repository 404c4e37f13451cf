//! No secret is left anywhere once the keystore is locked.
//!
//! The parent plants secrets that it knows: it makes a keystore, works out every form in which its root key and the
//! imported keys could turn up, and writes them down masked. A child process, this binary again, unlocks the
//! keystore, imports the secrets, uses each, locks, and then searches its own memory, all of it, and every file in
//! the data folder, its log included. So that the search is known to find what is there, it must find the root key
//! before the lock, and every secret in a child that leaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::BTreeSet,
    env, fs,
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anya_keys::{ImportMaterial, KeyInfo, KeySpec, Keyring, Message, SignAlgorithm, SignRequest, TapTweak};
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::TenantId;
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA512, digest},
    encoding::{AsDer as _, Pkcs8V1Der},
    rand,
    rsa::{KeyPair, KeySize},
};
use bitcoin::{
    NetworkKind,
    bip32::{DerivationPath, Xpriv},
    key::Secp256k1,
};
use common::{hexed, new_key, nothing, open_ledger};
use secrecy::{SecretBox, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

const CHILD: &str = "ANYA_KEYS_MEMORY_CHILD";
const PATHS: [&str; 2] = ["m/84'/1'/0'/0/0", "m/86'/1'/0'/1/3"];

/// Bytes that are nowhere in the clear: each is XORed with a random one.
#[derive(Clone, Serialize, Deserialize)]
struct Masked {
    name: String,
    #[serde(with = "hex")]
    mask: Vec<u8>,
    #[serde(with = "hex")]
    masked: Vec<u8>,
}

impl Masked {
    fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        let mut mask = vec![0; bytes.len()];
        rand::fill(&mut mask).unwrap();
        let masked = bytes.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
        Self { name: name.into(), mask, masked }
    }

    fn byte(&self, at: usize) -> u8 {
        self.mask[at] ^ self.masked[at]
    }

    fn is_at(&self, memory: &[u8]) -> bool {
        memory.len() >= self.mask.len() && (0..self.mask.len()).all(|at| memory[at] == self.byte(at))
    }

    /// The bytes, in a buffer that is wiped.
    fn secret(&self) -> SecretSlice<u8> {
        let mut bytes = vec![0; self.mask.len()].into_boxed_slice();
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(at);
        }
        SecretBox::new(bytes)
    }

    fn text(&self) -> SecretString {
        let mut text = String::with_capacity(self.mask.len());
        for at in 0..self.mask.len() {
            text.push(char::from(self.byte(at)));
        }
        SecretString::from(text)
    }
}

#[derive(Serialize, Deserialize)]
struct Plan {
    data: PathBuf,
    leak: bool,
    passphrase: Masked,
    phrase: Masked,
    phrase_passphrase: Masked,
    keys: Vec<(KeySpec, Masked)>,
    needles: Vec<Masked>,
}

/// Where needles were found: `place: needle`.
type Found = BTreeSet<String>;

/// Finds needles by their first two bytes.
struct Search<'a> {
    needles: &'a [Masked],
    starts: Vec<Vec<&'a Masked>>,
}

impl<'a> Search<'a> {
    fn new(needles: &'a [Masked]) -> Self {
        let mut starts = vec![Vec::new(); 1 << 16];
        for needle in needles {
            starts[usize::from(u16::from_be_bytes([needle.byte(0), needle.byte(1)]))].push(needle);
        }
        Self { needles, starts }
    }

    fn longest(&self) -> usize {
        self.needles.iter().map(|needle| needle.mask.len()).max().unwrap_or(0)
    }

    fn bytes(&self, place: &str, bytes: &[u8], found: &mut Found) {
        for at in 0..bytes.len().saturating_sub(1) {
            let starts = &self.starts[usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])];
            for needle in starts.iter().filter(|needle| needle.is_at(&bytes[at..])) {
                found.insert(format!("{place}: {}", needle.name));
            }
        }
    }

    /// Every region of this process with these access rights: `r` all that is readable, `rw` all that can change.
    fn memory(&self, rights: &str) -> Found {
        const CHUNK: u64 = 1 << 20;
        let mut found = Found::new();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0u8; usize::try_from(CHUNK).unwrap() + self.longest()];
        let mut searched = 0;
        for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let mut fields = line.split_whitespace();
            let (range, access) = (fields.next().unwrap(), fields.next().unwrap());
            let place = fields.nth(3).unwrap_or("memory");
            if !access.starts_with(rights) || place.starts_with("[v") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let (mut at, end) =
                (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            while at < end {
                // Overlapping, so that nothing hides across the edge of a chunk.
                let want = usize::try_from(end - at).unwrap().min(buffer.len());
                match memory.read_at(&mut buffer[..want], at) {
                    Ok(read) if read > 0 => self.bytes(place, &buffer[..read], &mut found),
                    _ => break,
                }
                searched += CHUNK.min(end - at);
                at += CHUNK;
            }
        }
        buffer.zeroize();
        assert!(searched > 1 << 22, "only {searched} bytes of memory were readable");
        found
    }

    fn files(&self, folder: &Path, found: &mut Found) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(&path, found);
            } else {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let mut bytes = fs::read(&path).unwrap();
                self.bytes(&name, &bytes, found);
                bytes.zeroize();
            }
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).unwrap();
    bytes
}

/// The elements of a DER sequence of integers.
fn integers(der: &[u8]) -> Vec<Vec<u8>> {
    fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (tag, first, rest) = (der[0], usize::from(der[1]), &der[2..]);
        let extra = first.saturating_sub(128);
        let length = match extra {
            0 => first,
            _ => rest[..extra].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        (tag, &rest[extra..extra + length], &rest[extra + length..])
    }
    let (_, mut rest, _) = element(der);
    let mut integers = Vec::new();
    while !rest.is_empty() {
        let (tag, body, tail) = element(rest);
        match tag {
            2 => integers.push(body.iter().copied().skip_while(|byte| *byte == 0).collect()),
            // PKCS#8: an octet string holds the RSAPrivateKey.
            4 => integers.extend(self::integers(body)),
            _ => (),
        }
        rest = tail;
    }
    integers
}

/// The root key by a way of its own: what `keystore.json` says, read by the documentation of its format.
fn root_key(path: &Path, passphrase: &str) -> (Vec<u8>, Vec<u8>) {
    #[derive(Serialize, Deserialize)]
    struct File {
        header: Header,
        sealed_root: String,
    }
    #[derive(Serialize, Deserialize)]
    struct Header {
        format: String,
        version: u32,
        kdf: Kdf,
        cipher: String,
    }
    #[derive(Serialize, Deserialize)]
    struct Kdf {
        algorithm: String,
        cost: Cost,
        salt: String,
    }
    #[derive(Serialize, Deserialize)]
    struct Cost {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    }
    let file: File = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let Cost { memory_kib, passes, lanes } = file.header.kdf.cost;
    let params = Params::new(memory_kib, passes, lanes, Some(32)).unwrap();
    let mut seal = vec![0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &hexed(&file.header.kdf.salt), &mut seal)
        .unwrap();
    let sealed = hexed(&file.sealed_root);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &seal).unwrap());
    let mut root = sealed[12..].to_vec();
    let aad = serde_json::to_vec(&file.header).unwrap();
    let nonce = Nonce::try_assume_unique_for_key(&sealed[..12]).unwrap();
    key.open_in_place(nonce, Aad::from(&aad), &mut root).unwrap();
    root.truncate(32);
    (seal, root)
}

struct Needles(Vec<Masked>);

impl Needles {
    /// Each half: as it is, as part of a little-endian number, in hexadecimal. Halves, because an allocator writes
    /// over the first bytes of what is given back to it and leaves the rest.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for (half, bytes) in [("first", first), ("second", second)] {
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            let text = hex::encode(bytes);
            for (form, bytes) in [
                ("bytes", bytes),
                ("reversed", &reversed),
                ("hex", text.as_bytes()),
                ("HEX", text.to_uppercase().as_bytes()),
            ] {
                self.0.push(Masked::new(format!("{name}, {half} half, {form}"), bytes));
            }
        }
    }
}

async fn plan(data: &Path, leak: bool) -> Plan {
    let keystore = data.join("keystore.json");
    let cost = KdfCost::insecure_for_tests();
    // Not a literal, which would lie in the child's program text.
    let passphrase = hex::encode(random::<12>());
    drop(SoftwareProvider::init(&keystore, passphrase.as_str().into(), cost).await.unwrap());
    let (seal, root) = root_key(&keystore, &passphrase);

    let entropy: [u8; 32] = random();
    let mnemonic = bip39::Mnemonic::from_entropy(&entropy).unwrap();
    let (phrase, extra) = (mnemonic.to_string(), hex::encode(random::<12>()));
    let seed = mnemonic.to_seed_normalized(&extra);

    let mut needles = Needles(Vec::new());
    needles.add("root key", &root);
    needles.add("passphrase's key", &seal);
    needles.0.push(Masked::new("passphrase", passphrase.as_bytes()));
    needles.0.push(Masked::new("phrase", phrase.as_bytes()));
    let (first, second) = phrase.as_bytes().split_at(phrase.len() / 2);
    needles.0.push(Masked::new("phrase, first half", first));
    needles.0.push(Masked::new("phrase, second half", second));
    needles.0.push(Masked::new("phrase's passphrase", extra.as_bytes()));
    needles.add("entropy", &entropy);
    needles.add("seed", &seed);
    let secp = Secp256k1::new();
    let master = Xpriv::new_master(NetworkKind::Main, &seed).unwrap();
    needles.add("master key", &master.private_key.secret_bytes());
    for path in PATHS {
        let steps: Vec<_> = path.parse::<DerivationPath>().unwrap().into_iter().copied().collect();
        for depth in 1..=steps.len() {
            let child = master.derive_priv(&secp, &&steps[..depth]).unwrap();
            needles.add(&format!("{path}, {depth} deep"), &child.private_key.secret_bytes());
        }
        let leaf = master.derive_priv(&secp, &steps).unwrap();
        let tweaked = bitcoin::key::TapTweak::tap_tweak(leaf.private_key.keypair(&secp), &secp, None);
        needles.add(&format!("{path}, tweaked"), &tweaked.to_keypair().secret_bytes());
    }

    let rsa = KeyPair::generate(KeySize::Rsa3072).unwrap();
    let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    // Version, modulus, public exponent; then what is secret.
    for (number, integer) in integers(rsa.as_ref()).into_iter().enumerate() {
        if integer.len() >= 64 && number != 2 {
            needles.add(&format!("RSA number {number}"), &integer);
        }
    }
    let mut keys = vec![(KeySpec::Rsa3072, Masked::new("rsa", rsa.as_ref()))];
    for spec in [KeySpec::Secp256k1, KeySpec::Ed25519, KeySpec::P256, KeySpec::Aes256] {
        let secret: [u8; 32] = random();
        needles.add(spec.name(), &secret);
        keys.push((spec, Masked::new(spec.name(), &secret)));
        if spec == KeySpec::Ed25519 {
            // RFC 8032, 5.1.5: the first half, clamped, is the scalar.
            let mut scalar = digest(&SHA512, &secret).as_ref()[..32].to_vec();
            needles.add("ed25519 digest", &scalar);
            scalar[0] &= 248;
            scalar[31] = scalar[31] & 127 | 64;
            needles.add("ed25519 scalar", &scalar);
        }
    }
    Plan {
        data: data.to_owned(),
        leak,
        passphrase: Masked::new("passphrase", passphrase.as_bytes()),
        phrase: Masked::new("phrase", phrase.as_bytes()),
        phrase_passphrase: Masked::new("extra", extra.as_bytes()),
        keys,
        needles: needles.0,
    }
}

/// What a child reports.
#[derive(Serialize, Deserialize)]
struct Report {
    while_open: Found,
    when_locked: Found,
    needles: usize,
}

async fn child_of(leak: bool) -> (Report, Vec<Masked>) {
    let data = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let plan = plan(data.path(), leak).await;
    let order = aside.path().join("plan.json");
    fs::write(&order, serde_json::to_vec(&plan).unwrap()).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, &order)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let report = fs::read(aside.path().join("report.json")).unwrap();
    (serde_json::from_slice(&report).unwrap(), plan.needles)
}

#[tokio::test]
async fn nothing_is_left_after_the_lock() {
    let (report, needles) = child_of(false).await;
    assert_eq!(report.needles, needles.len());
    assert!(
        report.while_open.iter().any(|found| found.ends_with(": root key, second half, bytes")),
        "{:?}",
        report.while_open
    );
    assert_eq!(report.when_locked, Found::new());
}

/// The negative control: the same search in a child that keeps every secret finds every one, in its memory, in a
/// file and in its log.
#[tokio::test]
async fn the_search_finds_what_a_leaking_child_keeps() {
    let (report, needles) = child_of(true).await;
    for needle in needles {
        for place in ["leak.bin", "log.txt"] {
            assert!(
                report.when_locked.contains(&format!("{place}: {}", needle.name)),
                "{place} {}",
                needle.name
            );
        }
        let ends = format!(": {}", needle.name);
        let in_memory =
            |found: &&String| found.ends_with(&ends) && !found.contains(".bin") && !found.contains(".txt");
        assert!(report.when_locked.iter().any(|found| in_memory(&found)), "memory {}", needle.name);
    }
}

/// Not a test of its own: what the child process does.
#[test]
fn child() {
    let Some(order) = env::var_os(CHILD) else { return };
    let order = PathBuf::from(order);
    let plan: Plan = serde_json::from_slice(&fs::read(&order).unwrap()).unwrap();
    let log = Arc::new(File::create(plan.data.join("log.txt")).unwrap());
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let search = Search::new(&plan.needles);

    let leaked: Vec<_> = plan.needles.iter().filter(|_| plan.leak).map(Masked::secret).collect();
    for secret in &leaked {
        use secrecy::ExposeSecret as _;
        let mut file = File::options().append(true).create(true).open(plan.data.join("leak.bin")).unwrap();
        file.write_all(secret.expose_secret()).unwrap();
        (&*log).write_all(secret.expose_secret()).unwrap();
    }

    let (while_open, mut when_locked) = runtime.block_on(use_and_lock(&plan, &search));
    when_locked.extend(search.memory("r"));
    drop(runtime);
    search.files(&plan.data, &mut when_locked);
    drop(leaked);
    let report = Report { while_open, when_locked, needles: plan.needles.len() };
    fs::write(order.with_file_name("report.json"), serde_json::to_vec(&report).unwrap()).unwrap();
}

async fn use_and_lock(plan: &Plan, search: &Search<'_>) -> (Found, Found) {
    let keystore = plan.data.join("keystore.json");
    let software = SoftwareProvider::unlock(&keystore, plan.passphrase.text()).await.unwrap();
    let software = Arc::new(software);
    let ledger = open_ledger(&plan.data);
    let ring = common::keyring(&ledger, software.clone());
    let tenant = TenantId::new();

    let words = ImportMaterial::Mnemonic {
        phrase: plan.phrase.text(),
        passphrase: Some(plan.phrase_passphrase.text()),
    };
    let root = ring.import(tenant, new_key("root", KeySpec::Bip32Seed), words, nothing).await.unwrap();
    let mut keys = Vec::new();
    for (spec, secret) in &plan.keys {
        let material = ImportMaterial::Secret(secret.secret());
        keys.push(ring.import(tenant, new_key(spec.name(), *spec), material, nothing).await.unwrap());
    }
    let wrong = ImportMaterial::Secret(plan.keys[1].1.secret());
    ring.import(tenant, new_key("bad", KeySpec::Rsa3072), wrong, nothing).await.unwrap_err();

    for round in 0..8u8 {
        for key in &keys {
            use_once(&ring, tenant, key, round).await;
        }
        for path in PATHS {
            for algorithm in [
                SignAlgorithm::EcdsaSecp256k1,
                SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak::default()) },
            ] {
                let message = Message::Digest([round; 32]);
                let request = SignRequest { algorithm, path: Some(path.parse().unwrap()), message };
                common::sign(&ring, tenant, root.id, &request).await.unwrap();
            }
        }
    }
    ring.account_xpub(tenant, root.id, &"m/84'/1'/0'".parse().unwrap()).await.unwrap();
    software.generate_mnemonic(24).await.unwrap();

    let while_open = search.memory("rw");
    // What a thread did last is what it would leave behind: the memory is searched after each sort of last act.
    let mut when_locked = Found::new();
    let acts: &[_] = if plan.leak { &[] } else { &["phrase", "secret", "tree", "leaf", "opening"] };
    for act in acts {
        match *act {
            "phrase" => {
                let words = ImportMaterial::Mnemonic {
                    phrase: plan.phrase.text(),
                    passphrase: Some(plan.phrase_passphrase.text()),
                };
                ring.import(tenant, new_key("again", KeySpec::Bip32Seed), words, nothing).await.unwrap();
            }
            "secret" => {
                let material = ImportMaterial::Secret(plan.keys[1].1.secret());
                let new = new_key("secret again", plan.keys[1].0);
                ring.import(tenant, new, material, nothing).await.unwrap();
            }
            "tree" => {
                let request = SignRequest {
                    algorithm: SignAlgorithm::EcdsaSecp256k1,
                    path: Some(PATHS[0].parse().unwrap()),
                    message: Message::Digest([1; 32]),
                };
                common::sign(&ring, tenant, root.id, &request).await.unwrap();
            }
            "leaf" => {
                for key in &keys {
                    use_once(&ring, tenant, key, 1).await;
                }
            }
            _ => (),
        }
        software.lock().await.unwrap();
        let found = search.memory("rw");
        when_locked.extend(found.into_iter().map(|found| format!("after {act}: {found}")));
        software.reopen(plan.passphrase.text()).await.unwrap();
    }
    software.lock().await.unwrap();
    (while_open, when_locked)
}

async fn use_once(ring: &Keyring, tenant: TenantId, key: &KeyInfo, round: u8) {
    let text = [round; 40];
    let digest = Message::Digest([round; 32]);
    let (algorithm, message) = match key.spec {
        KeySpec::Secp256k1 if round.is_multiple_of(2) => (SignAlgorithm::EcdsaSecp256k1, digest),
        KeySpec::Secp256k1 => (SignAlgorithm::SchnorrSecp256k1 { tweak: None }, digest),
        KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Message::Bytes(&text)),
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Bytes(&text)),
        KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, Message::Bytes(&text)),
        KeySpec::Bip32Seed | KeySpec::Aes256 => {
            let sealed = ring.encrypt(tenant, key.id, b"aad", &text).await.unwrap();
            ring.decrypt(tenant, key.id, b"aad", &sealed).await.unwrap();
            return;
        }
    };
    common::sign(ring, tenant, key.id, &SignRequest { algorithm, path: None, message }).await.unwrap();
}
