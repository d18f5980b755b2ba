-- Step 3's parsing: from the lines of dpkg's files to the tables package, dependency and event. It has nothing of the
-- extension in it.

-- A paragraph per package, `Field: value` lines in it, an empty line between; a line that begins with a blank continues.
CREATE TABLE package AS
WITH numbered AS (
    SELECT number, line, count(*) FILTER (WHERE line IS NULL) OVER (ORDER BY number) AS paragraph,
           count(*) FILTER (WHERE line ~ '^[^ ]') OVER (ORDER BY number) AS field
    FROM status_line
), field AS (
    SELECT paragraph, (array_agg(split_part(line, ':', 1) ORDER BY number))[1] AS name,
           regexp_replace(string_agg(line, E'\n' ORDER BY number), '^[^:]*:\s*', '') AS value
    FROM numbered WHERE line IS NOT NULL GROUP BY paragraph, field
), paragraph AS (
    SELECT jsonb_object_agg(name, value) AS of_package FROM field GROUP BY paragraph
)
SELECT of_package->>'Package' COLLATE "C" AS name, min(of_package->>'Version') AS version,
       min(of_package->>'Section') AS section, min(of_package->>'Installed-Size')::bigint AS kb,
       min(split_part(of_package->>'Description', E'\n', 1)) AS summary,
       string_agg(of_package->>'Provides', ', ') AS provides,
       string_agg(concat_ws(', ', of_package->>'Pre-Depends', of_package->>'Depends'), ', ') AS depends
FROM paragraph WHERE of_package->>'Status' LIKE '% installed' GROUP BY 1;
ALTER TABLE package ADD PRIMARY KEY (name);

-- `a | b (>= 1), c:any`: of the alternatives the first that is installed, or that an installed package provides.
CREATE TABLE dependency AS
WITH provided AS (
    SELECT regexp_replace(trim(v), '[ (:].*', '') COLLATE "C" AS virtual, min(name) AS name
    FROM package, regexp_split_to_table(provides, ',') AS v GROUP BY 1
)
SELECT DISTINCT package.name, target.name AS needs
FROM package, regexp_split_to_table(package.depends, ',') AS clause
CROSS JOIN LATERAL (
    SELECT coalesce(real.name, provided.name) AS name
    FROM regexp_split_to_table(clause, '\|') WITH ORDINALITY AS alternative (wish, place)
    LEFT JOIN package real ON real.name = regexp_replace(trim(wish), '[ (:].*', '') COLLATE "C"
    LEFT JOIN provided ON virtual = regexp_replace(trim(wish), '[ (:].*', '') COLLATE "C"
    WHERE real.name IS NOT NULL OR provided.name IS NOT NULL ORDER BY place LIMIT 1
) AS target
WHERE target.name <> package.name;

-- A run of dpkg begins with `startup` and is a session; each line is an event of it, numbered within its run.
CREATE TABLE event AS
WITH word AS (
    SELECT number, (split_part(line, ' ', 1) || ' ' || split_part(line, ' ', 2))::timestamptz AS at,
           split_part(line, ' ', 3) AS verb, string_to_array(line, ' ') AS words
    FROM log_line WHERE line ~ '^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w'
), run AS (
    SELECT *, coalesce(max(at) FILTER (WHERE verb = 'startup') OVER (ORDER BY number), min(at) OVER ()) AS started FROM word
)
SELECT 'dpkg-' || to_char(started, 'YYYY-MM-DD"T"HH24:MI:SS') AS session,
       to_char(row_number() OVER (PARTITION BY started ORDER BY number), 'FM000000') AS id, at,
       CASE WHEN verb = 'startup' THEN 'session_metadata' WHEN verb IN ('status', 'trigproc', 'conffile') THEN 'log'
            ELSE 'action' END AS type,
       jsonb_strip_nulls(CASE verb
           WHEN 'startup' THEN jsonb_build_object('do', verb, 'what', array_to_string(words[4:], ' '))
           WHEN 'status' THEN jsonb_build_object('do', verb, 'state', words[4], 'package', words[5], 'version', words[6])
           ELSE jsonb_build_object('do', verb, 'package', words[4], 'from', words[5], 'to', words[6])
       END) AS payload
FROM run;
ANALYZE package, dependency, event;
