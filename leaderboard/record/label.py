"""The label of a system among others: its name, and the settings in which records of that name differ."""

from collections.abc import Sequence
from typing import Any

from leaderboard.record.schema import Record
from leaderboard.record.sections import ModelFacts
from lotte import artifact


def labels(records: Sequence[Record]) -> list[str]:
    """Return a label for each record: colbertv2(bits=1). An option is spelled as in JSON.

    Two models under one name are labelled by the model's id, or its weights' hash.
    """
    namesakes: dict[str, list[dict[str, Any]]] = {}
    settings = [_settings(record) for record in records]
    for record, own in zip(records, settings, strict=True):
        namesakes.setdefault(record.retriever.name, []).append(own)
    differing = {name: _differing(group) for name, group in namesakes.items()}
    names = []
    for record, own in zip(records, settings, strict=True):
        name = record.retriever.name
        shown = ", ".join(f"{key}={_plain(own[key])}" for key in differing[name] if key in own)
        names.append(f"{name}({shown})" if shown else name)
    return names


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    keys = sorted({key for own in settings for key in own})
    return [key for key in keys if len({artifact.canonical(own.get(key)) for own in settings}) > 1]


def _settings(record: Record) -> dict[str, Any]:
    model = record.retriever.model or ModelFacts()
    texts = {"id": model.id, "revision": model.revision, "sha256": model.sha256}
    cut = {f"model {key}": text[: 60 if key == "id" else 8] for key, text in texts.items() if text is not None}
    return {**record.retriever.options, **cut}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else artifact.canonical(value)
