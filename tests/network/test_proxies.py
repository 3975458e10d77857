"""The proxy environment is read as curl and Go read it, and never keeps the process from starting without a reason."""

from __future__ import annotations

import pytest

from exporter.errors import ConfigError
from exporter.network.proxies import Proxies

HTTP, HTTPS, ALL = "http://plain:3128", "http://secure:3128", "http://any:3128"


@pytest.mark.parametrize(
    ("env", "url", "proxy"),
    [
        ({}, "https://api.test/x", None),
        ({"HTTPS_PROXY": HTTPS, "HTTP_PROXY": HTTP}, "https://api.test/x", HTTPS),
        ({"HTTPS_PROXY": HTTPS, "HTTP_PROXY": HTTP}, "http://api.test/x", HTTP),
        ({"ALL_PROXY": ALL, "HTTP_PROXY": HTTP}, "https://api.test/x", ALL),
        ({"https_proxy": HTTPS, "HTTPS_PROXY": ALL}, "https://api.test/x", HTTPS),
        ({"https_proxy": "", "HTTPS_PROXY": ALL}, "https://api.test/x", None),
        ({"HTTPS_PROXY": "secure:3128"}, "https://api.test/x", HTTPS),
        ({"HTTP_PROXY": HTTP, "REQUEST_METHOD": "GET"}, "http://api.test/x", None),
        ({"HTTP_PROXY": "", "NO_PROXY": "fd00::/8"}, "http://api.test/x", None),
    ],
)
def test_which_proxy_a_request_goes_through(env: dict[str, str], url: str, proxy: str | None) -> None:
    assert Proxies.of(env).for_url(url) == proxy


@pytest.mark.parametrize(
    ("entry", "past", "not_past"),
    [
        ("*", ["http://api.test/", "http://10.0.0.1/"], []),
        ("api.test", ["http://api.test/", "http://eu.api.test/", "http://API.TEST./"], ["http://notapi.test/"]),
        (".api.test", ["http://eu.api.test/", "http://api.test/"], ["http://myapi.test/"]),
        ("*.api.test", ["http://eu.api.test/"], ["http://other.test/"]),
        ("api.test.", ["http://api.test/"], []),
        ("api.test:8443", ["https://api.test:8443/"], ["https://api.test/"]),
        ("api.test:443", ["https://api.test/"], ["http://api.test/"]),
        ("https://api.test", ["https://api.test/"], ["http://api.test/"]),
        ("all://api.test", ["https://api.test/", "http://api.test/"], []),
        ("10.0.0.0/8", ["http://10.1.2.3/"], ["http://11.1.2.3/", "http://ten.test/"]),
        ("10.1.2.3/8", ["http://10.9.9.9/"], []),
        ("192.168.1.7", ["http://192.168.1.7/", "http://192.168.1.7:81/"], ["http://192.168.1.70/"]),
        ("fd00::/8", ["http://[fd12::1]/"], ["http://[fe80::1]/", "http://10.1.2.3/", "http://fd00.test/"]),
        ("[fd00::]/8", ["http://[fd12::1]/"], []),
        ("::1", ["http://[::1]:4318/"], ["http://[::2]/"]),
        ("[::1]:4318", ["http://[::1]:4318/"], ["http://[::1]:9/"]),
        ("other.test api.test", ["http://api.test/", "http://other.test/"], []),
        ("other.test, ,api.test", ["http://api.test/"], []),
        ("10.0.0.0/99,[,://,%%,:80,api.test", ["http://api.test/"], ["http://else.test/"]),
    ],
)
def test_no_proxy_in_all_its_forms(entry: str, past: list[str], not_past: list[str]) -> None:
    proxies = Proxies.of({"HTTP_PROXY": HTTP, "HTTPS_PROXY": HTTPS, "no_proxy": entry})
    assert {url: proxies.for_url(url) for url in past} == dict.fromkeys(past)
    assert None not in {proxies.for_url(url) for url in not_past}


@pytest.mark.parametrize("value", ["ftp://user:hunter2@proxy:21", "http://:3128", "http://user:hunter2@proxy:port"])
def test_a_proxy_that_cannot_be_one_is_refused_by_name_without_its_password(value: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as told:
        Proxies.of({"HTTPS_PROXY": value})
    assert "hunter2" not in str(told.value)
    assert "hunter2" not in repr(Proxies.of({"HTTPS_PROXY": "http://user:hunter2@proxy:3128"}))
