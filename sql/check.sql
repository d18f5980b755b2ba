-- Checks of arguments, for functions written in SQL. Each gives its value back, or raises the contract's error.

CREATE FUNCTION memory.check_needed(argument text, value anyelement) RETURNS anyelement
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_needed';
COMMENT ON FUNCTION memory.check_needed(text, anyelement) IS
    'Internal: the value, if it is not NULL; else 22004, naming the argument. As a condition by itself it is asked even where there is nothing to read.';

CREATE FUNCTION memory.check_object(argument text, value jsonb) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_object';
COMMENT ON FUNCTION memory.check_object(text, jsonb) IS
    'Internal: the value, if it is a jsonb object of at most memory.max_payload_size; else 22023, 22004 or 54000, naming the argument.';

CREATE FUNCTION memory.check_text(argument text, value text) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_text';
COMMENT ON FUNCTION memory.check_text(text, text) IS
    'Internal: the value, if it is a text that is not empty; NULL is 22004, '''' is 22023, naming the argument.';

CREATE FUNCTION memory.check_positive(argument text, value integer) RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_positive_wrapper';
COMMENT ON FUNCTION memory.check_positive(text, integer) IS
    'Internal: the value, if it is at least 1; NULL is 22004, less is 22023, naming the argument.';

CREATE FUNCTION memory.check_interval(argument text, value interval) RETURNS interval
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_interval_wrapper';
COMMENT ON FUNCTION memory.check_interval(text, interval) IS
    'Internal: the value, if it is not below zero, else 22023, naming the argument; NULL gives NULL.';

CREATE FUNCTION memory.check_word(argument text, value text, words text[]) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_word_wrapper';
COMMENT ON FUNCTION memory.check_word(text, text, text[]) IS
    'Internal: the value, if it is one of the words, else 22023, naming the argument; NULL gives NULL.';

CREATE FUNCTION memory.check_found(found boolean, kind text, id text) RETURNS void
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'check_found_wrapper';
COMMENT ON FUNCTION memory.check_found(boolean, text, text) IS
    'Internal: raises P0002 "unknown <kind> <id>" unless found; 22004 where the id is NULL.';

SELECT memory.allow('app', 'check_needed', 'check_object', 'check_text', 'check_positive', 'check_interval', 'check_word',
    'check_found');
