-- The images of the audit log are what to_jsonb() makes of the rows, whatever the types, sizes and number of columns, and what a change leaves alone
-- is not in them.
\set VERBOSITY sqlstate
CREATE TYPE image_pair AS (a integer, b text);
CREATE DOMAIN image_word AS text;
-- More than 32 columns, names of all lengths: every way that jsonb writes its entries.
CREATE TABLE image_all (
    tenant_id uuid NOT NULL, user_id text COLLATE "C" NOT NULL, id bigint NOT NULL, t text, u uuid, b boolean, i2 smallint, i4 integer, i8 bigint,
    r real, d double precision, n numeric, tz timestamptz, ts timestamp, da date, ti time, iv interval, js json, jb jsonb, ta text[], ua uuid[],
    ia integer[], by bytea, ne inet, oi oid, re regclass, x8 xid8, pair image_pair, pairs image_pair[], word image_word, ch char(3), vc varchar(9), na name,
    nm numrange, "Odd ""name"" é" text, ts_v tsvector, money money, bits bit(3), gone text, computed text GENERATED ALWAYS AS (t || '!') STORED,
    wrapped bytea, PRIMARY KEY (tenant_id, user_id, id)
);
ALTER TABLE image_all DROP COLUMN gone;
CREATE TABLE image_bare (id integer, note text);
DO $$
DECLARE definition text; on_table text;
BEGIN
    FOREACH on_table IN ARRAY '{image_all,image_bare}'::text[] LOOP
        FOR definition IN SELECT replace(pg_get_triggerdef(oid), ' ON memory.events ', format(' ON public.%I ', on_table)) FROM pg_trigger
            WHERE tgrelid = 'memory.events'::regclass AND tgfoid = 'memory.audit_change'::regproc LOOP
            EXECUTE definition;
        END LOOP;
    END LOOP;
END $$;
CREATE VIEW image_log AS SELECT * FROM memory.audit_log WHERE table_name LIKE 'image\_%';
-- The log leaves out what is computed, what the master key has wrapped, and types that are not PostgreSQL's own.
\set shown 'to_jsonb(img) - ''{computed, wrapped, pair, pairs, word}''::text[]'

SET TimeZone = 'Asia/Kathmandu';
SET extra_float_digits = 0;
INSERT INTO image_all (tenant_id, user_id, id) VALUES (memory.uuid_v7(), 'empty', -1);
INSERT INTO image_all (tenant_id, user_id, id, t, jb) SELECT memory.uuid_v7(), 'scalar', i, '', j
    FROM unnest(ARRAY['"text"', '""', '1.50', '-0', '12345678901234567890.123', 'true', 'false', 'null', '[]', '{}', '[1, [2, {}]]']::jsonb[])
        WITH ORDINALITY AS x (j, i);
INSERT INTO image_all (tenant_id, user_id, id, t, u, b, i2, i4, i8, r, d, n, tz, ts, da, ti, iv, js, jb, ta, ua, ia, by, ne, oi, re, x8, pair, pairs, word, ch, vc, na,
        nm, "Odd ""name"" é", ts_v, money, bits, wrapped)
    VALUES (memory.uuid_v7(), 'full "é"', 9223372036854775807, E'a"\\\n\t\u0001é😀', '00000000-0000-0000-0000-00000000000f', true, -32768, -2147483648,
        -9223372036854775808, 1.1, 0.1::float8 + 0.2, 'NaN', '2026-01-31 23:59:59.123456+00', '0044-03-15 12:00:00 BC', 'infinity', '24:00', '1 mon -1 day',
        '{"b": 1, "a":  [1,2]}', '{"b": 1, "a": [1, {"x": null}], "aa": "y"}', '{{a,NULL},{"c,\"",""}}', '{}', '[0:1]={1,2}', '\x00ff', '10.0.0.0/8', 1,
        'pg_class', '5', '(1,x)', '{"(1,x)","(,)"}', 'word', 'c', 'varchar', 'name', '[1,2)', 'odd', 'a:1 b:2', 1.5, '101', 'secret'),
        (memory.uuid_v7(), 'infinite', 0, NULL, NULL, false, 0, 0, 0, 'Infinity', '-Infinity', -0.0, '-infinity', 'infinity', '-infinity', NULL, NULL, 'null', 'null',
        '{}', NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'empty', NULL, '', NULL, NULL, NULL);
-- Large: compressed, out of line, and neither.
INSERT INTO image_all (tenant_id, user_id, id, t, jb)
    SELECT memory.uuid_v7(), 'large', i, repeat('long ', 100000), (SELECT jsonb_object_agg(k, md5(k::text || i)) FROM generate_series(1, 3000) AS k)
    FROM generate_series(1, 3) AS i;
RESET extra_float_digits;
SELECT count(*), count(*) FILTER (WHERE l.changes = jsonb_build_object('new', :shown)) AS same,
    count(*) FILTER (WHERE l.changes::text = jsonb_build_object('new', :shown)::text) AS same_text,
    count(*) FILTER (WHERE pg_column_size(l.changes || '{}') = pg_column_size(jsonb_build_object('new', :shown) || '{}')) AS same_size,
    count(*) FILTER (WHERE l.row_key::text = jsonb_build_object('tenant_id', img.tenant_id, 'user_id', img.user_id, 'id', img.id)::text) AS same_key,
    count(*) FILTER (WHERE l.user_id = img.user_id AND l.tenant_id = img.tenant_id AND l.row_count = 1) AS owned
