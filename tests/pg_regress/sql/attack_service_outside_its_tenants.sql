-- A service acts for the tenants that it was granted, by itself or by membership, and for no other.
\set VERBOSITY sqlstate
\c - regress_service
BEGIN;
SELECT memory.set_security_context('regress-b', service_name => 'x');
ROLLBACK;
BEGIN;
SELECT memory.set_security_context('00000000-0000-7000-8000-00000000000b', 'alice');
ROLLBACK;
-- inside a context of its own tenant another tenant's argument is refused, and nothing of it is told
BEGIN;
SELECT FROM memory.set_security_context('regress-a', service_name => 'x');
SELECT string_agg(note, ' ' ORDER BY note) FROM regress_notes;
SELECT note FROM regress_notes WHERE tenant_id = '00000000-0000-7000-8000-00000000000b';
SAVEPOINT s;
SELECT * FROM memory.scope('regress-b', NULL);
ROLLBACK TO s;
SELECT * FROM memory.subject('regress-b', 'alice');
ROLLBACK TO s;
-- an unknown tenant is P0002 first, as for everyone
SELECT * FROM memory.subject('regress-none', 'alice');
ROLLBACK TO s;
SELECT memory.set_security_context('regress-b', service_name => 'x');
ROLLBACK;
-- it grants itself nothing
SELECT memory.grant_access('regress_service', 'service');
SELECT memory.revoke_access('regress_nobody');
UPDATE memory.access_grants SET tenants = NULL;
INSERT INTO memory.tenants (slug) VALUES ('regress-mine');

-- membership counts where it is inherited, and only there
\c - postgres
CREATE ROLE regress_member LOGIN IN ROLE regress_service;
CREATE ROLE regress_noinherit LOGIN NOINHERIT IN ROLE regress_service;
\c - regress_member
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SELECT memory.current_user_id();
ROLLBACK;
SELECT memory.set_security_context('regress-b', 'alice');
\c - regress_noinherit
SELECT memory.set_security_context('regress-a', 'alice');
SET ROLE regress_service;
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SELECT memory.current_user_id();
ROLLBACK;

-- the tenants that were granted last hold, from the next call on; revoked is revoked
\c - postgres
SELECT FROM memory.grant_access('regress_member', 'service', '{regress-b}');
\c - regress_member
BEGIN;
SELECT FROM memory.set_security_context('regress-b', 'alice');
SELECT string_agg(note, ' ') FROM regress_notes;
ROLLBACK;
\c - postgres
SELECT FROM memory.grant_access('regress_member', 'service', '{}');
\c - regress_member
SELECT memory.set_security_context('regress-b', 'alice');
\c - postgres
SELECT FROM memory.revoke_access('regress_member');
REVOKE regress_service FROM regress_member;
\c - regress_member
SELECT memory.set_security_context('regress-a', 'alice');
\c - postgres
-- EXECUTE alone, without the profile, is not enough
GRANT USAGE ON SCHEMA memory TO regress_member;
GRANT EXECUTE ON FUNCTION memory.set_security_context TO regress_member;
\c - regress_member
SELECT memory.set_security_context('regress-a', 'alice');
\c - postgres
REVOKE ALL ON FUNCTION memory.set_security_context FROM regress_member;
REVOKE ALL ON SCHEMA memory FROM regress_member;
DROP ROLE regress_member, regress_noinherit;
