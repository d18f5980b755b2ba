-- Closed by default: nothing here is PUBLIC's.
REVOKE ALL ON ALL TABLES IN SCHEMA memory FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA memory FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA memory FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA memory FROM PUBLIC;
DO $$
DECLARE
    type regtype;
BEGIN
    -- Row types of tables too; arrays follow their elements.
    FOR type IN SELECT t.oid FROM pg_type t
        WHERE t.typnamespace = 'memory'::regnamespace AND t.typcategory <> 'A'
    LOOP
        EXECUTE format('REVOKE ALL ON TYPE %s FROM PUBLIC', type);
    END LOOP;
END
$$;

-- Last: what stands now is what should.
SELECT memory.record_schema();
