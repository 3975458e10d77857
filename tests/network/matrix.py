"""What each way out does about each thing that can stand in it: one table, measured, in docs/operations.md.

python -m tests.network.matrix            # print it
python -m tests.network.matrix --write    # put it into docs/operations.md
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import shutil
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import grpc

from tests.network.clients import CLIENTS, Answers, Client, Ended, OtlpGrpc, OtlpHttp, Streams
from tests.network.peers import (
    KINDS,
    GrpcPeer,
    Peer,
    Play,
    dead_address,
    good,
    grpc_credentials,
    names,
)
from tests.support.authority import Authority
from tests.support.peers import free_port, nginx_in

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN, END = "<!-- table: python -m tests.network.matrix --write -->", "<!-- end of table -->"


class Stage:
    """A folder, and authorities that are made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authorities: dict[str, Authority] = {}

    def authority(self, name: str) -> Authority:
        if name not in self._authorities:
            self._authorities[name] = Authority(self.folder / name, name)
        return self._authorities[name]

    @contextlib.contextmanager
    def serving(
        self, client: Client, *, tls: str = "", clients: str = "", host: str = "127.0.0.1", port: int = 0
    ) -> Iterator[str]:
        """A peer of the client's protocol where all is well; gives its URL. ``tls`` is who issued its certificate,
        ``clients`` who must have issued its clients'."""
        scheme = "https" if tls else "http"
        shown = f"[{host}]" if ":" in host else host
        wanted = self.authority(clients) if clients else None
        if client.grpc:
            credentials = grpc_credentials(self.authority(tls), wanted) if tls else None
            with GrpcPeer(host=host, port=port, credentials=credentials) as server:
                yield f"{scheme}://{shown}:{server.port}"
            return
        context = self.authority(tls).server(clients=wanted.ca if wanted else None) if tls else None
        with Peer(host=host, port=port, tls=context) as peer:
            yield f"{scheme}://{shown}:{peer.port}"


def told(ended: Ended, well: str) -> str:
    """A cell: ``well`` where it works, else what it is counted as and whether it is tried again."""
    if ended.how == "works":
        return well
    return f"`{ended.how}`, {ended.then}"


