"""A folder goes to the Hugging Face hub, as a repository of type dataset, by the hub's own client.

Who may write there is between the client and the hub: `hf auth login`, or $HF_TOKEN.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lotte import extras, publication
from lotte.errors import LotteError, UnavailableError, reason


class UploadedFile(NamedTuple):
    """A file as the client would send it."""

    path: str
    bytes: int
    sha256: str


def require_repo(repo: str) -> None:
    """Raise LotteError for what cannot name a repository of the hub."""
    extras.package("huggingface_hub", "--to hub")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise LotteError(f"--repo: {reason(error)}") from None
    if repo.count("/") != 1:
        raise LotteError(f"--repo takes owner/name, as on the hub, not {repo!r}")


def dry(folder: Path) -> Iterator[UploadedFile]:
    """Yield what the client would send, with the hashes that it takes. Nothing is sent, and nobody is asked."""
    for one in _operations(folder):
        yield UploadedFile(one.path_in_repo, one.upload_info.size, one.upload_info.sha256.hex())


def upload(folder: Path, repo: str, api: Any = None) -> str:
    """Send all files of a folder, in one commit. Returns the commit's address.

    api  huggingface_hub's HfApi; None: a new one

    Raises  UnavailableError if the hub cannot be reached, or does not take it
    """
    api = api or extras.package("huggingface_hub", "--to hub").HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        done = api.create_commit(repo, _operations(folder), commit_message="lotte publish", repo_type="dataset")
    except LotteError:
        raise
    except Exception as error:  # the client has dozens of them, and those of an HTTP library
        raise UnavailableError(
            f"{repo}: the Hugging Face hub could not be reached, or refused ({reason(error)}); `hf auth login` says "
            "who you are, and the same command tries again"
        ) from None
    return str(done.commit_url)


def _operations(folder: Path) -> list[Any]:
    hub = extras.package("huggingface_hub", "--to hub")
    return [
        hub.CommitOperationAdd(path_in_repo=path.relative_to(folder).as_posix(), path_or_fileobj=str(path))
        for path in publication.files(folder)
    ]
