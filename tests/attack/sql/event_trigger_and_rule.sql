-- Code that would run when somebody else uses the tables: no profile may put it there.
SELECT attack('CREATE FUNCTION attack_lab.spies() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RAISE NOTICE ''''%'''', NEW; RETURN NEW; END''', statement)
FROM unnest(ARRAY[
    'CREATE TRIGGER spies BEFORE INSERT ON memory.nodes FOR EACH ROW EXECUTE FUNCTION attack_lab.spies()',
    'CREATE TRIGGER spies BEFORE INSERT ON memory.agent_sessions_archive FOR EACH ROW EXECUTE FUNCTION attack_lab.spies()',
    'CREATE TRIGGER spies AFTER INSERT ON memory.audit_log FOR EACH ROW EXECUTE FUNCTION attack_lab.spies()',
    'CREATE CONSTRAINT TRIGGER spies AFTER INSERT ON memory.tenants FOR EACH ROW EXECUTE FUNCTION attack_lab.spies()'
]) AS statement;
SELECT attack('CREATE FUNCTION attack_lab.watches() RETURNS event_trigger LANGUAGE plpgsql AS ''BEGIN END''',
    'CREATE EVENT TRIGGER watches ON ddl_command_start EXECUTE FUNCTION attack_lab.watches()');
SELECT attack(statement) FROM unnest(ARRAY[
    'CREATE RULE spies AS ON INSERT TO memory.nodes DO ALSO NOTIFY spies',
    'CREATE RULE spies AS ON SELECT TO memory.nodes DO INSTEAD SELECT * FROM memory.nodes',
    'CREATE POLICY spies ON memory.nodes USING (true)',
    'ALTER POLICY context ON memory.nodes USING (true)',
    'DROP POLICY context ON memory.nodes',
    'ALTER TABLE memory.nodes DISABLE ROW LEVEL SECURITY',
    'ALTER TABLE memory.nodes NO FORCE ROW LEVEL SECURITY',
    'ALTER TABLE memory.nodes DISABLE TRIGGER ALL',
    'ALTER TABLE memory.nodes ADD COLUMN spies text DEFAULT current_user',
    'ALTER TABLE memory.nodes ADD CHECK (true)',
    'ALTER TABLE memory.nodes OWNER TO CURRENT_USER',
    'CREATE INDEX ON memory.nodes (lower(summary))',
    'CREATE TABLE attack_lab.child () INHERITS (memory.nodes)',
    'CREATE TABLE attack_lab.parent (LIKE memory.nodes); ALTER TABLE memory.nodes INHERIT attack_lab.parent',
    'CREATE PUBLICATION spies FOR TABLE memory.nodes',
    'CREATE PUBLICATION spies FOR ALL TABLES',
    'GRANT SELECT ON memory.nodes TO attack_nobody', 'GRANT SELECT ON memory.nodes TO attack_nobody WITH GRANT OPTION',
    'ALTER DEFAULT PRIVILEGES IN SCHEMA memory GRANT SELECT ON TABLES TO PUBLIC',
    'COMMENT ON TABLE memory.nodes IS ''mine''',
    'SECURITY LABEL ON TABLE memory.nodes IS ''mine''',
    'ALTER EXTENSION memory_ext DROP TABLE memory.nodes',
    'DROP EXTENSION memory_ext CASCADE',
    'CREATE OR REPLACE FUNCTION memory.context_user_low() RETURNS text LANGUAGE sql AS ''SELECT chr(1)''',
    'CREATE SUBSCRIPTION spies CONNECTION ''dbname=memory_attack'' PUBLICATION spies WITH (connect = false)',
    'LOCK TABLE memory.tenants IN ACCESS EXCLUSIVE MODE',
    'TRUNCATE memory.nodes CASCADE',
    'VACUUM memory.nodes'
]) AS statement;
\i input/each_profile.sql
SELECT count(*) FROM pg_trigger WHERE tgname = 'spies';
SELECT has_table_privilege('attack_nobody', 'memory.nodes', 'SELECT') AS granted;
