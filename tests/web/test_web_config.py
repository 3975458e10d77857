"""Prometheus' web configuration file: the same files accepted, the same refused, and what they ask for done."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import bcrypt
import httpx
import pytest
import uvloop
from structlog.testing import capture_logs

from exporter.errors import ConfigError
from exporter.web import Limits, WebConfigFile
from exporter.web.access import TokenBucket, certificate_names
from exporter.web.passwords import PLACES_PER_NETWORK, Passwords
from exporter.web.web_config import RateLimit, read_web_config
from tests.certificates import Certificates
from tests.support.peers import need_program, needs
from tests.webserver import Backstage, Site, file_in, site, until

needs_promtool = needs("promtool")

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need_program("openssl")
    return Certificates(tmp_path_factory.mktemp("certificates"))


TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"


ACCEPTED = {
    "nothing": "",
    "a comment": "# nothing\n",
    "empty sections": "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "tls": TLS + "}",
    "tls, every version": TLS + ", min_version: TLS10, max_version: TLS13}",
    "tls 1.3 only": TLS + ", min_version: TLS13}",
    "ciphers": TLS + ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]}",
    "old ciphers": TLS + ", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]}",
    "ciphers of 1.3 alone": TLS + ", cipher_suites: [TLS_CHACHA20_POLY1305_SHA256]}",
    "no ciphers": TLS + ", cipher_suites: []}",
    "curves": TLS + ", curve_preferences: [CurveP256, X25519, CurveP521, CurveP384]}",
    "preference": TLS + ", prefer_server_cipher_suites: false}",
    "preference as yes": TLS + ", prefer_server_cipher_suites: yes}",
    "no client certificates": TLS + ", client_auth_type: NoClientCert}",
    "asking for client certificates": TLS + ", client_auth_type: RequestClientCert}",
    "verifying client certificates": TLS + ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}",
    "requiring client certificates": TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}",
    "requiring, of the system's authorities": TLS + ", client_auth_type: RequireAndVerifyClientCert}",
    "settings of tls without tls": "tls_server_config: {min_version: TLS13, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
    "http2 off": "http_server_config: {http2: false}",
    "http2 on": "http_server_config: {http2: on}",
    "headers": """
http_server_config:
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1; mode=block
    Strict-Transport-Security: max-age=31536000
