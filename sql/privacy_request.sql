-- A user's data as one document, elsewhere and back; and what users ask for, from request to receipt.

CREATE FUNCTION memory.privacy_tenant(tenant text) RETURNS uuid
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'privacy_tenant_wrapper';
COMMENT ON FUNCTION memory.privacy_tenant(text) IS
    'Internal: the tenant whose requests a call is about, NULL: the context''s. 42501 unless a service''s context covers it; a superuser without a context names it (22004).';

-- The zone makes the times of two exports alike.
CREATE FUNCTION memory.export_user_document(user_id text, tenant text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE SET timezone = 'UTC'
BEGIN ATOMIC
    WITH of_user AS MATERIALIZED (
        SELECT e.relation, e.record - '{tenant_id,user_id,code,indexed,key_id}'::text[] AS carried, e.record,
            e.relation IN ('sessions', 'events', 'preferences', 'navigation', 'nodes', 'relationships', 'user_metadata',
                'agent_sessions_archive', 'agent_events_archive', 'embeddings', 'encrypted_fields') AS is_carried
        FROM memory.export_user_data(export_user_document.user_id, export_user_document.tenant) AS e
        WHERE e.relation <> 'search_documents'
    ), relations AS (
        SELECT u.relation, u.is_carried,
            CASE WHEN u.is_carried
                THEN jsonb_agg(u.carried ORDER BY u.record ->> 'session_id' COLLATE "C", u.record ->> 'event_id' COLLATE "C",
                    u.record ->> 'node_id' COLLATE "C", u.record ->> 'id' COLLATE "C", u.record ->> 'model' COLLATE "C",
                    u.record ->> 'vector_type' COLLATE "C", u.record ->> 'field_id' COLLATE "C")
                ELSE jsonb_agg(u.record ORDER BY u.record) END AS rows
        FROM of_user AS u
        GROUP BY u.relation, u.is_carried
    )
    SELECT jsonb_build_object('version', 1, 'tenant', (memory.resolve_canonical_tenant(s.tenant_id::text)).slug,
        'user_id', export_user_document.user_id, 'exported_at', statement_timestamp(),
        'relations', coalesce((SELECT jsonb_object_agg(r.relation, r.rows) FROM relations AS r WHERE r.is_carried), '{}'),
        'records', coalesce((SELECT jsonb_object_agg(r.relation, r.rows) FROM relations AS r WHERE NOT r.is_carried), '{}'))
    FROM memory.privacy_tenant(export_user_document.tenant) AS s (tenant_id);
END;
COMMENT ON FUNCTION memory.export_user_document(text, text) IS
    'What export_user_data() gives, as one document: {version, tenant, user_id, exported_at, relations, records}. relations has the user''s own data by table, each row '
    'without tenant and user, times in UTC, what is encrypted in plain: keep it as you would keep that; import_user_data() takes it elsewhere. records has what is kept about the user and stays here: the log, violations, '
    'holds, requests. What is computed of the rows (search documents, the codes of embeddings) is not in it. The errors of export_user_data(); more than 255 MB of rows of one table '
    'is 54000: take the rows of export_user_data() then.';

CREATE FUNCTION memory.import_user_data(document jsonb, tenant text DEFAULT NULL, user_id text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 10
AS 'MODULE_PATHNAME', 'import_user_data_wrapper';
COMMENT ON FUNCTION memory.import_user_data(jsonb, text, text) IS
    'Stores what export_user_document() gave for a user of the tenant, NULL: the document''s user, all or none; gives how many rows of each relation. Ids, times and words '
    'stay; archived payloads get the tenant''s _tenant; encrypted fields, and the payloads of a tenant with encryption_enabled, are encrypted under the user''s key here; what is under records is not imported. The rows are audited as any other, and found by searches. A user who has data already '
    'is 55000: nothing is merged. A document with an unknown key, column or word, without one, with a value that the table refuses, or with embeddings '
    'of a model without a space is 22023, naming the element. Needs a service context (42501), and READ COMMITTED (55000). Waits for writers to the user. Some 100 µs per row.';

CREATE TABLE memory.privacy_requests (
    tenant_id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    request_id uuid NOT NULL DEFAULT memory.uuid_v7(),
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('export', 'erase', 'anonymize')),
    state text COLLATE "C" NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'held', 'done', 'refused')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL,
    requested_by text COLLATE "C" NOT NULL,
    requested_service text COLLATE "C",
    finished_at timestamptz,
    finished_by text COLLATE "C",
    reason text,
    receipt jsonb,
    PRIMARY KEY (tenant_id, user_id, request_id)
);
CREATE INDEX privacy_requests_open_idx ON memory.privacy_requests (tenant_id, due_at) WHERE state IN ('requested', 'held');
COMMENT ON TABLE memory.privacy_requests IS
    'What users ask for about their data, and what became of it. Once its user is erased or anonymised a request names the pseudonym. Auditors read it; write with request_privacy(), '
    'perform_privacy_request(), refuse_privacy_request().';