FROM image_log AS l JOIN image_all AS img ON (l.row_key ->> 'id')::bigint = img.id AND l.row_key ->> 'user_id' = img.user_id
WHERE l.operation = 'INSERT';
-- Each field is found by its name.
SELECT count(*), count(*) FILTER (WHERE l.changes -> 'new' -> f.key IS DISTINCT FROM f.value) AS wrong
FROM image_log AS l JOIN image_all AS img ON (l.row_key ->> 'id')::bigint = img.id AND l.row_key ->> 'user_id' = img.user_id
CROSS JOIN LATERAL jsonb_each(:shown) AS f;
SELECT DISTINCT l.changes #>> '{new,computed}' IS NULL AND NOT l.changes -> 'new' ? 'wrapped' AS left_out FROM image_log AS l;
SELECT DISTINCT l.changes #>> '{new,tz}' FROM image_log AS l WHERE l.user_id = 'full "é"';

-- What changed, and only that: values that are out of line, and stored otherwise than before, too
\set news 'SELECT operation, user_id, left(changes::text, 100) AS changes FROM image_log WHERE id > :seen ORDER BY id; SELECT max(id) AS seen FROM image_log \\gset'
SELECT max(id) AS seen FROM image_log \gset
UPDATE image_all SET i4 = 7, t = t, jb = jb || '{}', ta = '{x}' WHERE user_id = 'full "é"';
UPDATE image_all SET t = repeat('long ', 100000), b = true WHERE user_id = 'large' AND id = 1;
UPDATE image_all SET t = repeat('long ', 100000) || '!' WHERE user_id = 'large' AND id = 2;
UPDATE image_all SET t = NULL, b = NULL WHERE user_id = 'infinite';
UPDATE image_all SET id = id WHERE user_id = 'infinite';
:news
-- another key: both halves; two rows that change places: both of each
UPDATE image_all SET id = 1 WHERE user_id = 'infinite';
BEGIN;
ALTER TABLE image_all DROP CONSTRAINT image_all_pkey;
ALTER TABLE image_all ADD PRIMARY KEY (tenant_id, user_id, id) DEFERRABLE INITIALLY DEFERRED;
UPDATE image_all SET tenant_id = '00000000-0000-0000-0000-000000000001' WHERE user_id = 'scalar' AND id < 3;
SELECT max(id) AS seen FROM image_log \gset
UPDATE image_all SET id = 3 - id, t = 'was ' || id WHERE user_id = 'scalar' AND id < 3;
SELECT operation, row_key ->> 'id' AS id, changes #>> '{new,t}' AS new, changes #>> '{old,t}' AS old, changes #>> '{new,jb}' AS jb
FROM image_log WHERE id > :seen ORDER BY 2, 3, 4;
ROLLBACK;
SELECT max(id) AS seen FROM image_log \gset
-- several UPDATEs in one statement, and one of a row that another has deleted
WITH a AS (UPDATE image_all SET i8 = 1 WHERE user_id = 'empty' RETURNING 1), b AS (UPDATE image_all SET i8 = 2 WHERE user_id = 'infinite' RETURNING 1),
    c AS (DELETE FROM image_all WHERE user_id = 'scalar' AND id < 3 RETURNING 1)
SELECT count(*) FROM a, b, c;
:news
-- a table without key, tenant and user
INSERT INTO image_bare VALUES (1, 'one'), (NULL, NULL);
UPDATE image_bare SET note = 'two' WHERE id = 1;
DELETE FROM image_bare;
SELECT tenant_id, user_id, operation, row_key, changes FROM image_log WHERE id > :seen ORDER BY id;
-- after the table has changed
ALTER TABLE image_bare ADD COLUMN more integer DEFAULT 5;
INSERT INTO image_bare VALUES (3, 'three');
SELECT changes FROM image_log ORDER BY id DESC LIMIT 1;
-- in a savepoint that is rolled back, and in order, many rows at a time
SELECT max(id) AS seen FROM image_log \gset
BEGIN;
SAVEPOINT s;
INSERT INTO image_bare SELECT i FROM generate_series(1, 1200) AS i;
ROLLBACK TO s;
INSERT INTO image_bare SELECT i, repeat('x', i % 700) FROM generate_series(1, 3000) AS i;
COMMIT;
SELECT count(*), count(DISTINCT transaction_id) AS transactions, bool_and(row_count = 1) AS ones,
    bool_and((changes #>> '{new,id}')::int = n AND length(changes #>> '{new,note}') = n % 700) AS in_order
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM image_log WHERE id > :seen) AS l;
SET enable_seqscan = off;
SELECT count(*) FROM memory.audit_log WHERE id > :seen AND table_name = 'image_bare';
RESET enable_seqscan;
SELECT max(id) AS seen FROM image_log \gset
-- a reader cannot
BEGIN READ ONLY;
INSERT INTO image_bare VALUES (1);
ROLLBACK;
-- the log's own keys hold
BEGIN;
SELECT FROM setval(pg_get_serial_sequence('memory.audit_log', 'id'), 1);
INSERT INTO image_bare VALUES (4);
ROLLBACK;
SELECT FROM setval(pg_get_serial_sequence('memory.audit_log', 'id'), (SELECT max(id) FROM memory.audit_log));
DROP TABLE image_all, image_bare CASCADE;
DROP TYPE image_pair CASCADE;
DROP DOMAIN image_word;
