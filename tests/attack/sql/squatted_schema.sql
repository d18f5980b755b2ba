-- CREATE EXTENSION refuses a schema that somebody else prepared.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
CREATE ROLE attack_squatter LOGIN;
CREATE DATABASE attack_squatted;
GRANT CREATE ON DATABASE attack_squatted TO attack_squatter;
\c attack_squatted postgres
SET client_min_messages = warning;
CREATE EXTENSION vector;
CREATE EXTENSION pg_trgm;
\c - attack_squatter
-- its own schema: it could drop it with all data
CREATE SCHEMA memory;
\c - postgres
CREATE EXTENSION memory_ext;
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE EXTENSION memory_ext;
\set VERBOSITY sqlstate
-- the installing role's, but others may create in it
ALTER SCHEMA memory OWNER TO postgres;
GRANT CREATE ON SCHEMA memory TO attack_squatter;
CREATE EXTENSION memory_ext;
REVOKE CREATE ON SCHEMA memory FROM attack_squatter;
GRANT CREATE ON SCHEMA memory TO PUBLIC;
CREATE EXTENSION memory_ext;
-- others could once, and left something behind: a function, an operator, a type, a table, a view
\c - attack_squatter
CREATE FUNCTION memory.format(text, regtype) RETURNS text LANGUAGE sql AS $$ SELECT 'ALTER ROLE attack_squatter SUPERUSER' $$;
\c - postgres
REVOKE CREATE ON SCHEMA memory FROM PUBLIC;
CREATE EXTENSION memory_ext;
DROP FUNCTION memory.format(text, regtype);
GRANT CREATE ON SCHEMA memory TO attack_squatter;
\c - attack_squatter
CREATE OPERATOR memory.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.texteq);
\c - postgres
REVOKE CREATE ON SCHEMA memory FROM attack_squatter;
CREATE EXTENSION memory_ext;
DROP OPERATOR memory.=== (text, text);
GRANT CREATE ON SCHEMA memory TO attack_squatter;
\c - attack_squatter
CREATE DOMAIN memory.regrole AS text;
\c - postgres
REVOKE CREATE ON SCHEMA memory FROM attack_squatter;
CREATE EXTENSION memory_ext;
DROP DOMAIN memory.regrole;
GRANT CREATE ON SCHEMA memory TO attack_squatter;
\c - attack_squatter
CREATE VIEW memory.pg_class AS SELECT 1 AS oid;
\c - postgres
REVOKE CREATE ON SCHEMA memory FROM attack_squatter;
CREATE EXTENSION memory_ext;
DROP VIEW memory.pg_class;
-- nothing of it was left behind by the refusals
SELECT count(*) FROM pg_extension WHERE extname = 'memory_ext';
SELECT count(*) FROM pg_class WHERE relnamespace = 'memory'::regnamespace;
-- an empty schema of the installing role's own is taken
CREATE EXTENSION memory_ext;
SELECT nspname, nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'memory';
-- afterwards too nobody creates in it, and who may create in the database cannot replace it
\c - attack_squatter
CREATE TABLE memory.mine ();
CREATE FUNCTION memory.tenant_id(varchar) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
DROP SCHEMA memory CASCADE;
ALTER SCHEMA memory RENAME TO mine;
CREATE EXTENSION memory_ext SCHEMA public;
\c memory_attack postgres
DROP DATABASE attack_squatted;
DROP ROLE attack_squatter;
