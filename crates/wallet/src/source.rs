//! The ways in which a new wallet can be told: a script with a name, a descriptor, a rule in words, a template, a file of
//! another wallet. All but the first become a descriptor with the holders of its keys.

use anya_descriptor::{
    Definition, Lock, Participant, Purpose, Quorum, Rules, SignerKey, Template, WalletDescriptor, file,
    from_words, is_nobody,
};
use anya_keys::Algorithm;
use anya_primitives::{KeyId, TenantId};
use bitcoin::bip32::DerivationPath;

use crate::{
    error::{Error, Result},
    info::{Cosigner, HeldBy, KeyHolder, NewWallet, ScriptKind, Signer},
    wallets::Wallets,
};

/// What a new wallet is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A script with a name of its own.
    Script(ScriptKind),
    /// A descriptor (BIP380, BIP389). `signers` says who holds which of its keys; those that it does not name are looked for
    /// in the keyring, where they then sign when an operation executes, and are somebody else's otherwise.
    Descriptor {
        /// The text, with or without its checksum.
        descriptor: String,
        /// Names of holders; accounts do not matter, for the descriptor says where a key lies.
        signers: Vec<Cosigner>,
    },
    /// A rule over cosigners, whose accounts lie where BIP48 puts them.
    Rule {
        /// How outputs are locked.
        lock: Lock,
        /// Who takes part.
        cosigners: Cosigners,
        /// Who signs when.
        rule: Rule,
    },
    /// One HD key at the account of a BIP: 44, 49, 84 or 86.
    Single {
        /// Script and path.
        purpose: Purpose,
        /// The key.
        key: KeyId,
        /// The account number, below 2^31.
        account: u32,
    },
    /// The file of another wallet, or a descriptor record (BIP129).
    File {
        /// What it holds.
        file: String,
        /// Which of its wallets, counted from 0, where it holds several.
        which: Option<usize>,
        /// As of [`Source::Descriptor`].
        signers: Vec<Cosigner>,
    },
}

/// Who takes part in a rule.
pub type Cosigners = Vec<Cosigner>;

/// Who signs when. Names are those of the cosigners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// In words: "2 of 3 of alice, bob, carol; or after 4,032 blocks bob alone".
    Words(String),
    /// So many of some, or so many of others once a coin has rested.
    Recovery {
        /// How many of whom, at any time.
        signers: (usize, Vec<String>),
        /// How many of whom, once a coin has rested.
        recovery: (usize, Vec<String>),
        /// For so many blocks.
        after: u16,
    },
    /// So many of all cosigners, and one fewer at each step.
    Decaying {
        /// How many at first.
        needed: usize,
        /// After how many blocks each step comes.
        steps: Vec<u16>,
    },
}

