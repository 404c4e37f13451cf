//! Events for the outside, written in the transaction of what they tell of.

use anya_api::status::Event;
use anya_primitives::Timestamp;
use anya_store::{TenantTx, Value, params};

use crate::Error;

/// Events in one answer, at most.
pub(crate) const MAX_EVENTS: u32 = 500;

/// Appends an event to the tenant's outbox.
pub(crate) fn append(
    tx: &TenantTx<'_>,
    at: Timestamp,
    topic: &str,
    subject: impl ToString,
    data: &serde_json::Value,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO outbox (tenant, seq, at, topic, subject, data) \
         SELECT :tenant, COALESCE(MAX(seq), 0) + 1, :at, :topic, :subject, :data FROM outbox WHERE tenant = :tenant",
        &params! { "at" => at, "topic" => topic, "subject" => subject.to_string(), "data" => data.to_string() },
    )?;
    Ok(())
}

/// Events after `after`, oldest first.
pub(crate) fn after(tx: &TenantTx<'_>, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
    tx.query(
        "SELECT seq, at, topic, subject, data FROM outbox WHERE tenant = :tenant AND seq > :after ORDER BY seq LIMIT :limit",
        &params! { "after" => Value::try_from(after)?, "limit" => limit.clamp(1, MAX_EVENTS) },
        |row| {
            Ok(Event {
                seq: row.get("seq")?,
                at: row.get("at")?,
                topic: row.get("topic")?,
                subject: row.get("subject")?,
                data: row.json("data")?,
            })
        },
    )
}
