"""Make the files that lack, for new migrations: `python -m tests.server.storage.released`."""

from __future__ import annotations

from sqlalchemy import create_engine

from keypeg_server.storage import schema
from tests.server.storage import released


def main() -> None:
    for number in range(1, int(schema.HEAD) + 1):
        revision = f"{number:04}"
        if not released.file(revision).exists():
            with create_engine("sqlite://").begin() as connection:
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")
                released.make(connection, revision)
            print(f"made {released.file(revision)}")


main()
