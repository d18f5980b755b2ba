-- An encoding hides neither an error nor who is who.
\c - attack_service
SET client_encoding = 'LATIN1';
SELECT memory.set_security_context('attack-b', service_name => 'x');
SELECT memory.check_context_types('{domain_entty}');
RESET client_encoding;
\c - postgres
-- In a database whose texts are not Unicode two users could look alike. One that checks nothing is taken, and what is no UTF-8
-- is refused when it comes.
CREATE DATABASE attack_latin1 ENCODING 'LATIN1' TEMPLATE template0;
CREATE DATABASE attack_ascii ENCODING 'SQL_ASCII' TEMPLATE template0;
\c attack_latin1
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;
\c attack_ascii
SET client_min_messages = warning;
CREATE EXTENSION memory_ext CASCADE;
INSERT INTO memory.tenants (slug) VALUES ('ascii');
SELECT memory.subject('ascii', E'caf\xe9');
SELECT memory.log_event('s', 'log', '{"a": 1}', 'e', tenant => 'ascii', user_id => E'caf\xc3\xa9');
SELECT memory.store_node(E'{"entity_system": "x", "entity_id": "caf\xe9"}', 'domain_entity', tenant => 'ascii', user_id => 'u');
\c memory_attack postgres
DROP DATABASE attack_latin1;
DROP DATABASE attack_ascii;
