"""Which addresses the system may call on a user's behalf: the public internet, and what an operator opens by name.

The rules of addresses are `ssrfguard`'s (IANA's registries, with IPv4 inside IPv6 decoded: mapped, compatible, 6to4,
NAT64, Teredo); what it lacks is added here, and so is an allow-list that opens a host by its name.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import httpx
from ssrfguard import DEFAULT_DENIED, AddressTable, Block, BlockedAddressError, BlockedURLError, Policy, Reach

from shared.errors import ConfigurationError, ErrorCode, PermanentJobError

# Public ranges by the registries, yet a cloud's own services answer there: Azure's, and Oracle Cloud's metadata
# (the latter is in ssrfguard's table as well, and Python's `ipaddress` calls it global).
_CLOUD_SERVICES = {"168.63.129.16/32": "Azure host services", "192.0.0.192/32": "Oracle Cloud metadata"}
# What an allowed host's name may resolve to: an operator's own networks. Link-local, metadata, multicast and
# unspecified addresses stay closed to it.
_OPERATOR_NETWORKS = frozenset(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "127.0.0.0/8",
            "::1/128",
            "fc00::/7",
            "100.64.0.0/10",
            "198.18.0.0/15",
        ),
    )
)
_CONNECT_ATTEMPTS = 3
"""Addresses of one name that are tried in turn."""
_PORTS = frozenset(range(1, 65536))
_MAX_URL_LENGTH = 8192
_ENCODED_ADDRESS = re.compile(r"[0-9.]+|(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.IGNORECASE)
_PLAIN_URL = re.compile(r"(https?://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?)(?:[/?#][!-~]*)?")
_LOCALHOST = re.compile(r"(.*\.)?localhost\.?", re.IGNORECASE)


def _public_table() -> AddressTable:
    added = {ip_network(network): name for network, name in _CLOUD_SERVICES.items()}
    kept = tuple(block for block in DEFAULT_DENIED.blocks if block.network not in added)
    return AddressTable(kept + tuple(Block(n, name, "vendor", Reach.DENIED) for n, name in added.items()))


def _operator_table() -> AddressTable:
    blocks = _public_table().blocks
    return AddressTable(
        tuple(replace(b, reach=Reach.PERMITTED) if b.network in _OPERATOR_NETWORKS else b for b in blocks)
    )


@dataclass(frozen=True, eq=False)
class AddressGuard:
    """The rules that one allow-list makes. `public` holds for every host, `named` for the hosts listed by name."""

    public: Policy
    named: Policy | None

    def policy_for(self, host: str) -> Policy:
        """The rules for a host (lower case, punycoded, no brackets)."""
        if self.named is None:
            return self.public
        try:
            self.named.check_host(host)
        except BlockedURLError:
            return self.public
        return self.named

    def check(self, url: str) -> httpx.URL:
        """Refuse what can be refused without the network, and return the URL parsed as it will be called.

        Raises PermanentJobError: `invalid_input` for what is no URL, `image_forbidden_address` for another scheme,
        credentials in the URL, or a host that is (or spells) an address outside the rules.
        """
        split = _split(url)
        if split.scheme.lower() not in ("http", "https"):
            raise forbidden("only http:// and https:// addresses are fetched")
        if split.username is not None or split.password is not None:
            raise forbidden("a URL may not carry a user name or password; put access into a signed URL")
        target = _parse(url)
        host = target.raw_host.decode("ascii")
        policy = self.policy_for(host)
        if policy is self.public:
            self._check_host(host)
        try:
            policy.check_url(str(target))
        except BlockedURLError as error:
            raise _refusal(host, error) from error
        return target

    def refuse(self, url: str) -> None:
        """Raise what `check` raises, remembering it by host: a batch has thousands of pictures, mostly of a few hosts.

        Of a plain URL nothing but its origin decides; any other goes through `check` itself.
        """
        plain = _PLAIN_URL.fullmatch(url) if len(url) <= _MAX_URL_LENGTH else None
        if plain is None:
            self.check(url)
        elif (refusal := _refusal_of(self, plain[1])) is not None:
            raise PermanentJobError(*refusal)

    def _check_host(self, host: str) -> None:
        if _LOCALHOST.fullmatch(host):
            raise forbidden_host(host)
        if _ENCODED_ADDRESS.fullmatch(host):
            try:
                plain = ip_address(host)
            except ValueError:
                raise forbidden_host(host) from None
            if not self.public.permits_address(plain):
                raise forbidden_host(host)


@lru_cache(maxsize=4096)
def _refusal_of(guard: AddressGuard, origin: str) -> tuple[ErrorCode, str] | None:
    """What is wrong with an origin. It cannot go stale: no name is resolved in it, that is done with every fetch."""
    try:
        guard.check(origin)
    except PermanentJobError as error:
        return error.code, error.message
    return None


@lru_cache(maxsize=32)
def guard_for(allow: tuple[str, ...]) -> AddressGuard:
    """The rules for an allow-list of host names (`*.` in front takes in subdomains), addresses and CIDR networks.

    Raises ConfigurationError for an entry that is none of these.
    """
    networks: list[IPv4Network | IPv6Network] = []
    hosts: list[str] = []
    for entry in allow:
        network = _network(entry)
        if network is None:
            hosts.append(_host_name(entry))
        else:
            networks.append(network)
    try:
        public = Policy(
            denied_networks=_public_table(),
            allowed_networks=tuple(networks),
            allowed_ports=_PORTS,
            max_connection_attempts=_CONNECT_ATTEMPTS,
            max_url_length=3 * _MAX_URL_LENGTH,  # percent-encoding may have lengthened it
        )
        named = replace(public, denied_networks=_operator_table(), allowed_hosts=frozenset(hosts)) if hosts else None
    except ValueError as error:
        raise ConfigurationError(f"DARKROOM_FETCH_ALLOW: {error}") from error
    return AddressGuard(public, named)


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry.strip().strip("[]"), strict=False)
    except ValueError:
        return None


def _host_name(entry: str) -> str:
    name = entry.strip()
    if not name or any(character in name for character in "/:@?# "):
        message = f"DARKROOM_FETCH_ALLOW: {entry!r} is no host name, address or network; leave out scheme and port."
        raise ConfigurationError(message)
    return name


def _split(url: str) -> SplitResult:
    if len(url) > _MAX_URL_LENGTH:
        raise _malformed(f"it is longer than {_MAX_URL_LENGTH} characters")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise _malformed("it cannot be read as a URL") from error


def _parse(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
        host = target.host  # decodes punycode, and raises for what is none
    except (httpx.InvalidURL, ValueError) as error:
        raise _malformed("it cannot be read as a URL") from error
    if not host:
        raise _malformed("it names no host")
    if target.port == 0:
        raise _malformed("port 0 is not a port")
    return target


def forbidden(reason: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.IMAGE_FORBIDDEN_ADDRESS, f"The picture's URL is refused: {reason}.")


def forbidden_host(host: str) -> PermanentJobError:
    """Names the host as it was given, and never what it resolved to."""
    return forbidden(
        f"{host} is, or leads to, an address that is not on the public internet. Use a public URL, send the picture "
        f"inline or as a file, or have the operator add the host to DARKROOM_FETCH_ALLOW"
    )


def _refusal(host: str, error: BlockedURLError) -> PermanentJobError:
    if isinstance(error.__cause__, BlockedAddressError):
        return forbidden_host(host)
    return _malformed("its host is not a well-formed name or address")


def _malformed(reason: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.INVALID_INPUT, f"The picture's URL is not valid: {reason}.")
