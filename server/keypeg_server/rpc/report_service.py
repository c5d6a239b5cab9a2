"""ReportService over gRPC: decode, call, encode.

Promises: an export goes out in parts as they are read, as fast as the client takes them.

Leaves to others: what is read (service/reports.py), who may (authorization.py), well-formedness (validate.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from keypeg import names
from keypeg.log import Begin, Head, Record
from keypeg.v1 import report_service_pb2 as pb
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.report_service_pb2_grpc import ReportServiceServicer
from keypeg_server.domain.replay import Outcome
from keypeg_server.rpc.rules_encode import decode
from keypeg_server.service import frames
from keypeg_server.service.reports import Reports

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


class ReportRpc(ReportServiceServicer):
    """Serves the log."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def ExportLog(
        self, request: pb.ExportLogRequest, context: Any
    ) -> AsyncIterator[pb.ExportLogResponse]:
        async for part in self._reports.export(request.parent):
            yield _part(part)

    async def SimulateSeats(
        self, request: pb.SimulateSeatsRequest, context: Any
    ) -> pb.SimulateSeatsResponse:
        found = await self._reports.simulate(
            request.parent,
            names.POOL.parse(request.pool)[0],
            request.seat_counts,
            _us(request.begin_time) if request.HasField("begin_time") else 0,
            _us(request.end_time) if request.HasField("end_time") else None,
            decode(request.rules) if request.HasField("rules") else None,
        )
        answer = pb.SimulateSeatsResponse(
            recorded=_outcome(found.recorded), simulated=map(_outcome, found.simulated)
        )
        answer.begin_time.FromMicroseconds(found.begin_us)
        answer.end_time.FromMicroseconds(found.end_us)
        return answer


def _part(part: Begin | Head | list[Record]) -> pb.ExportLogResponse:
    if isinstance(part, Begin):
        return pb.ExportLogResponse(
            begin=pb.LogBegin(
                log=part.log,
                sequence=part.sequence,
                hash=part.hash,
                delegation=Envelope.FromString(part.delegation),
            )
        )
    if isinstance(part, Head):
        return pb.ExportLogResponse(head=Envelope.FromString(part.envelope))
    records = [pb.LogRecord(sequence=r.sequence, hash=r.hash, body=r.body) for r in part]
    return pb.ExportLogResponse(records=pb.LogRecords(records=records))


def _outcome(outcome: Outcome) -> pb.SeatOutcome:
    return pb.SeatOutcome(
        seat_count=outcome.seat_count,
        demand_count=outcome.demand_count,
        served_count=outcome.served_count,
        denied_count=outcome.denied_count,
        wait_mean=frames.duration(outcome.wait_mean_us * _US),
        wait_p95=frames.duration(outcome.wait_p95_us * _US),
        wait_max=frames.duration(outcome.wait_max_us * _US),
        peak_units=outcome.peak_units,
    )


def _us(moment: Timestamp) -> int:
    return (moment.ToDatetime(tzinfo=UTC) - _EPOCH) // _US
