-- Runs before all others: the database that they share.
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;
SELECT extname FROM pg_extension WHERE extname IN ('memory_ext', 'pg_trgm', 'vector') ORDER BY extname COLLATE "C";

-- For the tests of the context and the attacks on it: two tenants, a back end's login (service, of one tenant), the role it
-- becomes for users (app), and a table with the policy that declare_table() gives.
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-00000000000a', 'regress-a'), ('00000000-0000-7000-8000-00000000000b', 'regress-b');
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_service LOGIN IN ROLE regress_app;
CREATE ROLE regress_nobody LOGIN;
DO $$
BEGIN
    PERFORM memory.grant_access('regress_app', 'app');
    PERFORM memory.grant_access('regress_service', 'service', '{regress-a}');
END
$$;
CREATE TABLE regress_notes (
    tenant_id uuid, user_id text COLLATE "C", note text, PRIMARY KEY (tenant_id, user_id, note)
);
ALTER TABLE regress_notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY context ON regress_notes USING (
    tenant_id = memory.current_tenant_id() AND user_id BETWEEN memory.context_user_low() AND memory.context_user_high()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON regress_notes TO regress_app;
INSERT INTO regress_notes VALUES
    ('00000000-0000-7000-8000-00000000000a', 'alice', 'a1'), ('00000000-0000-7000-8000-00000000000a', 'bob', 'a2'),
    ('00000000-0000-7000-8000-00000000000b', 'alice', 'b1'), ('00000000-0000-7000-8000-00000000000b', 'Ω', 'b2');
