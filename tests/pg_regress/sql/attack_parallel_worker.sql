-- A function that says it is parallel safe and is not: a parallel worker writes nothing, and changes no context.
GRANT CREATE ON SCHEMA public TO regress_service;
\c - regress_service
CREATE TABLE regress_one AS SELECT 1 AS one;
CREATE FUNCTION regress_log() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.log_event('parallel', 'log', '{}'); END $$;
CREATE FUNCTION regress_store() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.store_node('{}', 'domain_entity'); END $$;
CREATE FUNCTION regress_archive() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.archive_session('regress-a', 'bob', 's', '{}'); END $$;
CREATE FUNCTION regress_become() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.set_security_context('regress-a', 'bob'); END $$;
CREATE FUNCTION regress_other() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.get_preferences(user_id => 'bob'); END $$;
CREATE FUNCTION regress_own() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.get_preferences() || jsonb_build_object('user', memory.current_user_id()); END $$;
-- debug_parallel_query from 16 on
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SELECT FROM memory.log_event('parallel', 'log', '{}');
COMMIT;
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT FROM memory.set_security_context('regress-a', 'alice');
SELECT regress_log() FROM regress_one;
SELECT regress_store() FROM regress_one;
SELECT regress_archive() FROM regress_one;
SELECT regress_become() FROM regress_one;
SELECT regress_other() FROM regress_one;
SELECT regress_own() FROM regress_one;
SELECT FROM memory.set_security_context('regress-a', service_name => 'x');
SELECT regress_archive() FROM regress_one;
ROLLBACK;
\set ON_ERROR_ROLLBACK off
DROP FUNCTION regress_log, regress_store, regress_archive, regress_become, regress_other, regress_own;
DROP TABLE regress_one;
\c - postgres
REVOKE CREATE ON SCHEMA public FROM regress_service;
DELETE FROM memory.sessions WHERE session_id = 'parallel';