Cell = Callable[[Client, Stage], str]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line: what stands in the way, and how to see what a client does about it."""

    title: str
    cell: Cell


# -- proxies


def _through(variables: Mapping[str, str], tls: str = "") -> Cell:
    """Whether a proxy carries the request: ``{proxy}`` and ``{target}`` in the variables are what they are called."""

    def cell(client: Client, stage: Stage) -> str:
        with stage.serving(client, tls=tls) as url, Peer() as proxy:
            given = {"proxy": f"http://127.0.0.1:{proxy.port}", "target": url.rpartition("/")[2]}
            env = {name: value.format(**given) for name, value in variables.items()}
            if tls:
                env["SSL_CERT_FILE"] = str(stage.authority(tls).ca)
            ended = client.attempt(url, env)
            return told(ended, "through the proxy" if proxy.requests else "directly")

    return cell


def _past(client: Client, stage: Stage) -> str:
    cells = {
        form: _through({"HTTP_PROXY": "{proxy}", "NO_PROXY": form})(client, stage)
        for form in ("*", "127.0.0.1", "127.0.0.0/8", "{target}", "http://127.0.0.1", "other.test, 127.0.0.1")
    }
    return " or ".join(dict.fromkeys(cells.values()))


# -- certificates


def _trusting(variable: str) -> Cell:
    def cell(client: Client, stage: Stage) -> str:
        authority = stage.authority("ours")
        folder = stage.folder / "certificates"
        folder.mkdir(exist_ok=True)
        shutil.copy(authority.ca, folder / "one.crt")
        shutil.copy(stage.authority("another").ca, folder / "two.crt")
        value = {"SSL_CERT_FILE": str(authority.ca), "SSL_CERT_DIR": str(folder)}.get(variable)
        with stage.serving(client, tls="ours") as url:
            return told(client.attempt(url, {variable: value} if value else {}, 15.0), "trusted")

    return cell


def _own_ca(client: Client, stage: Stage) -> str:
    env = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(stage.authority("ours").ca)}
    env["SSL_CERT_FILE"] = str(stage.authority("another").ca)
    with stage.serving(client, tls="ours") as url:
        return told(client.attempt(url, env, 15.0), "trusted")


def _client_certificate(client: Client, stage: Stage) -> str:
    certificate, key = stage.authority("theirs").issue("client")
    env = {"SSL_CERT_FILE": str(stage.authority("ours").ca)}
    env["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"], env["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = str(certificate), str(key)
    with stage.serving(client, tls="ours", clients="theirs") as url:
        ended = client.attempt(url, env, 15.0)
    return told(ended, "shown") if ended.how == "works" or isinstance(client, OtlpHttp | OtlpGrpc) else "has none"


def _rotation(client: Client, stage: Stage) -> str:
    ours = stage.folder / f"rotated-{client.title}.pem"
    shutil.copy(stage.authority("another").ca, ours)
    first: list[Ended] = []

    def rotate(ended: Ended) -> None:
        first.append(ended)
        shutil.copy(stage.authority("ours").ca, ours)

    with stage.serving(client, tls="ours") as url:
        ended = client.attempt(url, {"SSL_CERT_FILE": str(ours)}, 15.0, rotate)
    assert first[0].how != "works"
    return told(ended, "trusted at the next try")


# -- addresses


def _dead_first(client: Client, stage: Stage) -> str:
    port = free_port()
    with (
        dead_address(port),
        stage.serving(client, port=port),
        names({"two.test": ["127.0.0.2", "127.0.0.1"]}),
    ):
        started = time.monotonic()
        if client.grpc:  # its core asks the name service itself: both addresses are given to it
            url = f"ipv4:127.0.0.2:{port},127.0.0.1:{port}"
            ended = client.attempt(url, {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, 10.0)
        else:
            ended = client.attempt(f"http://two.test:{port}", {}, 10.0)
        quick = time.monotonic() - started < 8
    return told(ended, "by the next address" if quick else "late")


def _ipv6(client: Client, stage: Stage) -> str:
    with stage.serving(client, host="::1") as url:
        return told(client.attempt(url, {}), "works")


# -- answers


def _answered(play: Play, well: str, seconds: float = 15.0, then: Callable[[Ended], object] | None = None) -> Cell:
    def cell(client: Client, _: Stage) -> str:
        with Peer(play) as peer:
            return told(client.attempt(f"http://127.0.0.1:{peer.port}", {}, seconds, then), well)

    return cell


def _dripping(head: bytes, drop: bytes) -> Play:
    def play(connection: socket.socket, path: str) -> None:
        connection.sendall(head.replace(b"KIND", KINDS[path][0].encode()))
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return play


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: KIND\r\n"
slow_head = _dripping(b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n")
slow_body = _dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b":\n")


def redirect(connection: socket.socket, path: str) -> None:
    connection.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: https://login.example/?token=secret\r\nContent-Length: 0\r\n\r\n"
    )


def reset(connection: socket.socket, path: str) -> None:
    raise ConnectionError("hung up")


def endless_head(connection: socket.socket, path: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(128):
        connection.sendall(b"X-More: " + b"y" * (1 << 20) + b"\r\n")


def endless_body(connection: socket.socket, path: str) -> None:
    kind = KINDS.get(path, KINDS["/conversation"])[0].encode()
    connection.sendall(HEAD.replace(b"KIND", kind) + b"Content-Length: 134217728\r\n\r\n")
    for _ in range(128):
        connection.sendall(b"data: " + b"x" * ((1 << 20) - 6))


def bomb(connection: socket.socket, path: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(b"x" * (1 << 20)) for _ in range(128)) + packer.flush()
    good(connection, path if path in KINDS else "/conversation", "Content-Encoding: gzip", body=packed)


def _coded(coding: str, encode: Callable[[bytes], bytes]) -> Play:
    def play(connection: socket.socket, path: str) -> None:
        good(connection, path, f"Content-Encoding: {coding}", body=encode(KINDS[path][1]))

    return play


def _members(body: bytes) -> bytes:
    return gzip.compress(body[:9]) + gzip.compress(body[9:])


def _named(cell: Cell, words: str, play: Play, well: str) -> Cell:
    """``cell``, and that what is said of it holds these words and nothing secret."""

    def named(client: Client, stage: Stage) -> str:
        with Peer(play) as peer:
            ended = client.attempt(f"http://127.0.0.1:{peer.port}", {})
        assert "secret" not in ended.said, ended
        return cell(client, stage) + (", named" if words in ended.said else "")

    return named


def _hung_up_between(client: Client, stage: Stage) -> str:
    """The first answer is good; then the server closes the connection that was kept, as it is used again."""
    if isinstance(client, Streams):
        return "keeps none"
    if client.grpc:
        return _goaway(client)
    asked: list[str] = []

    def play(connection: socket.socket, path: str) -> None:
        asked.append(path)
        if len(asked) == 2:
            raise ConnectionError("hung up")
        good(connection, path)

    cell = _answered(play, "repeated at once", then=lambda _: None)
    text = cell(client, stage)
    assert len(asked) == 3
    return text


def _goaway(client: Client) -> str:
    """A real server that ends each connection after a moment, with GOAWAY."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(GrpcPeer(port=port))

        def restart(_: Ended) -> None:
            first.__exit__()
            stack.enter_context(GrpcPeer(port=port))

        ended = client.attempt(f"http://127.0.0.1:{port}", {}, 15.0, restart)
    return told(ended, "connects again")


