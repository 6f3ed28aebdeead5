"""What MkDocs asks while it builds the site: pages of the reference, links that leave docs/, pages that no one listed.

The reference is made of docstrings, of `lotte --help` and of the names that `lotte list` prints, at each build: nothing
of it is kept in the repository, so it cannot be old.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HOUSE = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)")
log = get_plugin_logger("docs_site")

PACKAGES = {  # page of the reference -> folders whose modules it has, with the heading of each
    "lotte": {
        "lotte": "Collections, judgments, runs",
        "lotte/benchmarks": "Benchmarks",
        "lotte/builder": "The builder",
    },
    "retrievers": {
        "retrievers": "What systems share",
        "retrievers/systems": "Systems",
        "retrievers/dense": "Dense vectors",
        "retrievers/sparse": "Weights of words",
    },
    "colbert": {
        "retrievers/colbert": "Late interaction",
        "retrievers/colbert/model": "The encoder",
        "retrievers/colbert/index": "The index",
        "retrievers/colbert/search": "The search",
        "retrievers/colbert/kernels": "Kernels",
    },
    "training": {"retrievers/training": "Training"},
    "leaderboard": {
        "leaderboard": "Measures and comparisons",
        "leaderboard/record": "Records",
        "leaderboard/board": "The site of the board",
    },
}
REFERENCE = ["reference/commands.md", "reference/names.md", *(f"reference/{page}.md" for page in PACKAGES)]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference into the navigation, and every page of docs/ that the file does not name."""
    named = set(_pages(config.nav))
    others = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    sections = [section for section in config.nav if "Reference" not in section]
    config.nav = [*sections, *([{"More": others}] if others else []), {"Reference": REFERENCE}]
    return config


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in _pages(part)]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    texts = {"commands": commands(), "names": names(), **{page: modules(page) for page in PACKAGES}}
    for page, text in texts.items():
        files.append(File.generated(config, f"reference/{page}.md", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the repository to where it is published; warn of files that are not there."""

    def led(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = (Path(config.docs_dir) / page.file.src_uri).parent.joinpath(target).resolve()
        if path.is_relative_to(Path(config.docs_dir).resolve()):
            return match[0]
        if not path.exists() or not path.is_relative_to(HOUSE):
            log.warning("%s: a link leads to %s, which is not there", page.file.src_uri, target)
        if not config.repo_url:
            return text
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path.relative_to(HOUSE).as_posix()}{anchor})"

    return LINK.sub(led, markdown)


def modules(page: str) -> str:
    """Return a page with every module of some folders that says what it is."""
    lines = [f"# {page}" if page in ("lotte", "retrievers", "leaderboard") else f"# {page} (in retrievers)", ""]
    for folder, heading in PACKAGES[page].items():
        found = [path for path in sorted((HOUSE / folder).glob("*.py")) if not path.stem.startswith("_")]
        if not found:
            log.warning("reference/%s.md: %s has no modules", page, folder)
        lines += [f"## {heading}", ""]
        for path in found:
            module = ".".join(PurePosixPath(folder, path.stem).parts)
            lines += [f"::: {module}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def commands() -> str:
    """Return a page with the help of every command, as text and as tables of its options."""
    import typer

    from leaderboard.cli import app

    lines = ["# Commands", "", "What `lotte COMMAND --help` says.", ""]

    def add(name: str, command: Any) -> None:
        lines.extend([f"## {name}" if name != "lotte" else "## lotte: all commands", "", command.help or "", ""])
        if hasattr(command, "commands"):
            lines.extend([f"- [`{name} {one}`](#{_anchor(f'{name} {one}')})" for one in command.commands] + [""])
            for one, part in command.commands.items():
                add(f"{name} {one}", part)
            return
        context = command.make_context(name, [], resilient_parsing=True)
        lines.extend(["```text", " ".join([name, *command.collect_usage_pieces(context)]), "```", ""])
        rows = [_option(parameter) for parameter in command.params]
        if rows:
            lines.extend(["| option | what it does | default |", "|---|---|---|", *rows, ""])

    add("lotte", typer.main.get_command(app))
    return "\n".join(lines)


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    help_ = " ".join((getattr(parameter, "help", None) or "").split())
    default = parameter.default
    default = (
        "" if default in (None, False, "", (), []) or callable(default) else f"`{getattr(default, 'value', default)}`"
    )
    if getattr(parameter, "required", False):
        default = "required"
    return f"| {names} | {help_} | {default} |".replace("*", r"\*").replace("<", "&lt;")


def names() -> str:
    """Return a page with what `lotte list` prints: systems, measures, datasets."""
    from leaderboard import catalogue
    from leaderboard.measure import MEASURES
    from retrievers import registry

    lines = ["# Names", "", "What `lotte list` prints.", "", "## Retrievers", "", "| name | what it is |", "|---|---|"]
    for name in registry.names():
        lines.append(f"| `{name}` | {registry.summary(name)} |")
    lines += ["", "## Measures", "", "| name | what it is |", "|---|---|"]
    for name, measure in MEASURES.items():
        doc = measure.value.__doc__ or ""
        lines.append(f"| `{name}` | {doc.strip().splitlines()[0]} |")
    lines += ["", "## Datasets", "", "```text", *catalogue.names(HOUSE / "nowhere"), "```", ""]
    return "\n".join(lines)
