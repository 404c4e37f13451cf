//! `anya key`

use anya_api::{
    Digest,
    key::{
        AttestationRequest, Key, KeyAlgorithm, KeyAttestation, KeyDates, KeyDestruction, KeyKind, KeyProof,
        KeySignature, KeyState, KeyStateChange, KeyUsage, NewKey, NewReplica, Residence, UseLimit,
    },
};
use anya_client::Client;
use anya_primitives::{KeyId, Timestamp};
use clap::{Args, Subcommand, ValueEnum};

use super::key_sign::Sign;
use crate::{
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{fields, or_dash, plain, table},
    progress::with_progress,
    prompt::confirm,
};

/// Creates keys, sees to their lives, and has them sign
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key in a provider
    #[command(after_help = "\
Examples:
  anya key create hot
  anya key create vault --provider hsm --replica hsm2
  anya key create releases --kind ed25519 --direct --limit 100/3600 --rotate-after 7776000")]
    Create(Box<Create>),
    /// Lists keys
    #[command(after_help = "Example:\n  anya key list")]
    List(Paging),
    /// Shows a key: who holds it, where, and under which rules
    #[command(after_help = "Example:\n  anya key show key_0198…")]
    Show {
        /// Its id
        id: KeyId,
    },
    /// Moves a key to another state (NIST SP 800-57)
    #[command(after_help = "\
Examples:
  anya key state key_0198… deactivated
  anya key state key_0198… compromised --yes")]
    State {
        /// Its id
        id: KeyId,
        /// The new state
        #[arg(value_enum)]
        state: State,
        /// Do not ask before a step that has no way back
        #[arg(long)]
        yes: bool,
    },
    /// Stops all use of a key until it is made active again
    #[command(after_help = "Example:\n  anya key suspend key_0198…")]
    Suspend {
        /// Its id
        id: KeyId,
    },
    /// Lets a suspended key be used again
    #[command(after_help = "Example:\n  anya key activate key_0198…")]
    Activate {
        /// Its id
        id: KeyId,
    },
    /// Destroys a key that is out of use for good: coins that need it are lost
    #[command(after_help = "Example:\n  anya key suspend key_0198… && anya key destroy key_0198… --yes")]
    Destroy {
        /// Its id
        id: KeyId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Shows what is known of a key's destruction, provider by provider
    #[command(after_help = "Example:\n  anya key destruction key_0198… --json")]
    Destruction {
        /// Its id
        id: KeyId,
    },
    Sign(Sign),
    /// Makes a key that follows another, of the same kind and under the same rules
    #[command(after_help = "Example:\n  anya key rotate key_0198…")]
    Rotate {
        /// The key that is to be followed; it stays as it is
        id: KeyId,
    },
    /// Gives a key to one more provider
    #[command(after_help = "Example:\n  anya key replicate key_0198… hsm2")]
    Replicate {
        /// Its id
        id: KeyId,
        /// The provider that shall hold it too
        provider: String,
    },
    /// Has every provider that holds a key sign a challenge with it
    #[command(after_help = "Example:\n  anya key prove key_0198…")]
    Prove {
        /// Its id
        id: KeyId,
    },
    /// Makes a key's rules narrower: there is no way back
    #[command(after_help = "\
Examples:
  anya key narrow key_0198… --no-direct
  anya key narrow key_0198… --algorithm ecdsa-secp256k1 --limit 10/60")]
    Narrow {
        /// Its id
        id: KeyId,
        /// It signs for approved operations alone from now on
        #[arg(long)]
        no_direct: bool,
        /// The only algorithms it may be used with; may be repeated
        #[arg(long = "algorithm", value_name = "ALGORITHM", value_parser = algorithm)]
        algorithms: Vec<KeyAlgorithm>,
        /// How often it may be used: USES/SECONDS
        #[arg(long, value_name = "USES/SECONDS", value_parser = limit)]
        limit: Option<UseLimit>,
    },
    /// Sets when a key's life changes by itself; what is left out is not set any more
    #[command(after_help = "\
Examples:
  anya key dates key_0198… --deactivates-at 2030-01-01T00:00:00Z
  anya key dates key_0198… --rotate-after 7776000")]
    Dates {
        /// Its id
        id: KeyId,
        #[command(flatten)]
        dates: DateArgs,
    },
    /// Fetches a provider's evidence of where a key lives; nobody has verified it
    #[command(
        after_help = "Example:\n  anya key attest key_0198… --nonce $(openssl rand -hex 32) --json > evidence.json"
    )]
    Attest {
        /// Its id
        id: KeyId,
        /// Which of its providers; without it, the one that made it
        #[arg(long)]
        provider: Option<String>,
        /// 32 bytes of your choice, new each time, in hexadecimal
        #[arg(long, value_name = "HEX")]
        nonce: Digest,
    },
}

