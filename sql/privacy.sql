-- A user's right to see, to be forgotten, to be made nobody. What each table holds of a user stands beside the table
-- (declare_personal); the statements are made from that.

-- They run as their owner because they redact the audit log, which nobody else may change, and read the archive, the log and the
-- violations for whoever serves the tenant. Tenant and user come from the checked context.
CREATE FUNCTION memory.export_user_data(user_id text, tenant text DEFAULT NULL)
RETURNS TABLE (relation text, record jsonb)
LANGUAGE c STABLE ROWS 1000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'export_user_data';
COMMENT ON FUNCTION memory.export_user_data(text, text) IS
    'Everything that is kept about a user: one row per row of each table, as jsonb by column name; the entries of the audit log with their '
    'images, the violations too. Of one instant. An unknown user gives no rows. Needs a service context (42501); an unknown tenant is '
    'P0002. Costs reading the user''s rows, and all of the audit log and the violations.';

CREATE FUNCTION memory.erase_user_data(user_id text, tenant text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 20
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'erase_user_data';
COMMENT ON FUNCTION memory.erase_user_data(text, text) IS
    'Forgets a user, in this transaction: the rows go; the entries of the audit log and the violations stay without images and keys, under a '
    'random pseudonym. Gives how many rows of each table; an unknown user, 0 of each. Writers to the user wait until the transaction ends, '
    'then write as for a new user: call it first in a transaction of its own. A legal hold refuses it (55000), and so does REPEATABLE READ, '
    'whose snapshot is older than the wait. Needs a service context (42501); an unknown tenant is P0002. Costs some 10 µs per row, and '
    'reading all of the audit log and the violations.';

CREATE FUNCTION memory.anonymize_user_data(user_id text, tenant text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 20
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'anonymize_user_data';
COMMENT ON FUNCTION memory.anonymize_user_data(text, text) IS
    'Makes a user nobody, in this transaction: the user id becomes one random pseudonym anon-… everywhere, the ids of sessions, events, '
    'nodes, relationships and entities pseudonyms of their own; text, payloads, contents, tags, preferences and metadata go; types, times, '
    'counts and the graph''s shape stay. The key that the pseudonyms are made with is random and kept nowhere. Costs some 25 µs per row; '
    'everything else as for erase_user_data().';

SELECT memory.allow('service', 'export_user_data', 'erase_user_data', 'anonymize_user_data');
