-- What is kept in the catalog and applied at login gives no context either, unless a superuser put it there.
\set VERBOSITY sqlstate
CREATE ROLE regress_owner LOGIN CREATEROLE CREATEDB IN ROLE regress_app;
CREATE DATABASE regress_owned OWNER regress_owner;
\c - regress_owner
ALTER ROLE regress_owner SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER ROLE regress_owner IN DATABASE regress_owned SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER ROLE regress_app SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER DATABASE regress_owned SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER SYSTEM SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
ALTER ROLE regress_owner SET memory.context FROM CURRENT;
GRANT SET ON PARAMETER memory.context TO regress_owner;
SELECT count(*) FROM pg_db_role_setting WHERE setconfig::text LIKE '%memory.context%';
\c - regress_owner
SELECT memory.current_user_id() IS NULL AS none, (SELECT count(*) FROM regress_notes) AS notes;
-- a role that may make roles makes none that has a profile
CREATE ROLE regress_made LOGIN IN ROLE regress_app;
SELECT memory.grant_access('regress_made', 'service');
\c - postgres
-- neither does the server's own configuration file
ALTER SYSTEM SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
-- a superuser's ALTER ROLE is a superuser's will
ALTER ROLE regress_owner SET memory.context = '{"tenant": "00000000-0000-7000-8000-00000000000a", "user": "alice"}';
\c - regress_owner
SELECT memory.current_user_id(), (SELECT string_agg(note, ' ') FROM regress_notes) AS notes;
\c - postgres
DROP DATABASE regress_owned;
DROP ROLE regress_owner, regress_made;
