-- A function that says it is parallel safe and is not: a parallel worker writes nothing, and changes no context.
GRANT CREATE ON SCHEMA public TO attack_service;
\c - attack_service
CREATE TABLE attack_one AS SELECT 1 AS one;
CREATE FUNCTION attack_log() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.log_event('parallel', 'log', '{}'); END $$;
CREATE FUNCTION attack_store() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.store_node('{}', 'domain_entity'); END $$;
CREATE FUNCTION attack_archive() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.archive_session('attack-a', 'bob', 's', '{}'); END $$;
CREATE FUNCTION attack_become() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.set_security_context('attack-a', 'bob'); END $$;
CREATE FUNCTION attack_other() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.get_preferences(user_id => 'bob'); END $$;
CREATE FUNCTION attack_own() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN memory.get_preferences() || jsonb_build_object('user', memory.current_user_id()); END $$;
-- debug_parallel_query from 16 on
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT FROM memory.log_event('parallel', 'log', '{}');
COMMIT;
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT FROM memory.set_security_context('attack-a', 'alice');
SELECT attack_log() FROM attack_one;
SELECT attack_store() FROM attack_one;
SELECT attack_archive() FROM attack_one;
SELECT attack_become() FROM attack_one;
SELECT attack_other() FROM attack_one;
SELECT attack_own() FROM attack_one;
SELECT FROM memory.set_security_context('attack-a', service_name => 'x');
SELECT attack_archive() FROM attack_one;
ROLLBACK;
\set ON_ERROR_ROLLBACK off
DROP FUNCTION attack_log, attack_store, attack_archive, attack_become, attack_other, attack_own;
DROP TABLE attack_one;
\c - postgres
REVOKE CREATE ON SCHEMA public FROM attack_service;
DELETE FROM memory.sessions WHERE session_id = 'parallel';
