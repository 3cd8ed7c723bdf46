"""Settings: environment variables `HOLDFAST_…`, which are also options of `holdfast serve`.

The description of each setting has its unit, and the reason for its default if that isn't plain.
A test compares the table in docs/settings.md with this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from holdfast.environment import CLIENT, PREFIX, TESTS, advice, strangers
from holdfast.errors import ConfigurationError, InvalidArgument, because, shorten
from holdfast.service.http_listener import parse_http
from holdfast.service.listeners import parse
from holdfast.service.trust.audit_files import check_audit
from holdfast.storage.fleet import LONGEST
from holdfast.storage.records import BLOCK_SIZE

MIB = 2**20
EMBEDDED_LISTEN = "tcp://127.0.0.1:9000?tenant-header=x-holdfast-tenant"
REQUEST_LANDING = 15 * 60.0
"""Seconds after which S3 refuses a request's signature, so the request can't take effect later."""
CLOCK_MARGIN = 15 * 60.0
"""Seconds by which the clocks of a store's servers may step or differ."""
DOOM_MINIMUM = 3600.0
"""Fewest seconds between the two runs of the collector that are needed to delete anything.

No collector can have deleted data that was seen complete less than this ago, whatever a collector
misread, and whatever its clock said: the run that first found the data unnamed must have looked at
it at least `DOOM_MINIMUM` before the run that deletes it, by the store's own timestamps."""
SECRETS_OF_OTHERS = {f"{PREFIX}AWS_CREDENTIALS"}
"""Credentials other than settings that systemd passes to our unit."""
UNREADABLE = {
    "byte_size": "a size; give bytes, as 8MiB",
    "byte_size_unit": "a size; give bytes, as 8MiB",
    "float_parsing": "a time; give seconds, as 30",
    "int_parsing": "a whole number",
}
"""What a value that doesn't parse should be, by the type of pydantic's error."""
LEAST_DISK_CACHE = 16 * BLOCK_SIZE
"""Smallest disk cache, in bytes: a sixteenth of it is freed at once, which must be a block."""


def default_data_dir() -> Path:
    """Returns the folder `holdfast` in the XDG data home."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "holdfast"


def check_data_age(data_age: float, ingest_lifetime: float) -> None:
    """Refuses an age at which gc could delete data that a commit may still name; 0 means unset.

    Raises:
        ValueError: `data_age` is too small for `ingest_lifetime` (both in s).
    """
    least = ingest_lifetime + REQUEST_LANDING + CLOCK_MARGIN
    if data_age and data_age <= least:
        raise ValueError(
            f"gc_data_age {data_age:g} s is unsafe: it must exceed {least:g} s, which are "
            f"ingest_lifetime {ingest_lifetime:g} s, {REQUEST_LANDING:g} s in which a request can "
            f"still land, and {CLOCK_MARGIN:g} s for clocks that differ; raise it, or set 0"
        )


def _part_size(value: int) -> int:
    if value % BLOCK_SIZE or value < 2 * BLOCK_SIZE:
        raise ValueError("it must be a multiple of 4 MiB, and at least 8 MiB")
    return value


def _split(value: Any) -> Any:  # noqa: ANN401 -- whatever the source gave
    """Splits a list's values, since one text may hold several."""
    if isinstance(value, str):
        return re.split(r"[\s,]+", value.strip(" \t\r\n,"))
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [part for one in value for part in _split(one)]
    return value


def _collector(value: str) -> str:
    """Refuses what isn't the URL of a collector."""
    if value and not re.fullmatch(r"https?://[^/\s@]+/?", value):
        raise ValueError("it must be a URL without a path, as http://collector:4317")
    return value


Transport = Literal["own", "grpcio"]
"""What carries the RPCs."""


class WrongOption(ConfigurationError, InvalidArgument):  # noqa: N818 -- as its bases
    """A setting that was given as an option can't be used, which is wrong usage."""


