"""The sample is built to the byte as the straightforward script makes it, on any machine and in any order."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import plain_build
import py7zr
import pyarrow.parquet as pq
import pytest
from command import error, lotte
from places import DUMPS, GOOAQ, HOUSE, SPEC
from sample_dumps import SAMPLE_WORDS, tree

from lotte import artifact

SHARED = HOUSE.parent / "shared" / "data" / "stackexchange"


TEST_SITES = ["stargazing", "homelab", "houseplants"]


def host(name: str) -> str:
    return f"{name}.stackexchange.example"


def unpacked(folder: Path) -> Path:
    """The sample's dumps, all as folders."""
    shutil.copytree(DUMPS, folder)
    for archive in folder.glob("*.7z"):
        with py7zr.SevenZipFile(archive) as file:
            file.extractall(folder / archive.name.removesuffix(".7z"))
        archive.unlink()
    return folder


@pytest.fixture(scope="module")
def sample_folders(tmp_path_factory) -> Path:
    return unpacked(tmp_path_factory.mktemp("folders") / "dumps")


def test_every_file_is_what_the_straightforward_script_makes(sample_build, sample_folders):
    gooaq = GOOAQ.read_text(encoding="utf-8").splitlines()
    plain = {name: plain_build.part([host(name)], sample_folders, gooaq) for name in [*TEST_SITES, "baking"]}
    wanted = {
        "science/test": plain["stargazing"],
        "technology/test": plain["homelab"],
        "lifestyle/test": plain["houseplants"],
        "lifestyle/dev": plain["baking"],
        "pooled/test": plain_build.pooled([plain[name] for name in TEST_SITES]),
        "pooled/dev": plain["baking"],
    }
    for part, made in wanted.items():
        for name, text in plain_build.files(made).items():
            assert (sample_build / part / name).read_text(encoding="utf-8") == text, f"{part}/{name}"
    assert sum(len(made["collection"]) for made in plain.values()) >= 250


