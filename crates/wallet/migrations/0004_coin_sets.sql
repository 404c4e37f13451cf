-- The last index of a keychain (0 receive, 1 change) that was shown.
CREATE TABLE wallet_keychains (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    keychain INTEGER NOT NULL,
    revealed INTEGER NOT NULL,
    PRIMARY KEY (tenant, wallet, keychain),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

-- Scripts that were derived, in runs, so that loading derives none.
CREATE TABLE wallet_scripts (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    keychain INTEGER NOT NULL,
    first INTEGER NOT NULL,
    scripts BLOB NOT NULL,
    PRIMARY KEY (tenant, wallet, keychain, first),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

-- The transactions of a wallet, in the order in which they became known: the transaction with what the wallet needs of
-- it, and where it was seen. wallet_changesets held the same before, as pieces of another form; a wallet that has such
-- pieces is converted when it is opened.
CREATE TABLE wallet_transactions (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    seq INTEGER NOT NULL,
    record BLOB NOT NULL,
    position BLOB NOT NULL,
    PRIMARY KEY (tenant, wallet, seq),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

-- Transactions name their blocks themselves now.
ALTER TABLE wallet_blocks DROP COLUMN held;
