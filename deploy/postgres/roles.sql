-- The roles and databases of a deployment. As superuser, once, with psql 15 or newer:
--
--     DB_OWNER_PASSWORD=… DB_SERVICE_PASSWORD=… DB_TEMPORAL_PASSWORD=… psql -v ON_ERROR_STOP=1 -f roles.sql
--
-- The image of Postgres does so when it makes its cluster. `paysaga migrate` does the rest.

\getenv owner_password DB_OWNER_PASSWORD
\getenv service_password DB_SERVICE_PASSWORD
\getenv temporal_password DB_TEMPORAL_PASSWORD

-- Owns Paysaga's tables and migrates them; makes the role `paysaga_app`, which says what API and worker may do.
CREATE ROLE paysaga_owner LOGIN CREATEROLE PASSWORD :'owner_password';
-- API, worker and audit. It owns nothing, so it can neither edit the ledger nor switch off what guards it.
CREATE ROLE paysaga_service LOGIN PASSWORD :'service_password';
-- The Temporal server, which never sees the ledger.
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';

CREATE DATABASE paysaga OWNER paysaga_owner;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

-- TEMPORARY stays with everybody: the audit makes temporary tables.
REVOKE CONNECT ON DATABASE paysaga, temporal, temporal_visibility FROM PUBLIC;
GRANT CONNECT ON DATABASE paysaga TO paysaga_service;