impl Wallets {
    /// Works out what a new wallet would be made of. Nothing is stored, but the public keys that the keyring is asked for.
    ///
    /// # Errors
    /// [`Error::Descriptor`], [`Error::Invalid`] and [`Error::Unsupported`] with the field at fault.
    pub async fn resolve(&self, tenant: TenantId, name: &str, source: Source) -> Result<NewWallet> {
        let rules = Rules::new(self.network());
        let script = match source {
            Source::Script(script) => script,
            Source::Descriptor { descriptor, signers } => {
                let descriptor = WalletDescriptor::parse(&descriptor, &rules)
                    .map_err(|error| Error::descriptor(error, "script.descriptor"))?;
                self.bound(tenant, Definition::unnamed(name, descriptor)?, &signers).await?
            }
            Source::File { file, which, signers } => {
                let found = file::import(&file, &rules)
                    .map_err(|error| Error::Descriptor(error.of_part("script")))?;
                let count = found.wallets.len();
                let at = match which {
                    None if count > 1 => {
                        let list: Vec<String> = (0..count)
                            .zip(&found.wallets)
                            .map(|(at, wallet)| format!("{at}: {}", wallet.descriptor()))
                            .collect();
                        let reason =
                            format!("the file holds several wallets, say which one: {}", list.join("; "));
                        return Err(Error::invalid("script.which", reason));
                    }
                    which => which.unwrap_or(0),
                };
                let wallet = found.wallets.into_iter().nth(at).ok_or_else(|| {
                    Error::invalid("script.which", format!("the file holds {count} wallets, counted from 0"))
                })?;
                self.bound(tenant, wallet, &signers).await?
            }
            Source::Rule { lock, cosigners, rule } => {
                self.ruled(tenant, name, lock, &cosigners, rule).await?
            }
            Source::Single { purpose, key, account } => {
                let path =
                    purpose.path(self.network(), account).map_err(|error| error.of("script.account"))?;
                let algorithm = match purpose {
                    Purpose::Bip86 => Algorithm::SchnorrSecp256k1,
                    Purpose::Bip44 | Purpose::Bip49 | Purpose::Bip84 => Algorithm::EcdsaSecp256k1,
                };
                let key_at = self.inner.cosigner(tenant, key, path, algorithm, "script").await?;
                let owner = Participant { name: "owner".to_owned(), key: key_at };
                let wallet = Template::Single { purpose, owner }.build(name, self.network())?;
                let held = [Cosigner { name: "owner".to_owned(), signer: Signer::Active { key, account } }];
                described(&wallet, |_, name| held_by(&held, name))
            }
        };
        Ok(NewWallet { name: name.to_owned(), script })
    }

    /// The wallet of a rule over cosigners.
    async fn ruled(
        &self,
        tenant: TenantId,
        name: &str,
        lock: Lock,
        cosigners: &[Cosigner],
        rule: Rule,
    ) -> Result<ScriptKind> {
        let network = self.network();
        let path = |account: u32| -> Result<DerivationPath> {
            lock.bip48_path(network, account).map_err(|error| Error::descriptor(error, "script"))
        };
        let algorithm = match lock {
            Lock::Tr => Algorithm::SchnorrSecp256k1,
            Lock::Sh | Lock::ShWsh | Lock::Wsh => Algorithm::EcdsaSecp256k1,
        };
        let mut participants = Vec::with_capacity(cosigners.len());
        for (at, cosigner) in cosigners.iter().enumerate() {
            let field = format!("script.cosigners[{at}].signer");
            let key = match &cosigner.signer {
                Signer::Active { key, account } | Signer::Reserve { key, account } => {
                    self.inner.cosigner(tenant, *key, path(*account)?, algorithm, &field).await?
                }
                Signer::Outside { xpub } => SignerKey::parse(&format!("{field}.xpub"), xpub, network)?,
            };
            participants.push(Participant { name: cosigner.name.clone(), key });
        }
        let named = |(needed, names): (usize, Vec<String>), field: &str| -> Result<Quorum> {
            let find = |name: &String| {
                participants.iter().find(|participant| participant.name == *name).cloned().ok_or_else(|| {
                    Error::invalid(format!("script.{field}"), format!("no cosigner is called `{name}`"))
                })
            };
            Ok(Quorum { needed, of: names.iter().map(find).collect::<Result<_>>()? })
        };
        let made = match rule {
            Rule::Words(words) => from_words(name, &words, &participants, lock, network),
            Rule::Recovery { signers, recovery, after } => {
                let (signers, recovery) = (named(signers, "signers")?, named(recovery, "recovery")?);
                Template::Recovery { lock, signers, recovery, after }.build(name, network)
            }
            Rule::Decaying { needed, steps } => {
                let signers = Quorum { needed, of: participants.clone() };
                Template::Decaying { lock, signers, steps }.build(name, network)
            }
        };
        let wallet = made.map_err(|error| Error::Descriptor(error.of_part("script")))?;
        if let Some(at) =
            cosigners.iter().position(|one| wallet.participants().iter().all(|who| who.name != one.name))
        {
            return Err(Error::invalid(
                format!("script.cosigners[{at}]"),
                "takes no part in the rule: leave it out",
            ));
        }
        Ok(described(&wallet, |_, name| held_by(cosigners, name)))
    }

