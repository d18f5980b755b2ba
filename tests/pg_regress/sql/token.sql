-- Tokens: a context from a signed JWT, what it may do, and how it ends.
\set VERBOSITY terse
CREATE ROLE token_app LOGIN;
CREATE ROLE token_service LOGIN;
CREATE ROLE token_operator LOGIN;
INSERT INTO memory.tenants (id, slug) VALUES
    ('00000000-0000-7000-8000-0000000000ca', 'token-a'), ('00000000-0000-7000-8000-0000000000cb', 'token-b');
SELECT memory.grant_access('token_app', 'app'), memory.grant_access('token_service', 'service'), memory.grant_access('token_operator', 'operator');
\i input/data/mint.sql

-- an operator registers keys; what is none, is not taken
\c - token_operator
SELECT memory.register_auth_key('k1', 'HS256', mint.secret('a'), 'memory', 'issuer', '{token-a}', '{read,write,archive,admin}', true);
SELECT memory.register_auth_key('k1', 'HS256', mint.secret('b'), 'memory');
SELECT memory.register_auth_key('k2', 'HS256', 'c2hvcnQ=', 'memory');
SELECT memory.register_auth_key('k2', 'HS512', mint.secret('b'), 'memory');
SELECT memory.register_auth_key('k2', 'none', 'x', 'memory');
SELECT memory.register_auth_key('k2', 'RS256', 'x', 'memory');
SELECT memory.register_auth_key('k2', 'EdDSA', '-----BEGIN PRIVATE KEY-----', 'memory');
SELECT memory.register_auth_key('', 'HS256', 'x', 'memory');
SELECT memory.register_auth_key(repeat('k', 256), 'HS256', 'x', 'memory');
SELECT memory.register_auth_key('k2', 'HS256', mint.secret('b'));
SELECT memory.register_auth_key('k2', 'HS256', mint.secret('b'), 'memory', tenants => '{nowhere}');
SELECT memory.register_auth_key('k2', 'HS256', mint.secret('b'), 'memory', scopes => '{read,all}');
SELECT memory.register_auth_key('k2', 'HS256', mint.secret('b'), 'memory', scopes => '{}');
SELECT memory.register_auth_key('k2', 'HS256', mint.secret('b'), '*', scopes => '{read}');
SELECT memory.register_auth_key('ed', 'EdDSA', '-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAdeoYrDNZn2w+YNJopgdHcjgsuC10kzkyZI6tAWdx+U8=
-----END PUBLIC KEY-----', 'memory');
SELECT memory.register_auth_key('ec', 'ES256', '-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+JB9pF21hM0sMEcRC0wF387DdnmM
n5GDLNivZkivEbbapP8Cr0s5yIx1jAMzhG4vn5cnE7+W4h+BoO7cm/l94w==
-----END PUBLIC KEY-----', 'memory');
SELECT memory.register_auth_key('rsa', 'RS256', '-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAixScKr014qKV3kp2jc9p
zdad8VZLLTHZSyDjsD+/XJ9cHCL1FRtTnwVeV6DVuwN2ndRmVaFOQw/VnWOqx60K
sxOuB/s0qGu4veN+OZ5KZK/vswYty1dwLEPwIXJcOoUEgb3KF53XeASmKjfFCypk
WhP6dx0tDkExUD+KegFsbnXl7ED5PuGkDqYSOEpbcHjS6Wz4pwzkyZDmV7wEmkGq
/FSQMDIW1NaJ5AdW3/ESYZ+2BdjG/YQ1SBMkDzrS7oZQ+Ws1wa0qtaVNripgWHJ9
G7w7WCd/cm2BhhVL4AtOw2x9aW2bMeDB7xy/f2dTbNYXUQZbY4tEp/5GvZsBvpdJ
9QIDAQAB
-----END PUBLIC KEY-----', 'memory');
SELECT key_id, algorithm, issuer, audience, tenants, scopes, may_serve, is_own, revoked_at FROM memory.list_auth_keys();
-- and reads what they are for, not what they are made of
SELECT count(*) FROM memory.auth_keys;
SELECT public_key FROM memory.auth_keys;
SELECT count(*) FROM memory.auth_keys WHERE wrapped_secret IS NULL;
SELECT count(*) FROM memory.service_tokens;
\c - postgres
SELECT count(*) AS with_a_secret FROM memory.auth_keys WHERE encode(wrapped_secret, 'escape') ~ 'aaaa';
SELECT row_key, changes -> 'new' ->> 'algorithm' AS algorithm, changes::text ~ 'secret' AS told FROM memory.audit_log WHERE table_name = 'auth_keys' ORDER BY id;
-- a service neither registers nor revokes, nor does app
\c - token_service
SELECT memory.register_auth_key('k9', 'HS256', 'x', 'memory');
SELECT memory.revoke_auth_key('k1');
SELECT memory.issue_service_token('s', 'token-a', '{read}', '1 day');
SELECT memory.revoke_service_token('00000000-0000-7000-8000-0000000000ca');
SELECT * FROM memory.list_auth_keys();

-- a user's context
\c - postgres
CREATE VIEW mint.who WITH (security_invoker) AS
    SELECT right(memory.current_tenant_id()::text, 2) AS tenant, memory.current_user_id() AS "user", memory.current_session_id() AS session,
        memory.current_service_name() AS service;
GRANT SELECT ON mint.who TO token_app, token_service;
\c - token_app
BEGIN;
SELECT memory.authenticate(mint.token('{"sub": "alice", "sid": "s-1", "service": "not taken"}'));
SELECT * FROM mint.who;
SELECT memory.log_event('s-1', 'log', '{"m": 1}', 'e-1');
SELECT user_id, event_id FROM memory.get_events('s-1');
-- sealed: nothing changes it
SELECT memory.authenticate(mint.token('{"sub": "bob"}'));
ROLLBACK;
BEGIN;
SELECT memory.authenticate(mint.token('{"sub": "alice"}'));
RESET ALL;
DISCARD PLANS;
SELECT * FROM mint.who;
SELECT * FROM memory.get_events('s-1', user_id => 'bob');
ROLLBACK;
BEGIN;
SELECT memory.authenticate(mint.token('{"sub": "alice"}'));
SELECT * FROM memory.get_events('s-1', tenant => 'token-b');
ROLLBACK;
-- a token is for the transaction
SELECT * FROM mint.who;
SELECT memory.authenticate(mint.token('{"sub": "alice"}'));
SELECT * FROM mint.who;
-- a service's: by a key that may
BEGIN;
SELECT memory.authenticate(mint.token('{"service": "crawler", "tenant": "00000000-0000-7000-8000-0000000000CA"}'));
SELECT * FROM mint.who;
ROLLBACK;
BEGIN;
SELECT memory.authenticate(mint.token('{"service": "crawler"}', 'k2', 'b'));
ROLLBACK;
-- of each algorithm; signed once with the keys of tests/data/tokens, to hold until 2096, of alice of token-a, who reads
BEGIN;
SELECT memory.authenticate('eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIn0.eyJhdWQiOiJtZW1vcnkiLCJleHAiOjQwMDAwMDAwMDAsInRlbmFudCI6InRva2VuLWEiLCJzdWIiOiJhbGljZSIsInNjb3BlIjoicmVhZCJ9.C8-ept5vd1Yermn2hBHUYvCP2lGZdw94BTzl-EHWGrs4mBDD4FJTm2aLawDO75t93cUxc4cA-umvmEI10Q-gCQ');
SELECT * FROM mint.who;
SELECT memory.authenticate('x');
ROLLBACK;
BEGIN;
SELECT memory.authenticate('eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjIn0.eyJhdWQiOiJtZW1vcnkiLCJleHAiOjQwMDAwMDAwMDAsInRlbmFudCI6InRva2VuLWEiLCJzdWIiOiJhbGljZSIsInNjb3BlIjoicmVhZCJ9.C3y-xUc5K38FbnwnwuNehflYBAlXT1GDJasGwuRz1aOTTGDty__wqcWUgUG7bDGGtgF9Zqejl-Yab-zFOHPnXA');
SELECT * FROM mint.who;
SELECT memory.authenticate('x');
ROLLBACK;
BEGIN;
SELECT memory.authenticate('eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJhdWQiOiJtZW1vcnkiLCJleHAiOjQwMDAwMDAwMDAsInRlbmFudCI6InRva2VuLWEiLCJzdWIiOiJhbGljZSIsInNjb3BlIjoicmVhZCJ9.hwSOn10l5hGWFTw6NbVjf-_Rel-Nhp10NV0fJ1RENfadeI5YxuajaBRP3ytsNJIon2K5Hvd1348TdllO9Na5QndiDjesYxOrQefqdz_zlKLr76oR1orXHXjPlRoUa2bdD25awsY9M8dJNiYnOLoTUidhDZhIMb4dvAelwDYy9L5YQ-QWh4Im95TwDHfxMstkenh2sVIsk1IjVQ-cJpSmeLEKo8tMlVRBf_8sPSiYEk17-seBvwsJPf8W0ioZwsAQjJIvN5LlurnqQOaSop6czpaJdTZphhFezUYBF1tdcqk1K-xqeSis4sl9pex0lZFlhwjGIs4wKbAC6yR--cfLbQ');
SELECT * FROM mint.who;
SELECT memory.authenticate('x');
ROLLBACK;
-- a signature belongs to its key
BEGIN;
SELECT memory.authenticate('eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIn0.eyJhdWQiOiJtZW1vcnkiLCJleHAiOjQwMDAwMDAwMDAsInRlbmFudCI6InRva2VuLWEiLCJzdWIiOiJhbGljZSIsInNjb3BlIjoicmVhZCJ9.C3y-xUc5K38FbnwnwuNehflYBAlXT1GDJasGwuRz1aOTTGDty__wqcWUgUG7bDGGtgF9Zqejl-Yab-zFOHPnXA');
ROLLBACK;
-- follows savepoints
BEGIN;
SAVEPOINT s;
SELECT memory.authenticate(mint.token('{"sub": "alice"}'));
ROLLBACK TO s;
SELECT * FROM mint.who;
SELECT memory.authenticate(mint.token('{"sub": "bob"}'));
SELECT * FROM mint.who;
ROLLBACK;

-- what is refused; until the signature is known to be good, in the same words
CREATE TEMP TABLE said (what text, state text, message text);
DO $$
DECLARE
    try record;
    good text := mint.token('{"sub": "alice"}');
BEGIN
    FOR try IN SELECT * FROM (VALUES
        ('another secret', mint.token('{"sub": "alice"}', 'k1', 'x')),
        ('unknown key', mint.token('{"sub": "alice"}', 'k3')),
        ('another key', mint.token('{"sub": "alice"}', 'k2')),
        ('another algorithm', mint.token('{"sub": "alice"}', 'ed')),
        ('RS256', mint.token('{"sub": "alice"}', header => '{"alg": "RS256"}')),
        ('none', mint.token('{"sub": "alice"}', header => '{"alg": "none"}')),
        ('no signature', split_part(good, '.', 1) || '.' || split_part(good, '.', 2) || '.'),
        ('two parts', split_part(good, '.', 1) || '.' || split_part(good, '.', 2)),
        ('padded', good || '='), ('a blank', good || ' '), ('empty', ''), ('long', repeat('a', 1000000)),
        ('crit', mint.token('{"sub": "alice"}', header => '{"crit": ["exp"]}')),
        ('expired', mint.token('{"sub": "alice", "exp": 1700000000}')),
        ('no exp', mint.token('{"sub": "alice", "exp": null}')),
        ('exp is a text', mint.token('{"sub": "alice", "exp": "4000000000"}')),
        ('early', mint.token('{"sub": "alice", "exp": 4000000000, "nbf": 3900000000}')),
        ('another audience', mint.token('{"sub": "alice", "aud": "memory2"}')),
        ('no audience', mint.token('{"sub": "alice", "aud": null}')),
        ('another issuer', mint.token('{"sub": "alice", "iss": "Issuer"}')),
        ('another tenant', mint.token('{"sub": "alice", "tenant": "token-b"}')),
        ('no tenant', mint.token('{"sub": "alice", "tenant": null}')),
        ('unknown tenant', mint.token('{"sub": "alice", "tenant": "nowhere"}')),
        ('no sub, no service', mint.token('{}')),
        ('empty sub', mint.token('{"sub": ""}')),
        ('a sub that is none', mint.token(jsonb_build_object('sub', U&'\+10FFFF'))),
        ('scope elsewhere', mint.token('{"sub": "alice", "scope": "openid"}')),
        ('no such scope', mint.token('{"sub": "alice", "scope": "write admin"}', 'k2', 'b')),
        ('no token', NULL)
    ) AS v (what, token) LOOP
        BEGIN
            PERFORM memory.authenticate(try.token);
            INSERT INTO said VALUES (try.what, 'taken');
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO said VALUES (try.what, sqlstate, sqlerrm);
        END;
    END LOOP;
END
$$;
SELECT * FROM said;
SELECT * FROM mint.who;
\c - postgres
SELECT kind, detail, count(*) FROM memory.security_violations WHERE login_role = 'token_app' GROUP BY kind, detail ORDER BY kind, detail COLLATE "C";

-- leeway, the longest life, the audience and issuer of all
BEGIN;
SELECT FROM memory.authenticate(mint.token(jsonb_build_object('sub', 'alice', 'exp', extract(epoch FROM clock_timestamp())::bigint - 30)));
ROLLBACK;
SET memory.token_leeway = 0;
BEGIN;
\set VERBOSITY sqlstate
SELECT FROM memory.authenticate(mint.token(jsonb_build_object('sub', 'alice', 'exp', extract(epoch FROM clock_timestamp())::bigint - 30)));
\set VERBOSITY terse
ROLLBACK;
\set VERBOSITY sqlstate
SET memory.token_leeway = 301;
\set VERBOSITY terse
SET memory.token_max_ttl = '5min';
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice"}'));
ROLLBACK;
SELECT memory.issue_service_token('s', 'token-a', '{read}', '6 minutes');
RESET memory.token_max_ttl;
SET memory.token_audience = 'memory';
SET memory.token_issuer = 'issuer';
SELECT memory.register_auth_key('k4', 'HS256', mint.secret('d'));
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice"}', 'k4', 'd'));
ROLLBACK;
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice", "iss": "x"}', 'k4', 'd'));
ROLLBACK;
RESET memory.token_audience;
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice"}', 'k4', 'd'));
ROLLBACK;
SET SESSION AUTHORIZATION token_app;
SET memory.token_leeway = 300;
SET memory.token_audience = 'x';
SET memory.trust_request_claims_from = 'token_app';
RESET SESSION AUTHORIZATION;

-- a context ends with its time, in the middle of its transaction
SET memory.token_leeway = 0;
BEGIN;
SELECT FROM memory.authenticate(mint.token(jsonb_build_object('sub', 'alice', 'exp', extract(epoch FROM clock_timestamp())::bigint + 2)));
SELECT memory.current_user_id();
SELECT FROM pg_sleep(3);
SAVEPOINT s;
SELECT memory.current_user_id();
ROLLBACK TO s;
SELECT memory.log_event('s-2', 'log', '{}');
ROLLBACK TO s;
SET LOCAL ROLE token_app;
SELECT count(*) FROM memory.nodes;
ROLLBACK;
RESET memory.token_leeway;

-- service tokens: shown once, what they give is kept
\c - token_operator
SELECT memory.issue_service_token('crawler', 'token-a', '{read}', '1 hour') AS token \gset
SELECT memory.issue_service_token('', 'token-a', '{read}', '1 hour');
SELECT memory.issue_service_token('crawler', 'nowhere', '{read}', '1 hour');
SELECT memory.issue_service_token('crawler', 'token-a', '{}', '1 hour');
SELECT memory.issue_service_token('crawler', 'token-a', '{root}', '1 hour');
SELECT memory.issue_service_token('crawler', 'token-a', '{read}', '0');
SELECT memory.issue_service_token('crawler', 'token-a', '{read}', '-1 hour');
SELECT memory.issue_service_token('crawler', 'token-a', '{read}', NULL);
SELECT memory.issue_service_token('crawler', NULL, '{read}', '1 hour');
SELECT key_id ~ '^memory_ext:' AS own_key, right(tenant_id::text, 2) AS tenant, service_name, scopes, expires_at - issued_at BETWEEN '59 minutes' AND '1 hour' AS lives, revoked_at
FROM memory.list_service_tokens('token-a');
SELECT count(*) AS keys_of_its_own FROM memory.list_auth_keys() WHERE is_own;
SELECT token_id FROM memory.list_service_tokens() \gset
\c - token_app
BEGIN;
SELECT memory.authenticate(:'token');
SELECT * FROM mint.who;
SELECT count(*) FROM memory.list_sessions(user_id => 'alice');
SELECT memory.log_event('s-1', 'log', '{}', user_id => 'alice');
ROLLBACK;
\c - token_operator
SELECT memory.revoke_service_token(:'token_id'), memory.revoke_service_token(:'token_id');
SELECT revoked_at FROM memory.list_service_tokens('token-a') WHERE token_id = :'token_id' \gset
SELECT FROM memory.revoke_service_token(:'token_id');
SELECT revoked_at = :'revoked_at' AS stays FROM memory.list_service_tokens('token-a') WHERE token_id = :'token_id';
-- of one tenant or of all, the oldest first
SELECT count(memory.issue_service_token('s', t, '{read}', '1 hour')) FROM unnest('{token-a,token-b,token-a}'::text[]) AS t;
SELECT count(*) FROM memory.list_service_tokens('token-b');
SELECT count(*), bool_and((issued_at, token_id) > (before, id)) AS in_order
FROM (SELECT issued_at, token_id, lag(issued_at) OVER () AS before, lag(token_id) OVER () AS id FROM memory.list_service_tokens()) AS t;
SELECT memory.revoke_service_token('00000000-0000-7000-8000-0000000000ca');
SELECT memory.revoke_service_token(NULL);
\c - token_app
BEGIN;
SELECT memory.authenticate(:'token');
ROLLBACK;
-- what stands in the table has the last word
\c - postgres
SELECT memory.issue_service_token('crawler', 'token-a', '{read}', '1 hour') AS token \gset
BEGIN;
DELETE FROM memory.service_tokens WHERE revoked_at IS NULL;
SELECT memory.authenticate(:'token');
ROLLBACK;
BEGIN;
TRUNCATE memory.service_tokens;
SELECT memory.authenticate(:'token');
ROLLBACK;

-- a secret that was changed, or is another key's, verifies nothing
BEGIN;
UPDATE memory.auth_keys SET wrapped_secret = (SELECT wrapped_secret FROM memory.auth_keys WHERE key_id = 'k2') WHERE key_id = 'k1';
SELECT memory.authenticate(mint.token('{"sub": "alice"}', 'k1', 'b'));
ROLLBACK;
SELECT detail FROM memory.security_violations WHERE kind = 'tampering';

-- revoked while its context holds, by the same transaction and after it; a rollback takes that back
BEGIN;
SELECT FROM memory.authenticate(mint.token('{"sub": "alice", "scope": "read admin"}'));
SAVEPOINT s;
SELECT FROM memory.revoke_auth_key('k1');
SELECT memory.current_user_id();
ROLLBACK TO s;
SELECT memory.current_user_id();
UPDATE memory.auth_keys SET tenants = NULL WHERE key_id = 'k1';
SELECT memory.current_user_id();
ROLLBACK;
SELECT memory.revoke_auth_key('k1'), memory.revoke_auth_key('k1');
SELECT revoked_at FROM memory.list_auth_keys() WHERE key_id = 'k1' \gset
SELECT FROM memory.revoke_auth_key('k1');
SELECT revoked_at = :'revoked_at' AS stays FROM memory.list_auth_keys() WHERE key_id = 'k1';
SELECT memory.revoke_auth_key('k7');
SELECT memory.revoke_auth_key(NULL);
\c - token_app
BEGIN;
SELECT memory.authenticate(mint.token('{"sub": "alice"}'));
ROLLBACK;
BEGIN;
SELECT memory.authenticate(mint.token('{"sub": "alice"}', 'k1', 'x'));
ROLLBACK;

-- PostgREST's claims: only of the login that a superuser names
\c - token_app
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000, "aud": "memory"}';
SELECT memory.authenticate_request();
ROLLBACK;
\c - postgres
ALTER ROLE token_app SET memory.trust_request_claims_from = 'token_app';
\c - token_app
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000, "scope": "read admin"}';
SELECT memory.authenticate_request();
SELECT * FROM mint.who;
SELECT memory.authenticate_request();
ROLLBACK;
BEGIN;
SELECT memory.authenticate_request();
ROLLBACK;
BEGIN;
SET LOCAL request.jwt.claims = '{"service": "crawler", "tenant": "token-a", "exp": 4000000000}';
SELECT memory.authenticate_request();
ROLLBACK;
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 1700000000}';
SELECT memory.authenticate_request();
ROLLBACK;
-- of the issuer and for the audience that the settings name
\c - postgres
ALTER ROLE token_app SET memory.token_issuer = 'desk';
ALTER ROLE token_app SET memory.token_audience = 'memory';
\c - token_app
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000, "aud": "memory"}';
SELECT memory.authenticate_request();
ROLLBACK;
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000, "iss": "other", "aud": "memory"}';
SELECT memory.authenticate_request();
ROLLBACK;
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000, "iss": "desk", "aud": ["other"]}';
SELECT memory.authenticate_request();
ROLLBACK;
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000, "iss": "desk", "aud": ["other", "memory"]}';
SELECT memory.authenticate_request();
ROLLBACK;
\c - postgres
ALTER ROLE token_app RESET memory.token_issuer;
ALTER ROLE token_app RESET memory.token_audience;
ALTER ROLE token_app SET memory.trust_request_claims_from = 'token_service';
\c - token_app
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000}';
SELECT memory.authenticate_request();
ROLLBACK;
-- nor over a context that is there, nor a superuser
\c - postgres
ALTER ROLE token_app RESET memory.trust_request_claims_from;
ALTER ROLE token_service SET memory.trust_request_claims_from = 'token_service';
\c - token_service
BEGIN;
SELECT memory.set_security_context('token-a', 'bob');
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000}';
SELECT memory.authenticate_request();
ROLLBACK;
\c - postgres
ALTER ROLE token_service RESET memory.trust_request_claims_from;
SET memory.trust_request_claims_from = 'postgres';
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "alice", "tenant": "token-a", "exp": 4000000000}';
SELECT memory.authenticate_request();
ROLLBACK;

\c - postgres
SET client_min_messages = warning;
DROP SCHEMA mint CASCADE;
TRUNCATE memory.auth_keys, memory.service_tokens;
DROP OWNED BY token_app, token_service, token_operator;
DROP ROLE token_app, token_service, token_operator;
