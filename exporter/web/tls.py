"""From ``tls_server_config`` to a context of OpenSSL."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from exporter.errors import ConfigError
from exporter.strict_yaml import read_bounded
from exporter.web.web_config import CIPHERS, CURVES, Pem, TlsServer

__all__ = ["remarks", "server_context"]

_VERSIONS = MappingProxyType(
    {
        "TLS10": ssl.TLSVersion.TLSv1,
        "TLS11": ssl.TLSVersion.TLSv1_1,
        "TLS12": ssl.TLSVersion.TLSv1_2,
        "TLS13": ssl.TLSVersion.TLSv1_3,
    }
)
MAX_PEM_BYTES = 4 << 20


def server_context(tls: TlsServer, *, clients_may_stay_unknown: bool = False) -> ssl.SSLContext:
    """A context that serves as ``tls`` asks. Raises ConfigError when a file cannot be used.

    With ``clients_may_stay_unknown`` a client without a certificate gets through the handshake even under
    RequireAndVerifyClientCert, because the path decides (the webhook's sender has none); what is presented is
    verified all the same.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _choose_versions_and_ciphers(context, tls)
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.curve_preferences:
        context.set_ecdh_curve(CURVES[tls.curve_preferences[0]])
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, tls)
    _ask_for_client_certificates(context, tls, clients_may_stay_unknown)
    return context


def remarks(tls: TlsServer) -> list[str]:
    """What an operator should know because it differs from Prometheus."""
    found = []
    if len(tls.curve_preferences) > 1:
        found.append(f"curve_preferences: only {tls.curve_preferences[0]} is offered, OpenSSL is given one curve here")
    if tls.client_auth == "RequestClientCert":
        found.append("client_auth_type: RequestClientCert checks nothing, so no client certificate is asked for")
    return found


def _choose_versions_and_ciphers(context: ssl.SSLContext, tls: TlsServer) -> None:
    lowest, highest = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    wanted = [name for suite in tls.cipher_suites if (name := CIPHERS[suite])]
    if tls.cipher_suites and not wanted:
        if highest is not ssl.TLSVersion.TLSv1_3:
            raise ConfigError("web.config_file", f"tls_server_config: no cipher_suites are left for {tls.max_version}")
        lowest = ssl.TLSVersion.TLSv1_3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 only because the operator says so
        context.minimum_version, context.maximum_version = lowest, highest
    ancient = lowest < ssl.TLSVersion.TLSv1_2
    if wanted or ancient:
        # OpenSSL 3 offers TLS before 1.2 at security level 0 only.
        context.set_ciphers(":".join(wanted or ["DEFAULT"]) + (":@SECLEVEL=0" if ancient else ""))


def _load_certificate(context: ssl.SSLContext, tls: TlsServer) -> None:
    where = f"{tls.cert.path or 'cert'} and {tls.key.path or 'key'}"
    for pem, name in ((tls.cert, "cert_file"), (tls.key, "key_file")):
        if pem.path is not None:
            _read(pem, name)
    with _as_file(tls.cert) as cert, _as_file(tls.key) as key:
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigError("web.config_file", f"{where}: not a usable pair: {_reason(error)}") from None


def _no_password() -> str:
    return ""


def _ask_for_client_certificates(context: ssl.SSLContext, tls: TlsServer, may_stay_unknown: bool) -> None:
    if tls.client_auth == "RequireAndVerifyClientCert":
        context.verify_mode = ssl.CERT_OPTIONAL if may_stay_unknown else ssl.CERT_REQUIRED
    elif tls.client_auth == "VerifyClientCertIfGiven":
        context.verify_mode = ssl.CERT_OPTIONAL
    else:
        return
    if tls.client_ca is None:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        context.load_verify_locations(cadata=_read(tls.client_ca, "client_ca_file"))
    except (ssl.SSLError, ValueError) as error:
        where = tls.client_ca.path or "client_ca"
        raise ConfigError("web.config_file", f"{where}: holds no usable certificate: {_reason(error)}") from None


def _read(pem: Pem, name: str) -> str:
    if pem.path is None:
        return pem.text
    try:
        return read_bounded(pem.path, MAX_PEM_BYTES).decode("ascii", "replace")
    except ConfigError as error:
        raise ConfigError("web.config_file", f"tls_server_config.{name}: {error}") from None


@contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """A path OpenSSL can open; text of the configuration is lent from memory and touches no disk."""
    if pem.path is not None:
        yield str(pem.path)
        return
    handle = os.memfd_create("pem")
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(pem.text.encode())
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or "not PEM"
