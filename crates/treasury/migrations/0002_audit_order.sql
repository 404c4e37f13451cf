-- Entries lie in the order of their key: one that is appended changes one page of one tree, not of two.

CREATE TABLE audit_entries_ordered (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    entry TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

INSERT INTO audit_entries_ordered (tenant, seq, entry, hash)
    SELECT tenant, seq, entry, hash FROM audit_entries ORDER BY tenant, seq;
DROP TABLE audit_entries;
ALTER TABLE audit_entries_ordered RENAME TO audit_entries;
