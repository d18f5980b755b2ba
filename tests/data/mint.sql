-- Makes tokens as whoever issues them does: JWTs signed by HMAC with SHA-256 (RFC 2104), the secret 32 times a letter.
\set ECHO none
\set was_quiet :QUIET
\set QUIET on
CREATE SCHEMA mint;
CREATE FUNCTION mint.base64url(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$SELECT translate(rtrim(replace(encode($1, 'base64'), E'\n', ''), '='), '+/', '-_')$$;
CREATE FUNCTION mint.part(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT mint.base64url(convert_to($1, 'UTF8'))$$;
CREATE FUNCTION mint.hmac(secret bytea, message bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(string_agg(set_byte('\x00', 0, get_byte(k, i) # 92), '' ORDER BY i)
        || sha256(string_agg(set_byte('\x00', 0, get_byte(k, i) # 54), '' ORDER BY i) || message))
    FROM (SELECT secret || decode(repeat('00', 64 - length(secret)), 'hex')) AS padded (k), generate_series(0, 63) AS i
$$;
CREATE FUNCTION mint.secret(letter text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$SELECT encode(convert_to(repeat(letter, 32), 'UTF8'), 'base64')$$;
CREATE FUNCTION mint.sign(header text, claims text, letter text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT m || '.' || mint.base64url(mint.hmac(convert_to(repeat(letter, 32), 'UTF8'), convert_to(m, 'UTF8')))
    FROM (SELECT mint.part(header) || '.' || mint.part(claims)) AS message (m)
$$;
-- what is not said otherwise: for tenant `home`, ten minutes long
CREATE FUNCTION mint.token(claims jsonb, kid text DEFAULT 'k1', letter text DEFAULT 'a', header jsonb DEFAULT '{}', home text DEFAULT 'token-a') RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT mint.sign((jsonb_build_object('alg', 'HS256', 'kid', kid) || header)::text, (jsonb_build_object('aud', 'memory', 'iss', 'issuer',
        'tenant', home, 'exp', extract(epoch FROM clock_timestamp())::bigint + 600) || claims)::text, letter)
$$;
GRANT USAGE ON SCHEMA mint TO PUBLIC;
\set QUIET :was_quiet
\set ECHO all