    /// A wallet that was told by its descriptor: whose its keys are is said by `signers`, or found in the keyring.
    async fn bound(&self, tenant: TenantId, wallet: Definition, signers: &[Cosigner]) -> Result<ScriptKind> {
        if wallet.descriptor().keys().into_iter().any(|key| !is_nobody(key) && SignerKey::of(key).is_none()) {
            return Err(Error::invalid(
                "script.descriptor",
                "has a key without its parity, of which nobody can be the holder: write it as 02… or 03…",
            ));
        }
        let own = self.inner.own_keys(tenant).await?;
        let mut used = vec![false; signers.len()];
        let mut holders = Vec::new();
        for participant in wallet.participants() {
            let mut held = None;
            for (at, signer) in signers.iter().enumerate() {
                let field = format!("script.signers[{at}].signer");
                let fits = match &signer.signer {
                    Signer::Active { key, .. } | Signer::Reserve { key, .. } => {
                        let info = self.inner.keyring.get(tenant, *key).await?;
                        self.inner.derives(tenant, &info, &participant.key).await?
                    }
                    Signer::Outside { xpub } => {
                        let key = SignerKey::parse(&format!("{field}.xpub"), xpub, self.network())?;
                        key.public_key() == participant.key.public_key()
                    }
                };
                if fits && held.is_none() {
                    if let Some(used) = used.get_mut(at) {
                        if *used {
                            let reason = "holds several of the descriptor's keys: leave it out, so that each gets a name of its own";
                            return Err(Error::invalid(field, reason));
                        }
                        *used = true;
                    }
                    held = Some((signer.name.clone(), role(&signer.signer)));
                }
            }
            if held.is_none() {
                for info in &own {
                    if self.inner.derives(tenant, info, &participant.key).await? {
                        held = Some((participant.name.clone(), HeldBy::Active { key: info.id }));
                        break;
                    }
                }
            }
            let (name, held_by) = held.unwrap_or_else(|| (participant.name.clone(), HeldBy::Outside));
            holders.push(KeyHolder { name, key: participant.key.clone(), held_by });
        }
        if let Some(at) = used.iter().position(|used| !used) {
            let reason = "none of the descriptor's keys is this one's: check key, origin and path";
            return Err(Error::invalid(format!("script.signers[{at}]"), reason));
        }
        // Names must be well-formed and differ.
        let named =
            holders.iter().map(|holder| Participant { name: holder.name.clone(), key: holder.key.clone() });
        Definition::new(wallet.name(), wallet.descriptor().clone(), named.collect())
            .map_err(|error| Error::Descriptor(error.of_part("script")))?;
        Ok(ScriptKind::Descriptor { descriptor: wallet.descriptor().to_string(), signers: holders })
    }
}

fn role(signer: &Signer) -> HeldBy {
    match signer {
        Signer::Active { key, .. } => HeldBy::Active { key: *key },
        Signer::Reserve { key, .. } => HeldBy::Reserve { key: *key },
        Signer::Outside { .. } => HeldBy::Outside,
    }
}

fn held_by(cosigners: &[Cosigner], name: &str) -> HeldBy {
    cosigners
        .iter()
        .find(|cosigner| cosigner.name == name)
        .map_or(HeldBy::Outside, |cosigner| role(&cosigner.signer))
}

fn described(wallet: &Definition, held_by: impl Fn(&SignerKey, &str) -> HeldBy) -> ScriptKind {
    let signers = wallet.participants().iter().map(|participant| KeyHolder {
        name: participant.name.clone(),
        key: participant.key.clone(),
        held_by: held_by(&participant.key, &participant.name),
    });
    ScriptKind::Descriptor { descriptor: wallet.descriptor().to_string(), signers: signers.collect() }
}
