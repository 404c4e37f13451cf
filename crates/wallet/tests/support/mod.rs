//! A house with ledger, software keys and wallets, over a chain that the test itself makes.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{path::Path, sync::Arc};

use anya_chain::{BlockRef, BlockSink};
use anya_keys::{KeySpec, Keyring, NewKey};
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{Amount, Clock, FeeRate, KeyId, Network, OperationId, SystemClock, TenantId, WalletId};
use anya_store::{Ledger, LedgerOptions, Migration};
use anya_wallet::{
    Cosigner, Draft, DraftRequest, Error, NewWallet, Recipient, ScriptKind, Signed, Signer, Terms,
    WalletInfo, Wallets,
};
use bitcoin::{
    Address, Block, BlockHash, CompactTarget, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, absolute,
    bip32::{DerivationPath, Xpriv, Xpub},
    block, consensus,
    hashes::Hash,
    secp256k1::Secp256k1,
    transaction,
};
use secrecy::SecretString;
use tempfile::TempDir;

pub(crate) const RATE: FeeRate = FeeRate::from_sat_per_kwu(500);
pub(crate) const CAP: Amount = Amount::from_sat(100_000);

pub(crate) fn migrations() -> Vec<Migration> {
    anya_keys::MIGRATIONS.iter().chain(anya_wallet::MIGRATIONS).copied().collect()
}

pub(crate) fn sat(amount: u64) -> Amount {
    Amount::from_sat(amount)
}

/// A script that belongs to nobody here.
pub(crate) fn stranger(number: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([number; 20]))
}

/// Someone outside with a key of their own.
pub(crate) struct Outsider {
    pub(crate) root: Xpriv,
}

impl Outsider {
    pub(crate) fn new(seed: u8) -> Self {
        Self { root: Xpriv::new_master(bitcoin::Network::Regtest, &[seed; 32]).unwrap() }
    }

    pub(crate) fn xpub(&self) -> String {
        let secp = Secp256k1::new();
        let path: DerivationPath = "48'/1'/0'/2'".parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &self.root.derive_priv(&secp, &path).unwrap());
        format!("[{}/48h/1h/0h/2h]{xpub}", self.root.fingerprint(&secp))
    }

    pub(crate) fn sign(&self, psbt: &Psbt) -> Psbt {
        let mut signed = psbt.clone();
        signed.sign(&self.root, &Secp256k1::new()).unwrap();
        signed
    }
}

pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) wallets: Wallets,
    pub(crate) tenant: TenantId,
    pub(crate) blocks: Vec<Block>,
    counter: u64,
}

async fn open(folder: &Path, provider: SoftwareProvider) -> (Ledger, Arc<Keyring>, Wallets) {
    let path = folder.join("ledger.sqlite");
    let ledger = Ledger::open(&path, &migrations(), LedgerOptions::default()).unwrap();
    let clock = Arc::new(SystemClock);
    let keyring = Arc::new(Keyring::new(ledger.clone(), vec![Arc::new(provider)], clock.clone()));
    let wallets = Wallets::open(
        ledger.clone(),
        open_index(&folder.join("index")),
        keyring.clone(),
        Network::Regtest,
        clock,
    )
    .await
    .unwrap();
    (ledger, keyring, wallets)
}

