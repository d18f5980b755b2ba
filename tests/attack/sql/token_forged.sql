-- Tokens that nobody issued: no profile gets a context, and all that is told is that the token is not accepted.
\i input/data/mint.sql
SELECT FROM memory.register_auth_key('k1', 'HS256', mint.secret('a'), 'memory', 'issuer', '{attack-a}', '{read,write,archive,admin}', true);
-- the public half of tests/data/tokens/rsa.der
SELECT FROM memory.register_auth_key('rsa', 'RS256', '-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAixScKr014qKV3kp2jc9p
zdad8VZLLTHZSyDjsD+/XJ9cHCL1FRtTnwVeV6DVuwN2ndRmVaFOQw/VnWOqx60K
sxOuB/s0qGu4veN+OZ5KZK/vswYty1dwLEPwIXJcOoUEgb3KF53XeASmKjfFCypk
WhP6dx0tDkExUD+KegFsbnXl7ED5PuGkDqYSOEpbcHjS6Wz4pwzkyZDmV7wEmkGq
/FSQMDIW1NaJ5AdW3/ESYZ+2BdjG/YQ1SBMkDzrS7oZQ+Ws1wa0qtaVNripgWHJ9
G7w7WCd/cm2BhhVL4AtOw2x9aW2bMeDB7xy/f2dTbNYXUQZbY4tEp/5GvZsBvpdJ
9QIDAQAB
-----END PUBLIC KEY-----', 'memory');
SELECT FROM memory.register_auth_key('old', 'HS256', mint.secret('o'), 'memory', expires_at => '2020-01-01');
CREATE TABLE mint.forged (n int GENERATED ALWAYS AS IDENTITY, what text, token text);
INSERT INTO mint.forged (what, token)
SELECT what, mint.sign(header, '{"aud":"memory","iss":"issuer","exp":4000000000,"tenant":"attack-a","sub":"alice"}', letter) FROM (VALUES
    ('none', '{"alg":"none","kid":"k1"}', 'a'), ('NONE', '{"alg":"NONE","kid":"k1"}', 'a'), ('nOnE', '{"alg":"nOnE","kid":"k1"}', 'a'),
    ('alg empty', '{"alg":"","kid":"k1"}', 'a'), ('alg null', '{"alg":null,"kid":"k1"}', 'a'), ('no alg', '{"kid":"k1"}', 'a'),
    ('alg a list', '{"alg":["HS256"],"kid":"k1"}', 'a'), ('alg in lower case', '{"alg":"hs256","kid":"k1"}', 'a'),
    ('HS384', '{"alg":"HS384","kid":"k1"}', 'a'), ('HS512', '{"alg":"HS512","kid":"k1"}', 'a'), ('PS256', '{"alg":"PS256","kid":"rsa"}', 'a'),
    ('RS256 for a secret', '{"alg":"RS256","kid":"k1"}', 'a'), ('HS256 for an RSA key', '{"alg":"HS256","kid":"rsa"}', 'a'),
    ('ES256 for an RSA key', '{"alg":"ES256","kid":"rsa"}', 'a'), ('alg twice', '{"alg":"none","alg":"HS256","kid":"k1"}', 'x'),
    ('another secret', '{"alg":"HS256","kid":"k1"}', 'x'),
    ('no kid', '{"alg":"HS256"}', 'a'), ('kid null', '{"alg":"HS256","kid":null}', 'a'), ('kid empty', '{"alg":"HS256","kid":""}', 'a'),
    ('kid a number', '{"alg":"HS256","kid":1}', 'a'), ('kid a list', '{"alg":"HS256","kid":["k1"]}', 'a'), ('kid twice', '{"alg":"HS256","kid":"x","kid":"k1"}', 'a'),
    ('kid in capitals', '{"alg":"HS256","kid":"K1"}', 'a'), ('kid with a blank', '{"alg":"HS256","kid":"k1 "}', 'a'), ('kid with a NUL', '{"alg":"HS256","kid":"k1\u0000"}', 'a'),
    ('kid of SQL', $$ {"alg":"HS256","kid":"x' UNION SELECT 'k1"} $$, 'a'), ('kid of SQL, doubled', $$ {"alg":"HS256","kid":"k1'--"} $$, 'a'), ('kid of LIKE', '{"alg":"HS256","kid":"k%"}', 'a'),
    ('kid a path', '{"alg":"HS256","kid":"../../../../dev/null"}', 'a'), ('kid a file', '{"alg":"HS256","kid":"/etc/passwd"}', 'a'), ('kid a URL', '{"alg":"HS256","kid":"http://127.0.0.1/k1"}', 'a'),
    ('kid of 100 kB', '{"alg":"HS256","kid":"' || repeat('k', 100000) || '"}', 'a'), ('kid of 256 bytes', '{"alg":"HS256","kid":"' || repeat('k', 256) || '"}', 'a'),
    ('brings its key', '{"alg":"HS256","jwk":{"kty":"oct","k":"eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"},"kid":"k1"}', 'x'),
    ('says where its key is', '{"alg":"HS256","jku":"http://127.0.0.1/keys","x5u":"http://127.0.0.1/","kid":"k1"}', 'x'),
    ('crit', '{"alg":"HS256","kid":"k1","crit":["b64"],"b64":false}', 'a'), ('zip', '{"alg":"HS256","kid":"k1","zip":"DEF"}', 'a'), ('enc', '{"alg":"HS256","kid":"k1","enc":"A256GCM"}', 'a'),
    ('a header that is a list', '["HS256"]', 'a'), ('a header that is none', 'HS256', 'a'), ('a header that is empty', '', 'a'), ('a header that goes on', '{"alg":"HS256","kid":"k1"}{}', 'a'),
    ('a header that is deep', repeat('[', 5000), 'a'), ('an extension''s own key', '{"alg":"HS256","kid":"memory_ext"}', 'a')
) AS v (what, header, letter);
INSERT INTO mint.forged (what, token)
SELECT what, mint.sign('{"alg":"HS256","kid":"k1"}', claims, 'a') FROM (VALUES
    ('claims that are a list', '[]'), ('claims that are none', ''), ('claims that are null', 'null'), ('claims that go on', '{}{}'),
    ('exp twice', '{"exp":1,"exp":4000000000,"aud":"memory","iss":"issuer","tenant":"attack-a","sub":"alice"}'),
    ('sub twice', '{"exp":4000000000,"aud":"memory","iss":"issuer","tenant":"attack-a","sub":"alice","sub":"bob"}'),
    ('sub a number', '{"exp":4000000000,"aud":"memory","iss":"issuer","tenant":"attack-a","sub":7}'),
    ('sub a list', '{"exp":4000000000,"aud":"memory","iss":"issuer","tenant":"attack-a","sub":["alice"]}'),
    ('sub an object', '{"exp":4000000000,"aud":"memory","iss":"issuer","tenant":"attack-a","sub":{"$ne":""}}'),
    ('exp a text', '{"exp":"4000000000","aud":"memory","iss":"issuer","tenant":"attack-a","sub":"alice"}'),
    ('claims that are deep', '{"x":' || repeat('[', 5000) || repeat(']', 5000) || '}')
) AS v (what, claims);
INSERT INTO mint.forged (what, token)
SELECT what, replace(replace(token, 'H', h.p), 'S', s.p) FROM (VALUES
    ('empty', ''), ('a dot', '.'), ('two dots', '..'), ('four parts', 'H.x.S.S'), ('two parts', 'H.x'), ('no signature', 'H.x.'), ('blanks', ' H.x.S'),
    ('a line', E'H.x.S\n'), ('padding', 'H=.x.S'), ('the other alphabet', 'H.+/+/.S'), ('no ASCII', 'H.é.S'), ('JSON', '{"payload":"x","signature":"S"}'),
    ('Bearer', 'Bearer H.x.S'), ('1 MB', repeat('a', 1000000)), ('1 MB of dots', repeat('.', 1000000)), ('1 MB of claims', 'H.' || repeat('x', 1000000) || '.S')
) AS v (what, token), mint.part('{"alg":"HS256","kid":"k1"}') AS h (p), mint.base64url('\x00') AS s (p);
-- the key has ended: what it signed is told no more than what nobody signed, but that its signature is good
INSERT INTO mint.forged (what, token) SELECT 'a key that has ended, forged', mint.token('{"sub":"alice"}', 'old', 'x', home => 'attack-a');
GRANT SELECT ON mint.forged TO PUBLIC;
SELECT count(*) >= 60 AS many FROM mint.forged;
CREATE FUNCTION mint.try() RETURNS TABLE (got text, who text, tried bigint) LANGUAGE plpgsql AS $$
DECLARE
    f mint.forged;
BEGIN
    CREATE TEMP TABLE tried (got text, who text);
    FOR f IN SELECT * FROM mint.forged ORDER BY n LOOP
        BEGIN
            PERFORM memory.authenticate(f.token);
            INSERT INTO tried VALUES ('TAKEN: ' || f.what, memory.current_user_id());
            RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = f.what || ' WAS TAKEN';
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO tried VALUES (sqlstate || ' ' || sqlerrm, memory.current_user_id());
        END;
    END LOOP;
    RETURN QUERY SELECT t.got, t.who, count(*) FROM tried AS t GROUP BY 1, 2 ORDER BY 1;
END
$$;
GRANT TEMP ON DATABASE memory_attack TO attack_app;
\c - attack_app
SELECT * FROM mint.try();
SELECT memory.current_tenant_id();
\c - attack_nobody
SELECT memory.authenticate('');
\c - attack_operator
SELECT memory.authenticate('');
\c - postgres
-- each was recorded, without what it held
SELECT kind, count(*) >= 60 AS many, count(*) FILTER (WHERE detail ~ 'alice|k1|UNION|passwd') AS telling FROM memory.security_violations
WHERE login_role = 'attack_app' AND kind ~ 'token' GROUP BY kind;
SET client_min_messages = warning;
DROP SCHEMA mint CASCADE;
TRUNCATE memory.auth_keys, memory.service_tokens;
