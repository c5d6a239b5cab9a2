"""CatalogService over gRPC: decode, call, encode."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from keypeg import names
from keypeg.document import parse_envelope
from keypeg.v1 import product_pb2
from keypeg.v1.catalog_service_pb2 import (
    CreateProductRequest,
    CreateProductResponse,
    GetProductRequest,
    GetProductResponse,
    GetPublisherRequest,
    GetPublisherResponse,
    ListProductsRequest,
    ListProductsResponse,
    SetLicenseSwitchesRequest,
    SetLicenseSwitchesResponse,
)
from keypeg.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from keypeg_server.domain.key_loss import DEFAULT, KeyLossPolicy
from keypeg_server.domain.license_life import DEFAULT as DEFAULT_SWITCHES
from keypeg_server.domain.location import LocationKind
from keypeg_server.domain.product import OFFLINE_GRACE, UNPLUG_GRACE, Product
from keypeg_server.rpc import encode
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.rpc.license_life_service import switches, switches_of
from keypeg_server.service.catalog import CatalogService

_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the service sets the time


class CatalogRpc(CatalogServiceServicer):
    """Serves publishers and products."""

    def __init__(self, catalog: CatalogService) -> None:
        self._catalog = catalog

    async def GetPublisher(
        self, request: GetPublisherRequest, context: Any
    ) -> GetPublisherResponse:
        (id,) = names.PUBLISHER.parse(request.name)
        publisher = await self._catalog.get_publisher(id)
        return GetPublisherResponse(
            publisher=encode.publisher(publisher), delegation=parse_envelope(publisher.delegation)
        )

    async def CreateProduct(
        self, request: CreateProductRequest, context: Any
    ) -> CreateProductResponse:
        (publisher,) = names.PUBLISHER.parse(request.parent, "parent")
        offline = request.HasField("offline_grace")
        unplug = request.HasField("unplug_grace")
        product = Product(
            publisher=publisher,
            id=request.product_id,
            display_name=request.display_name,
            bundle_products=tuple(request.bundle_products),
            allowed_locations=frozenset(map(LocationKind, request.allowed_locations)),
            offline_grace=request.offline_grace.ToTimedelta() if offline else OFFLINE_GRACE,
            unplug_grace=request.unplug_grace.ToTimedelta() if unplug else UNPLUG_GRACE,
            minimum_app_version=request.minimum_app_version,
            features=tuple(request.features),
            create_time=_UNKNOWN,
            key_loss=_key_loss(request),
            switches=DEFAULT_SWITCHES.with_set(switches_of(request.switches)),
        )
        answer = await self._catalog.create_product(
            once(request, lambda made: CreateProductResponse(product=_product(made))),
            product,
        )
        return CreateProductResponse.FromString(answer)

    async def GetProduct(self, request: GetProductRequest, context: Any) -> GetProductResponse:
        publisher, id = names.PRODUCT.parse(request.name)
        product = await self._catalog.get_product(publisher, id)
        return GetProductResponse(product=_product(product))

    async def SetLicenseSwitches(
        self, request: SetLicenseSwitchesRequest, context: Any
    ) -> SetLicenseSwitchesResponse:
        publisher, id = names.PRODUCT.parse(request.name)
        answer = await self._catalog.set_switches(
            once(request, lambda made: SetLicenseSwitchesResponse(product=_product(made))),
            publisher,
            id,
            switches_of(request.switches),
        )
        return SetLicenseSwitchesResponse.FromString(answer)

    async def ListProducts(
        self, request: ListProductsRequest, context: Any
    ) -> ListProductsResponse:
        (publisher,) = names.PUBLISHER.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._catalog.list_products(publisher, page), page, lambda product: product.id
        )
        return ListProductsResponse(products=map(_product, found), next_page_token=token)


def _product(value: Product) -> product_pb2.Product:
    message = encode.product(value)
    message.switches.CopyFrom(switches(value.switches))
    return message


def _key_loss(request: CreateProductRequest) -> KeyLossPolicy:
    """As asked for; what is left out is the default's."""
    if not request.HasField("key_loss"):
        return DEFAULT
    asked = request.key_loss
    period = asked.period.ToTimedelta() if asked.HasField("period") else DEFAULT.period
    return KeyLossPolicy(asked.move_count, period, asked.wait.ToTimedelta())
