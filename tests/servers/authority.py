"""An issuer of certificates, with all that can be wrong with one."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key, both in PEM; what follows the certificate leads to its root."""

    cert: bytes
    key: bytes

    def write(self, folder: Path, name: str = "tls") -> tuple[Path, Path]:
        """Writes both into a folder, one file at a time; returns their paths."""
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_bytes(self.cert)
        key.touch(0o600)
        key.write_bytes(self.key)
        return cert, key

    def parsed(self) -> x509.Certificate:
        """The certificate itself."""
        return x509.load_pem_x509_certificate(self.cert)


class Authority:
    """Issues certificates; each one has a root of its own, or is another one's intermediate."""

    def __init__(self, name: str = "root", above: Authority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._above = above
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, key = (above.name, above._key) if above else (self.name, self._key)
        now = dt.datetime.now(dt.UTC)
        self._made = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            # Issuers of one name are told apart by these.
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self._made.public_bytes(Encoding.PEM)

    def write(self, folder: Path, name: str = "ca") -> Path:
        """Writes its certificate into a folder; returns its path."""
        path = folder / f"{name}.crt"
        path.write_bytes(self.pem)
        return path

    def issue(
        self,
        common_name: str = "",
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        addresses: Sequence[str] = (),
        uses: Sequence[x509.ObjectIdentifier] = (),
        begins: float = -DAY,
        ends: float = DAY,
        ca: bool = False,
    ) -> Issued:
        """Issues a certificate.

        Args:
            common_name: of the subject; without it, the subject is empty.
            dns: names of hosts.
            uris: names of the kind URI.
            addresses: of IPv4 or IPv6.
            uses: what it is for; anything if there are none.
            begins: seconds from now on.
            ends: seconds from now on.
            ca: whether it may issue others.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        names: list[x509.GeneralName] = [
            *map(x509.DNSName, dns),
            *map(x509.UniformResourceIdentifier, uris),
            *(x509.IPAddress(ip_address(one)) for one in addresses),
        ]
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(seconds=begins))
            .not_valid_after(now + dt.timedelta(seconds=ends))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=not attributes
            )
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        between = self.pem if self._above else b""
        return Issued(
            made.public_bytes(Encoding.PEM) + between,
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def damaged(self) -> Issued:
        """Issues a certificate whose names break off in the middle."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        cut = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"0\x03\x82\x05a")
        made = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(cut, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            made.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def server(self, **given: Any) -> Issued:
        """Issues a certificate for a server on loopback."""
        return self.issue(
            **{
                "common_name": "server",
                "dns": ("localhost",),
                "addresses": ("127.0.0.1",),
                "uses": (SERVER,),
                **given,
            }
        )

    def client(self, tenant: str = "node", **given: Any) -> Issued:
        """Issues a certificate for a client."""
        return self.issue(**{"common_name": tenant, "uses": (CLIENT,), **given})

    def context(self, folder: Path, shown: Issued | None = None) -> ssl.SSLContext:
        """A client's context that trusts this issuer, and shows a certificate if it has one."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        context.set_alpn_protocols(["h2"])
        if shown is not None:
            context.load_cert_chain(*shown.write(folder, "client"))
        return context
