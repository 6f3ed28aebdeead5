"""A checkpoint that is opened, changed and refused."""

import json


def opened(folder, **options):
    """Read all that an encoder reads."""
    from retrievers.colbert.model import bert_cpu
    from retrievers.colbert.model.checkpoint import find

    found = find(folder, **options)
    return found, found.arrays(bert_cpu.shapes(found.described)), found.projection()


def change(path, **settings):
    """Change settings in a file of JSON."""
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def rewrite(path, edit):
    """Change the tensors of a file of safetensors."""
    from safetensors.numpy import load_file, save_file

    state = load_file(path)
    edit(state)
    save_file(state, path)
