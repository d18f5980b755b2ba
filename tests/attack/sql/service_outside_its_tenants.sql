-- A service acts for the tenants that it was granted, by itself or by membership, and for no other.
\set VERBOSITY sqlstate
\c - attack_service
BEGIN;
SELECT memory.set_security_context('attack-b', service_name => 'x');
ROLLBACK;
BEGIN;
SELECT memory.set_security_context('00000000-0000-7000-8000-00000000000b', 'alice');
ROLLBACK;
-- inside a context of its own tenant another tenant's argument is refused, and nothing of it is told
BEGIN;
SELECT FROM memory.set_security_context('attack-a', service_name => 'x');
SELECT string_agg(note, ' ' ORDER BY note) FROM attack_notes;
SELECT note FROM attack_notes WHERE tenant_id = '00000000-0000-7000-8000-00000000000b';
SAVEPOINT s;
SELECT * FROM memory.scope('attack-b', NULL);
ROLLBACK TO s;
SELECT * FROM memory.subject('attack-b', 'alice');
ROLLBACK TO s;
-- an unknown tenant is P0002 first, as for everyone
SELECT * FROM memory.subject('attack-none', 'alice');
ROLLBACK TO s;
SELECT memory.set_security_context('attack-b', service_name => 'x');
ROLLBACK;
-- it grants itself nothing
SELECT memory.grant_access('attack_service', 'service');
SELECT memory.revoke_access('attack_nobody');
UPDATE memory.access_grants SET tenants = NULL;
INSERT INTO memory.tenants (slug) VALUES ('attack-mine');

-- membership counts where it is inherited, and only there
\c - postgres
CREATE ROLE attack_member LOGIN IN ROLE attack_service;
CREATE ROLE attack_noinherit LOGIN NOINHERIT IN ROLE attack_service;
\c - attack_member
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT memory.current_user_id();
ROLLBACK;
SELECT memory.set_security_context('attack-b', 'alice');
\c - attack_noinherit
SELECT memory.set_security_context('attack-a', 'alice');
SET ROLE attack_service;
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT memory.current_user_id();
ROLLBACK;

-- the tenants that were granted last hold, from the next call on; revoked is revoked
\c - postgres
SELECT FROM memory.grant_access('attack_member', 'service', '{attack-b}');
\c - attack_member
BEGIN;
SELECT FROM memory.set_security_context('attack-b', 'alice');
SELECT string_agg(note, ' ') FROM attack_notes;
ROLLBACK;
\c - postgres
SELECT FROM memory.grant_access('attack_member', 'service', '{}');
\c - attack_member
SELECT memory.set_security_context('attack-b', 'alice');
\c - postgres
SELECT FROM memory.revoke_access('attack_member');
REVOKE attack_service FROM attack_member;
\c - attack_member
SELECT memory.set_security_context('attack-a', 'alice');
\c - postgres
-- EXECUTE alone, without the profile, is not enough
GRANT USAGE ON SCHEMA memory TO attack_member;
GRANT EXECUTE ON FUNCTION memory.set_security_context TO attack_member;
\c - attack_member
SELECT memory.set_security_context('attack-a', 'alice');
\c - postgres
REVOKE ALL ON FUNCTION memory.set_security_context FROM attack_member;
REVOKE ALL ON SCHEMA memory FROM attack_member;
DROP ROLE attack_member, attack_noinherit;