def test_attribution_names_post_author_links_licence_and_day(sample_build):
    table = pq.read_table(sample_build / "pooled" / "test" / "attribution.parquet")
    assert table.column_names == ["pid", "site", "post_id", "url", "author", "author_url", "licence", "created"]
    rows = table.to_pylist()
    assert [row["pid"] for row in rows] == list(range(len(rows)))
    lines = (sample_build / "pooled" / "test" / "collection.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(rows)
    by_site = {site: [row for row in rows if row["site"] == host(site)] for site in TEST_SITES}
    for site, some in by_site.items():
        assert all(row["url"] == f"https://{host(site)}/a/{row['post_id']}" for row in some)
        assert [row["post_id"] for row in some] == sorted(row["post_id"] for row in some)
        assert all(
            row["author_url"] in ("", f"https://{host(site)}/users/{row['author_url'].rpartition('/')[2]}")
            for row in some
        )
    # houseplants' dump has neither licences nor Users.xml
    dated = {row["licence"]: row["created"].isoformat()[:10] for row in sorted(rows, key=lambda row: row["created"])}
    assert set(dated) == {"CC BY-SA 2.5", "CC BY-SA 3.0", "CC BY-SA 4.0"}
    for row in rows:
        day = row["created"].isoformat()[:10]
        licence = "4.0" if day >= "2018-05-02" else "3.0" if day >= "2011-04-08" else "2.5"
        assert row["licence"] == f"CC BY-SA {licence}"
    assert any(row["author"].startswith("user") and not row["author_url"] for row in rows)  # deleted users
    assert any(row["author"] and row["author_url"] for row in by_site["homelab"])


def test_the_manifest_tells_inputs_spec_counts_and_every_file(sample_build):
    manifest = json.loads((sample_build / "manifest.json").read_text(encoding="utf-8"))
    files = tree(sample_build)
    del files["manifest.json"]
    assert manifest["files"] == files
    posts = (DUMPS / host("baking") / "Posts.xml").read_bytes()
    assert manifest["inputs"]["communities"][host("baking")]["Posts.xml"]["sha256"] == hashlib.sha256(posts).hexdigest()
    assert manifest["inputs"]["gooaq"]["sha256"] == hashlib.sha256(GOOAQ.read_bytes()).hexdigest()
    assert manifest["seed"] == 0 and manifest["missing"] == []
    assert manifest["bad_rows"] == {
        "first": [f"{host('baking')}/Posts.xml:43: not a row in XML", "gooaq.jsonl:12: not an object but list"],
        "max_share": 0.01,
    }
    counts = manifest["counts"]["communities"]
    assert counts[host("stargazing")]["watermarks"] == 2 and counts[host("stargazing")]["owner -2"] == 1
    assert counts[host("houseplants")]["answers without their question"] == 1
    assert counts[host("houseplants")]["accepted answers not in the file"] == 1
    assert manifest["counts"]["gooaq"]["file"] == {
        "bad rows": 1, "community not built": 1, "elsewhere": 1, "links": 69, "meta site": 1, "no post": 2, "no url": 1,
        "rows": 76,
    }  # fmt: skip
    text = (sample_build / "manifest.json").read_text(encoding="utf-8")
    assert str(HOUSE) not in text and str(sample_build) not in text


@pytest.mark.parametrize("kind", ["two workers", "folders", "packed gooaq", "again"])
def test_the_bytes_do_not_depend_on(kind, sample_build, sample_folders, tmp_path):
    dumps, gooaq, workers = DUMPS, GOOAQ, 1
    if kind == "two workers":
        workers = 2
    elif kind == "folders":
        dumps = sample_folders
    elif kind == "packed gooaq":
        import gzip

        gooaq = tmp_path / "gooaq.jsonl.gz"
        gooaq.write_bytes(gzip.compress(GOOAQ.read_bytes()))
    out = tmp_path / "out"
    done = lotte("build", "--dumps", dumps, "--gooaq", gooaq, "--spec", SPEC, "--out", out, "--workers", workers)
    assert done.returncode == 0, done.stderr
    assert tree(out) == tree(sample_build)


def test_processes_make_the_same_bytes_as_this_one(sample_build, tmp_path):
    """The sample is so small that it is built in one process; here it is made to use two."""
    code = (
        "import sys; from lotte.builder import build; build._SMALL = 0\n"
        "from leaderboard.cli import app\n"
        "if __name__ == '__main__': app(sys.argv[1:])"
    )
    script = tmp_path / "two.py"
    script.write_text(code)
    out = tmp_path / "out"
    command = [sys.executable, script, *map(str, SAMPLE_WORDS), "--out", out, "--workers", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=HOUSE, env={**os.environ, "PYTHONPATH": str(HOUSE)}
    )
    assert done.returncode == 0, done.stderr
    assert tree(out) == tree(sample_build)


def test_parts_of_the_work_done_apart_make_the_same_bytes(sample_build, tmp_path):
    out = tmp_path / "out"
    for part in ("2/3", "1/3", "3/3"):
        done = lotte(*SAMPLE_WORDS, "--out", out, "--shard", part)
        assert done.returncode == 0, done.stderr
        assert not (out / "manifest.json").exists()
    done = lotte(*SAMPLE_WORDS, "--out", out)
    assert "5 of 5 steps are already finished and are kept" in done.stderr
    assert tree(out) == tree(sample_build)


def test_a_second_command_finds_everything_done(sample_build):
    before = {path: path.stat().st_mtime_ns for path in sample_build.rglob("*")}
    done = lotte(*SAMPLE_WORDS, "--out", sample_build)
    assert (done.returncode, done.stdout) == (0, f"{sample_build}\n")
    assert done.stderr == f"{sample_build} is already complete: same dumps, spec and seed. Nothing to do.\n"
    assert {path: path.stat().st_mtime_ns for path in sample_build.rglob("*")} == before


def test_another_seed_or_a_changed_dump_is_not_taken_for_the_same_build(sample_build, tmp_path, sample_folders):
    assert error(*SAMPLE_WORDS, "--out", sample_build, "--seed", 7) == (
        f"{sample_build} holds another build: it differs in spec. Choose another --out, or remove {sample_build} first."
    )
    dumps = tmp_path / "dumps"
    shutil.copytree(sample_folders, dumps)
    posts = dumps / host("baking") / "Posts.xml"
    posts.write_bytes(posts.read_bytes().replace(b'Score="31"', b'Score="32"', 1))  # as long as before
    assert error("build", "--dumps", dumps, "--gooaq", GOOAQ, "--spec", SPEC, "--out", sample_build) == (
        f"{sample_build} holds another build: it differs in dumps. Choose another --out, or remove {sample_build} first."
    )


def test_the_seed_decides_only_which_search_questions_are_taken(sample_build, tmp_path):
    out = tmp_path / "out"
    assert lotte(*SAMPLE_WORDS, "--out", out, "--seed", 1).returncode == 0
    mine, other = tree(sample_build), tree(out)
    assert {name for name in mine if mine[name] != other[name]} <= {
        "manifest.json", *(name for name in mine if ".search." in name)
    }  # fmt: skip
    assert mine["pooled/test/qas.search.jsonl"] != other["pooled/test/qas.search.jsonl"]


def test_one_topic_is_built_with_the_questions_it_has_in_the_whole(sample_build, tmp_path):
    out = tmp_path / "out"
    assert lotte(*SAMPLE_WORDS, "--out", out, "--topic", "science", "--split", "test").returncode == 0
    ours, whole = tree(out / "science"), tree(sample_build / "science")
    assert ours == whole
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "pooled", "science"]
    assert tree(out / "pooled") == ours
    assert all(path.samefile(out / "science" / "test" / path.name) for path in (out / "pooled" / "test").iterdir())


