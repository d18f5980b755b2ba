-- 2. RESOLVE: which tenant does a name mean?
\connect - demo_operator

-- A slug in any case, a UUID in any form, and what to do when there is none: the answer says where it comes from.
SELECT memory.tenant_id('this-machine') AS id \gset
SELECT input, slug, source, found
FROM memory.resolve_canonical_tenants(ARRAY['this-machine', ' THIS-MACHINE ', :'id', upper(:'id'), 'nobody', 'system', '']);