class Settings(BaseSettings):
    """How a frontend runs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, validate_default=True
    )

    listen: Annotated[list[str], NoDecode] = Field(
        default=[EMBEDDED_LISTEN],
        description="URLs at which the frontend listens, separated by spaces or commas.",
    )
    identities: str = Field(
        default="",
        description="File of the rules that say who asks, for listeners with `identities=1`. It is "
        "read again when it changes.",
    )
    audit: Annotated[str, AfterValidator(check_audit)] = Field(
        default="auto",
        description="Where the audit log is written: an absolute path, `stderr`, `fd:NUMBER` or "
        "`off`. `auto` means stderr unless that is a terminal, so that there is a log when it is "
        "needed.",
    )
    transport: Transport = Field(
        default="own",
        description="What carries the RPCs: Holdfast's own gRPC server, or grpcio's, to compare "
        "and to go back. 0.2 removes grpcio's.",
    )
    http: str = Field(
        default="",
        description="Address, as host:port, or URL of the HTTP port: /livez, /readyz and "
        "/metrics, and what operators see. If it is empty, there is none.",
    )
    s3_endpoint: str = Field(
        default="", description="URL of the S3 server. If it is empty, AWS is used."
    )
    s3_bucket: str = Field(
        default="",
        description="Name of the bucket. If it is empty, content is kept in a folder in DATA_DIR.",
    )
    s3_region: str = Field(default="us-east-1", description="Region of the bucket.")
    s3_prefix: str = Field(
        default="", description="Prefix of every key, for a bucket that others use too."
    )
    s3_path_style: bool = Field(
        default=False,
        description="Whether URLs name the bucket in their path instead of in the host name, "
        "as most servers but AWS need it.",
    )
    s3_checksums: bool = Field(
        default=True,
        description="Whether a CRC32C is sent with all bytes, so that S3 refuses bytes that "
        "changed on the way. Set it to false if the server refuses the header.",
    )
    redis_url: str = Field(
        default="",
        repr=False,
        description="URL of Redis: redis, rediss, unix, redis+sentinel or redis+cluster. With "
        "`password-file=PATH`, its password is in a file. If it is empty, an embedded Redis is "
        "started.",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder in which an embedded frontend keeps its content.",
    )
    sharing: Literal["shared", "isolated"] = Field(
        default="shared",
        description="Whether a tenant may use content that another tenant has pushed.",
    )
    flight: bool = Field(
        default=True,
        description="Whether a tenant is told to wait for a large blob that another tenant is "
        "writing, so that a fleet fetches it once. It needs SHARING=shared.",
    )
    flight_size: ByteSize = Field(
        default=ByteSize(MIB),
        description="Bytes from which a blob is waited for. Smaller ones are fetched as quickly "
        "as asked for.",
    )
    flight_wait: float = Field(
        default=30.0,
        ge=1.0,
        description="Seconds after which one more tenant may write a blob that is being written, "
        "so that a slow writer delays the others by no more.",
    )
    flight_patience: float = Field(
        default=5.0,
        ge=1.0,
        description="Seconds without progress after which a writer isn't waited for any more.",
    )
    part_size: Annotated[ByteSize, AfterValidator(_part_size)] = Field(
        default=ByteSize(8 * MIB),
        description="Bytes of a part if the client declares no total. A blob has at most "
        "10,000 parts.",
    )
    parts_in_flight: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Number of parts of one stream that may be uploaded concurrently.",
    )
    uploads: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Number of parts of all streams that may be uploaded concurrently. While "
        "S3 throttles, fewer are.",
    )
    buffer_budget: ByteSize = Field(
        default=ByteSize(256 * MIB), description="Bytes that all write streams together may buffer."
    )
    cache_budget: ByteSize = Field(
        default=ByteSize(64 * MIB), description="Bytes of blocks kept in memory for reading."
    )
    disk_cache_budget: ByteSize = Field(
        default=ByteSize(0), description="Bytes of blocks kept on disk for reading; 0 keeps none."
    )
    disk_cache_dir: str = Field(
        default="",
        description="Folder of the blocks on disk. If it is empty, `cache` in DATA_DIR is used.",
    )
    reserve: ByteSize = Field(
        default=ByteSize(16 * MIB),
        description="Bytes that are kept occupied in the store, and given up when Delete or gc "
        "would find it full; 0 keeps none. 16 MiB are enough for the marks and records of "
        "100,000 blobs.",
    )
    list_budget: ByteSize = Field(
        default=ByteSize(32 * MIB),
        description="Bytes of holds kept in memory for List, about 900 for each hold.",
    )
    ingest_lifetime: float = Field(
        default=24 * 3600.0,
        gt=REQUEST_LANDING,
        le=LONGEST,
        description="Seconds within which an ingest must be committed, from its first upload.",
    )
    retain_for: float = Field(
        default=7 * 24 * 3600.0,
        ge=0,
        description="Seconds that gc keeps a blob that nobody holds, since a run of gc first "
        "found it so; 0 retains nothing. A node that asks for it within this time needn't fetch "
        "or send its bytes. The default is a week, in which most images are pulled again.",
    )
    retain_bytes: ByteSize = Field(
        default=ByteSize(0),
        description="Bytes of blobs that gc retains at most without a hold. Beyond it, what was "
        "given up longest ago goes first, and a larger blob isn't retained. 0 sets no limit, "
        "because a bucket has none.",
    )
    gc_data_age: float = Field(
        default=0.0,
        ge=0,
        description="Seconds that gc keeps data that no record names. They must exceed "
        "INGEST_LIFETIME + 1800; 0 means the fleet's longest INGEST_LIFETIME + 86400.",
    )
    gc_read_grace: float = Field(
        default=3600.0,
        ge=0,
        description="Seconds that gc keeps the data of a removed blob, for clients that are "
        "still reading it.",
    )
    gc_doom: float = Field(
        default=24 * 3600.0,
        ge=DOOM_MINIMUM,
        description="Seconds between the run of gc that finds data without a record and the "
        "run that may delete it: time to notice what is doomed. The default is as long as an "
        "ingest lives, so that a collector with a wrong clock deletes nothing that may still "
        "be committed.",
    )
    tenant_bytes: ByteSize = Field(
        default=ByteSize(0),
        description="Bytes of the blobs that a tenant may hold, each with all of its bytes, "
        "whoever else holds it. 0 sets no bound, because nodes collect what they don't need.",
    )
    tenant_holds: int = Field(
        default=0,
        ge=0,
        description="Number of digests that a tenant may hold; 0 sets no bound.",
    )
    tenant_ingests: int = Field(
        default=10_000,
        ge=0,
        description="Number of ingests that a tenant may have begun and neither committed nor "
        "aborted; 0 sets no bound. The default is a hundred times what a busy node has, and some "
        "10 MB of Redis.",
    )
    tenant_ingest_bytes: ByteSize = Field(
        default=ByteSize(2 * 2**40),
        description="Bytes that these ingests together may have; 0 sets no bound. The default is "
        "a hundred times what a busy node has.",
    )
    tenant_write_rate: ByteSize = Field(
        default=ByteSize(0),
        description="Bytes per second that a tenant may write at each frontend, on average. Beyond "
        "it, its streams wait. 0 sets no bound, because a node's first pull should be fast.",
    )
    tenant_call_rate: int = Field(
        default=0,
        ge=0,
        description="Number of calls per second that a tenant may make at each frontend, on "
        "average; Read, Delete and Abort don't count. Further ones are refused. 0 sets no bound, "
        "because one tenant may be a whole fleet's.",
    )
    fleet_bytes: ByteSize = Field(
        default=ByteSize(0),
        description="Bytes of the blobs that all tenants together may hold, each blob once. 0 sets "
        "no bound, because only the bucket's owner knows how large it may become.",
    )
    quotas: str = Field(
        default="",
        description="File (TOML) with the bounds of single tenants and of the fleet, which "
        "override the settings that begin with TENANT, and FLEET_BYTES. It is read again when it "
        "changes.",
    )
    lease_ttl: float = Field(
        default=15.0,
        ge=3.0,
        le=600.0,
        description="Seconds for which the refs of a dead frontend stay locked.",
    )
    suspend_grace: float = Field(
        default=10.0, gt=0, description="Seconds for making the bytes of a broken stream durable."
    )
    drain_grace: float = Field(
        default=20.0, ge=0, description="Seconds that running streams get to finish after SIGTERM."
    )
    connection_age: float = Field(
        default=300.0,
        ge=0,
        description="Seconds after which a client is asked to connect over TCP again, a tenth "
        "more or less, so that clients spread over frontends that were added; 0: never. Streams "
        "end where they began. The default spreads a fleet within minutes.",
    )
    call_deadline: float = Field(
        default=10.0,
        ge=1,
        le=600,
        description="Seconds for Info, Update, Delete, Status and Abort, and for each step of "
        "STAT, COMMIT and List that moves no bytes. The default is as long as a node's "
        "database may wait, and enough for a second try. If the client's own deadline is "
        "shorter, that one applies.",
    )
    store_silence: float = Field(
        default=20.0,
        ge=1,
        le=600,
        description="Seconds without a byte after which a request to S3 is abandoned. The "
        "default is long enough for the reply to a large part, or to a completion.",
    )
    threads: int = Field(
        default=32,
        ge=4,
        le=512,
        description="Number of threads that wait for the object store, and of small requests that "
        "are made to it from the loop at once.",
    )
    max_streams: int = Field(
        default=4096,
        ge=1,
        description="Number of write streams that may be open at once, including idle ones. "
        "Further ones are refused.",
    )
    max_reads: int = Field(
        default=512,
        ge=1,
        description="Number of Reads that may be under way at once. Further ones are refused.",
    )
    max_calls: int = Field(
        default=1024,
        ge=1,
        description="Number of other calls that may be under way at once. Further ones are "
        "refused, and so are requests that would queue behind as many others for one of "
        "THREADS.",
    )
    agent_frontends: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Addresses of the frontends that an agent uses, as host:port or "
        "unix:///path.sock, separated by spaces or commas.",
    )
    agent_tenant_header: str = Field(
        default="",
        description="Header in which an agent names its tenant to frontends that trust it. If it "
        "is empty, the agent names none: the frontends' listener knows the tenant.",
    )
    agent_tls: bool = Field(
        default=False,
        description="Whether an agent reaches frontends over TLS. One of the next four implies it.",
    )
    agent_tls_ca: str = Field(
        default="",
        description="File with the issuers of frontends' certificates. If it is empty, the public "
        "ones are trusted.",
    )
    agent_tls_cert: str = Field(
        default="", description="File with the certificate by which frontends know the node."
    )
    agent_tls_key: str = Field(default="", description="File with the key of that certificate.")
    agent_tls_server_name: str = Field(
        default="",
        description="The name in frontends' certificates, if it isn't their address's host.",
    )
    agent_token_file: str = Field(
        default="",
        description="File with the bearer token by which frontends know the agent. It is read "
        "again when it has changed, and sent over TLS or within the machine alone.",
    )
    agent_replay_budget: ByteSize = Field(
        default=ByteSize(128 * MIB),
        ge=32 * MIB,
        description="Bytes that all write streams of an agent together keep, in order to send "
        "them again if a frontend dies. A frontend has about 40 MiB of a fast stream that aren't "
        "stored yet, and containerd fetches three layers at once.",
    )
    agent_patience: float = Field(
        default=60.0,
        ge=1.0,
        description="Seconds for which an agent tries to continue a write stream through another "
        "frontend. They must exceed LEASE_TTL: for so long a dead frontend's refs stay locked.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level that is logged. After SIGUSR1 a running program logs everything, "
        "and after SIGUSR2 what this says again.",
    )
    log_rpcs: float = Field(
        default=10.0,
        ge=0,
        description="Lines a second that tell of RPCs which have ended, in the long run; ten times "
        "as many at once. Further ones are counted, failures last. The default is 300 MB of log a "
        "day at most; 0 means none.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`auto` means text on a terminal, and JSON elsewhere."
    )

    traces: Annotated[str, AfterValidator(_collector)] = Field(
        default="",
        description="URL of an OpenTelemetry collector that takes OTLP over gRPC, such as "
        "`http://collector:4317`, or `https://` for TLS. If it is empty, nothing is traced.",
    )
    traces_sampled: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the RPCs, from 0 to 1, that are traced if their clients send no "
        "trace context.",
    )

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: Any) -> Any:  # noqa: ANN401 -- pydantic's own
        for name in ("listen", "agent_frontends"):
            if isinstance(values, dict) and name in values:
                values = {**values, name: _split(values[name])}
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.buffer_budget < 4 * self.part_size:
            raise ValueError(
                f"buffer_budget {self.buffer_budget} is too small: it must hold four parts of "
                f"part_size {self.part_size}"
            )
        if 0 < self.disk_cache_budget < LEAST_DISK_CACHE:
            raise ValueError(
                f"disk_cache_budget {self.disk_cache_budget} is too small: it must be 0, or hold "
                f"sixteen blocks, {LEAST_DISK_CACHE} bytes"
            )
        if not self.s3_bucket and self.s3_endpoint:
            raise ValueError("s3_endpoint is given but s3_bucket isn't; give both, or neither")
        check_data_age(self.gc_data_age, self.ingest_lifetime)
        for url in self.listen:
            parse(url)
        if self.http:
            parse_http(self.http)
        return self

    @property
    def disk_cache_folder(self) -> Path:
        """The folder of the blocks on disk."""
        return Path(self.disk_cache_dir) if self.disk_cache_dir else self.data_dir / "cache"

    @property
    def embedded(self) -> bool:
        """Whether the frontend runs on a folder and a Redis of its own."""
        return not self.s3_bucket and not self.redis_url


def load(**options: Any) -> Settings:  # noqa: ANN401 -- as typer gives them
    """Loads settings from the environment; options that were given override them.

    A setting that neither has may be in a file of its own, as systemd passes secrets, for example
    $CREDENTIALS_DIRECTORY/holdfast_redis_url.

    Raises:
        WrongOption: options are wrong; its text says of each what is wrong.
        ConfigurationError: variables are wrong, or a name with our prefix isn't a setting's.
    """
    given = {name: value for name, value in options.items() if value is not None}
    secrets = os.environ.get("CREDENTIALS_DIRECTORY") or ""
    _refuse_strangers(secrets)
    try:
        settings = Settings(_secrets_dir=secrets or None, **given)
    except ValidationError as error:
        found = error.errors(include_url=False)
        optional = all(one["loc"][0] in given if one["loc"] else given for one in found)
        kind = WrongOption if optional else ConfigurationError
        raise kind("; ".join(_complaint(one, given) for one in found)) from None
    except ConfigurationError as error:
        # A listener's URL is wrong, or that of the HTTP port.
        text = because(error)
        name = "http" if text.startswith(f"{PREFIX}HTTP") else "listen"
        raise (WrongOption if name in given else ConfigurationError)(text) from None
    if bool(settings.s3_bucket) and not settings.redis_url:
        raise ConfigurationError(
            "HOLDFAST_S3_BUCKET is set but HOLDFAST_REDIS_URL isn't: set it too, because "
            "frontends of one bucket must share a Redis"
        )
    return settings


def _refuse_strangers(secrets: str) -> None:
    """Refuses unknown names with our prefix, of variables and of secrets' files."""
    ours = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    found = [advice(name, ours) for name in strangers(os.environ, ours | CLIENT | TESTS)]
    if secrets and Path(secrets).is_dir():
        files = dict.fromkeys((path.name for path in Path(secrets).iterdir()), "")
        others = strangers(files, ours | SECRETS_OF_OTHERS)
        found += [advice(name, ours, secrets) for name in others]
    if found:
        raise ConfigurationError("; ".join(found))


def _complaint(error: ErrorDetails, given: Mapping[str, object]) -> str:
    """Returns what is wrong with a setting, under the name by which it was given."""
    name = str(error["loc"][0]) if error["loc"] else ""
    text = error["msg"].removeprefix("Value error, ")
    if not name:
        return text
    field = Settings.model_fields[name]
    where = f"--{name.replace('_', '-')}" if name in given else f"{PREFIX}{name.upper()}"
    value = f" {shorten(str(error['input']))}" if field.repr else ""
    wanted = UNREADABLE.get(error["type"])
    return f"{where}{value} isn't {wanted}" if wanted else f"{where}{value}: {text}"
