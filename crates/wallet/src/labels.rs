//! Labels of transactions, addresses, keys and coins, in and out as BIP329 has them. An output that is labelled as not
//! spendable is frozen: no payment takes it.

use std::collections::BTreeSet;

use anya_descriptor::label::{self, Label, Reference};
use anya_primitives::{TenantId, Timestamp, WalletId};
use anya_store::{Row, TenantTx, json, params};
use bitcoin::OutPoint;
use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    info::{Page, check_limit},
    wallets::Wallets,
};

/// The most labels of one wallet.
pub const MAX_LABELS: u32 = 100_000;

/// A label as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLabel {
    /// The record's type: `tx`, `addr`, `pubkey`, `input`, `output` or `xpub`.
    pub kind: String,
    /// What it is attached to, as BIP329 writes it.
    pub reference: String,
    /// The label.
    pub label: Option<String>,
    /// The wallet that it came from.
    pub origin: Option<String>,
    /// Whether an output may be spent; outputs only.
    pub spendable: Option<bool>,
    /// What came with it besides.
    pub more: Map<String, Value>,
}

/// What became of a file of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsTaken {
    /// How many records were stored.
    pub taken: usize,
    /// Lines of types that BIP329 does not define.
    pub ignored: Vec<usize>,
    /// Lines whose label was cut to 255 characters.
    pub shortened: Vec<usize>,
}

impl Wallets {
    /// Takes a file of labels in (BIP329, one JSON object a line): all of it or nothing. A record without a label leaves
    /// the label that is there, one without `spendable` leaves the coin as it is. `record` runs in the same transaction.
    ///
    /// # Errors
    /// [`Error::Descriptor`] with the line at fault; [`Error::Invalid`] beyond [`MAX_LABELS`].
    pub async fn import_labels<E, R>(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        file: &str,
        record: R,
    ) -> Result<LabelsTaken, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &LabelsTaken) -> Result<(), E> + Send + 'static,
    {
        self.inner.slot((tenant, wallet))?;
        let found =
            label::read(file, self.network()).map_err(|error| Error::from(error.of_part("labels")))?;
        let taken =
            LabelsTaken { taken: found.labels.len(), ignored: found.ignored, shortened: found.shortened };
        let told = taken.clone();
        let now = self.inner.clock.now();
        self.inner
            .ledger
            .write(tenant, move |tx| {
                for label in &found.labels {
                    put(tx, wallet, label, now)?;
                }
                if count(tx, wallet)? > MAX_LABELS {
                    let reason = format!("the wallet would have more than {MAX_LABELS} labels");
                    return Err(Error::invalid("labels", reason).into());
                }
                record(tx, &told)
            })
            .await?;
        Ok(taken)
    }

    /// A wallet's labels by type and reference, those of its shown addresses among them; `limit` is at most 200.
    ///
    /// # Errors
    /// [`Error::NoWallet`], and [`Error::Invalid`] for the limit.
    pub async fn labels(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        after: Option<(String, String)>,
        limit: u32,
    ) -> Result<Page<StoredLabel, (String, String)>> {
        self.inner.slot((tenant, wallet))?;
        let limit = check_limit(limit)?;
        let items = self.inner.ledger.read(tenant, move |tx| page(tx, wallet, after, limit + 1)).await?;
        Ok(Page::cut(items, limit, |label| (label.kind.clone(), label.reference.clone())))
    }

    /// The outputs that no payment of the wallet may take.
    ///
    /// # Errors
    /// [`Error::NoWallet`].
    pub async fn frozen(&self, tenant: TenantId, wallet: WalletId) -> Result<BTreeSet<OutPoint>> {
        self.inner.slot((tenant, wallet))?;
        self.inner.ledger.read(tenant, move |tx| frozen(tx, wallet)).await
    }
}

