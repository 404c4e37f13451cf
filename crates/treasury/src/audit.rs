//! Writing the audit log: every entry in the transaction of the act it tells of.
//!
//! A tenant's chain lives under its id, the server's own under [`TenantId::SERVER`]. The ledger has one writer, so the
//! head read inside the transaction is the head that the new entry follows. Checkpoints are signed beside, by a key of
//! the server's in the keyring, and stored with the chain.

use anya_api::audit::{
    Chain, Entry, Head, Header, Line, Record,
    checkpoint::{Checkpoint, VerifierKey},
};
use anya_keys::{Authority, Keyring, Message, SignAlgorithm, SignRequest, Signature};
use anya_primitives::{Actor, KeyId, TenantId, Timestamp};
use anya_store::{Ledger, TenantTx, Value, params};

use crate::Error;

/// Entries in one chunk of an export, at most.
pub(crate) const MAX_CHUNK: u32 = 1_000;

/// The chain that is kept under `tenant`.
fn chain_of(tenant: TenantId) -> Chain {
    if tenant == TenantId::SERVER { Chain::Server } else { Chain::Tenant(tenant) }
}

/// Appends what happened to the tenant's chain.
pub(crate) fn append(
    tx: &TenantTx<'_>,
    at: Timestamp,
    actor: Actor,
    action: &str,
    subject: impl ToString,
    detail: serde_json::Value,
) -> Result<Entry, Error> {
    let head = head(tx)?;
    let record = Record { actor, action: action.to_owned(), subject: subject.to_string(), detail };
    let entry = Entry::link(chain_of(tx.tenant()), head.size + 1, head.hash, at, record)
        .ok_or_else(|| Error::internal("an audit entry has no canonical form"))?;
    let text = serde_json::to_string(&entry).map_err(|e| Error::internal(format!("audit entry: {e}")))?;
    tx.execute(
        "INSERT INTO audit_entries (tenant, seq, entry, hash) VALUES (:tenant, :seq, :entry, :hash)",
        &params! { "seq" => Value::try_from(entry.seq)?, "entry" => text, "hash" => entry.hash.to_string() },
    )?;
    Ok(entry)
}

/// Where the tenant's chain ends.
pub(crate) fn head(tx: &TenantTx<'_>) -> Result<Head, Error> {
    let last = tx.query_opt::<_, Error>(
        "SELECT seq, hash FROM audit_entries WHERE tenant = :tenant ORDER BY seq DESC LIMIT 1",
        &params! {},
        |row| Ok((row.get::<u64>("seq")?, row.get::<String>("hash")?)),
    )?;
    match last {
        None => Ok(Head::EMPTY),
        Some((size, hash)) => {
            let hash = hash.parse().map_err(|_| Error::internal("a stored audit hash is damaged"))?;
            Ok(Head { size, hash })
        }
    }
}

/// Entries after `after`, oldest first, with the checkpoints between them.
pub(crate) fn lines(tx: &TenantTx<'_>, after: u64, limit: u32) -> Result<Vec<Line>, Error> {
    let entries = entries(tx, after, limit)?;
    let last = entries.last().map_or(after, |entry| entry.seq);
    let mut notes = tx
        .query::<_, Error>(
            "SELECT size, note FROM audit_checkpoints WHERE tenant = :tenant AND size > :after AND size <= :last ORDER BY size",
            &params! { "after" => Value::try_from(after)?, "last" => Value::try_from(last)? },
            |row| Ok((row.get::<u64>("size")?, row.get::<String>("note")?)),
        )?
        .into_iter()
        .peekable();
    let mut lines = Vec::with_capacity(entries.len() + notes.len());
    for entry in entries {
        let seq = entry.seq;
        lines.push(Line::Entry(entry));
        while let Some((_, note)) = notes.next_if(|(size, _)| *size <= seq) {
            lines.push(Line::Checkpoint { note });
        }
    }
    Ok(lines)
}

/// Entries after `after`, oldest first.
pub(crate) fn entries(tx: &TenantTx<'_>, after: u64, limit: u32) -> Result<Vec<Entry>, Error> {
    tx.query(
        "SELECT entry FROM audit_entries WHERE tenant = :tenant AND seq > :after ORDER BY seq LIMIT :limit",
        &params! { "after" => Value::try_from(after)?, "limit" => limit },
        |row| Ok(row.json("entry")?),
    )
}

/// The key that signs checkpoints, and its public half.
#[derive(Clone, Debug)]
pub struct CheckpointKey {
    /// The key's id in the keyring, under [`TenantId::SERVER`].
    pub key: KeyId,
    /// What verifies its signatures.
    pub verifier: VerifierKey,
}

impl CheckpointKey {
    /// The header of an export of `tenant`'s chain.
    pub(crate) fn header(&self, tenant: TenantId) -> Header {
        Header {
            format: Header::FORMAT.to_owned(),
            version: Header::VERSION,
            chain: chain_of(tenant),
            verifier_key: self.verifier.to_string(),
        }
    }

    /// Signs the present head of the tenant's chain, unless that was done already or there is nothing to sign.
    pub(crate) async fn sign_head(
        &self,
        ledger: &Ledger,
        keyring: &Keyring,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (head, signed) = ledger
            .read(tenant, |tx| -> Result<_, Error> {
                let signed = tx.query_opt::<_, Error>(
                    "SELECT MAX(size) AS size FROM audit_checkpoints WHERE tenant = :tenant",
                    &params! {},
                    |row| Ok(row.get::<Option<u64>>("size")?),
                )?;
                Ok((head(tx)?, signed.flatten().unwrap_or(0)))
            })
            .await?;
        if head.size == signed {
            return Ok(());
        }
        let checkpoint = Checkpoint { chain: chain_of(tenant), head };
        let text = checkpoint.text();
        let request = SignRequest {
            algorithm: SignAlgorithm::Ed25519,
            path: None,
            message: Message::Bytes(text.as_bytes()),
        };
        let signature = keyring.sign(TenantId::SERVER, self.key, Authority::Server, &request).await?;
        let Signature::Ed25519(signature) = signature else {
            return Err(Error::internal("the checkpoint key does not sign with ed25519"));
        };
        let note = checkpoint.note(&self.verifier, &signature);
        ledger
            .write(tenant, move |tx| -> Result<_, Error> {
                tx.execute(
                    "INSERT INTO audit_checkpoints (tenant, size, note, created_at) VALUES (:tenant, :size, :note, :at) \
                     ON CONFLICT (tenant, size) DO NOTHING",
                    &params! { "size" => Value::try_from(head.size)?, "note" => note, "at" => now },
                )?;
                Ok(())
            })
            .await
    }
}