def test_a_file_without_a_second_name_is_copied(tmp_path, monkeypatch):
    def refuse(target: Path, source: Path) -> None:
        raise OSError("no links on this disk")

    (tmp_path / "whole").write_text("all of it")
    (tmp_path / "other").write_text("what a killed build left")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    artifact.link(tmp_path / "whole", tmp_path / "other")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"whole": "all of it", "other": "all of it"}
    assert not (tmp_path / "whole").samefile(tmp_path / "other")


def test_two_builds_do_not_write_the_same_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    with (out / ".work" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert error(*SAMPLE_WORDS, "--out", out) == (
            f"another build is at work in {out}. Wait until it ends, or choose another --out."
        )


def test_without_gooaq_there_are_forum_questions_only_and_it_says_so(tmp_path):
    out = tmp_path / "out"
    done = lotte("build", "--dumps", DUMPS, "--spec", SPEC, "--out", out)
    assert "no --gooaq: only forum questions were built" in done.stderr
    assert sorted(path.name for path in (out / "science" / "test").iterdir()) == [
        "attribution.parquet", "collection.tsv", "metadata.jsonl", "qas.forum.jsonl", "questions.forum.tsv"
    ]  # fmt: skip


def test_json_prints_the_counts(tmp_path):
    done = lotte(*SAMPLE_WORDS, "--out", tmp_path / "out", "--json")
    record = json.loads(done.stdout)
    assert record["out"] == str(tmp_path / "out") and record["parts"]["pooled/test"]["passages"] == 224


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the dumps of ../shared/data/stackexchange, which is not here")
def test_real_dumps_become_what_the_straightforward_script_makes(tmp_path):
    """Seven real communities: BOM or not, CRLF or LF, both spellings of tags, one not in the order of ids."""
    names = ("ai", "bioinformatics", "cardano", "coffee", "french.meta", "genai", "datascience.meta")
    sites = [f"{name}.stackexchange.com" for name in names]
    spec = tmp_path / "spec.toml"
    spec.write_text(f"[topics.a]\ntest = {json.dumps(sites[:3])}\n[topics.b]\ntest = {json.dumps(sites[3:])}\n")
    links = [f"https://{sites[3]}/questions/1/x", f"https://{sites[3]}/a/24", f"https://{sites[0]}/q/1"]
    rows = [json.dumps({"id": n, "question": f"what {n}?", "answer_url": url}) for n, url in enumerate(links)]
    gooaq = tmp_path / "gooaq.jsonl"
    gooaq.write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    done = lotte("build", "--dumps", SHARED, "--spec", spec, "--gooaq", gooaq, "--out", out)
    assert done.returncode == 0, done.stderr
    parts = {"a/test": plain_build.part(sites[:3], SHARED, rows), "b/test": plain_build.part(sites[3:], SHARED, rows)}
    parts["pooled/test"] = plain_build.pooled(list(parts.values()))
    for part, made in parts.items():
        for name, text in plain_build.files(made).items():
            assert (out / part / name).read_text(encoding="utf-8") == text, f"{part}/{name}"
