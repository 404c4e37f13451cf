CREATE TABLE wallets (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    network TEXT NOT NULL,
    script TEXT NOT NULL,
    accounts TEXT NOT NULL,
    descriptor TEXT NOT NULL,
    birthday INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name),
    UNIQUE (tenant, descriptor)
) STRICT;

-- What became known of a wallet, as pieces that are merged in any order. Small pieces are merged into larger ones of
-- the next level, so that loading stays quick and no write has to carry the whole wallet.
CREATE TABLE wallet_changesets (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    seq INTEGER NOT NULL,
    level INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant, wallet, seq),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

CREATE TABLE wallet_addresses (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    position INTEGER NOT NULL,
    address TEXT NOT NULL,
    label TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, wallet, position),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

CREATE INDEX wallet_addresses_by_address ON wallet_addresses (tenant, address);

-- The one transaction that an operation may sign, from its reservation until its release.
CREATE TABLE wallet_drafts (
    tenant TEXT NOT NULL,
    operation TEXT NOT NULL,
    wallet TEXT NOT NULL,
    txid TEXT NOT NULL,
    inputs TEXT NOT NULL,
    change_index INTEGER,
    PRIMARY KEY (tenant, operation),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

CREATE INDEX wallet_drafts_by_wallet ON wallet_drafts (tenant, wallet, txid);

CREATE TABLE coin_reservations (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    outpoint TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (tenant, wallet, outpoint),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

CREATE INDEX coin_reservations_by_operation ON coin_reservations (tenant, operation);

-- Operations whose coin a replacement holds now. They get it back when the replacement is released.
CREATE TABLE coin_reservations_displaced (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    outpoint TEXT NOT NULL,
    place INTEGER NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (tenant, wallet, outpoint, place),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

-- The best chain as far as it was followed: the newest blocks without gaps, of older ones those that hold
-- transactions of a wallet. It belongs to no tenant.
CREATE TABLE wallet_blocks (
    height INTEGER NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    held INTEGER NOT NULL
) STRICT;
