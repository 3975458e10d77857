"""Certificates for tests, made by the openssl command."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


class Certificates:
    """A certificate authority of our own, and what it signed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority("ca")
        self._authority("other-ca")
        self.sign("server", "DNS:localhost,IP:127.0.0.1", "serverAuth")
        self.sign("client", "DNS:prometheus.example,URI:spiffe://x/prometheus,IP:2001:db8::1", "clientAuth")
        self.sign("stranger", "DNS:prometheus.example", "clientAuth", by="other-ca")

    def _run(self, *arguments: str, text: str = "") -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=self.directory, input=text.encode(), check=True, capture_output=True
        )

    def _authority(self, name: str) -> None:
        self._run(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"),
        )

    def sign(self, name: str, names: str, usage: str, by: str = "ca") -> None:
        self._run(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\n")
        self._run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-days", "2"),
            *("-extfile", extensions.name, "-out", f"{name}.crt"),
        )

    def trusting(self, client: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.directory / "ca.crt")
        if client is not None:
            context.load_cert_chain(self.directory / f"{client}.crt", self.directory / f"{client}.key")
        return context

    def text(self, file: str, indent: int = 4) -> str:
        return "".join(f"{' ' * indent}{line}\n" for line in (self.directory / file).read_text().splitlines())