fn passphrase() -> SecretString {
    SecretString::from("a passphrase for tests")
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keystore.json");
        let provider =
            SoftwareProvider::init(&file, passphrase(), KdfCost::insecure_for_tests()).await.unwrap();
        let (ledger, keyring, wallets) = open(folder.path(), provider).await;
        let tenant = TenantId::new();
        Self { folder, ledger, keyring, wallets, tenant, blocks: Vec::new(), counter: 0 }
    }

    /// The same house after its process ended and began anew.
    pub(crate) async fn restarted(self) -> Self {
        let Self { folder, ledger, keyring, wallets, tenant, blocks, counter } = self;
        ledger.close();
        drop((ledger, keyring, wallets));
        let provider =
            SoftwareProvider::unlock(folder.path().join("keystore.json"), passphrase()).await.unwrap();
        let (ledger, keyring, wallets) = open(folder.path(), provider).await;
        Self { folder, ledger, keyring, wallets, tenant, blocks, counter }
    }

    pub(crate) async fn key(&self, name: &str) -> KeyId {
        let new = NewKey::new(name, KeySpec::Bip32Seed, SOFTWARE);
        self.keyring.generate(self.tenant, new, |_, _| Ok::<_, anya_keys::Error>(())).await.unwrap().id
    }

    pub(crate) async fn make(&self, name: &str, script: ScriptKind) -> Result<WalletInfo, Error> {
        self.wallets.create(self.tenant, NewWallet { name: name.into(), script }, |_, _| Ok(())).await
    }

    pub(crate) async fn wpkh(&self) -> WalletId {
        let key = self.key("wpkh").await;
        self.make("wpkh", ScriptKind::Wpkh { key, account: 0 }).await.unwrap().id
    }

    pub(crate) async fn tr(&self) -> WalletId {
        let key = self.key("tr").await;
        self.make("tr", ScriptKind::Tr { key, account: 0 }).await.unwrap().id
    }

    /// 2 of 3: one signs by itself, one is kept in reserve, one stands outside.
    pub(crate) async fn multisig(&self, outside: &str) -> WalletId {
        let script = self.multisig_script(2, outside).await;
        self.make("multisig", script).await.unwrap().id
    }

    pub(crate) async fn multisig_script(&self, threshold: u32, outside: &str) -> ScriptKind {
        let (active, reserve) = (self.key("active").await, self.key("reserve").await);
        let cosigner = |name: &str, signer| Cosigner { name: name.into(), signer };
        ScriptKind::WshSortedMulti {
            threshold,
            cosigners: vec![
                cosigner("active", Signer::Active { key: active, account: 0 }),
                cosigner("reserve", Signer::Reserve { key: reserve, account: 0 }),
                cosigner("outside", Signer::Outside { xpub: outside.into() }),
            ],
        }
    }

    pub(crate) async fn address(&self, wallet: WalletId) -> Address {
        self.wallets.new_address(self.tenant, wallet, None).await.unwrap().address
    }

    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// A transaction from nowhere with these outputs.
    pub(crate) fn payment(&mut self, outputs: &[(ScriptBuf, Amount)]) -> Transaction {
        let source = Txid::hash(&self.number().to_le_bytes());
        spend(&[OutPoint::new(source, 0)], outputs)
    }

    /// Pays `amount` to a new address of the wallet and mines it.
    pub(crate) async fn fund(&mut self, wallet: WalletId, amounts: &[u64]) -> Transaction {
        let mut outputs = Vec::new();
        for amount in amounts {
            outputs.push((self.address(wallet).await.script_pubkey(), sat(*amount)));
        }
        let transaction = self.payment(&outputs);
        self.mine(std::slice::from_ref(&transaction)).await;
        transaction
    }

    pub(crate) fn tip(&self) -> BlockRef {
        let block = self.blocks.last().unwrap();
        BlockRef { height: u32::try_from(self.blocks.len()).unwrap() - 1, hash: block.block_hash() }
    }

    /// The next block, with these transactions and a coinbase that pays to `miner`.
    pub(crate) fn block(&mut self, transactions: &[Transaction], miner: ScriptBuf) -> Block {
        let height = self.blocks.len();
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                script_sig: ScriptBuf::from_bytes([&[8u8][..], &self.number().to_le_bytes()].concat()),
                ..TxIn::default()
            }],
            output: vec![TxOut { value: sat(5_000_000_000), script_pubkey: miner }],
        };
        let header = block::Header {
            version: block::Version::TWO,
            prev_blockhash: self.blocks.last().map_or(BlockHash::all_zeros(), Block::block_hash),
            merkle_root: TxMerkleNode::all_zeros(),
            time: 1_700_000_000 + u32::try_from(height).unwrap(),
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: u32::try_from(self.number()).unwrap(),
        };
        let mut txdata = vec![coinbase];
        txdata.extend_from_slice(transactions);
        Block { header, txdata }
    }

    pub(crate) async fn connect(&mut self, block: Block) {
        self.blocks.push(block);
        let at = self.tip();
        BlockSink::connect(&self.wallets, self.blocks.last().unwrap(), at).await.unwrap();
    }

    pub(crate) async fn mine(&mut self, transactions: &[Transaction]) -> BlockRef {
        let block = self.block(transactions, stranger(250));
        self.connect(block).await;
        self.tip()
    }

    pub(crate) async fn mine_empty(&mut self, count: usize) {
        for _ in 0..count {
            self.mine(&[]).await;
        }
        BlockSink::caught_up(&self.wallets, self.tip()).await.unwrap();
    }

    /// Takes back the newest block.
    pub(crate) async fn unmine(&mut self) -> Block {
        let at = self.tip();
        BlockSink::disconnect(&self.wallets, at).await.unwrap();
        self.blocks.pop().unwrap()
    }

    pub(crate) async fn mempool(&self, added: &[Transaction], evicted: &[Txid]) {
        BlockSink::mempool(&self.wallets, added, evicted).await.unwrap();
    }

    pub(crate) async fn balance(&self, wallet: WalletId) -> anya_wallet::Balance {
        self.wallets.balance(self.tenant, wallet).await.unwrap()
    }

    pub(crate) async fn draft(&self, wallet: WalletId, recipients: Vec<Recipient>) -> Result<Draft, Error> {
        let operation = OperationId::new();
        let request = DraftRequest { operation, recipients, fee_rate: RATE, fee_cap: CAP, spend_path: None };
        self.wallets.draft_payment(self.tenant, wallet, request).await
    }

    pub(crate) async fn reserve(&self, draft: &Draft) -> Result<(), Error> {
        let draft = draft.clone();
        self.ledger.write(self.tenant, move |tx| draft.reserve(tx)).await
    }

    pub(crate) async fn release(&self, operation: OperationId) {
        self.ledger.write(self.tenant, move |tx| anya_wallet::release(tx, operation)).await.unwrap();
    }

    pub(crate) async fn reserved(&self, wallet: WalletId, recipients: Vec<Recipient>) -> (Draft, Terms) {
        let draft = self.draft(wallet, recipients).await.unwrap();
        self.reserve(&draft).await.unwrap();
        let terms = terms(&draft);
        (draft, terms)
    }

    /// Drafts, reserves, signs and finishes a payment with the keys that sign by themselves.
    pub(crate) async fn pay(&self, wallet: WalletId, recipients: Vec<Recipient>) -> (Draft, Transaction) {
        let (draft, terms) = self.reserved(wallet, recipients).await;
        let transaction = self.finish(&draft, &terms).await;
        (draft, transaction)
    }

    /// Grants the operation what it needs, as the treasury does with one that is approved, and signs.
    pub(crate) async fn sign(&self, wallet: WalletId, psbt: &Psbt, terms: &Terms) -> Result<Signed, Error> {
        let digests = self.wallets.to_sign(self.tenant, wallet, psbt, terms).await?;
        let (operation, now) = (terms.operation, SystemClock.now());
        let until = now.saturating_add(std::time::Duration::from_secs(60));
        self.ledger
            .write(self.tenant, move |tx| {
                digests.iter().try_for_each(|(key, digests)| {
                    Keyring::grant(tx, operation, *key, digests, until, now).map_err(Error::from)
                })
            })
            .await?;
        self.wallets.sign(self.tenant, wallet, psbt, terms).await
    }

    pub(crate) async fn finish(&self, draft: &Draft, terms: &Terms) -> Transaction {
        let signed = self.sign(draft.wallet, &draft.psbt, terms).await.unwrap();
        assert!(signed.complete, "{:?}", signed.missing);
        self.wallets.finalize(self.tenant, draft.wallet, &signed.psbt, terms).await.unwrap()
    }
}

pub(crate) fn terms(draft: &Draft) -> Terms {
    Terms { operation: draft.operation, recipients: draft.recipients.clone(), fee_cap: CAP }
}

pub(crate) fn spend(inputs: &[OutPoint], outputs: &[(ScriptBuf, Amount)]) -> Transaction {
    let input = |outpoint: &OutPoint| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::from_slice(&[[1u8; 64]]),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: inputs.iter().map(input).collect(),
        output: outputs
            .iter()
            .map(|(script, value)| TxOut { value: *value, script_pubkey: script.clone() })
            .collect(),
    }
}

pub(crate) fn hex(transaction: &Transaction) -> String {
    consensus::encode::serialize_hex(transaction)
}

pub(crate) fn open_index(folder: &std::path::Path) -> anya_store::Index {
    anya_store::Index::open(folder, &anya_wallet::INDEX_FAMILIES).unwrap()
}
