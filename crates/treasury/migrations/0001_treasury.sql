-- People, access, policy, operations, audit log and outbox.
-- Times are milliseconds since the Unix epoch, amounts satoshi, ids prefixed UUIDv7 in text.

CREATE TABLE tenants (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE operators (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name),
    UNIQUE (tenant, public_key)
) STRICT;

CREATE TABLE api_keys (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    operator TEXT,
    secret_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE TABLE policies (
    tenant TEXT NOT NULL,
    version INTEGER NOT NULL,
    since INTEGER NOT NULL,
    operation TEXT NOT NULL,
    policy TEXT NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT;

CREATE TABLE operations (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    wallet TEXT,
    -- The payment whose transaction this one replaces, for fee bumps.
    replaces TEXT,
    intent TEXT NOT NULL,
    intent_digest TEXT NOT NULL,
    proposer TEXT NOT NULL,
    evaluation TEXT NOT NULL,
    -- What velocity limits count: recipients and fee cap.
    charged INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    reason_code TEXT,
    reason_detail TEXT,
    txid TEXT,
    fee INTEGER,
    -- The PSBT with the signatures collected so far (base64).
    psbt TEXT,
    missing_signers TEXT,
    -- The final transaction (consensus encoding in hexadecimal).
    raw_tx TEXT,
    -- Sends begun, and sends whose outcome is known; they differ while one may have gone out unanswered.
    sends INTEGER NOT NULL DEFAULT 0,
    answers INTEGER NOT NULL DEFAULT 0,
    -- Whether the chain may still change the operation.
    watch INTEGER NOT NULL DEFAULT 0,
    block_height INTEGER,
    block_hash TEXT,
    -- The transaction that confirmed, when a fee bump's did in place of the operation's own.
    confirmed_txid TEXT,
    confirmed_fee INTEGER,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease_owner TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, idempotency_key)
) STRICT;

CREATE INDEX operations_by_state ON operations (state, due_at);
CREATE INDEX operations_watched ON operations (watch) WHERE watch = 1;
CREATE INDEX operations_by_replaced ON operations (tenant, replaces) WHERE replaces IS NOT NULL;
CREATE INDEX operations_by_time ON operations (tenant, created_at);

CREATE TABLE ballots (
    tenant TEXT NOT NULL,
    operation TEXT NOT NULL,
    operator TEXT NOT NULL,
    decision TEXT NOT NULL,
    ballot TEXT NOT NULL,
    cast_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, operation, operator),
    FOREIGN KEY (tenant, operation) REFERENCES operations (tenant, id)
) STRICT;

CREATE TABLE audit_entries (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    entry TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT;

CREATE TABLE audit_checkpoints (
    tenant TEXT NOT NULL,
    size INTEGER NOT NULL,
    note TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, size)
) STRICT;

CREATE TABLE outbox (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT;

-- Drills of the failover between providers, under the server's own tenant id.
CREATE TABLE provider_drills (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    -- As it is shown (JSON).
    report TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT;

-- How far each device's own log was taken over into the server's chain, under the server's own tenant id.
CREATE TABLE device_logs (
    tenant TEXT NOT NULL,
    provider TEXT NOT NULL,
    -- Where our copy ends, as the provider's crate writes it (JSON).
    mark TEXT NOT NULL,
    -- The last fault that was found in it, if it was not followed by a good look.
    fault TEXT,
    PRIMARY KEY (tenant, provider)
) STRICT;
