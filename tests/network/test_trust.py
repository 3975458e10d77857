"""Certificates come from files, are refused by name when they cannot be used, and are read again when they change."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.network.trust import CA_VARIABLES, Files, Trust
from tests.support.authority import Authority


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def issuers(trust: Trust) -> list[str]:
    return sorted(str(dict(part[0] for part in ca["subject"])["commonName"]) for ca in trust.context().get_ca_certs())


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder, "one"), Authority(folder, "two")


def test_where_nothing_is_named_the_list_of_certifi_is_trusted() -> None:
    assert len(Trust({}).context().get_ca_certs()) > 50
    assert Trust({}).pem() == (None, None, None)


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_the_environment_names_whom_to_trust(variable: str, authorities: tuple[Authority, Authority]) -> None:
    assert issuers(Trust({variable: str(authorities[0].ca)})) == ["one"]


def test_what_is_named_for_a_peer_wins_over_the_environment(authorities: tuple[Authority, Authority]) -> None:
    one, two = authorities
    assert issuers(Trust({"SSL_CERT_FILE": str(one.ca)}, Files(ca=str(two.ca)))) == ["two"]


def test_a_directory_stands_for_all_its_certificates(tmp_path: Path, authorities: tuple[Authority, Authority]) -> None:
    for number, authority in enumerate(authorities):
        shutil.copy(authority.ca, tmp_path / f"{number}.crt")
    (tmp_path / "README").write_text("certificates of the house: ä\n")
    (tmp_path / "deeper").mkdir()
    trust = Trust({"SSL_CERT_DIR": str(tmp_path)})
    assert issuers(trust) == ["one", "two"]
    assert trust.pem().ca is not None
    assert str(trust.pem().ca).count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_file_that_cannot_be_used_is_refused_by_the_name_of_its_variable(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: .*ca\.pem"):
        Trust({"SSL_CERT_FILE": str(path)})


def test_an_empty_variable_is_none() -> None:
    assert Trust({"SSL_CERT_FILE": ""}).pem().ca is None


def test_a_directory_without_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SSL_CERT_DIR: .* holds no certificate"):
        Trust({"SSL_CERT_DIR": str(tmp_path)})


def test_half_a_client_certificate_is_refused_before_anything_is_built_of_it(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    """gRPC's C core ends the whole process over such a pair."""
    one, two = authorities
    certificate, key = map(str, one.issue("client"))
    other_certificate, other_key = map(str, two.issue("other"))
    garbage, empty = tmp_path / "garbage", tmp_path / "empty"
    garbage.write_text("no PEM"), empty.write_text("")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    for pair, names in (
        ((None, key), "the client key: is set, but not the client certificate"),
        ((certificate, None), "the client certificate: .* holds no key"),
        ((certificate, other_key), "the client certificate: .* does not belong to the key"),
        ((certificate, str(garbage)), "the client certificate"),
        ((str(garbage), key), "the client certificate"),
        ((str(empty), str(empty)), "the client certificate"),
        ((str(tmp_path), key), "the client certificate: cannot read"),
        ((certificate, str(tmp_path)), "the client key: cannot read"),
        ((certificate, str(tmp_path / "gone")), "the client key: cannot read .*No such file"),
        ((certificate, str(locked)), "without a password"),
    ):
        with pytest.raises(ConfigError, match=names):
            Trust({}, Files(certificate=pair[0], key=pair[1]))
    assert other_certificate


def test_certificate_and_key_may_stand_in_one_file(tmp_path: Path, authorities: tuple[Authority, Authority]) -> None:
    certificate, key = authorities[0].issue("client")
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    pem = Trust({}, Files(certificate=str(both))).pem()
    assert pem.key == pem.certificate == both.read_bytes()


def test_files_are_read_again_when_they_change_and_the_old_ones_kept_while_they_are_unusable(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    one, two = authorities
    path, clock = tmp_path / "ca.pem", Clock()
    shutil.copy(one.ca, path)
    trust = Trust({"SSL_CERT_FILE": str(path)}, clock=clock)
    first = trust.context()
    shutil.copy(two.ca, path)
    assert trust.context() is first, "it is not looked at the file for every connection"
    assert issuers(trust) == ["one"]
    clock.now += 1
    assert issuers(trust) == ["two"]
    second = trust.context()
    path.write_text("-----BEGIN CERT")
    assert trust.context(now=True) is second, "half a file ends nothing"
    path.unlink()
    assert trust.context(now=True) is second
    shutil.copy(one.ca, path)
    assert trust.context(now=True) is not second
    assert issuers(trust) == ["one"]


def test_a_renewed_client_certificate_is_noticed(tmp_path: Path, authorities: tuple[Authority, Authority]) -> None:
    certificate, key = authorities[0].issue("client")
    mine, my_key = tmp_path / "mine.pem", tmp_path / "mine.key"
    shutil.copy(certificate, mine), shutil.copy(key, my_key)
    trust = Trust({}, Files(certificate=str(mine), key=str(my_key)))
    first: ssl.SSLContext = trust.context()
    for source, target in zip(authorities[1].issue("renewed"), (mine, my_key), strict=True):
        shutil.copy(source, target)
    assert trust.context(now=True) is not first
    assert trust.pem().certificate == mine.read_bytes()
