-- Export, erase, anonymise, holds and retention of somebody else's.
SELECT attack(statement) FROM unnest(ARRAY[
    $$SELECT string_agg(record::text, '') FROM memory.export_user_data('bob')$$,
    $$SELECT 'secret-', record FROM memory.export_user_data('alice') WHERE record::text ~ '(hidden|secret)-'$$,
    $$SELECT * FROM memory.export_user_data('bob', 'attack-b')$$,
    $$SELECT * FROM memory.export_user_data('bob', 'attack-none')$$,
    $$SELECT * FROM memory.erase_user_data('bob', 'attack-b')$$,
    $$SELECT * FROM memory.erase_user_data('nobody', 'attack-b')$$,
    $$SELECT * FROM memory.anonymize_user_data('bob', 'attack-b')$$,
    $$SELECT memory.place_legal_hold('bob', 'x', 'attack-b') IS NULL$$,
    $$SELECT memory.lift_legal_hold('00000000-0000-7000-8000-0000000000ff')$$,
    $$SELECT count(*) FROM memory.list_legal_holds()$$,
    $$SELECT reason FROM memory.legal_holds$$,
    $$DELETE FROM memory.legal_holds$$,
    $$SELECT memory.check_hold('00000000-0000-7000-8000-00000000000b', 'bob')$$,
    $$SELECT memory.cleanup_old_nodes('bob', 0)$$,
    $$SELECT memory.cleanup_old_nodes('bob', 0, 'attack-b')$$,
    $$SELECT memory.set_retention_policy('nodes', '1 day', 'attack-b')$$,
    $$SELECT memory.drop_retention_policy('nodes', 'attack-b')$$,
    $$SELECT * FROM memory.list_retention_policies()$$,
    $$UPDATE memory.retention_policies SET keep = '1 second'$$,
    $$SELECT memory.archive_old_audit_logs(0)$$
]) AS statement;
-- whether there is such a user, or a hold on one, is not told to who may not ask
SELECT attack(format('SELECT * FROM attack_differ(%L, %L, %L)', statement, 'bob', 'nobody')) FROM unnest(ARRAY[
    $$SELECT * FROM memory.export_user_data('?', 'attack-b')$$,
    $$SELECT * FROM memory.erase_user_data('?', 'attack-b')$$,
    $$SELECT memory.cleanup_old_nodes('?', 0, 'attack-b')$$,
    $$SELECT memory.check_hold('00000000-0000-7000-8000-00000000000b', '?')$$
]) AS statement;
SELECT FROM memory.place_legal_hold('bob', 'secret-reason', 'attack-b');
\i input/each_profile.sql
DELETE FROM memory.legal_holds;
