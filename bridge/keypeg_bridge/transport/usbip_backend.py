"""A pyusb backend that reaches devices over USB/IP, with no kernel support: `usb.core.find(backend=UsbIpBackend(...))`.

Promises: pyusb's own rules (USBError with errno, USBTimeoutError, array buffers). Device lists carry no descriptors, so
each new device is imported once to read them; they are kept while it stays plugged in. Isochronous transfers are refused.
"""

from __future__ import annotations

import array
import errno
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final

import usb.backend
from usb.core import USBError

from keypeg_bridge.transport import usbip_client
from keypeg_bridge.transport.errors import (
    DeviceGone,
    TransportError,
)
from keypeg_bridge.transport.ports import Monotonic
from keypeg_bridge.transport.usbip_transfers import (
    TO_DEVICE_IN,
    TO_DEVICE_OUT,
    TO_ENDPOINT_OUT,
    TO_INTERFACE_OUT,
    Descriptors,
    control,
    interface_numbers,
    read_descriptors,
    transfer,
    translated,
)
from keypeg_bridge.wire import usb as chapter9
from keypeg_bridge.wire import usbip

REST_LISTINGS: Final = 20  # that do not ask a device again which gave no descriptors


class UsbIpBackend(usb.backend.IBackend):  # type: ignore[misc]  # pyusb has no types
    """The devices of one USB/IP server."""

    def __init__(self, host: str, port: int, now: Monotonic) -> None:
        super().__init__()
        self._host = host
        self._port = port
        self._now = now
        self._lock = threading.Lock()
        self._descriptors: dict[tuple[str, int], Descriptors] = {}
        self._broken: dict[tuple[str, int], tuple[int, TransportError]] = {}
        self._held: dict[int, usbip_client.Imported] = {}

    def watch(self, bus: int, address: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, from another thread, when a device that is open here disappears."""
        with self._lock:
            held = self._held.get(bus << 16 | address)
        if held is None:
            raise DeviceGone("The device is not open.")
        held.on_gone(callback)

    def present(self) -> frozenset[tuple[str, int]] | None:
        """What is plugged in, without asking any device: changes with each that comes or goes. None when there is no telling."""
        try:
            return frozenset((d.bus_id, d.device_id) for d in self._present())
        except TransportError:
            return None

    def _present(self) -> list[usbip.Device]:
        listed = usbip_client.list_devices(self._host, self._port, self._now)
        devices = {d.device_id: d for d in listed}
        with self._lock:
            # Some servers leave out devices that are in use, ours too.
            for device_id, held in self._held.items():
                if not held.gone:
                    devices.setdefault(device_id, held.device)
        return list(devices.values())

    # What pyusb calls

    def enumerate_devices(self) -> Iterator[usbip.Device]:
        try:
            devices = self._present()
        except TransportError as error:
            raise translated(error) from error
        present = {(d.bus_id, d.device_id) for d in devices}
        with self._lock:
            self._descriptors = {k: v for k, v in self._descriptors.items() if k in present}
            self._broken = {
                k: (left - 1, e) for k, (left, e) in self._broken.items() if k in present and left
            }
        yield from devices

    def get_parent(self, dev: usbip.Device) -> None:
        return None

    def get_device_descriptor(self, dev: usbip.Device) -> SimpleNamespace:
        try:
            d = self._describe(dev).device
        except TransportError:  # all that the list tells; its configurations say why
            d = chapter9.DeviceDescriptor(
                dev.vendor, dev.product, dev.release, 0, 0, 0,
                device_class=dev.device_class, device_subclass=dev.device_subclass,
                device_protocol=dev.device_protocol, configurations=dev.configurations,
            )  # fmt: skip
        return SimpleNamespace(
            bLength=18, bDescriptorType=chapter9.DEVICE, bcdUSB=d.usb_release,
            bDeviceClass=d.device_class, bDeviceSubClass=d.device_subclass,
            bDeviceProtocol=d.device_protocol, bMaxPacketSize0=d.max_packet, idVendor=d.vendor,
            idProduct=d.product, bcdDevice=d.release, iManufacturer=d.manufacturer_index,
            iProduct=d.product_index, iSerialNumber=d.serial_index,
            bNumConfigurations=d.configurations, bus=dev.bus, address=dev.address,
            port_number=None, port_numbers=None, speed=dev.speed,
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: usbip.Device, config: int) -> SimpleNamespace:
        c = self._configuration(dev, config)
        return SimpleNamespace(
            bLength=9, bDescriptorType=chapter9.CONFIGURATION, wTotalLength=len(c.encode()),
            bNumInterfaces=len(interface_numbers(c)), bConfigurationValue=c.value,
            iConfiguration=c.name_index, bmAttributes=c.attributes, bMaxPower=c.max_power,
            extra_descriptors=array.array("B", c.extra),
        )  # fmt: skip

    def get_interface_descriptor(
        self, dev: usbip.Device, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        i = self._interface(dev, intf, alt, config)
        return SimpleNamespace(
            bLength=9, bDescriptorType=chapter9.INTERFACE, bInterfaceNumber=i.number,
            bAlternateSetting=i.alternate, bNumEndpoints=len(i.endpoints),
            bInterfaceClass=i.interface_class, bInterfaceSubClass=i.subclass,
            bInterfaceProtocol=i.protocol, iInterface=i.name_index,
            extra_descriptors=array.array("B", i.extra),
        )  # fmt: skip

    def get_endpoint_descriptor(
        self, dev: usbip.Device, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        e = self._interface(dev, intf, alt, config).endpoints[ep]
        return SimpleNamespace(
            bLength=7, bDescriptorType=chapter9.ENDPOINT, bEndpointAddress=e.address,
            bmAttributes=e.attributes, wMaxPacketSize=e.max_packet, bInterval=e.interval,
            bRefresh=0, bSynchAddress=0, extra_descriptors=array.array("B", e.extra),
        )  # fmt: skip

    def open_device(self, dev: usbip.Device) -> usbip_client.Imported:
        try:
            imported = usbip_client.import_device(self._host, self._port, dev.bus_id, self._now)
        except TransportError as error:
            raise translated(error) from error
        if imported.device.device_id != dev.device_id:
            imported.close()
            raise USBError("the device was replaced by another one", None, errno.ENODEV)
        with self._lock:
            self._held[dev.device_id] = imported
        return imported

    def close_device(self, dev_handle: usbip_client.Imported) -> None:
        dev_handle.close()
        with self._lock:
            if self._held.get(dev_handle.device.device_id) is dev_handle:
                del self._held[dev_handle.device.device_id]

    def set_configuration(self, dev_handle: usbip_client.Imported, config_value: int) -> None:
        control(dev_handle, TO_DEVICE_OUT, chapter9.SET_CONFIGURATION, config_value, 0)

    def get_configuration(self, dev_handle: usbip_client.Imported) -> int:
        answer = control(dev_handle, TO_DEVICE_IN, chapter9.GET_CONFIGURATION, 0, 0, room=1)
        return answer[0] if answer else 0

    def set_interface_altsetting(
        self, dev_handle: usbip_client.Imported, intf: int, altsetting: int
    ) -> None:
        control(dev_handle, TO_INTERFACE_OUT, chapter9.SET_INTERFACE, altsetting, intf)

    def claim_interface(self, dev_handle: usbip_client.Imported, intf: int) -> None:
        """Nothing to do: an import is exclusive."""

    def release_interface(self, dev_handle: usbip_client.Imported, intf: int) -> None:
        """Nothing to do: an import is exclusive."""

    def bulk_write(
        self,
        dev_handle: usbip_client.Imported,
        ep: int,
        intf: int,
        data: array.array[int],
        timeout: int,
    ) -> int:
        raw = data.tobytes()
        return transfer(dev_handle, ep, len(raw), timeout, data=raw).length

    def bulk_read(
        self,
        dev_handle: usbip_client.Imported,
        ep: int,
        intf: int,
        buff: array.array[int],
        timeout: int,
    ) -> int:
        received = transfer(dev_handle, ep, len(buff) * buff.itemsize, timeout).data
        buff[: len(received)] = array.array(buff.typecode, received)
        return len(received)

    intr_write = bulk_write
    intr_read = bulk_read

    def iso_write(self, *arguments: Any) -> int:
        raise USBError("isochronous transfers are not supported", None, errno.ENOTSUP)

    iso_read = iso_write

    def ctrl_transfer(
        self,
        dev_handle: usbip_client.Imported,
        bmRequestType: int,  # noqa: N803 - pyusb's names
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: array.array[int],
        timeout: int,
    ) -> int:
        raw = data.tobytes()
        setup = chapter9.Setup(bmRequestType, bRequest, wValue, wIndex, len(raw))
        if not setup.is_in:
            transfer(dev_handle, 0, len(raw), timeout, data=raw, setup=setup)
            return len(raw)
        received = transfer(dev_handle, 0x80, len(raw), timeout, setup=setup).data
        data[: len(received)] = array.array(data.typecode, received)
        return len(received)

    def clear_halt(self, dev_handle: usbip_client.Imported, ep: int) -> None:
        control(dev_handle, TO_ENDPOINT_OUT, chapter9.CLEAR_FEATURE, 0, ep)

    def reset_device(self, dev_handle: usbip_client.Imported) -> None:
        raise USBError("a USB/IP device cannot be reset; open it again", None, errno.ENOTSUP)

    def is_kernel_driver_active(self, dev_handle: usbip_client.Imported, intf: int) -> bool:
        return False

    def detach_kernel_driver(self, dev_handle: usbip_client.Imported, intf: int) -> None:
        """Nothing to do: the device is not the kernel's."""

    def attach_kernel_driver(self, dev_handle: usbip_client.Imported, intf: int) -> None:
        """Nothing to do: the device is not the kernel's."""

    # Descriptors

    def _describe(self, dev: usbip.Device) -> Descriptors:
        key = (dev.bus_id, dev.device_id)
        with self._lock:
            known = self._descriptors.get(key)
            held = self._held.get(dev.device_id)
            broken = self._broken.get(key)
        if known is not None:
            return known
        if broken is not None:
            raise broken[1]
        borrowed = held if held is not None and not held.gone else None
        source = borrowed or usbip_client.import_device(
            self._host, self._port, dev.bus_id, self._now
        )
        try:
            descriptors = read_descriptors(source)
        except USBError as error:
            failure = TransportError(f"it gave no descriptors ({error.strerror or error})")
            with self._lock:
                self._broken[key] = (REST_LISTINGS, failure)
            raise failure from error
        finally:
            if borrowed is None:
                source.close()
        with self._lock:
            self._descriptors[key] = descriptors
        return descriptors

    def _configuration(self, dev: usbip.Device, config: int) -> chapter9.Configuration:
        try:
            configurations = self._describe(dev).configurations
        except TransportError as error:
            raise translated(error) from error
        if not 0 <= config < len(configurations):
            raise IndexError(f"no configuration {config}")
        return configurations[config]

    def _interface(self, dev: usbip.Device, intf: int, alt: int, config: int) -> chapter9.Interface:
        configuration = self._configuration(dev, config)
        number = interface_numbers(configuration)[intf]
        return [i for i in configuration.interfaces if i.number == number][alt]
