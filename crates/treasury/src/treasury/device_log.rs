//! What devices write into logs of their own, taken over into the server's chain.
//!
//! Entries and the mark up to which they were taken over are one ledger transaction; only then is the device told that
//! it may forget them. What is missing or forged there is an entry of ours.

use anya_primitives::{Actor, TenantId};
use anya_store::{TenantTx, params};
use serde_json::Value as Json;

use super::Treasury;
use crate::{Error, audit};

impl Treasury {
    /// Up to where the log of `provider`'s device was taken over; nothing before the first time.
    pub async fn device_log_mark(&self, provider: &str) -> Result<Option<Json>, Error> {
        let provider = provider.to_owned();
        self.inner.ledger.read(TenantId::SERVER, move |tx| mark(tx, &provider)).await
    }

    /// Takes over what the device has written since, `entries` in their order, up to `now_at`.
    pub async fn take_device_log(
        &self,
        provider: &str,
        entries: Vec<Json>,
        now_at: Json,
    ) -> Result<(), Error> {
        let (provider, now) = (provider.to_owned(), self.now());
        self.inner
            .ledger
            .write(TenantId::SERVER, move |tx| -> Result<(), Error> {
                for entry in entries {
                    audit::append(tx, now, Actor::System, "device.log", &provider, entry)?;
                }
                put(tx, &provider, &now_at, None)
            })
            .await
    }

    /// Records that the device's log has a fault; the same fault again is not worth another entry.
    pub async fn note_device_log_fault(&self, provider: &str, fault: &str) -> Result<(), Error> {
        let (provider, fault, now) = (provider.to_owned(), fault.to_owned(), self.now());
        self.inner
            .ledger
            .write(TenantId::SERVER, move |tx| -> Result<(), Error> {
                let known = tx.query_opt::<_, Error>(
                    "SELECT fault FROM device_logs WHERE tenant = :tenant AND provider = :provider",
                    &params! { "provider" => provider.as_str() },
                    |row| Ok(row.get::<Option<String>>("fault")?),
                )?;
                if known.flatten().as_ref() == Some(&fault) {
                    return Ok(());
                }
                let detail = serde_json::json!({ "fault": fault });
                audit::append(tx, now, Actor::System, "device.log_fault", &provider, detail)?;
                let at = mark(tx, &provider)?.unwrap_or(Json::Null);
                put(tx, &provider, &at, Some(&fault))
            })
            .await
    }
}

fn mark(tx: &TenantTx<'_>, provider: &str) -> Result<Option<Json>, Error> {
    let mark = tx.query_opt::<Json, Error>(
        "SELECT mark FROM device_logs WHERE tenant = :tenant AND provider = :provider",
        &params! { "provider" => provider },
        |row| Ok(row.json("mark")?),
    )?;
    Ok(mark.filter(|mark| !mark.is_null()))
}

fn put(tx: &TenantTx<'_>, provider: &str, at: &Json, fault: Option<&str>) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO device_logs (tenant, provider, mark, fault) VALUES (:tenant, :provider, :mark, :fault) \
         ON CONFLICT (tenant, provider) DO UPDATE SET mark = :mark, fault = :fault",
        &params! { "provider" => provider, "mark" => anya_store::json(at)?, "fault" => fault },
    )?;
    Ok(())
}
