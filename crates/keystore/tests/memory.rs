//! No secret of a rotation or a transfer is left in memory once the keystore is locked.
//!
//! A child process, this binary again, does one thing at a time with two keystores: takes in keys, rotates, rewraps,
//! retires, makes offers, wraps, unwraps. After each it locks both and says what it made. The parent opens all of that
//! by the documentation of the formats, with code of its own, and so learns every secret that was there; it sends them
//! back masked, and the child searches its own memory for them. So that the search is known to find what is there, the
//! child opens a keystore at the end and must find the newest root key, and then unmasks everything and must find it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the child answers its parent on it")]

mod common;

use std::{
    collections::BTreeSet,
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader, Write as _, stdin},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anya_keystore::SoftwareProvider;
use anya_provider::{
    Error, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Provider as _, Rewrapped, Transfer,
    TransferScheme,
};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    encoding::{AsDer as _, Pkcs8V1Der},
    rand,
    rsa::{KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use common::{context, soon, weak};
use secrecy::{SecretBox, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize as _;

const CHILD: &str = "ANYA_KEYSTORE_MEMORY_CHILD";
const SCHEME: TransferScheme = TransferScheme::RsaAesKeyWrap;
const LEAVES: KeyTemplate = KeyTemplate { residence: None, transferable: true };

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

    fn secret(&self) -> SecretSlice<u8> {
        let mut bytes = vec![0; self.mask.len()].into_boxed_slice();
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(at);
        }
        SecretBox::new(bytes)
    }

    fn text(&self) -> SecretString {
        let mut text = String::with_capacity(self.mask.len());
        (0..self.mask.len()).for_each(|at| text.push(char::from(self.byte(at))));
        SecretString::from(text)
    }
}

/// The names of the needles that lie in this process's memory: in all that can change.
fn search(needles: &[Masked]) -> BTreeSet<String> {
    const CHUNK: usize = 1 << 20;
    const PAGE: usize = 1 << 12;
    let mut starts = vec![Vec::new(); 1 << 16];
    for needle in needles {
        starts[usize::from(u16::from_be_bytes([needle.byte(0), needle.byte(1)]))].push(needle);
    }
    let longest = needles.iter().map(|needle| needle.mask.len()).max().unwrap_or(0);
    let (mut found, mut searched) = (BTreeSet::new(), 0);
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0u8; CHUNK + longest];
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().unwrap(), fields.next().unwrap());
        if !access.starts_with("rw") || fields.nth(3).is_some_and(|place| place.starts_with("[v")) {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (mut at, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        while at < end {
            // Overlapping, so that nothing hides across the edge of a chunk.
            let want = usize::try_from(end - at).unwrap().min(buffer.len());
            let Ok(read @ 1..) = memory.read_at(&mut buffer[..want], at) else { break };
            for (number, page) in buffer[..read].chunks(PAGE).enumerate() {
                // Most pages are empty, and nothing begins in them.
                if page == &[0; PAGE][..page.len()] {
                    continue;
                }
                for at in number * PAGE..(number * PAGE + page.len()).min(read - 1) {
                    let first = usize::from(buffer[at]) << 8 | usize::from(buffer[at + 1]);
                    let here = starts[first].iter().filter(|needle| needle.is_at(&buffer[at..read]));
                    found.extend(here.map(|needle| needle.name.clone()));
                }
            }
            searched += read.min(CHUNK);
            at += CHUNK as u64;
        }
    }
    buffer.zeroize();
    assert!(searched > 1 << 22, "only {searched} bytes of memory were readable");
    found
}

/// What the parent hands to the child at the start.
#[derive(Serialize, Deserialize)]
struct Order {
    folder: PathBuf,
    passphrase: Masked,
    keys: Vec<(KeySpec, Masked)>,
}

/// Something that the child's keystores have sealed.
#[derive(Clone, Serialize, Deserialize)]
struct Sealed {
    keystore: String,
    ticket: bool,
    tenant: String,
    key: String,
    spec: KeySpec,
    #[serde(with = "hex")]
    envelope: Vec<u8>,
}

/// What the child says after one act, with both keystores locked.
#[derive(Default, Serialize, Deserialize)]
struct Step {
    act: String,
    sealed: Vec<Sealed>,
    /// Wrapped for the ticket sealed just before, in hexadecimal.
    wrapped: Vec<String>,
}

/// What the child found, and what it is known to be able to find.
#[derive(Serialize, Deserialize)]
struct Report {
    found: Vec<(String, BTreeSet<String>)>,
    when_open: BTreeSet<String>,
    unmasked: BTreeSet<String>,
}

