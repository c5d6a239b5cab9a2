"""The keys of license documents of before are found out by the upgrade, on both databases."""

from __future__ import annotations

import json

from sqlalchemy import Connection, column, select, table, update

from keypeg.document import Ed25519Signer, key_id
from keypeg.envelope import LICENSE_TYPE, seal
from keypeg.v1.document_pb2 import LicenseDocument
from keypeg_server.storage import schema
from tests.server.databases import Place, open_at
from tests.server.storage import released

SITE = 4
_ROWS = table("activation", column("id"), column("location_kind"), column("document"))
_KEYS = table("activation", column("id"), column("document_keys"))


def test_documents_of_before_are_known_by_their_keys(empty: Place) -> None:
    site, signer = Ed25519Signer.generate(), Ed25519Signer.generate()
    document = seal(LicenseDocument(location_key=site.public_key), LICENSE_TYPE, signer)
    content = json.loads(released.file("0023").read_text())
    database = open_at(empty.where)

    def before(connection: Connection) -> None:
        released.migrate_to(connection, "0023")
        released.put(connection, released.tables_of(connection), content["rows"])
        for id, said in (("activation1", document.SerializeToString()), ("activation2", b"\xff")):
            connection.execute(
                update(_ROWS).where(_ROWS.c.id == id).values(location_kind=SITE, document=said)
            )

    try:
        database.migrate(before)
        schema.bring_up_to_date(database)
        found = database.migrate(lambda connection: connection.execute(select(_KEYS)).all())
    finally:
        database.close()
    both = f"{key_id(site.public_key)}.{key_id(signer.public_key)}"
    assert sorted((row.id, row.document_keys) for row in found) == [
        ("activation0", None),
        ("activation1", both),
        ("activation2", None),
    ]
