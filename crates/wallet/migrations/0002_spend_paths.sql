-- By which of its wallet's ways to spend a draft is signed, as the descriptor lists them; NULL in older drafts, whose wallets
-- had one way.
ALTER TABLE wallet_drafts RENAME TO wallet_drafts_before;

CREATE TABLE wallet_drafts (
    tenant TEXT NOT NULL,
    operation TEXT NOT NULL,
    wallet TEXT NOT NULL,
    txid TEXT NOT NULL,
    inputs TEXT NOT NULL,
    change_index INTEGER,
    spend_path INTEGER,
    PRIMARY KEY (tenant, operation),
    FOREIGN KEY (tenant, wallet) REFERENCES wallets (tenant, id)
) STRICT;

INSERT INTO wallet_drafts (tenant, operation, wallet, txid, inputs, change_index)
SELECT tenant, operation, wallet, txid, inputs, change_index FROM wallet_drafts_before;

DROP TABLE wallet_drafts_before;

CREATE INDEX wallet_drafts_by_wallet ON wallet_drafts (tenant, wallet, txid);
