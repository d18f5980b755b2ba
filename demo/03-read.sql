-- 3. READ: dpkg's status file and log, parsed in SQL.
\connect - demo_service
SET search_path = input;

CREATE TABLE status_line (number bigint GENERATED ALWAYS AS IDENTITY, line text);
CREATE TABLE log_line (number bigint GENERATED ALWAYS AS IDENTITY, line text);
\copy status_line (line) FROM 'status' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')
\copy log_line (line) FROM 'log' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

-- parse.sql makes three tables of them: package, dependency and event (a run of dpkg is a session, a line an event of it).
\set ECHO none
\i :demo/parse.sql
\set ECHO all

-- Where the demo states something, this table makes it fail if it is not so.
CREATE TABLE claim (claim text PRIMARY KEY, found text NOT NULL, expected text NOT NULL,
                    CONSTRAINT they_agree CHECK (found = expected));
GRANT USAGE ON SCHEMA input TO demo_app, demo_auditor;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA input TO demo_app, demo_auditor;

SELECT (SELECT count(*) FROM package) AS packages, (SELECT count(*) FROM dependency) AS dependencies,
       (SELECT count(DISTINCT session) FROM event) AS runs, (SELECT count(*) FROM event) AS events;
