-- How much others write: the one sequence, of the audit log, tells nobody.
SELECT relname FROM pg_class WHERE relnamespace = 'memory'::regnamespace AND relkind = 'S';
SELECT attack(statement) FROM unnest(ARRAY[
    'SELECT last_value FROM memory.audit_log_id_seq',
    'SELECT nextval(''memory.audit_log_id_seq'')',
    'SELECT currval(''memory.audit_log_id_seq'')',
    'SELECT setval(''memory.audit_log_id_seq'', 1)',
    'SELECT * FROM pg_sequences WHERE schemaname = ''memory'' AND last_value IS NOT NULL',
    'ALTER SEQUENCE memory.audit_log_id_seq RESTART',
    'SELECT pg_get_serial_sequence(''memory.audit_log'', ''id'')'
]) AS statement;
-- nor after one's own write, whose audit row took a number
SELECT attack('UPDATE memory.preferences SET updated_at = now()', 'SELECT lastval()');
SELECT attack('UPDATE memory.preferences SET updated_at = now()', 'SELECT currval(''memory.audit_log_id_seq'')');
\i input/each_profile.sql
