-- Keys, and the public keys of their accounts. The handle is what the provider needs to find the private part; it
-- holds no secret in the clear, and losing it loses the key.
CREATE TABLE keys (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    spec       TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    handle     BLOB,
    public     TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('active', 'suspended', 'destroyed')),
    version    INTEGER NOT NULL CHECK (version > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name),
    CHECK ((state = 'destroyed') = (handle IS NULL))
) STRICT;

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