def _grpc(play: Callable[[grpc.ServicerContext], bytes], well: str, seconds: float = 15.0) -> Cell:
    def cell(client: Client, _: Stage) -> str:
        with GrpcPeer(play) as server:
            return told(client.attempt(f"http://127.0.0.1:{server.port}", {}, seconds), well)

    return cell


def _hang(context: grpc.ServicerContext) -> bytes:
    deadline = time.monotonic() + 3
    while context.is_active() and time.monotonic() < deadline:
        time.sleep(0.02)
    return b""


def _head_only(context: grpc.ServicerContext) -> bytes:
    context.send_initial_metadata((("x-more", "y"),))
    return _hang(context)


def _compressed(context: grpc.ServicerContext) -> bytes:
    context.set_compression(grpc.Compression.Gzip)
    return b""


def _nginx(answer: str) -> Cell:
    """What gRPC makes of a web server's answer: nginx speaks HTTP/2 on this port."""

    def cell(client: Client, stage: Stage) -> str:
        port = free_port()
        server = f"server {{ listen 127.0.0.1:{port} http2; location / {{ {answer} }} }}"
        with nginx_in(stage.folder / f"nginx-{port}", server):
            return told(client.attempt(f"http://127.0.0.1:{port}", {}), "taken")

    return cell


def _aborting(client: Client, _: Stage) -> str:
    with Peer(reset) as peer:
        return told(client.attempt(f"http://127.0.0.1:{peer.port}", {}, 15.0), "")


def _by(http: Cell, over_grpc: Cell) -> Cell:
    return lambda client, stage: (over_grpc if client.grpc else http)(client, stage)


def _none(client: Client, stage: Stage) -> str:
    return "–"


def _only_otlp(cell: Cell) -> Cell:
    return lambda client, stage: "–" if isinstance(client, Streams | Answers) else cell(client, stage)


def _oversize(play: Play) -> Cell:
    def cell(client: Client, stage: Stage) -> str:
        text = _answered(play, "taken, 64 KiB read", seconds=20.0)(client, stage)
        if isinstance(client, Streams):
            assert text.startswith("`oversize`"), text
            return "the event is dropped"
        return text

    return cell


def _body_of(client: Client, stage: Stage) -> str:
    """A stream's body may take as long as it likes, as long as something comes."""
    if isinstance(client, Streams):
        text = _answered(slow_body, "", seconds=1.5)(client, stage)
        assert text.startswith("`idle`"), text  # the test's own patience
        return "read as it comes"
    return _answered(slow_body, "", seconds=0.6)(client, stage)


