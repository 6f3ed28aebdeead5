"""One file, one benchmark: its names, a loader, and the layout its authors publish."""

_SPELLINGS = {
    "trec-dl": "trecdl", "trec-car": "treccar", "car": "treccar", "open-qa": "openqa", "ms-marco": "msmarco",
    "nano-beir": "nanobeir",
}  # fmt: skip


def spelled(name: str) -> str:
    """Return the name of a dataset, or a pattern of names, with our spelling of its benchmark.

    >>> spelled("nano-beir/nq"), spelled("beir/nq")
    ('nanobeir/nq', 'beir/nq')
    """
    file, slash, rest = name.partition("/")
    return f"{_SPELLINGS.get(file, file)}{slash}{rest}"
