-- The resolver: every row of the contract's table, from the table and from the cache.
\set VERBOSITY sqlstate
INSERT INTO memory.tenants (id, slug) VALUES
    ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'resolver-a'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'resolver_b'),
    ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13', '7'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a14', repeat('m', 63));
SELECT FROM memory.reset_tenant_cache();

-- an ordinary role with the profile app, as every answer below
CREATE ROLE regress_resolver;
SELECT memory.grant_access('regress_resolver', 'app');
SET ROLE regress_resolver;

-- NULL, '' and blanks: empty, and never from the cache
SELECT * FROM memory.resolve_canonical_tenant(NULL);
SELECT * FROM memory.resolve_canonical_tenant('');
SELECT * FROM memory.resolve_canonical_tenant(E' \t\r\n\f ');
SELECT * FROM memory.resolve_canonical_tenant('');
SELECT memory.resolve_canonical_tenant(NULL) IS NOT NULL AS a_row;

-- a slug: case and outer blanks are ignored; 1 and 63 bytes
SELECT * FROM memory.resolve_canonical_tenant('resolver-a');
SELECT * FROM memory.resolve_canonical_tenant('resolver-a');
SELECT * FROM memory.resolve_canonical_tenant(E'\t Resolver-A\n');
SELECT * FROM memory.resolve_canonical_tenant('RESOLVER_B');
SELECT * FROM memory.resolve_canonical_tenant('7');
SELECT uuid, slug = repeat('m', 63) AS slug, source, found FROM memory.resolve_canonical_tenant(repeat('M', 63));
SELECT uuid, slug = repeat('m', 63) AS slug, source, found
    FROM memory.resolve_canonical_tenant(repeat(' ', 50000) || repeat('m', 63) || repeat(' ', 50000));
SELECT * FROM memory.resolve_canonical_tenant('resolver a');

