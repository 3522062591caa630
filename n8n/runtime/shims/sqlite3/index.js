// n8n's agent code imports sqlite3 whatever its database is. The real one has to be compiled; we are on Postgres.
module.exports = {};
