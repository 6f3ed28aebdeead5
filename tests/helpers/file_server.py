"""A server of one file that breaks off, lies and refuses as told, and archives for it to send."""

import io
import zipfile
from dataclasses import dataclass, field

CONTENT = bytes(range(256)) * 4096  # 1 MB


@dataclass
class Server:
    """A host with one file at every path, that misbehaves as told."""

    content: bytes = CONTENT
    cut: list[int] = field(default_factory=list)  # bytes after which the next responses break off
    status: list[int] = field(default_factory=list)  # what the next responses answer instead
    ignores_range: bool = False
    etag: str = '"one"'
    length: int | None = None  # what it says, when it lies
    without_length: bool = False
    moved: str = ""  # where it sends people on to
    wrong_part: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # path, Range, If-Range
    url: str = ""


def zipped(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            if isinstance(content, tuple):
                info.external_attr, content = 0o120777 << 16, b"target"
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