// The child's side.

struct Child {
    one: SoftwareProvider,
    two: SoftwareProvider,
    passphrase: Masked,
    found: Vec<(String, BTreeSet<String>)>,
    needles: Vec<Masked>,
}

impl Child {
    fn read<T: for<'a> Deserialize<'a>>() -> T {
        let mut line = String::new();
        stdin().lock().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Locks, tells the parent, searches for what it answers, and opens again.
    async fn after(&mut self, step: Step) {
        self.one.lock().await.unwrap();
        self.two.lock().await.unwrap();
        println!("step {}", serde_json::to_string(&step).unwrap());
        self.needles = Self::read();
        self.found.push((step.act, search(&self.needles)));
        self.one.reopen(self.passphrase.text()).await.unwrap();
        self.two.reopen(self.passphrase.text()).await.unwrap();
    }
}

fn sealed(keystore: &str, ticket: bool, ctx: &KeyContext, envelope: &[u8]) -> Sealed {
    Sealed {
        keystore: keystore.to_owned(),
        ticket,
        tenant: ctx.tenant.to_string(),
        key: ctx.key.to_string(),
        spec: ctx.spec,
        envelope: envelope.to_vec(),
    }
}

/// Not a test of its own: what the child process does.
#[test]
fn child() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let child = runtime.block_on(run_child());
    let when_open = search(&child.needles);
    let unmasked: Vec<_> = child.needles.iter().map(Masked::secret).collect();
    let report = Report { unmasked: search(&child.needles), when_open, found: child.found };
    drop(unmasked);
    println!("report {}", serde_json::to_string(&report).unwrap());
}

async fn run_child() -> Child {
    let order: Order = Child::read();
    let opened = |name: &str| SoftwareProvider::unlock(order.folder.join(name), order.passphrase.text());
    let (one, two) = (opened("one.json").await.unwrap(), opened("two.json").await.unwrap());
    let mut child = Child { one, two, passphrase: order.passphrase.clone(), found: vec![], needles: vec![] };
    let step = |act: &str, sealed: Vec<Sealed>| Step { act: act.to_owned(), sealed, wrapped: vec![] };

    let mut keys = Vec::new();
    for (spec, secret) in &order.keys {
        let ctx = context(*spec);
        let material = ImportMaterial::Secret(secret.secret());
        keys.push((ctx.clone(), child.one.import(&ctx, LEAVES, material).await.unwrap().handle));
    }
    let handles = |keys: &[(KeyContext, Vec<u8>)]| {
        keys.iter().map(|(ctx, handle)| sealed("one.json", false, ctx, handle)).collect::<Vec<_>>()
    };
    child.after(step("import", handles(&keys))).await;

    child.one.rotate_kek(Some(child.passphrase.text()), soon()).await.unwrap();
    child.after(step("rotate", vec![])).await;
    let wrong = child.one.rotate_kek(Some("a wrong one".into()), soon()).await;
    assert!(matches!(wrong, Err(Error::WrongPassphrase)));
    child.after(step("a wrong passphrase", vec![])).await;
    child.two.rotate_kek(Some(child.passphrase.text()), soon()).await.unwrap();
    child.two.change_passphrase(child.passphrase.text(), child.passphrase.text(), weak()).await.unwrap();
    child.after(step("change the passphrase", vec![])).await;

    for (ctx, handle) in &mut keys {
        ctx.deadline = soon();
        let Rewrapped::Handle(new) = child.one.rewrap(ctx, handle).await.unwrap() else { panic!() };
        *handle = new;
    }
    child.after(step("rewrap", handles(&keys))).await;
    child.one.retire_kek(1, Some(child.passphrase.text()), soon()).await.unwrap();
    child.after(step("retire", vec![])).await;

    for (ctx, handle) in &keys {
        let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
        let offer = child.two.transfer_offer(&ctx, SCHEME).await.unwrap();
        let ticket = sealed("two.json", true, &ctx, &offer.ticket);
        child.after(step(&format!("offer {}", ctx.spec), vec![ticket.clone()])).await;
        let transfer = child.one.transfer_out(&ctx, handle, SCHEME, &offer.public).await.unwrap();
        let mut said = step(&format!("wrap {}", ctx.spec), vec![ticket.clone()]);
        said.wrapped.push(hex::encode(&transfer.wrapped));
        child.after(said).await;
        let made = child.two.transfer_in(&ctx, LEAVES, &offer.ticket, &transfer).await.unwrap();
        let handle = sealed("two.json", false, &ctx, &made.handle);
        child.after(step(&format!("unwrap {}", ctx.spec), vec![handle])).await;
        let mut wrapped = transfer.wrapped.clone();
        *wrapped.last_mut().unwrap() ^= 1;
        let altered = Transfer { scheme: SCHEME, wrapped };
        assert!(child.two.transfer_in(&ctx, LEAVES, &offer.ticket, &altered).await.is_err());
        let other = KeyContext { spec: KeySpec::Ed25519, ..context(ctx.spec) };
        assert!(child.two.transfer_in(&other, LEAVES, &offer.ticket, &transfer).await.is_err());
        child.after(step(&format!("refuse {}", ctx.spec), vec![])).await;
    }
    child
}

