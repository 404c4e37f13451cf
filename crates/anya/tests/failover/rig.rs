//! Two tokens of SoftHSM2, each behind a module that can be done harm to, and one key that both hold.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_keys::{
    Authority, Error, KeyInfo, KeySpec, Keyring, MIGRATIONS, Message, NewKey, Provider, PublicMaterial,
    SignAlgorithm, SignRequest, Signature, Signed, Watch,
};
use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_pkcs11_chaos::{Chaos, SoftHsm};
use anya_primitives::{SystemClock, TenantId};
use anya_store::{Ledger, LedgerOptions, Migration, params};
use bitcoin::secp256k1::{Message as Digest, PublicKey, Secp256k1, VerifyOnly};
use tempfile::TempDir;

/// What stands for the audit log: a row for each signature, in the transaction that releases it.
const LOG: Migration = Migration {
    name: "released/0001_released",
    sql: "CREATE TABLE released (
        tenant    TEXT    NOT NULL,
        client    INTEGER NOT NULL,
        number    INTEGER NOT NULL,
        signature BLOB    NOT NULL,
        PRIMARY KEY (tenant, client, number)
    ) STRICT",
};
/// Which client, and his how many-th request.
pub(crate) type Ticket = (u32, u32);

/// The providers' names, in the order in which the key was given to them.
pub(crate) const NAMES: [&str; 2] = ["one", "two"];
/// How long a provider may take to come back once nothing harms it any more.
const PATIENCE: Duration = Duration::from_secs(40);
/// As many as a provider has that is configured with nothing else.
const SESSIONS: u16 = 8;

pub(crate) struct Rig {
    pub(crate) chaos: [Chaos; 2],
    pub(crate) providers: [Arc<Pkcs11Provider>; 2],
    pub(crate) ledger: Ledger,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) key: KeyInfo,
    watch: Watch,
    point: PublicKey,
    secp: Secp256k1<VerifyOnly>,
    _hsms: [SoftHsm; 2],
    _folder: TempDir,
}

/// A device of its own under this name, as `anya serve` would configure it.
pub(crate) fn device(name: &str, hsm: &SoftHsm, module: PathBuf, worker: &WorkerCommand) -> Pkcs11Config {
    let token = hsm.token();
    Pkcs11Config {
        name: name.to_owned(),
        module,
        profile: Profile::named("softhsm2").unwrap(),
        token: TokenSelector::Label(token.label.clone()),
        pin: token.pin.clone().into(),
        user: UserKind::User,
        initialize_args: None,
        env: Vec::new(),
        sessions: SESSIONS,
        worker: worker.clone(),
        standby: true,
    }
}

impl Rig {
    pub(crate) async fn new(worker: &WorkerCommand) -> Self {
        let hsms = [SoftHsm::new().unwrap(), SoftHsm::new().unwrap()];
        let chaos = [hsms[0].chaos().unwrap(), hsms[1].chaos().unwrap()];
        let open = |at: usize| Pkcs11Provider::open(device(NAMES[at], &hsms[at], chaos[at].module(), worker));
        let providers = [Arc::new(open(0).await.unwrap()), Arc::new(open(1).await.unwrap())];
        let folder = tempfile::tempdir().unwrap();
        let migrations = [MIGRATIONS, &[LOG]].concat();
        let path = folder.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path, &migrations, LedgerOptions::default()).unwrap();
        let all = providers.iter().map(|provider| Arc::clone(provider) as Arc<dyn Provider>).collect();
        let keyring = Arc::new(Keyring::new(ledger.clone(), all, Arc::new(SystemClock)));
        let new = NewKey {
            replicas: vec![NAMES[1].to_owned()],
            ..NewKey::new("replicated", KeySpec::Secp256k1, NAMES[0])
        };
        let key = keyring.generate(TenantId::SERVER, new, |_, _| Ok::<_, Error>(())).await.unwrap();
        let PublicMaterial::Secp256k1 { public_key: point } = key.public else {
            panic!("another sort of key")
        };
        let watch = keyring.watch(Duration::from_secs(1));
        let secp = Secp256k1::verification_only();
        Self { chaos, providers, ledger, keyring, key, watch, point, secp, _hsms: hsms, _folder: folder }
    }

    /// Signs by right of the server, without a record.
    pub(crate) async fn sign(&self, digest: [u8; 32]) -> Result<Signature, Error> {
        self.keyring.sign(TenantId::SERVER, self.key.id, Authority::Server, &request(digest)).await
    }

    /// Signs, and is released with its record only.
    pub(crate) async fn sign_recorded(&self, digest: [u8; 32], ticket: Ticket) -> Result<Signed, Error> {
        let (client, number) = ticket;
        let request = request(digest);
        let signed =
            self.keyring.sign_direct(TenantId::SERVER, self.key.id, &request, move |tx, _, signed| {
                let Signature::EcdsaSecp256k1(signature) = signed.signature else { panic!("not asked for") };
                let row = params! {
                    "client" => client, "number" => number, "signature" => &signature.serialize_compact(),
                };
                tx.execute("INSERT INTO released VALUES (:tenant, :client, :number, :signature)", &row)?;
                Ok::<_, Error>(())
            });
        signed.await
    }

    /// Who signs now.
    async fn signs_at(&self) -> Result<String, Error> {
        let request = request(digest());
        let signed =
            self.keyring.sign_direct(TenantId::SERVER, self.key.id, &request, |_, _, _| Ok::<_, Error>(()));
        Ok(signed.await?.provider)
    }

    /// The requests of one client that have a record.
    pub(crate) async fn records(&self, client: u32) -> Vec<u32> {
        let sql = "SELECT number FROM released WHERE tenant = :tenant AND client = :client ORDER BY number";
        let read = self.ledger.read(TenantId::SERVER, move |tx| {
            tx.query(sql, &params! { "client" => client }, |row| row.get::<u32>("number"))
        });
        read.await.unwrap()
    }

    /// Whether it is a signature by the key over this digest, in the form that the network relays. Not the keyring's
    /// own check.
    pub(crate) fn is_good(&self, signature: &Signature, digest: [u8; 32]) -> bool {
        let Signature::EcdsaSecp256k1(signature) = signature else { return false };
        let mut low = *signature;
        low.normalize_s();
        low == *signature
            && self.secp.verify_ecdsa(&Digest::from_digest(digest), signature, &self.point).is_ok()
    }

    /// Waits until every provider is in use and signs; this one is asked first from then on.
    pub(crate) async fn is_well(&self, at: usize) {
        self.signs_first(1 - at).await;
        self.signs_first(at).await;
    }

    /// Waits until every provider is in use and this one, asked first, signs.
    async fn signs_first(&self, at: usize) {
        self.keyring.prefer(NAMES[at]).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            if self.keyring.providers().iter().all(|provider| provider.in_use)
                && self.signs_at().await.is_ok_and(|provider| provider == NAMES[at])
            {
                return;
            }
            let stands: Vec<_> = self.keyring.providers().into_iter().map(|p| (p.name, p.reason)).collect();
            assert!(Instant::now() < end, "it does not come back: {stands:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the watch and every worker.
    pub(crate) async fn close(self) {
        self.watch.stop().await;
        self.keyring.close().await;
    }
}

/// 32 bytes that were never signed before.
pub(crate) fn digest() -> [u8; 32] {
    let mut digest = [0; 32];
    aws_lc_rs::rand::fill(&mut digest).unwrap();
    digest
}

fn request(digest: [u8; 32]) -> SignRequest<'static> {
    SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message: Message::Digest(digest) }
}
