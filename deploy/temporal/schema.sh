#!/bin/sh
# Brings both of Temporal's databases to the schema of this release of the server. It may be repeated: what is there
# stays, so the same run upgrades them when the release changes. SQL_HOST and the like say where.
set -eu

migrate() {
    temporal-sql-tool --db "$1" setup-schema --version 0.0
    temporal-sql-tool --db "$1" update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

migrate temporal temporal
migrate temporal_visibility visibility