// The parent's side.

fn open_gcm(key: &[u8], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&sealed[..12]).unwrap();
    let mut text = sealed[12..].to_vec();
    let length = key.open_in_place(nonce, Aad::from(aad), &mut text).unwrap().len();
    text.truncate(length);
    text
}

/// The passphrase's key, and number and key of each generation, newest first.
fn open_file(path: &Path, passphrase: &str) -> (Vec<u8>, Vec<(u32, Vec<u8>)>) {
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
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let header: Header = serde_json::from_value(file["header"].clone()).unwrap();
    let params =
        Params::new(header.kdf.cost.memory_kib, header.kdf.cost.passes, header.kdf.cost.lanes, Some(32));
    let mut seal = vec![0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.unwrap())
        .hash_password_into(passphrase.as_bytes(), &hex::decode(&header.kdf.salt).unwrap(), &mut seal)
        .unwrap();
    let sealed = hex::decode(file["sealed_root"].as_str().unwrap()).unwrap();
    let records = open_gcm(&seal, &serde_json::to_vec(&header).unwrap(), &sealed);
    let generations = records
        .chunks(36)
        .map(|record| (u32::from_be_bytes(record[32..].try_into().unwrap()), record[..32].to_vec()))
        .collect();
    (seal, generations)
}

#[derive(Default)]
struct Needles {
    list: Vec<Masked>,
    names: BTreeSet<String>,
}

impl Needles {
    /// Each half: as it is, as part of a little-endian number, in hexadecimal. Halves, because an allocator writes
    /// over the first bytes of what is given back to it and leaves the rest.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        if !self.names.insert(format!("{name} {}", hex::encode(bytes))) {
            return;
        }
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
                self.list.push(Masked::new(format!("{name}, {half} half, {form}"), bytes));
            }
        }
    }

    /// The secret numbers of an RSA key in PKCS#8.
    fn rsa(&mut self, name: &str, der: &[u8]) {
        for (number, integer) in integers(der).into_iter().enumerate() {
            // Modulus and public exponent are no secrets; versions are short.
            if integer.len() >= 64 && number != 2 {
                self.add(&format!("{name}, number {number}"), &integer);
            }
        }
    }
}

/// The integers in PKCS#8 of an RSA key, in order.
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
            4 => integers.extend(self::integers(body)),
            _ => (),
        }
        rest = tail;
    }
    integers
}

/// The key's own key and the secret of an envelope.
fn open_envelope(sealed: &Sealed, roots: &[(u32, Vec<u8>)]) -> Option<(Vec<u8>, Vec<u8>)> {
    let envelope = &sealed.envelope;
    assert_eq!((envelope[0], envelope[5] & !1), (2, 0));
    let generation = u32::from_be_bytes(envelope[1..5].try_into().unwrap());
    let (_, root) = roots.iter().find(|(number, _)| *number == generation)?;
    let aad = |layer: &str| {
        let mut aad = format!("anya/keys/envelope/2/{layer}\0").into_bytes();
        aad.push(envelope[5]);
        aad.extend_from_slice(sealed.tenant.parse::<anya_primitives::TenantId>().unwrap().as_bytes());
        aad.extend_from_slice(sealed.key.parse::<anya_primitives::KeyId>().unwrap().as_bytes());
        aad.extend_from_slice(&1u32.to_be_bytes());
        aad.extend_from_slice(sealed.spec.name().as_bytes());
        aad
    };
    let (outer, inner) = if sealed.ticket { ("ticket-key", "ticket") } else { ("key", "secret") };
    let own = open_gcm(root, &aad(outer), &envelope[6..66]);
    let secret = open_gcm(&own, &aad(inner), &envelope[66..]);
    Some((own, secret))
}

