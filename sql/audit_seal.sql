-- The seals of the audit log: what proves that no row was changed, removed, added or moved. src/audit/proof says how.

CREATE TABLE memory.audit_seals (
    seal_id bigint PRIMARY KEY,
    last_id bigint NOT NULL,
    row_count bigint NOT NULL,
    root bytea NOT NULL,
    previous bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    key_name bytea,
    tag bytea,
    hash bytea NOT NULL
);
COMMENT ON TABLE memory.audit_seals IS
    'Seals of the audit log, each over the rows behind the one before it and chained to that. Append-only; written by seal_audit_log().';
COMMENT ON COLUMN memory.audit_seals.seal_id IS 'From 1, without a gap.';
COMMENT ON COLUMN memory.audit_seals.last_id IS 'The last id of audit_log that it covers; the first is the one behind the seal before.';
COMMENT ON COLUMN memory.audit_seals.row_count IS 'How many rows were sealed.';
COMMENT ON COLUMN memory.audit_seals.root IS 'The Merkle root of the rows'' leaves, 32 bytes.';
COMMENT ON COLUMN memory.audit_seals.previous IS 'The hash of the seal before; all zero in the first.';
COMMENT ON COLUMN memory.audit_seals.sealed_at IS 'When.';
COMMENT ON COLUMN memory.audit_seals.key_name IS 'Which key signs it, 4 bytes of a digest; NULL: none.';
COMMENT ON COLUMN memory.audit_seals.tag IS 'HMAC-SHA-256 of the hash by the key, 16 bytes; NULL without a key.';
COMMENT ON COLUMN memory.audit_seals.hash IS 'SHA-256 over all of this but the tag; audit_head() gives the newest.';

CREATE TABLE memory.audit_leaves (
    block bigint NOT NULL,
    seal_id bigint NOT NULL,
    root bytea NOT NULL,
    leaves bytea NOT NULL,
    PRIMARY KEY (block, seal_id)
);
ALTER TABLE memory.audit_leaves ALTER COLUMN leaves SET STORAGE EXTERNAL;
COMMENT ON TABLE memory.audit_leaves IS
    'What is kept of sealed rows of audit_log so that their leaves can be made again: a salt of each, in the place of a redacted or removed row '
    'what proves the rest of it. Nobody''s to read.';
COMMENT ON COLUMN memory.audit_leaves.block IS 'Sixty-four ids of audit_log: id / 64, rounded down.';
COMMENT ON COLUMN memory.audit_leaves.seal_id IS 'The seal that the rows are in; a block may have rows in two.';
COMMENT ON COLUMN memory.audit_leaves.root IS 'The Merkle root of these rows, to say where something was changed.';
COMMENT ON COLUMN memory.audit_leaves.leaves IS 'See src/audit/proof/block.rs.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.audit_seals IS 'A seal stays.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON memory.audit_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_append_only();
COMMENT ON TRIGGER append_only ON memory.audit_leaves IS 'Only redaction and retention take salts.';

ALTER TABLE memory.audit_seals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.audit_seals FOR SELECT
    USING ('00000000-0000-0000-0000-000000000000' = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.audit_seals IS 'An auditor of all tenants reads them; they are over the rows of all.';
ALTER TABLE memory.audit_leaves ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON memory.audit_leaves USING (false);
COMMENT ON POLICY nobody ON memory.audit_leaves IS 'Salts are nobody''s to read.';
ALTER TABLE memory.audit_seals ALTER COLUMN root SET STATISTICS 0, ALTER COLUMN previous SET STATISTICS 0,
    ALTER COLUMN key_name SET STATISTICS 0, ALTER COLUMN tag SET STATISTICS 0, ALTER COLUMN hash SET STATISTICS 0;
ALTER TABLE memory.audit_leaves ALTER COLUMN root SET STATISTICS 0, ALTER COLUMN leaves SET STATISTICS 0;
SELECT pg_catalog.pg_extension_config_dump('memory.audit_seals', '');
SELECT pg_catalog.pg_extension_config_dump('memory.audit_leaves', '');

CREATE FUNCTION memory.audit_keep_proof() RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'audit_keep_proof';
COMMENT ON FUNCTION memory.audit_keep_proof() IS
    'Trigger: when redaction or retention takes from sealed rows, destroys their salts and keeps what proves the rest, signed with the seal key. '
    'Who takes from the same 64 ids waits; 55000 where the seal key is missing, 40001 where the log was sealed after a REPEATABLE READ transaction began.';
CREATE TRIGGER keep_proof_update AFTER UPDATE ON memory.audit_log REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_keep_proof();
COMMENT ON TRIGGER keep_proof_update ON memory.audit_log IS 'Redacted rows stay proven.';
CREATE TRIGGER keep_proof_delete AFTER DELETE ON memory.audit_log REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION memory.audit_keep_proof();
COMMENT ON TRIGGER keep_proof_delete ON memory.audit_log IS 'That removed rows were there stays proven.';

-- They run as their owner: nobody else writes seals, and an auditor of one tenant verifies the rows of all, of which it is told no more than
-- whether they hold.
CREATE FUNCTION memory.seal_audit_log() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'seal_audit_log_wrapper';
COMMENT ON FUNCTION memory.seal_audit_log() IS
    'Closes what is new in the audit log under a seal, chained to the last one, and signed where there is a seal key. Gives how many rows, at most '
    '100,000: call again until it gives 0. Waits at most a second for transactions that have written to the log; where one stays open, gives 0, '
    'with a NOTICE, and seals next time. Stops no writer. An operator''s. 55000 where earlier seals are signed and the key is missing. '
    'Some 10 µs per row.';

CREATE FUNCTION memory.audit_head() RETURNS text
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'audit_head_wrapper';
COMMENT ON FUNCTION memory.audit_head() IS
    'The newest seal, as number:hash, ''0:'' and zeros before the first. Keep it where nobody who can change the database can change it: '
    'verify_audit_log(head) then shows every change of what was sealed by then.';

CREATE FUNCTION memory.verify_audit_log(head text DEFAULT NULL, OUT seal bigint, OUT ok boolean, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'verify_audit_log_wrapper';
COMMENT ON FUNCTION memory.verify_audit_log(text) IS
    'Makes every seal again from the rows, of one instant: a line per seal, ok where all of its rows are as they were sealed, or were redacted or '
    'removed since by the extension itself; else detail names rows, or the 64 ids among which one was changed. Then lines without a seal: '
    'for a head (whether the chain contains it: 22023 where it is none), for leaves without a seal, and how much is not sealed yet. '
    'Without the seal key, whoever can write the tables can forge a chain as a whole: then only a head kept outside shows it. Reads all of the log, some 6 µs per '
    'row, with the memory of one seal.';

SELECT memory.allow_table('auditor', 'SELECT', 'audit_seals');
SELECT memory.allow('auditor', 'verify_audit_log', 'audit_head');
SELECT memory.allow('operator', 'seal_audit_log', 'audit_head');