ROWS = (
    Row("`HTTP_PROXY`, target `http://`", _through({"HTTP_PROXY": "{proxy}"})),
    Row("`HTTPS_PROXY`, target `https://`", _through({"HTTPS_PROXY": "{proxy}"}, "ours")),
    Row("`ALL_PROXY`", _through({"all_proxy": "{proxy}"})),
    Row("`HTTP_PROXY`, target `https://`", _through({"HTTP_PROXY": "{proxy}"}, "ours")),
    Row("`NO_PROXY`: `*`, the address, its network, with a port, with a scheme, in a list", _past),
    Row(
        "`NO_PROXY` of others (`10.0.0.0/8`, `fd00::/8`, `.other.test`)",
        _through({"HTTP_PROXY": "{proxy}", "NO_PROXY": "10.0.0.0/8,fd00::/8,.other.test"}),
    ),
    Row("an authority nobody named", _trusting("nothing")),
    Row("`SSL_CERT_FILE`", _trusting("SSL_CERT_FILE")),
    Row("`SSL_CERT_DIR`", _trusting("SSL_CERT_DIR")),
    Row("`OTEL_EXPORTER_OTLP_CERTIFICATE`, over `SSL_CERT_FILE`", _only_otlp(_own_ca)),
    Row("a client certificate is wanted", _client_certificate),
    Row("the authority's file is replaced", _rotation),
    Row("the first address is dead", _dead_first),
    Row("an IPv6 literal", _ipv6),
    Row(
        "a redirect",
        _by(_named(_answered(redirect, ""), "redirect to login.example", redirect, ""), _nginx("return 302 /x;")),
    ),
    Row(
        "a page of HTML, status 200",
        _by(
            _answered(lambda c, p: c.sendall(_PAGE), "taken"),
            _nginx("default_type text/html; return 200 '<html>';"),
        ),
    ),
    Row("413 of a proxy in front", _by(_answered(lambda c, p: c.sendall(_TOO_LARGE), ""), _nginx("return 413;"))),
    Row("an interim answer (103) before the real one", _by(lambda c, s: _answered(_early, "skipped")(c, s), _none)),
    Row("the head drips", _by(_answered(slow_head, "", seconds=0.6), _grpc(_hang, "", 0.6))),
    Row("the body drips", _by(_body_of, _grpc(_head_only, "", 0.6))),
    Row("hung up without an answer", _by(_answered(reset, ""), _aborting)),
    Row("a kept connection is closed as it is used again", _hung_up_between),
    Row(
        "gzip that nobody asked for", _by(_answered(_coded("gzip", gzip.compress), "read"), _grpc(_compressed, "read"))
    ),
    Row("gzip in members, x-gzip", _by(_answered(_coded("x-gzip", _members), "read"), _none)),
    Row("deflate", _by(_answered(_coded("deflate", zlib.compress), "read"), _none)),
    Row("br, zstd", _by(lambda c, s: _named(_answered(_brotli, "taken, unread"), "br,", _brotli, "")(c, s), _none)),
    Row("128 MB of head", _by(_answered(endless_head, ""), _none)),
    Row("128 MB of body", _by(_oversize(endless_body), _grpc(lambda _: bytes(5 << 20), ""))),
    Row("128 MB out of 125 kB of gzip", _by(_oversize(bomb), _none)),
)
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
_TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
_brotli = _coded("br", lambda body: b"\x8b\x03\x80" + body)


def _early(connection: socket.socket, path: str) -> None:
    connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    good(connection, path)


def measured(rows: tuple[Row, ...] = ROWS) -> dict[str, list[str]]:
    """The cells, row by row."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        return {row.title: [row.cell(client, stage) for client in CLIENTS] for row in rows}


def markdown(cells: Mapping[str, list[str]]) -> str:
    """The table for the documentation."""
    lines = [f"| | {' | '.join(client.title for client in CLIENTS)} |", "|---|" + "---|" * len(CLIENTS)]
    lines += [f"| {title} | {' | '.join(row)} |" for title, row in cells.items()]
    return "\n".join(lines)


def written() -> str:
    """The table as the documentation has it."""
    return DOCUMENT.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    table = markdown(measured())
    sys.stdout.write(f"{table}\n")
    if "--write" in sys.argv[1:]:
        before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
