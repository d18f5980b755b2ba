-- A text's words are remembered one by one. What that gives is what PostgreSQL's parser gives for the whole: with a lone < in it a text goes
-- to the parser as a whole, and a lone < is no word.
CREATE FUNCTION pg_temp.parts(words text) RETURNS bytea[] LANGUAGE sql AS $$
    SELECT memory.document_parts('00000000-0000-0000-0000-000000000001', 'words', words, '{}', '{}')
$$;
CREATE FUNCTION pg_temp.differs(words text) RETURNS boolean LANGUAGE sql AS $$
    SELECT pg_temp.parts(words) <> pg_temp.parts(words || ' <')
$$;
SELECT pg_temp.parts('<') = pg_temp.parts('') AS "is no word";
CREATE TEMP TABLE pieces AS SELECT row_number() OVER () - 1 AS number, piece FROM unnest(ARRAY[
    'cat', 'cats', 'running', 'the', 'The', 'of', 'is', 'don''t', 'it''s', 'Émile', 'straße', 'naïve', 'mañana', 'x', 'e', 'E5', '1e5', '12e-3', '3e', '3e5f',
    '12ex5', '0x1f', '3f2a', 'e123', '1.5', '-1.5', '+7', '-', '--', '.', '...', '.profile', '~', '~/home', '~x', '/', '/usr/lib/x.so', 'a/b', 'a.b',
    'a-b', 'a-b-c', 'well-known', '-known', 'known-', 'x-1', '1-x', 'a_b', '_a', 'a_', 'jon@example.com', '@jon', 'jon@', 'example.com', 'www.example.com/a?b=c',
    'http://example.com/x', 'https:', '://', '&amp;', '&', '&;', '&#65;', '#tag', '1,000', '1.000.000', '2026-11-20', '10:30', '10:30:00', '50%', '$5', '(', ')',
    '(cat)', '"cat"', '''cat''', 'cat,', 'cat;', 'cat!', 'cat?', 'cat...', '*', '**cat**', '>', '>x', '1.2.3', 'v1.2.3', 'a+b', 'a=b', 'a|b', E'a\vb', 'I', 'İ', 'ß1', '٣', 'x٣',
    '1é', 'é1', 'aé', 'ab12cd', '00', '007', '9e9', '9e', 'e9', 'a1e5', '1a-2b', 'pre-2026', 'u.s.a.', 'file.tar.gz', '../x', './x', 'C:\x', repeat('long', 20), repeat('9', 40), repeat('é', 30)
]) AS piece;
-- each alone, after a word, before one, and in threes
SELECT count(*) AS texts, count(*) FILTER (WHERE pg_temp.differs(words)) AS different FROM pieces, LATERAL (VALUES
    (piece), ('cat ' || piece), (piece || ' cat'), (' ' || piece), (piece || E'\n'), (E'\t' || piece || '  ' || piece), (piece || ' . ' || piece)) AS v (words);
SELECT count(*) AS texts, count(*) FILTER (WHERE pg_temp.differs(a.piece || ' ' || b.piece || ' ' || c.piece)) AS different
FROM pieces AS a, pieces AS b, pieces AS c WHERE (a.number * 7 + b.number * 13 + c.number * 29) % 61 = 0;
-- more words than are remembered
SELECT count(*) AS texts, count(*) FILTER (WHERE pg_temp.differs(words)) AS different FROM (
    SELECT string_agg(translate(md5(n::text), '0123456789', 'ghijklmnop') || ' ' || md5(n::text) || ' ' || piece, ' ') AS words
    FROM generate_series(1, 10000) AS n JOIN pieces ON number = n % 100 GROUP BY n / 10) AS t;

-- What a dictionary becomes is heard of, in this transaction and in others; a dictionary that looks at several words is given them.
CREATE TEXT SEARCH DICTIONARY public.words_stem (TEMPLATE = snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION public.words (COPY = simple);
INSERT INTO memory.tenants (id, slug) VALUES ('00000000-0000-0000-0000-000000000001', 'words');
SELECT memory.set_search_language('words', 'public.words');
SELECT pg_temp.parts('cats') = pg_temp.parts('cat') AS same;
ALTER TEXT SEARCH CONFIGURATION public.words ALTER MAPPING FOR asciiword WITH public.words_stem;
SELECT pg_temp.parts('cats') = pg_temp.parts('cat') AS same;
SELECT pg_temp.parts('a1') = pg_temp.parts('a1s') AS same;
ALTER TEXT SEARCH CONFIGURATION public.words ALTER MAPPING FOR numword WITH public.words_stem;
SELECT pg_temp.parts('a1') = pg_temp.parts('a1s') AS same;
ALTER TEXT SEARCH DICTIONARY public.words_stem (LANGUAGE = german);
SELECT pg_temp.parts('cats') = pg_temp.parts('cat') AS same, pg_temp.parts('katzen') = pg_temp.parts('katze') AS german;
BEGIN;
ALTER TEXT SEARCH CONFIGURATION public.words ALTER MAPPING FOR asciiword WITH simple;
SELECT pg_temp.parts('katzen') = pg_temp.parts('katze') AS german;
ROLLBACK;
SELECT pg_temp.parts('katzen') = pg_temp.parts('katze') AS german;
ALTER TEXT SEARCH DICTIONARY public.words_stem (LANGUAGE = english);
CREATE TEXT SEARCH DICTIONARY public.words_thesaurus (TEMPLATE = thesaurus, DictFile = thesaurus_sample, Dictionary = public.words_stem);
ALTER TEXT SEARCH CONFIGURATION public.words ALTER MAPPING FOR asciiword WITH public.words_thesaurus, public.words_stem;
SELECT pg_temp.parts('supernovae stars') = pg_temp.parts('sn') AS "a phrase that the thesaurus knows", pg_temp.differs('supernovae stars') AS differs;
-- in another language at once
SELECT memory.set_search_language('words', 'pg_catalog.english');
SELECT substr((pg_temp.parts('the cats'))[1], 9) = substr((pg_temp.parts('cat'))[1], 9) AS english;
DELETE FROM memory.tenants WHERE slug = 'words';
DELETE FROM memory.search_languages WHERE tenant_id = '00000000-0000-0000-0000-000000000001';
DROP TEXT SEARCH CONFIGURATION public.words;
DROP TEXT SEARCH DICTIONARY public.words_thesaurus;
DROP TEXT SEARCH DICTIONARY public.words_stem;