-- a UUID in every form that PostgreSQL reads
SELECT * FROM memory.resolve_canonical_tenant('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT form, form::uuid = r.uuid AS same, r.slug, r.source, r.found
FROM unnest(ARRAY[
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
    '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', 'a0eebc999c0b4ef8bb6d6bb9bd380a11',
    'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11', '{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}'
]) WITH ORDINALITY AS f (form, n), memory.resolve_canonical_tenant(form) AS r ORDER BY n;
SELECT r.source, count(*) FROM unnest(ARRAY['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11']) AS form,
    memory.resolve_canonical_tenant(form || ' ') AS r GROUP BY 1;
-- what PostgreSQL does not read as a UUID is a text
SELECT * FROM memory.resolve_canonical_tenant('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1');
SELECT * FROM memory.resolve_canonical_tenant('{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT * FROM memory.resolve_canonical_tenant('a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11');

-- unknown: the UUID and the input as given, or the input alone
SELECT * FROM memory.resolve_canonical_tenant(' B0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11 ');
SELECT * FROM memory.resolve_canonical_tenant('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT * FROM memory.resolve_canonical_tenant(' Nobody ');
SELECT * FROM memory.resolve_canonical_tenant('nobody');
SELECT * FROM memory.resolve_canonical_tenant('Größe; DROP TABLE memory.tenants');
SELECT * FROM memory.resolve_canonical_tenant('Größe; DROP TABLE memory.tenants');
SELECT * FROM memory.resolve_canonical_tenant('sys tem');
-- 64 and 100,000 bytes: not found, and never cached; bytes count, not characters
SELECT uuid, length(slug), source, found FROM memory.resolve_canonical_tenant(repeat('M', 64));
SELECT uuid, length(slug), source, found FROM memory.resolve_canonical_tenant(repeat('M', 64));
SELECT uuid, length(slug), slug = repeat('xY', 50000) AS as_given, source, found
    FROM memory.resolve_canonical_tenant(repeat('xY', 50000));
SELECT uuid, length(slug), source, found FROM memory.resolve_canonical_tenant(repeat('xY', 50000));
SELECT length(slug), source FROM memory.resolve_canonical_tenant(repeat('ß', 32));
SELECT length(slug), source FROM memory.resolve_canonical_tenant(repeat('ß', 32));

-- a batch: input order, duplicates and NULL elements kept; the rows of the table above
SELECT * FROM memory.resolve_canonical_tenants(ARRAY[
    'resolver_b', NULL, 'nobody', '', 'resolver-a', ' Resolver-A ', 'resolver_b', NULL, 'system',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'nobody else', 'nobody else']);
SELECT * FROM memory.resolve_canonical_tenants('{}');
SELECT * FROM memory.resolve_canonical_tenants(NULL);
SELECT slug FROM memory.resolve_canonical_tenants('{{resolver-a,7},{resolver_b,7}}');
SELECT count(*), count(*) FILTER (WHERE found), bool_and(input = (n % 3)::text) AS in_order
FROM (
    SELECT input, found, row_number() OVER () AS n
    FROM memory.resolve_canonical_tenants(ARRAY(SELECT (n % 3)::text FROM generate_series(1, 10000) AS n))
) AS batch;
SELECT count(*) FROM memory.resolve_canonical_tenants(ARRAY['resolver-a', repeat('x', 100000), 'resolver-a']) WHERE found;

-- tenant_id(): the UUID, P0002 where there is none, NULL for NULL
SELECT memory.tenant_id('resolver-a'), memory.tenant_id(' RESOLVER-A'), memory.tenant_id('A0EEBC999C0B4EF8BB6D6BB9BD380A11');
SELECT memory.tenant_id(NULL) IS NULL AS is_null;
SELECT memory.tenant_id('');
SELECT memory.tenant_id('  ');
SELECT memory.tenant_id('nobody');
SELECT memory.tenant_id('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT memory.tenant_id(repeat('x', 64));
SELECT memory.tenant_id(repeat('x', 100000));
SELECT memory.tenant_id('system');
\set VERBOSITY default
-- the message shows the identifier, cut at 100 characters, and the hint helps
SELECT memory.tenant_id('nobody');
SELECT memory.tenant_id(repeat('é', 1000));
SELECT memory.tenant_id('system');
\set VERBOSITY sqlstate

-- `system`: what the setting says, which is a superuser's; never from the cache
SELECT * FROM memory.resolve_canonical_tenant('System');
SET memory.system_tenant_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
RESET ROLE;
SET memory.system_tenant_id = 'no uuid';
SET memory.system_tenant_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
SET ROLE regress_resolver;
SELECT * FROM memory.resolve_canonical_tenant('System');
SELECT * FROM memory.resolve_canonical_tenant(' SYSTEM ');
SELECT memory.tenant_id('system');
SELECT * FROM memory.resolve_canonical_tenants('{system,resolver-a,SYSTEM}');
-- an id that is no tenant's: the resolver gives what the setting says, who needs a tenant gets P0002
RESET ROLE;
SET memory.system_tenant_id = 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
SELECT * FROM memory.resolve_canonical_tenant('system');
SELECT memory.tenant_id('system');
SELECT memory.set_security_context('system', 'u');
SELECT memory.grant_access('regress_resolver', 'app', '{system}');
SET memory.system_tenant_id = '';
SELECT * FROM memory.resolve_canonical_tenant('system');
SELECT memory.set_security_context('system', 'u');
RESET memory.system_tenant_id;

-- in a WHERE clause it is called once and serves an index
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT slug FROM memory.tenants WHERE id = memory.tenant_id('resolver-a');
SELECT slug FROM memory.tenants WHERE id = memory.tenant_id('resolver-a');
RESET enable_seqscan;

-- a trigger function is no plain function
SELECT memory.tenants_changed();

-- without the profile nobody resolves
SELECT memory.revoke_access('regress_resolver');
SET ROLE regress_resolver;
SELECT memory.tenant_id('resolver-a');
SELECT * FROM memory.resolve_canonical_tenant('resolver-a');
RESET ROLE;
DROP ROLE regress_resolver;
DELETE FROM memory.tenants WHERE id::text LIKE 'a0eebc99-%';
