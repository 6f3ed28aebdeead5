"""`lotte publish`: a build or a folder of records, in the layout that other tools read, on disk or at the hub."""

from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from leaderboard.cli.options import AsJson, Data, data_folder
from leaderboard.cli.output import print_row
from lotte.errors import LotteError, UnavailableError
from lotte.terminal import put, say


class Target(StrEnum):
    """Where things are published."""

    folder = "folder"
    hub = "hub"
    pages = "pages"


def publish(
    source: Annotated[Path, typer.Argument(help="A build, another collection with queries, or records.")],
    to: Annotated[Target, typer.Option(help="A folder, the Hugging Face hub, or (records only) the pages of a site.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; with the hub, a copy to keep.")] = None,
    repo: Annotated[str, typer.Option(help="The hub repository: owner/name.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be uploaded, without uploading.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write a build or records as load_dataset, MTEB and ir_datasets read them, with card, licences and checksums.

    lotte publish lotte --to folder --out published
    lotte publish lotte --to hub --repo me/my-lotte --dry-run
    lotte publish results --to pages --out site
    """
    if to is not Target.hub and (repo or dry_run or out is None):
        raise LotteError(f"--to {to.value} writes a folder: name it with --out, and leave out --repo and --dry-run")
    if to is Target.hub and not repo:
        raise LotteError("--to hub needs --repo owner/name")
    if not source.is_dir():
        raise UnavailableError(f"{source} is not a folder; `lotte publish` takes a build, a collection or records")
    if to is Target.hub:
        _send(source, out, repo, dry_run, as_json)
    elif to is Target.pages:
        from leaderboard import published_results

        put(published_results.pages(source, Path(str(out)), say, data=data_folder(data)))
    else:
        put(_written(source, Path(str(out))))


def _written(source: Path, out: Path, repo: str = "") -> Path:
    """Write a folder to be handed on, of a collection or of records."""
    from leaderboard import published_results
    from leaderboard.record.read import record_files
    from lotte import published_build, reading
    from lotte.builder import manifest

    if not (source / manifest.NAME).is_file() and not reading.has_questions(source) and record_files(source):
        return published_results.write(source, out, repo)
    return published_build.write(source, out, repo)


def _send(source: Path, out: Path | None, repo: str, dry_run: bool, as_json: bool) -> None:
    """Write the folder, here or where it goes again, and send it; or list what would be sent."""
    from lotte import hub

    hub.require_repo(repo)
    with TemporaryDirectory(prefix="lotte-") as scratch:
        folder = _written(source, out or Path(scratch) / repo.replace("/", "__"), repo)
        if dry_run:
            for one in hub.dry(folder):
                print_row(one._asdict(), as_json)
        else:
            put(hub.upload(folder, repo))