/// Adds every secret that a step has to do with.
fn learn(step: &Step, folder: &Path, passphrase: &str, needles: &mut Needles) {
    let mut roots = Vec::new();
    for name in ["one.json", "two.json"] {
        let (seal, generations) = open_file(&folder.join(name), passphrase);
        needles.add(&format!("{name}, passphrase's key"), &seal);
        for (number, key) in &generations {
            needles.add(&format!("{name}, root key {number}"), key);
        }
        roots.push((name, generations));
    }
    for (at, sealed) in step.sealed.iter().enumerate() {
        let (_, roots) = roots.iter().find(|(name, _)| *name == sealed.keystore).unwrap();
        let (own, secret) = open_envelope(sealed, roots).expect("its generation is in the file");
        needles.add(&format!("{}, own key {at}", step.act), &own);
        match (sealed.spec, sealed.ticket) {
            (_, true) => {
                needles.rsa(&step.act, &secret);
                let Some(wrapped) = step.wrapped.first() else { continue };
                let private = PrivateDecryptingKey::from_pkcs8(&secret).unwrap();
                let private = OaepPrivateDecryptingKey::new(private).unwrap();
                let (wrapped, mut buffer) = (hex::decode(wrapped).unwrap(), [0; 384]);
                let aes = private.decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped[..384], &mut buffer, None).unwrap();
                needles.add(&format!("{}, transfer key", step.act), aes);
            }
            (KeySpec::Rsa3072, false) => needles.rsa("rsa", &secret),
            // A P-256 key is sealed with its public point.
            (KeySpec::P256, false) => needles.add("p256", &secret[..32]),
            (spec, false) => needles.add(spec.name(), &secret),
        }
    }
}

#[tokio::test]
async fn nothing_is_left_after_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = [0; 12];
    rand::fill(&mut random).unwrap();
    // Not a literal, which would lie in the child's program text.
    let passphrase = hex::encode(random);
    for name in ["one.json", "two.json"] {
        let made = SoftwareProvider::init(folder.path().join(name), passphrase.as_str().into(), weak()).await;
        drop(made.unwrap());
    }
    let rsa = KeyPair::generate(KeySize::Rsa3072).unwrap();
    let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let mut keys = vec![(KeySpec::Rsa3072, Masked::new("rsa", rsa.as_ref()))];
    for spec in [KeySpec::Secp256k1, KeySpec::Ed25519, KeySpec::P256, KeySpec::Aes256, KeySpec::Bip32Seed] {
        let mut secret = [0; 32];
        rand::fill(&mut secret).unwrap();
        keys.push((spec, Masked::new(spec.name(), &secret)));
    }
    let masked = Masked::new("passphrase", passphrase.as_bytes());
    let order = Order { folder: folder.path().to_owned(), passphrase: masked.clone(), keys };

    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = child.stdin.take().unwrap();
    writeln!(orders, "{}", serde_json::to_string(&order).unwrap()).unwrap();
    let mut needles = Needles::default();
    needles.list.push(masked);
    let (mut report, start) = (None, Instant::now());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test harness may have begun the line.
        if let Some((_, step)) = line.split_once("step {") {
            let step: Step = serde_json::from_str(&format!("{{{step}")).unwrap();
            learn(&step, folder.path(), &passphrase, &mut needles);
            writeln!(orders, "{}", serde_json::to_string(&needles.list).unwrap()).unwrap();
        } else if let Some((_, text)) = line.split_once("report {") {
            report = serde_json::from_str::<Report>(&format!("{{{text}")).ok();
        }
        assert!(start.elapsed() < Duration::from_secs(300), "the child is stuck");
    }
    assert!(child.wait().unwrap().success());
    let report = report.expect("the child has reported");

    assert_eq!(report.found.len(), 6 + 4 * 6, "every act was searched after");
    for (act, found) in &report.found {
        assert!(found.is_empty(), "after {act}: {found:?}");
    }
    // The search finds what is there: the newest root key of an open keystore, and no older one that was retired.
    let open = |name: &str| report.when_open.contains(&format!("{name}, second half, bytes"));
    assert!(open("one.json, root key 2") && open("two.json, root key 1") && open("two.json, root key 2"));
    assert!(!open("one.json, root key 1"), "a retired generation is out of memory");
    let names: BTreeSet<_> = needles.list.iter().map(|needle| needle.name.clone()).collect();
    assert_eq!(report.unmasked, names, "what is unmasked is found");
}