/// The outputs that no payment of the wallet may take.
pub(crate) fn frozen(tx: &TenantTx<'_>, wallet: WalletId) -> Result<BTreeSet<OutPoint>> {
    let found = tx.query(
        "SELECT reference FROM wallet_labels
         WHERE tenant = :tenant AND wallet = :wallet AND kind = 'output' AND spendable = 0",
        &params! { "wallet" => wallet },
        |row| {
            let text: String = row.get("reference")?;
            text.parse()
                .map_err(|_| Error::Damaged { wallet, reason: "a label's output cannot be read".into() })
        },
    )?;
    Ok(found.into_iter().collect())
}

fn put(tx: &TenantTx<'_>, wallet: WalletId, label: &Label, now: Timestamp) -> Result<()> {
    let (kind, reference) = (label.reference.kind(), label.reference.to_string());
    let more = if label.more.is_empty() { None } else { Some(json(&label.more)?) };
    tx.execute(
        "INSERT INTO wallet_labels (tenant, wallet, kind, reference, label, origin, spendable, more, updated_at)
         VALUES (:tenant, :wallet, :kind, :reference, :label, :origin, :spendable, :more, :now)
         ON CONFLICT (tenant, wallet, kind, reference) DO UPDATE SET
            label = COALESCE(excluded.label, label), origin = COALESCE(excluded.origin, origin),
            spendable = COALESCE(excluded.spendable, spendable), more = COALESCE(excluded.more, more),
            updated_at = excluded.updated_at",
        &params! {
            "wallet" => wallet, "kind" => kind, "reference" => &reference, "label" => label.label.as_deref(),
            "origin" => label.origin.as_deref(), "spendable" => label.spendable, "more" => more, "now" => now,
        },
    )?;
    if let (Reference::Address(_), Some(text)) = (&label.reference, &label.label) {
        tx.execute(
            "UPDATE wallet_addresses SET label = :label
             WHERE tenant = :tenant AND wallet = :wallet AND address = :address",
            &params! { "wallet" => wallet, "address" => &reference, "label" => text },
        )?;
    }
    Ok(())
}

fn count(tx: &TenantTx<'_>, wallet: WalletId) -> Result<u32> {
    let found = tx.query_opt(
        "SELECT COUNT(*) AS number FROM wallet_labels WHERE tenant = :tenant AND wallet = :wallet",
        &params! { "wallet" => wallet },
        |row| Ok::<_, Error>(row.get::<u32>("number")?),
    )?;
    Ok(found.unwrap_or_default())
}

fn page(
    tx: &TenantTx<'_>,
    wallet: WalletId,
    after: Option<(String, String)>,
    limit: usize,
) -> Result<Vec<StoredLabel>> {
    let (kind, reference) = after.unwrap_or_default();
    tx.query(
        "SELECT kind, reference, label, origin, spendable, more FROM (
            SELECT kind, reference, label, origin, spendable, more FROM wallet_labels
            WHERE tenant = :tenant AND wallet = :wallet
            UNION ALL
            SELECT 'addr', address, label, NULL, NULL, NULL FROM wallet_addresses AS shown
            WHERE tenant = :tenant AND wallet = :wallet AND label IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM wallet_labels AS own WHERE own.tenant = :tenant AND own.wallet = :wallet
                    AND own.kind = 'addr' AND own.reference = shown.address
            )
         ) WHERE (kind, reference) > (:kind, :reference) ORDER BY kind, reference LIMIT :limit",
        &params! {
            "wallet" => wallet, "kind" => kind, "reference" => reference,
            "limit" => u32::try_from(limit).map_err(Error::internal)?,
        },
        stored,
    )
}

fn stored(row: &Row<'_>) -> Result<StoredLabel> {
    let more: Option<String> = row.get("more")?;
    let more = match more {
        None => Map::new(),
        Some(text) => serde_json::from_str(&text).map_err(Error::internal)?,
    };
    Ok(StoredLabel {
        kind: row.get("kind")?,
        reference: row.get("reference")?,
        label: row.get("label")?,
        origin: row.get("origin")?,
        spendable: row.get("spendable")?,
        more,
    })
}
