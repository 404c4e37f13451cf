-- Keys, where each is held, and the public keys of their accounts. Times are milliseconds since the Unix epoch.
CREATE TABLE keys (
    tenant         TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    spec           TEXT    NOT NULL,
    public         TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN
        ('pre-activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    version        INTEGER NOT NULL CHECK (version > 0),
    transferable   INTEGER NOT NULL CHECK (transferable IN (0, 1)),
    -- What the keyring itself holds the key to, whoever asks (JSON).
    usage          TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    -- When the key becomes active, when it stops to protect anything new, and when it is followed by another.
    activates_at   INTEGER,
    deactivates_at INTEGER,
    rotate_seconds INTEGER CHECK (rotate_seconds > 0),
    compromised_at INTEGER,
    destroyed_at   INTEGER,
    -- The key that this one followed, and the one that follows it.
    predecessor    TEXT,
    successor      TEXT,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

CREATE INDEX keys_by_time ON keys (state, activates_at, deactivates_at);

-- Who holds the private part. The handle is what the provider needs to find it; it holds no secret in the clear, and
-- losing every handle loses the key. A destroyed key's row stays until its provider has erased what it holds.
CREATE TABLE key_replicas (
    tenant    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    provider  TEXT    NOT NULL,
    -- The order in which the key was given to providers; the first made it.
    place     INTEGER NOT NULL,
    residence TEXT    NOT NULL,
    handle    BLOB,
    -- When it last signed a canary, at its making or later.
    proved_at INTEGER NOT NULL,
    erased_at INTEGER,
    erasure   TEXT CHECK (erasure IN ('object', 'handle')),
    PRIMARY KEY (tenant, key, provider),
    FOREIGN KEY (tenant, key) REFERENCES keys (tenant, id),
    CHECK ((erased_at IS NULL) = (handle IS NOT NULL)),
    CHECK ((erased_at IS NULL) = (erasure IS NULL))
) STRICT;

CREATE INDEX key_replicas_by_provider ON key_replicas (provider, tenant, key);

-- The extended public keys that hardened derivation gave, once proved. Signatures are checked against these.
CREATE TABLE key_accounts (
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    xpub       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key, path),
    FOREIGN KEY (tenant, key) REFERENCES keys (tenant, id)
) STRICT;

-- What was about to be made, and by whom: if the power fails between the device's work and our record of it, this is
-- how the orphan is known.
CREATE TABLE key_intents (
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key, provider)
) STRICT;

-- Uses counted against a key's limit. A window is never older than the newest that was counted in.
CREATE TABLE key_uses (
    tenant TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    window INTEGER NOT NULL,
    uses   INTEGER NOT NULL CHECK (uses >= 0),
    PRIMARY KEY (tenant, key),
    FOREIGN KEY (tenant, key) REFERENCES keys (tenant, id)
) STRICT;

-- What an approved operation may have signed: these digests and no others, until it ends or the time is over.
CREATE TABLE key_grants (
    tenant     TEXT    NOT NULL,
    operation  TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    -- 32 bytes each, one after the other, sorted.
    digests    BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, operation, key),
    FOREIGN KEY (tenant, key) REFERENCES keys (tenant, id)
) STRICT;