""",
    "an empty header": "http_server_config: {headers: {X-XSS-Protection: ''}}",
    "users": f"basic_auth_users: {{alice: {HASH}, bob: '{HASH.replace('$2b$', '$2y$')}', 'c d': '{HASH}'}}",
    "a hash of Go": f"basic_auth_users: {{alice: {HASH.replace('$2b$', '$2a$')}}}",
    "users whose names are numbers": f"basic_auth_users: {{1: {HASH}, true: {HASH}}}",
    "anchors": f"basic_auth_users: {{a: &h {HASH}, b: *h}}",
}
REFUSED = {
    "an unknown key": "tls: {}",
    "an unknown key of tls": "tls_server_config: {cert: {}}",
    "an unknown key of http": "http_server_config: {http3: true}",
    "a list": "- a",
    "text": "text",
    "a key twice": "basic_auth_users: {}\nbasic_auth_users: {}",
    "a user twice": f"basic_auth_users: {{a: {HASH}, a: {HASH}}}",
    "a certificate without key": "tls_server_config: {cert_file: server.crt}",
    "a key without certificate": "tls_server_config: {key_file: server.key}",
    "a client policy without certificate": "tls_server_config: {client_auth_type: RequireAndVerifyClientCert}",
    "client authorities without certificate": "tls_server_config: {client_ca_file: ca.crt}",
    "a certificate that is not there": "tls_server_config: {cert_file: no.crt, key_file: server.key}",
    "a key that is not there": "tls_server_config: {cert_file: server.crt, key_file: no.key}",
    "a certificate that is none": "tls_server_config: {cert_file: web.yml, key_file: server.key}",
    "a key of another certificate": "tls_server_config: {cert_file: server.crt, key_file: client.key}",
    "an encrypted key": "tls_server_config: {cert_file: server.crt, key_file: locked.key}",
    "client authorities that are not there": TLS + ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: no}",
    "client authorities without a policy": TLS + ", client_ca_file: ca.crt}",
    "a policy that is none": TLS + ", client_auth_type: Sometimes}",
    "a version that is none": TLS + ", min_version: TLS14}",
    "SSL": TLS + ", max_version: SSL30}",
    "a cipher that is none": TLS + ", cipher_suites: [ROT13]}",
    "an insecure cipher": TLS + ", cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
    "OpenSSL's name of a cipher": TLS + ", cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256]}",
    "ciphers that are no list": TLS + ", cipher_suites: TLS_AES_128_GCM_SHA256}",
    "a curve that is none": TLS + ", curve_preferences: [CurveP512]}",
    "a preference that is none": TLS + ", prefer_server_cipher_suites: 'true'}",
    "http2 as text": "http_server_config: {http2: maybe}",
    "a header that may not be set": "http_server_config: {headers: {Server: x}}",
    "a header in other case": "http_server_config: {headers: {x-frame-options: deny}}",
    "a value X-Frame-Options does not have": "http_server_config: {headers: {X-Frame-Options: allow}}",
    "a value X-Content-Type-Options does not have": "http_server_config: {headers: {X-Content-Type-Options: ''}}",
    "a password in the clear": "basic_auth_users: {alice: secret}",
    "an empty password": "basic_auth_users: {alice: }",
    "users that are a list": f"basic_auth_users: [{HASH}]",
    "a hash of too low a cost": f"basic_auth_users: {{alice: {HASH.replace('$04$', '$03$')}}}",
    "a hash of too high a cost": f"basic_auth_users: {{alice: {HASH.replace('$04$', '$32$')}}}",
    "broken yaml": "tls_server_config: {",
    "not text": b"\xff\xfe\x00",
}
ONLY_WE_REFUSE = {
    # promtool takes these; with Prometheus nobody could come in, or anybody, or not what stands there would happen.
    "versions the wrong way round": (TLS + ", min_version: TLS13, max_version: TLS12}", "nobody could connect"),
    "ciphers of 1.3 for 1.2": (
        TLS + ", max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
        "no cipher_suites",
    ),
    "any certificate": (TLS + ", client_auth_type: RequireAnyClientCert}", "whoever made it"),
    "any certificate, by its old name": (TLS + ", client_auth_type: RequireClientCert}", "whoever made it"),
    "authorities that are none": (
        TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: web.yml}",
        "holds no usable certificate",
    ),
    "half a hash": (f"basic_auth_users: {{alice: {HASH[:-1]}}}", "must be a bcrypt hash"),
    "a hash and more": (f"basic_auth_users: {{alice: {HASH}x}}", "must be a bcrypt hash"),
    "a second document": ("http_server_config: {}\n---\nbasic_auth_users: {a: b}", "a second document"),
}
ONLY_NEWER_PROMTOOL_KNOWS = {
    "inline certificates": "",  # filled in below, from the real ones
    "names of clients": TLS
    + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt, client_allowed_sans: [a.example]}",
    "a rate limit": "rate_limit: {interval: 1s, burst: 20}",
    "no rate limit": "rate_limit: {interval: 0, burst: 0}",
}


def promtool_accepts(file: Path) -> bool:
    return subprocess.run(["promtool", "check", "web-config", file], capture_output=True).returncode == 0


@pytest.mark.parametrize("name", ACCEPTED)
@needs_promtool
def test_what_promtool_accepts_works_here(certificates: Certificates, name: str) -> None:
    file = file_in(certificates.directory, ACCEPTED[name])
    assert promtool_accepts(file)
    WebConfigFile(file)


@pytest.mark.parametrize("name", REFUSED)
@needs_promtool
def test_what_promtool_refuses_is_refused_here(certificates: Certificates, name: str) -> None:
    subprocess.run(
        ["openssl", "ec", "-in", "server.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"],
        cwd=certificates.directory,
        check=True,
        capture_output=True,
    )
    file = file_in(certificates.directory, REFUSED[name])
    assert not promtool_accepts(file)
    with pytest.raises(ConfigError) as error:
        WebConfigFile(file)
    assert error.value.key == "web.config_file"
    assert ".yml" in str(error.value) or "server.crt" in str(error.value) or "cert" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ONLY_WE_REFUSE)
@needs_promtool
def test_what_promtool_accepts_but_could_not_work_is_refused_with_the_reason(
    certificates: Certificates, name: str
) -> None:
    text, says = ONLY_WE_REFUSE[name]
    file = file_in(certificates.directory, text)
    assert promtool_accepts(file)
    with pytest.raises(ConfigError, match=says):
        WebConfigFile(file)


def inline(certificates: Certificates) -> str:
    parts = {"cert": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    body = "".join(f"  {key}: |\n{certificates.text(file)}" for key, file in parts.items())
    return f"tls_server_config:\n{body}  client_auth_type: RequireAndVerifyClientCert\n"


@pytest.mark.parametrize("name", ONLY_NEWER_PROMTOOL_KNOWS)
def test_keys_that_newer_releases_of_prometheus_have_work_here(certificates: Certificates, name: str) -> None:
    text = ONLY_NEWER_PROMTOOL_KNOWS[name] or inline(certificates)
    WebConfigFile(file_in(certificates.directory, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TLS + ", client_allowed_sans: [x]}", "needs client_auth_type"),
        ("rate_limit: {interval: 1s}", "burst: must be at least 1"),
        ("rate_limit: {interval: soon}", "interval: must be a duration"),
        ("tls_server_config: {cert_file: [a]}", "cert_file: must be text"),
        ("tls_server_config: 5", "must be a mapping"),
    ],
)
def test_an_error_names_file_line_and_key(certificates: Certificates, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"web\.config_file: .*web\.yml: line 1: ") as error:
        WebConfigFile(file_in(certificates.directory, text))
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        WebConfigFile(tmp_path / "web.yml")


def test_no_hash_is_shown(tmp_path: Path) -> None:
    config = read_web_config(file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))
    assert HASH[10:] not in repr(config)


# What the file asks for, over the wire.


async def status(at: Site, path: str = "/-/healthy", **options: object) -> int:
    return (await at.client.get(path, **options)).status_code  # type: ignore[arg-type]  # httpx options of one test


async def test_users_come_in_with_their_password_and_nobody_else(tmp_path: Path) -> None:
    file = file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}, 'ü:': {HASH}}}")
    async with site(config_file=file) as at:
        assert await status(at) == 401
        assert await status(at, auth=("alice", "secret")) == 200
        assert await status(at, auth=("alice", "secret")) == 200
        assert await status(at, auth=("alice", "Secret")) == 401
        assert await status(at, auth=("bob", "secret")) == 401
        assert await status(at, auth=("", "")) == 401
        assert await status(at, auth=("alice", "x" * 5_000)) == 401
        challenge = (await at.client.get("/")).headers["WWW-Authenticate"]
        assert challenge.startswith("Basic ")


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !", "Basic YQ==", "Bearer x", "basic " + "A" * 4000, "Basic /////w=="]
)
async def test_a_strange_authorization_is_refused(tmp_path: Path, header: str) -> None:
    file = file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}}}")
    async with site(config_file=file) as at:
        assert await status(at, headers={"Authorization": header}) == 401


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/calls", "/nothing", "/webhooks/atoms/"]
)
async def test_every_path_but_the_webhook_is_protected(tmp_path: Path, path: str) -> None:
    file = file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}}}")
    async with site(config_file=file) as at:
        assert await status(at, path) == 401
        assert (await at.client.post("/webhooks/atoms", content=b"x")).status_code == 202


async def test_with_authentication_a_call_can_be_followed_by_request(tmp_path: Path) -> None:
    file = file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}}}")
    async with site(config_file=file) as at:
        wish = {"callId": "CALL-1758124225863-80752e"}
        assert (await at.client.post("/api/v1/calls", json=wish)).status_code == 401
        assert (await at.client.post("/api/v1/calls", json=wish, auth=("alice", "secret"))).status_code == 202


async def test_a_long_password_counts_as_far_as_bcrypt_reads(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    async with site(config_file=file_in(tmp_path, f"basic_auth_users: {{alice: {hashed}}}")) as at:
        assert await status(at, auth=("alice", "x" * 100)) == 200
        assert await status(at, auth=("alice", "x" * 71)) == 401


async def test_a_password_is_checked_once_and_remembered() -> None:
    passwords = Passwords()
    users = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()}
    started = time.perf_counter()
    assert await passwords.right(users, "alice", "secret") is True
    first = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(100):
        assert await passwords.right(users, "alice", "secret") is True
    assert (time.perf_counter() - started) / 100 < first / 10


async def test_guessing_does_not_push_out_a_remembered_password() -> None:
    passwords = Passwords()
    users = {"alice": HASH}
    assert await passwords.right(users, "alice", "secret") is True
    for number in range(250):
        assert await passwords.right(users, "alice", f"guess {number}") is False
    changed = {"alice": bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()}
    assert await passwords.right(changed, "alice", "secret") is False
    assert await passwords.right({}, "alice", "secret") is False


async def test_too_many_guesses_at_once_are_not_queued() -> None:
    passwords = Passwords()
    users = {"alice": HASH}
    answers = await asyncio.gather(*(passwords.right(users, "alice", f"guess {number}") for number in range(60)))
    assert set(answers) == {False, None}
    assert answers.count(False) <= 1 + PLACES_PER_NETWORK, "they came from one network"
    assert await passwords.right(users, "alice", "secret") is True


async def test_who_has_not_guessed_comes_before_all_who_have() -> None:
    hits: list[str] = []
    passwords = Passwords(hits.append)
    users = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(8)).decode()}
    for number in range(100):  # every guesser has failed once
        assert await passwords.right(users, "alice", f"first {number}", f"192.0.2.{number}") is False
    answered: list[str] = []

    async def ask(who: str, password: str) -> bool | None:
        right = await passwords.right(users, "alice", password, who)
        answered.append(who)
        return right

    guessing = [asyncio.ensure_future(ask(f"192.0.2.{number}", f"second {number}")) for number in range(100)]
    await asyncio.sleep(0)  # they wait, and every place is taken
    assert await ask("198.51.100.1", "secret") is True
    checked = [who for who, task in zip(answered, guessing, strict=False) if task.done() and task.result() is False]
    assert len(checked) <= 1, "all but the check that was running came later"
    await asyncio.gather(*guessing)
    assert set(hits) == {"passwords"}


async def test_who_leaves_while_waiting_gives_his_turn_to_the_next() -> None:
    passwords = Passwords()
    users = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(8)).decode()}
    first = asyncio.ensure_future(passwords.right(users, "alice", "guess", "192.0.2.1"))
    leaving = asyncio.ensure_future(passwords.right(users, "alice", "other guess", "192.0.2.2"))
    staying = asyncio.ensure_future(passwords.right(users, "alice", "secret", "192.0.2.3"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is True
    assert await first is False
    assert await passwords.right(users, "alice", "another", "192.0.2.4") is False


async def test_headers_the_operator_wants_are_on_every_answer_but_the_webhook(tmp_path: Path) -> None:
    text = "http_server_config: {headers: {X-Frame-Options: sameorigin, Strict-Transport-Security: max-age=60}}"
    backstage = Backstage(page=b"x" * 1_000_000)
    async with site(backstage, config_file=file_in(tmp_path, text)) as at:
        for path in ("/", "/metrics", "/nothing"):
            headers = (await at.client.get(path)).headers
            assert headers["X-Frame-Options"] == "sameorigin"
            assert headers["Strict-Transport-Security"] == "max-age=60"
        answer = await at.client.post("/webhooks/atoms", content=b"x")
        assert "Strict-Transport-Security" not in answer.headers


async def test_a_rate_limit_holds_and_leaves_the_webhook_alone(tmp_path: Path) -> None:
    async with site(config_file=file_in(tmp_path, "rate_limit: {interval: 1h, burst: 2}")) as at:
        assert [await status(at) for _ in range(3)] == [200, 200, 429]
        assert (await at.client.post("/webhooks/atoms", content=b"x")).status_code == 202


def test_tokens_come_back_with_time() -> None:
    now = [100.0]
    bucket, limit = TokenBucket(lambda: now[0]), RateLimit(2.0, 2)
    assert [bucket.take(limit) for _ in range(3)] == [True, True, False]
    now[0] += 2
    assert [bucket.take(limit) for _ in range(2)] == [True, False]
    now[0] += 3_600
    assert [bucket.take(limit) for _ in range(3)] == [True, True, False]


async def test_it_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}}}")
    async with site(config_file=file) as at:
        assert await status(at) == 401
        file_in(tmp_path, "basic_auth_users: {}")
        await until(lambda: not at.access.current.users)
        assert await status(at) == 200


def test_a_file_that_became_unusable_changes_nothing_and_is_reported_once(tmp_path: Path) -> None:
    access = WebConfigFile(file_in(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))
    file_in(tmp_path, "basic_auth_users: {alice: plain}")
    with capture_logs() as logs:
        assert [access.changed() for _ in range(3)] == [False, False, False]
    assert access.current.users
    assert len(logs) == 1
    assert "must be a bcrypt hash" in logs[0]["err"]
    (tmp_path / "web.yml").unlink()
    assert access.changed() is False
    file_in(tmp_path, "{}")
    assert access.changed() is True
    assert not access.current.users


@contextlib.asynccontextmanager
async def tls_site(
    certificates: Certificates, more: str = "", client: str | None = None, *, webhook: bool = False
) -> AsyncIterator[Site]:
    file = file_in(certificates.directory, f"{TLS}{more}}}")
    async with site(config_file=file, webhook=webhook, verify=certificates.trusting(client)) as at:
        yield at


async def test_tls_is_served_and_plain_text_is_not(certificates: Certificates) -> None:
    async with tls_site(certificates) as at:
        assert at.web.urls[0].startswith("https://127.0.0.1:")
        assert await status(at) == 200
        async with httpx.AsyncClient(trust_env=False) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://127.0.0.1:{at.port}/-/healthy")


async def test_the_connection_uses_what_the_file_allows(certificates: Certificates) -> None:
    async def agreed(at: Site, **settings: object) -> tuple[str, str]:
        context = certificates.trusting()
        for name, value in settings.items():
            setattr(context, name, value)
        _, writer = await asyncio.open_connection("127.0.0.1", at.port, ssl=context)
        tls = writer.get_extra_info("ssl_object")
        chosen = tls.version(), tls.cipher()[0]
        writer.close()
        return chosen

    async with tls_site(certificates) as at:
        assert (await agreed(at))[0] == "TLSv1.3"
    ciphers = ", max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]"
    async with tls_site(certificates, ciphers) as at:
        assert await agreed(at) == ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305")
    async with tls_site(certificates, ", min_version: TLS13") as at:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await agreed(at, maximum_version=ssl.TLSVersion.TLSv1_2)
    async with tls_site(certificates, ", cipher_suites: [TLS_AES_256_GCM_SHA384]") as at:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await agreed(at, maximum_version=ssl.TLSVersion.TLSv1_2)


async def test_a_curve_the_file_does_not_allow_is_not_used(certificates: Certificates) -> None:
    async with tls_site(certificates, ", curve_preferences: [CurveP384, X25519]") as at:
        for curve, works in (("secp384r1", True), ("prime256v1", False)):
            context = certificates.trusting()
            context.set_ecdh_curve(curve)
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                request = client.get(f"{at.web.urls[0]}/-/healthy")
                if works:
                    assert (await request).status_code == 200
                else:
                    with pytest.raises(httpx.TransportError):
                        await request


REQUIRED = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


async def test_without_a_good_certificate_nobody_comes_in(certificates: Certificates) -> None:
    async with tls_site(certificates, REQUIRED, "client") as at:
        assert await status(at) == 200
        for wrong in (None, "stranger"):
            async with httpx.AsyncClient(verify=certificates.trusting(wrong), trust_env=False) as other:
                with pytest.raises(httpx.TransportError):
                    await other.get(f"{at.web.urls[0]}/-/healthy")


async def test_the_webhook_needs_no_client_certificate_but_everything_else_does(certificates: Certificates) -> None:
    async with tls_site(certificates, REQUIRED, "client", webhook=True) as at:
        assert await status(at) == 200
        async with httpx.AsyncClient(verify=certificates.trusting(), trust_env=False) as unknown:
            assert (await unknown.post(f"{at.web.urls[0]}/webhooks/atoms", content=b"x")).status_code == 202
            for path in ("/", "/metrics", "/-/healthy", "/api/v1/calls"):
                assert (await unknown.get(f"{at.web.urls[0]}{path}")).status_code == 403
        async with httpx.AsyncClient(verify=certificates.trusting("stranger"), trust_env=False) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"{at.web.urls[0]}/-/healthy")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("prometheus.example", 200),
        ("'spiffe://x/prometheus'", 200),
        ("'2001:db8::1'", 200),
        ("other.example", 403),
        ("", 403),
    ],
)
async def test_only_clients_of_the_named_names_come_in(certificates: Certificates, names: str, expected: int) -> None:
    async with tls_site(certificates, f"{REQUIRED}, client_allowed_sans: [{names}]", "client") as at:
        assert await status(at) == expected


def test_names_of_a_certificate_are_compared_as_go_writes_them() -> None:
    certificate = {
        "subjectAltName": (
            ("DNS", "a.example"),
            ("email", "a@b"),
            ("IP Address", "2001:DB8:0:0:0:0:0:1"),
            ("URI", "spiffe://x"),
            ("DirName", ((("commonName", "x"),),)),
        )
    }
    assert certificate_names(certificate) == {"a.example", "a@b", "2001:db8::1", "spiffe://x"}
    assert certificate_names({}) == set()


async def test_certificates_in_the_file_itself_work(certificates: Certificates) -> None:
    file = file_in(certificates.directory, inline(certificates))
    async with site(config_file=file, verify=certificates.trusting("client")) as at:
        assert await status(at) == 200


async def serial(certificates: Certificates, port: int) -> str:
    context = certificates.trusting()
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return str(certificate["serialNumber"])


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 20
    while not await true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def renewal(certificates: Certificates, directory: Path) -> None:
    for name in ("server.crt", "server.key"):
        shutil.copy(certificates.directory / name, directory / name)
    async with site(config_file=file_in(directory, TLS + "}"), verify=certificates.trusting()) as at:
        assert await status(at) == 200
        before = await serial(certificates, at.port)
        certificates.sign("renewed", "DNS:localhost,IP:127.0.0.1", "serverAuth")
        shutil.copy(certificates.directory / "renewed.key", directory / "server.key")
        await asyncio.to_thread(at.access.changed)  # for a moment key and certificate are no pair
        assert await serial(certificates, at.port) == before
        shutil.copy(certificates.directory / "renewed.crt", directory / "server.crt")

        async def renewed() -> bool:
            return await serial(certificates, at.port) != before

        await eventually(renewed)
        assert await status(at) == 200  # over the connection from before
        file_in(directory, "{}")
        async with httpx.AsyncClient(trust_env=False) as plain:
            await eventually(lambda: answers(plain, f"http://127.0.0.1:{at.port}/-/healthy"))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_renewed_certificate_is_served_without_a_restart(
    certificates: Certificates, tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(renewal(certificates, tmp_path))


async def test_who_connects_and_never_shakes_hands_is_sent_away(certificates: Certificates) -> None:
    file = file_in(certificates.directory, TLS + "}")
    limits = Limits(handshake_seconds=0.1)
    async with site(config_file=file, verify=certificates.trusting(), limits=limits) as at:
        reader, writer = await at.raw()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        assert await status(at) == 200
