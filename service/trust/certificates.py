"""Loads a listener's certificate, and refuses one that clients would refuse.

Only what uses TLS imports this module: it brings 10 MiB of libraries along.
"""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from holdfast.errors import ConfigurationError, because, shorten
from holdfast.service.trust.tls_files import LoadedCertificate, TlsFiles
from holdfast.transport.certificates import Certificate

LARGEST: Final = 2**20
"""Bytes of a file at most: more than all roots of a browser have."""
SERVING: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
Extension = TypeVar("Extension", bound=x509.ExtensionType)


def load(files: TlsFiles, now: float) -> LoadedCertificate:
    """Loads a certificate, its key and the issuers of clients' certificates.

    Args:
        files: where they are.
        now: Unix seconds.

    Raises:
        ConfigurationError: a file can't be read, or isn't what it should be; or clients would
            refuse the certificate.
    """
    chain, key = _read(files.cert), _read(files.key)
    client_ca = _read(files.client_ca) if files.client_ca else b""
    leaf = _certificates(files.cert, chain)[0]
    private = _private_key(files.key, key)
    try:
        _check_key(files, leaf, private)
        _check_time(files.cert, [leaf], now)
        _check_use(files.cert, leaf)
    except (ValueError, UnsupportedAlgorithm) as error:  # a part of it is read when it is asked for
        raise ConfigurationError(
            f"{files.cert} can't be read ({because(error)}); have it issued anew"
        ) from error
    if files.client_ca:  # not what is in it: a file that was emptied must never let everybody in
        _check_time(files.client_ca, _certificates(files.client_ca, client_ca), now)
    return LoadedCertificate(
        context=_context(files, client_ca),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        exposed_key=bool(Path(files.key).stat().st_mode & stat.S_IROTH),
        chain=chain,
        key=key,
        client_ca=client_ca,
    )


def validity_of_pem(pem: bytes) -> tuple[float, float]:
    """Returns since when and until when a certificate is valid, in Unix seconds.

    Raises:
        ValueError: it isn't a certificate.
    """
    found = x509.load_pem_x509_certificate(pem)
    return found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()


def certificate_of_pem(pem: bytes) -> Certificate:
    """Returns what a client's certificate says of it, if another library has verified it.

    Raises:
        ValueError: it isn't a certificate.
    """
    found = x509.load_pem_x509_certificate(pem)
    names = _extension(found, x509.SubjectAlternativeName)
    common_names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        found.public_bytes(Encoding.DER),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        common_name=str(common_names[0].value) if len(common_names) == 1 else "",
        serial=f"{found.serial_number:X}",
        not_after=found.not_valid_after_utc.timestamp(),
    )


def _read(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            found = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"{name} can't be read: {because(error)}") from error
    if len(found) > LARGEST:
        raise ConfigurationError(f"{name} has more than {LARGEST} bytes; expected PEM")
    return found


def _certificates(name: str, data: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigurationError(
            f"{name} has no certificate that can be read ({because(error)}); expected PEM, which "
            "begins with -----BEGIN CERTIFICATE-----"
        ) from error


def _private_key(name: str, data: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password=None)
    except TypeError as error:
        raise ConfigurationError(
            f"{name} is encrypted; expected a key without a passphrase, in a file that only this "
            "user may read"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{name} has no key that can be read ({because(error)}); expected PEM, which begins "
            "with -----BEGIN PRIVATE KEY-----"
        ) from error


def _check_key(files: TlsFiles, leaf: x509.Certificate, key: PrivateKeyTypes) -> None:
    if _spki(leaf.public_key()) != _spki(key.public_key()):
        raise ConfigurationError(
            f"{files.key} isn't the key of the first certificate in {files.cert}, "
            f"{shorten(leaf.subject.rfc4514_string())}; expected that certificate first, then the "
            "ones that lead to its root"
        )


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_time(name: str, found: Sequence[x509.Certificate], now: float) -> None:
    """Refuses certificates of which none is valid now."""
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    if all(one.not_valid_after_utc <= moment for one in found):
        raise ConfigurationError(
            f"{name} expired at {max(one.not_valid_after_utc for one in found):%FT%TZ}, and it is "
            f"{moment:%FT%TZ}; renew it"
        )
    if all(one.not_valid_before_utc > moment for one in found):
        raise ConfigurationError(
            f"{name} isn't valid before {min(one.not_valid_before_utc for one in found):%FT%TZ}, "
            f"and it is {moment:%FT%TZ}; check this machine's clock"
        )


def _check_use(name: str, leaf: x509.Certificate) -> None:
    """Refuses a certificate that names no server, or isn't for one."""
    if _extension(leaf, x509.SubjectAlternativeName) is None:
        raise ConfigurationError(
            f"{name} has no subject alternative name, and clients ignore its subject, "
            f"{shorten(leaf.subject.rfc4514_string())}; have one issued for the names and "
            "addresses at which clients find this listener"
        )
    uses = _extension(leaf, x509.ExtendedKeyUsage)
    if uses is not None and SERVING.isdisjoint(uses):
        raise ConfigurationError(
            f"{name} is for {', '.join(use._name for use in uses)}; "  # noqa: SLF001 -- no other way
            "expected one for serverAuth"
        )


def _extension(found: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return found.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _context(files: TlsFiles, client_ca: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The key of an encrypted file was refused before: OpenSSL would ask a terminal for it.
        context.load_cert_chain(files.cert, files.key, password="")
        if files.client_ca:
            context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
    except (OSError, ValueError) as error:  # TLS's own errors are of the operating system
        raise ConfigurationError(
            f"{' and '.join(files.names)} can't be used: {because(error)}"
        ) from error
    if files.client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL if files.optional else ssl.CERT_REQUIRED
        # An issuer is trusted because it is in the file, even if its own issuer isn't.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context
