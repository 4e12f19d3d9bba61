"""The boundary to PostgreSQL: the only importer of psycopg, the only caller of its programs."""
