"""The folder in which a trained model travels: its manifest, its model file and its feature table.

The manifest lists the sha256 of every file, and the sha256 of the manifest is the model's digest: one short string
pins every byte. Nothing is parsed before its checksum was compared, and nothing in the folder is executable.
"""

import errno
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from perch.errors import ModelError
from perch.workload.features import FeatureColumns, FeatureSettings, Transform
from perch.workload.model import Scorer, estimator
from perch.workload.profile import Profile
from perch.workload.schema import Schema

MANIFEST = "manifest.json"
FEATURES = "features.npz"
REFERENCE = "reference.parquet"
"""Rows of training to hold others against, where there are any; serving has no use for it, and does not fetch it."""

OTHER = "(other)"
"""In it, all values of a column that few rows have."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says. It holds no times and no paths: equal models have equal manifests."""

    format: int
    """Version of this layout."""

    kind: str
    """Family of the model, as `perch.workload.model.estimator` knows it."""

    schema: Schema
    keep_rate: float
    columns: FeatureColumns
    features: FeatureSettings
    score_histogram: tuple[int, ...]
    """Evaluation rows by the bin of their score's log-odds (`perch.signals.names.grid(...).score_logit`)."""

    files: Mapping[str, str]
    """sha256 of every other file, in hex."""

    profile: Profile | None = None
    """What the inputs of training looked like; `None` in a package of an earlier Perch, and in one that nobody has
    judged yet."""


_MANIFESTS = TypeAdapter(Manifest)


def write_package(
    folder: Path,
    scorer: Scorer,
    *,
    score_histogram: tuple[int, ...],
    profile: Profile | None = None,
    reference: bytes | None = None,
) -> str:
    """Write a scorer as a package, in place of what `folder` holds, and return its digest.

    The package appears complete or not at all, also when others write it at the same time: the last one stays.
    """
    files = {scorer.estimator.file: scorer.estimator.to_bytes(), FEATURES: _table_bytes(scorer.transform)}
    files |= {} if reference is None else {REFERENCE: reference}
    manifest = Manifest(
        format=_FORMAT,
        kind=scorer.estimator.kind,
        schema=scorer.schema,
        keep_rate=scorer.keep_rate,
        columns=scorer.transform.columns,
        features=scorer.transform.settings,
        score_histogram=score_histogram,
        files={name: _sha256(content) for name, content in files.items()},
        profile=profile,
    )
    as_read = _MANIFESTS.validate_python(asdict(manifest))  # a schema that came back from a file says 1.0 for 1
    files[MANIFEST] = (json.dumps(asdict(as_read), indent=2, sort_keys=True) + "\n").encode()
    with _draft(folder) as draft:
        for name, content in files.items():
            (draft / name).write_bytes(content)
    return _sha256(files[MANIFEST])


