"""A certificate authority for tests: as many as wanted, each with servers and clients of its own."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.support.peers import need_program

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


class Authority:
    """One authority in a folder of its own; ``ca`` is its certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl = need_program("openssl")
        self._folder = folder
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        extensions = [
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]
        self._run("req", "-x509", *_CURVE, "-subj", f"/CN={name}", *extensions, "-keyout", self._key, "-out", self.ca)

    def issue(self, name: str, names: str = "IP:127.0.0.1,IP:::1,DNS:localhost") -> tuple[Path, Path]:
        """A certificate for these alternative names and its key."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        self._run("req", *_CURVE[:-2], "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signed = ["-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-extfile", extensions]
        self._run("x509", "-req", "-in", request, "-out", certificate, *signed)
        return certificate, key

    def server(self, name: str = "server", *, clients: Path | None = None) -> ssl.SSLContext:
        """What a server presents; ``clients``: the authority of the clients it insists on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name))
        if clients is not None:
            context.load_verify_locations(cafile=clients)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _run(self, *arguments: object) -> None:
        subprocess.run([self._openssl, *map(str, arguments)], check=True, capture_output=True)