/// A new key.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// A name, unique in the tenant
    name: String,
    /// What it is
    #[arg(long, value_enum, default_value_t = Kind::Bip32Seed)]
    kind: Kind,
    /// The provider that makes it; without it, the default one
    #[arg(long)]
    provider: Option<String>,
    /// Where it shall live there; without it, where the provider prefers
    #[arg(long, value_name = "PLACE", value_parser = residence)]
    residence: Option<Residence>,
    /// Another provider that shall hold it too; may be repeated
    #[arg(long = "replica", value_name = "PROVIDER")]
    replicas: Vec<String>,
    /// It may be given to further providers later
    #[arg(long)]
    transferable: bool,
    /// Callers with the scope keys:use may have it sign without an approval
    #[arg(long)]
    direct: bool,
    /// The only algorithms it may be used with; may be repeated
    #[arg(long = "algorithm", value_name = "ALGORITHM", value_parser = algorithm)]
    algorithms: Vec<KeyAlgorithm>,
    /// How often it may be used: USES/SECONDS
    #[arg(long, value_name = "USES/SECONDS", value_parser = limit)]
    limit: Option<UseLimit>,
    #[command(flatten)]
    dates: DateArgs,
}

/// Flags for a key's dates.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DateArgs {
    /// When it becomes active (RFC 3339)
    #[arg(long, value_name = "TIME")]
    activates_at: Option<Timestamp>,
    /// When its cryptoperiod ends (RFC 3339)
    #[arg(long, value_name = "TIME")]
    deactivates_at: Option<Timestamp>,
    /// How long after its activation another key follows it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(60..=3_153_600_000))]
    rotate_after: Option<u32>,
}

impl From<Create> for NewKey {
    fn from(create: Create) -> Self {
        Self {
            name: create.name,
            kind: create.kind.into(),
            provider: create.provider,
            residence: create.residence,
            replicas: create.replicas,
            transferable: create.transferable,
            usage: KeyUsage {
                algorithms: (!create.algorithms.is_empty()).then_some(create.algorithms),
                direct: create.direct,
                limit: create.limit,
            },
            activates_at: create.dates.activates_at,
            deactivates_at: create.dates.deactivates_at,
            rotate_after_seconds: create.dates.rotate_after,
        }
    }
}

/// What a key is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// HD root for wallets (BIP32 from a BIP39 seed)
    Bip32Seed,
    /// One secp256k1 key
    Secp256k1,
    /// Ed25519
    Ed25519,
    /// NIST P-256
    P256,
    /// RSA, 3072 bits
    Rsa3072,
    /// AES-256
    Aes256,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bip32Seed => Self::Bip32Seed,
            Kind::Secp256k1 => Self::Secp256k1,
            Kind::Ed25519 => Self::Ed25519,
            Kind::P256 => Self::P256,
            Kind::Rsa3072 => Self::Rsa3072,
            Kind::Aes256 => Self::Aes256,
        }
    }
}

/// The states that a key can be moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// It may be used
    Active,
    /// Out of use until it is made active again
    Suspended,
    /// Its time is over
    Deactivated,
    /// Someone else may have it
    Compromised,
    /// Gone for good
    Destroyed,
}

impl From<State> for KeyState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Suspended => Self::Suspended,
            State::Deactivated => Self::Deactivated,
            State::Compromised => Self::Compromised,
            State::Destroyed => Self::Destroyed,
        }
    }
}

pub(crate) fn kind(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Bip32Seed => "bip32-seed",
        KeyKind::Secp256k1 => "secp256k1",
        KeyKind::Ed25519 => "ed25519",
        KeyKind::P256 => "p256",
        KeyKind::Rsa3072 => "rsa3072",
        KeyKind::Aes256 => "aes256",
    }
}

fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::PreActivation => "pre-activation",
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Deactivated => "deactivated",
        KeyState::Compromised => "compromised",
        KeyState::Destroyed => "destroyed",
    }
}

pub(crate) fn algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    let names = || KeyAlgorithm::ALL.map(KeyAlgorithm::name).join(", ");
    KeyAlgorithm::ALL
        .into_iter()
        .find(|known| known.name() == text)
        .ok_or_else(|| format!("use one of {}", names()))
}

fn residence(text: &str) -> Result<Residence, String> {
    let names = || Residence::ALL.map(Residence::name).join(", ");
    Residence::ALL
        .into_iter()
        .find(|known| known.name() == text)
        .ok_or_else(|| format!("use one of {}", names()))
}

fn limit(text: &str) -> Result<UseLimit, String> {
    let parsed = text.split_once('/').and_then(|(uses, seconds)| {
        Some(UseLimit { uses: uses.parse().ok()?, seconds: seconds.parse().ok()? })
    });
    parsed.ok_or_else(|| "use USES/SECONDS, such as 100/3600".to_owned())
}

fn names(algorithms: &[KeyAlgorithm]) -> String {
    match algorithms {
        [] => "none".to_owned(),
        some => some.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" "),
    }
}

fn rules(usage: &KeyUsage) -> String {
    let mut text = match usage.direct {
        true => "direct use".to_owned(),
        false => "approved operations alone".to_owned(),
    };
    if let Some(algorithms) = &usage.algorithms {
        text.push_str(&format!("; only {}", names(algorithms)));
    }
    if let Some(limit) = usage.limit {
        text.push_str(&format!("; at most {} times in {} s", limit.uses, limit.seconds));
    }
    text
}

fn show(key: &Key) -> String {
    let mut pairs = vec![
        ("key", key.id.to_string()),
        ("name", plain(&key.name)),
        ("kind", kind(key.kind).into()),
        ("state", state(key.state).into()),
        ("rules", rules(&key.usage)),
        ("computes here", names(&key.algorithms)),
        ("provider", plain(&key.provider)),
        ("custody", plain(&key.custody)),
        ("fingerprint", or_dash(key.fingerprint.as_deref().map(plain))),
        ("public key", or_dash(key.public_key.as_deref().map(plain))),
        ("created", key.created_at.to_string()),
    ];
    let dates = [
        ("activates", key.activates_at.map(|at| at.to_string())),
        ("deactivates", key.deactivates_at.map(|at| at.to_string())),
        ("followed after", key.rotate_after_seconds.map(|seconds| format!("{seconds} s"))),
        ("compromised", key.compromised_at.map(|at| at.to_string())),
        ("destroyed", key.destroyed_at.map(|at| at.to_string())),
        ("follows", key.predecessor.map(|id| id.to_string())),
        ("followed by", key.successor.map(|id| id.to_string())),
    ];
    pairs.extend(dates.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut text = fields(&pairs);
    for replica in &key.replicas {
        let held = match replica.erased_at {
            Some(at) => format!("erased {at}"),
            None => format!("proved {}", replica.proved_at),
        };
        let line = format!("held by {}  {}, {held}\n", plain(&replica.provider), replica.residence.name());
        text.push_str(&line);
    }
    text
}

impl KeyCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        let key = match self {
            Self::Create(create) => {
                let new = NewKey::from(*create);
                with_progress("waiting for the provider", client.create_key(&new)).await?
            }
            Self::Show { id } => client.key(id).await?,
            Self::State { id, state, yes } => move_to(&client, id, state.into(), yes).await?,
            Self::Suspend { id } => move_to(&client, id, KeyState::Suspended, true).await?,
            Self::Activate { id } => move_to(&client, id, KeyState::Active, true).await?,
            Self::Destroy { id, yes } => move_to(&client, id, KeyState::Destroyed, yes).await?,
            Self::Rotate { id } => with_progress("waiting for the provider", client.rotate_key(id)).await?,
            Self::Replicate { id, provider } => {
                let new = NewReplica { provider };
                with_progress("waiting for the providers", client.add_key_replica(id, &new)).await?
            }
            Self::Narrow { id, no_direct, algorithms, limit } => {
                let present = client.key(id).await?.usage;
                let usage = KeyUsage {
                    algorithms: if algorithms.is_empty() { present.algorithms } else { Some(algorithms) },
                    direct: present.direct && !no_direct,
                    limit: limit.or(present.limit),
                };
                client.set_key_usage(id, &usage).await?
            }
            Self::Dates { id, dates } => {
                let dates = KeyDates {
                    activates_at: dates.activates_at,
                    deactivates_at: dates.deactivates_at,
                    rotate_after_seconds: dates.rotate_after,
                };
                client.set_key_dates(id, &dates).await?
            }
            Self::Sign(sign) => return sign.run(context, &client).await,
            Self::Prove { id } => {
                let proof = with_progress("waiting for the providers", client.prove_key(id)).await?;
                return context.out.document(&proof, proved);
            }
            Self::Destruction { id } => {
                let proof = client.key_destruction(id).await?;
                return context.out.document(&proof, destroyed);
            }
            Self::Attest { id, provider, nonce } => {
                let request = AttestationRequest { provider, nonce };
                let given =
                    with_progress("waiting for the provider", client.attest_key(id, &request)).await?;
                return context.out.document(&given, attested);
            }
            Self::List(paging) => {
                let row = |key: &Key| {
                    let holders: Vec<_> =
                        key.replicas.iter().map(|replica| plain(&replica.provider)).collect();
                    vec![
                        key.id.to_string(),
                        plain(&key.name),
                        kind(key.kind).into(),
                        state(key.state).into(),
                        holders.join(" "),
                    ]
                };
                let client = &client;
                let fetch = async |query| client.keys(&query).await;
                return list(context, paging, &["id", "name", "kind", "state", "provider"], row, fetch).await;
            }
        };
        context.out.document(&key, show)
    }
}