def ensure_package(folder: Path, digest: str, fill: Callable[[Path], None]) -> Path:
    """Make sure that `folder` holds the package of a digest, and return the folder.

    A package never changes, so one that stands there whole is left to those who read it.

    Args:
        folder: Where the package belongs.
        digest: sha256 of its manifest, in hex.
        fill: Writes the package's files into the folder that it is given.

    Raises:
        ModelError: What `fill` wrote is another package, or a corrupt one; `folder` is as before.
    """
    if not _holds(folder, digest):
        with _draft(folder) as draft:
            fill(draft)
            check_package(draft, digest)
    return folder


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Give a folder to fill with a package, which then moves to `folder`; after an error nothing has changed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    draft.chmod(0o755)  # a server may run as another user
    try:
        yield draft
        digest = package_digest(draft)
        while not (_moved(draft, folder) or _holds(folder, digest)):
            _remove(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _moved(draft: Path, folder: Path) -> bool:
    """Move the new package in; false where one stands already, which perhaps is the same, and has its readers."""
    try:
        draft.replace(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _remove(folder: Path) -> None:
    """Take away what stands there, all at once."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with suppress(FileNotFoundError):
            folder.replace(aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _holds(folder: Path, digest: str) -> bool:
    try:
        check_package(folder, digest)
    except ModelError:
        return False
    return True


def read_manifest(folder: Path, expected_digest: str | None = None) -> Manifest:
    """Read a package's manifest, and nothing else.

    Raises:
        ModelError: There is none, it is not the expected one, or it is malformed.
    """
    content = _read(folder, MANIFEST)
    if expected_digest is not None and _sha256(content) != expected_digest:
        raise ModelError(
            f"{folder / MANIFEST} has digest {_sha256(content)[:12]}, but {expected_digest[:12]} was asked for: "
            "fetch the version from the registry again"
        )
    try:
        manifest = _MANIFESTS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(
            f"{folder / MANIFEST} is malformed at {where} ({first['msg']}): package the model again"
        ) from error
    if manifest.format != _FORMAT:
        raise ModelError(
            f"{folder / MANIFEST} has format {manifest.format}; this Perch reads format {_FORMAT}: "
            "package the model again"
        )
    return manifest


def check_package(folder: Path, expected_digest: str | None = None) -> Manifest:
    """Compare every file that serving needs with the manifest, and parse none. Raises `ModelError` as loading does."""
    manifest = read_manifest(folder, expected_digest)
    for name in (FEATURES, estimator(manifest.kind).file):
        _checked(folder, name, manifest)
    return manifest


def package_digest(folder: Path) -> str:
    """The digest of a package: sha256 of its manifest, in hex. Raises `ModelError` when it has none."""
    return _sha256(_read(folder, MANIFEST))


def load_package(folder: Path, expected_digest: str | None = None) -> Scorer:
    """Load a package for scoring. Every file's sha256 is compared before the file is parsed.

    Args:
        folder: The package.
        expected_digest: sha256 that the manifest must have, in hex; `None` accepts any.

    Raises:
        ModelError: Something is missing, was changed, or is not what the manifest says.
    """
    manifest = read_manifest(folder, expected_digest)
    kind = estimator(manifest.kind)
    table, model = (_checked(folder, name, manifest) for name in (FEATURES, kind.file))
    return Scorer(
        schema=manifest.schema,
        transform=_transform(folder, table, manifest),
        estimator=kind.from_bytes(model),
        keep_rate=manifest.keep_rate,
    )


def read_reference(folder: Path, expected_digest: str | None = None) -> bytes | None:
    """The rows of training that a package carries, as Parquet, sha256 compared; `None` where it carries none.

    Raises:
        ModelError: They are missing or were changed, or the package is another one.
    """
    manifest = read_manifest(folder, expected_digest)
    return _checked(folder, REFERENCE, manifest) if REFERENCE in manifest.files else None


def _checked(folder: Path, name: str, manifest: Manifest) -> bytes:
    content = _read(folder, name)
    wanted, found = manifest.files.get(name), _sha256(content)
    if wanted is None:
        raise ModelError(f"{folder / MANIFEST} does not list {name}: package the model again")
    if found != wanted:
        raise ModelError(
            f"{folder / name} is corrupt: its sha256 is {found[:12]}, the manifest says {wanted[:12]}: "
            "fetch the version from the registry again"
        )
    return content


def _transform(folder: Path, table: bytes, manifest: Manifest) -> Transform:
    try:
        with np.load(io.BytesIO(table), allow_pickle=False) as arrays:
            return Transform(manifest.columns, manifest.features, arrays["impressions"], arrays["clicks"])
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise ModelError(f"{folder / FEATURES} is not a feature table ({error}): package the model again") from error


def _table_bytes(transform: Transform) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, impressions=transform.impressions, clicks=transform.clicks)
    return out.getvalue()


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(
            f"{folder / name} cannot be read ({error.strerror}): fetch or package the model again"
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
