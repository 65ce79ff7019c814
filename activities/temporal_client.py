"""Connecting to Temporal."""

from temporalio.client import Client, TLSConfig
from temporalio.contrib.pydantic import pydantic_data_converter

from domain.settings import Settings


async def connect(settings: Settings, *, lazy: bool = False) -> Client:
    """A client of the settings' namespace. `lazy` connects on first use, so that a process can start before Temporal.

    Raises `RuntimeError` if the server cannot be reached.
    """
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=pydantic_data_converter,
        tls=_tls(settings),
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
        lazy=lazy,
    )


def _tls(settings: Settings) -> TLSConfig | bool:
    if not settings.temporal_tls or settings.temporal_tls_ca_file is None:
        return settings.temporal_tls
    return TLSConfig(server_root_ca_cert=settings.temporal_tls_ca_file.read_bytes())
