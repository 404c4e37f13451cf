-- Labels as BIP329 has them. An output whose `spendable` is 0 is frozen.
CREATE TABLE wallet_labels (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    label TEXT,
    origin TEXT,
    spendable INTEGER,
    more TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, wallet, kind, reference),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;