/// Moves a key to another state, after a question where there is no way back.
async fn move_to(client: &Client, id: KeyId, next: KeyState, yes: bool) -> Result<Key> {
    let warning = match next {
        KeyState::Destroyed => Some("Destroy key {} for good? Coins that need it are lost."),
        KeyState::Compromised => Some("Report key {} as compromised? It will never sign again."),
        KeyState::Deactivated => Some("Deactivate key {}? It will never sign again."),
        _ => None,
    };
    if let (Some(warning), false) = (warning, yes) {
        let name = plain(&client.key(id).await?.name);
        confirm(&warning.replace("{}", &format!("{name} ({id})")), false)?;
    }
    let change = KeyStateChange { state: next };
    Ok(with_progress("waiting for the provider", client.set_key_state(id, &change)).await?)
}

fn proved(proof: &KeyProof) -> String {
    let row = |replica: &anya_api::key::KeyReplica| {
        let failure = proof.failures.iter().find(|failure| failure.provider == replica.provider);
        let outcome = match failure {
            Some(failure) => format!("did not sign: {}", plain(&failure.reason)),
            None => format!("signed {}", replica.proved_at),
        };
        vec![plain(&replica.provider), replica.residence.name().to_owned(), outcome]
    };
    let held = proof.key.replicas.iter().filter(|replica| replica.erased_at.is_none());
    table(&["provider", "residence", "proof"], &held.map(row).collect::<Vec<_>>())
}

fn destroyed(proof: &KeyDestruction) -> String {
    let head = fields(&[
        ("key", proof.key.to_string()),
        ("ordered", proof.ordered_at.to_string()),
        ("complete", if proof.complete { "yes".into() } else { "no".into() }),
    ]);
    let row = |share: &anya_api::key::ErasedShare| {
        vec![plain(&share.provider), or_dash(share.erased_at), plain(&share.statement)]
    };
    head + &table(&["provider", "erased", "statement"], &proof.shares.iter().map(row).collect::<Vec<_>>())
}

fn attested(given: &KeyAttestation) -> String {
    let evidence = serde_json::to_string(&given.evidence).unwrap_or_default();
    fields(&[
        ("key", given.key.to_string()),
        ("provider", plain(&given.provider)),
        ("verified", if given.verified { "yes".into() } else { "no".into() }),
        ("note", plain(&given.note)),
        ("evidence", plain(&evidence)),
    ])
}

pub(super) fn signed(signature: &KeySignature) -> String {
    fields(&[
        ("signature", plain(&signature.signature)),
        ("algorithm", signature.algorithm.name().into()),
        ("key", signature.key.to_string()),
        ("provider", plain(&signature.provider)),
        ("audit entry", signature.audit_seq.to_string()),
    ])
}
