-- The extension keeps nothing in large objects, and theirs are no way to the server's files.
SELECT count(*) FROM pg_largeobject_metadata;
SELECT lo_from_bytea(4711, 'secret-object') AS made;
SELECT attack(statement) FROM unnest(ARRAY[
    'SELECT convert_from(lo_get(4711), ''UTF8'')',
    'SELECT lo_put(4711, 0, ''x'')',
    'SELECT lo_open(4711, 262144)',
    'SELECT lo_unlink(4711)',
    'SELECT convert_from(data, ''UTF8'') FROM pg_largeobject',
    'SELECT lo_import(''PG_VERSION'')',
    'SELECT lo_export(4711, ''attack'')',
    'SELECT pg_read_file(''PG_VERSION'')',
    'SELECT pg_ls_dir(''.'')',
    'SELECT pg_read_binary_file(pg_relation_filepath(''memory.nodes''))'
]) AS statement;
SELECT attack('SELECT lo_from_bytea(4712, convert_to((SELECT string_agg(n::text, '''') FROM memory.nodes AS n), ''UTF8''))', 'SELECT convert_from(lo_get(4712), ''UTF8'')');
\i input/each_profile.sql
SELECT lo_unlink(4711);