COMMENT ON COLUMN memory.privacy_requests.tenant_id IS 'The tenant.';
COMMENT ON COLUMN memory.privacy_requests.user_id IS 'Whose data it is about; a pseudonym once that is erased or anonymised.';
COMMENT ON COLUMN memory.privacy_requests.request_id IS 'UUIDv7.';
COMMENT ON COLUMN memory.privacy_requests.kind IS 'export, erase or anonymize.';
COMMENT ON COLUMN memory.privacy_requests.state IS 'requested; held: a legal hold stood when it was asked for or last tried; done; refused.';
COMMENT ON COLUMN memory.privacy_requests.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN memory.privacy_requests.due_at IS 'Until when it is to be done.';
COMMENT ON COLUMN memory.privacy_requests.requested_by IS 'The role that entered it.';
COMMENT ON COLUMN memory.privacy_requests.requested_service IS 'The service that entered it.';
COMMENT ON COLUMN memory.privacy_requests.finished_at IS 'When it was done or refused.';
COMMENT ON COLUMN memory.privacy_requests.finished_by IS 'The role that did it or refused.';
COMMENT ON COLUMN memory.privacy_requests.reason IS 'Why it was refused, for people.';
COMMENT ON COLUMN memory.privacy_requests.receipt IS
    '{"counts": {relation: rows}, "audit_head": the head of the audit''s seals or null, "performed_at": when}.';

-- No context reads it: the functions are the way for services, the policy for auditors.
SELECT memory.declare_table('memory.privacy_requests', 'shared', '{user_id, requested_service, reason, receipt}');
ALTER TABLE memory.privacy_requests ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY auditors ON memory.privacy_requests FOR SELECT USING (tenant_id = ANY (memory.audited_tenants()));
COMMENT ON POLICY auditors ON memory.privacy_requests IS 'An auditor reads the tenants that it audits.';
SELECT memory.declare_personal('memory.privacy_requests', '{
    "user_id": "user", "request_id": "keep", "reason": "clear",
    "tenant_id, kind, state, requested_at, due_at, requested_by, requested_service, finished_at, finished_by, receipt": "keep"}', 'redact');
SELECT memory.allow_table('auditor', 'SELECT', 'privacy_requests');

-- They run as their owner because no service may write the table itself: a receipt is what was done. Tenant and user come from the checked context.
CREATE FUNCTION memory.request_privacy(
    kind text, user_id text, due interval DEFAULT '30 days', tenant text DEFAULT NULL
) RETURNS uuid
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'request_privacy_wrapper';
COMMENT ON FUNCTION memory.request_privacy(text, text, interval, text) IS
    'Enters what a user asked for: export, erase or anonymize, to be done within due (a month by the GDPR, Art. 12(3)). Gives the request''s id. It is held at once where a legal '
    'hold stands and it is no export. Any number may be open. Needs a service context (42501); an unknown kind, or due below zero, is 22023.';

CREATE FUNCTION memory.perform_privacy_request(request_id uuid, tenant text DEFAULT NULL)
RETURNS TABLE (kind text, state text, receipt jsonb, document jsonb)
LANGUAGE c VOLATILE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'perform_privacy_request';
COMMENT ON FUNCTION memory.perform_privacy_request(uuid, text) IS
    'Does what was asked for, in this transaction, and keeps the receipt: counts per relation, the head of the audit log''s seals, the time. document: of an export, what export_user_document() '
    'gives. Where a legal hold stands nothing is done and the request is held: call it again when the hold is lifted. One that is done or refused is 55000, an unknown one P0002. Needs a service context (42501), and to '
    'erase or anonymise READ COMMITTED (55000). Costs what the verb costs.';

CREATE FUNCTION memory.refuse_privacy_request(request_id uuid, reason text, tenant text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'refuse_privacy_request_wrapper';
COMMENT ON FUNCTION memory.refuse_privacy_request(uuid, text, text) IS
    'Closes a request without doing it, and says why (GDPR Art. 12(4): the user is told). One that is done or refused is 55000, an unknown one P0002, no reason 22004 or 22023. Needs a service '
    'context (42501).';

CREATE FUNCTION memory.list_privacy_requests(state text DEFAULT NULL, overdue boolean DEFAULT false, tenant text DEFAULT NULL)
RETURNS SETOF memory.privacy_requests
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p
    FROM memory.privacy_requests AS p
    WHERE memory.privacy_tenant(list_privacy_requests.tenant) IS NOT NULL
        AND p.tenant_id = memory.privacy_tenant(list_privacy_requests.tenant)
        AND p.state = coalesce(memory.check_word('state', list_privacy_requests.state, '{requested,held,done,refused}'), p.state)
        AND memory.check_needed('overdue', list_privacy_requests.overdue) IS NOT NULL
        AND (NOT list_privacy_requests.overdue OR p.state IN ('requested', 'held') AND p.due_at < now())
    ORDER BY p.due_at, p.request_id;
END;
COMMENT ON FUNCTION memory.list_privacy_requests(text, boolean, text) IS
    'The tenant''s requests, of one state or all, the first due first; overdue: those that are still open past their time. Needs a service context (42501); an unknown state is 22023, overdue NULL 22004.';

SELECT memory.allow('service', 'privacy_tenant', 'export_user_document', 'import_user_data', 'request_privacy', 'perform_privacy_request',
    'refuse_privacy_request', 'list_privacy_requests');
