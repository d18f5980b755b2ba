-- What is kept in the catalog and applied at login gives no context either, unless a superuser put it there.
\set VERBOSITY sqlstate
CREATE ROLE attack_owner LOGIN CREATEROLE CREATEDB IN ROLE attack_app;
CREATE DATABASE attack_owned OWNER attack_owner;
\c - attack_owner
ALTER ROLE attack_owner SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER ROLE attack_owner IN DATABASE attack_owned SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER ROLE attack_app SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER DATABASE attack_owned SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER SYSTEM SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER ROLE attack_owner SET memory.context FROM CURRENT;
GRANT SET ON PARAMETER memory.context TO attack_owner;
SELECT count(*) FROM pg_db_role_setting WHERE setconfig::text LIKE '%memory.context%';
\c - attack_owner
SELECT memory.current_user_id() IS NULL AS none, (SELECT count(*) FROM attack_notes) AS notes;
-- a role that may make roles makes none that has a profile
CREATE ROLE attack_made LOGIN;
SELECT memory.grant_access('attack_made', 'service');
\c - postgres
-- neither does the server's own configuration file
ALTER SYSTEM SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
-- a superuser's ALTER ROLE is a superuser's will
ALTER ROLE attack_owner SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
\c - attack_owner
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM attack_notes) AS notes;
\c - postgres
DROP DATABASE attack_owned;
DROP ROLE attack_owner, attack_made;
