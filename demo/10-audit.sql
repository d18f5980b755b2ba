-- 10. AUDIT: who did all this?
\connect - demo_auditor
SELECT table_name, operation, actor_role, login_role, count(*) AS entries, sum(row_count) AS rows
FROM memory.audit_log WHERE tenant_id <> '00000000-0000-0000-0000-000000000000'
GROUP BY 1, 2, 3, 4 ORDER BY min(id);

-- The last change of a relationship: what was, and what is.
SELECT changed_at, actor_user_id, jsonb_pretty(changes) AS changes
FROM memory.audit_log WHERE (table_name, operation) = ('relationships', 'UPDATE') ORDER BY id DESC LIMIT 1;

-- What was refused is kept, although its transaction was rolled back: the guest of step 4.
SELECT kind, detail, user_id, actor_role, login_role FROM memory.security_violations;

INSERT INTO input.claim
SELECT 'the refusal was recorded', count(*), 1 FROM memory.security_violations WHERE (kind, user_id) = ('other_user', 'guest')
UNION ALL
SELECT 'every node was audited as it came', count(*), (SELECT count(*) FROM input.package)
FROM memory.audit_log WHERE (table_name, operation) = ('nodes', 'INSERT')
RETURNING *;
