"""The history of the schema: Alembic migrations, applied in order by schema.py."""
