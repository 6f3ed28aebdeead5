"""LoTTE from dumps as one would write it in an afternoon: everything in memory, ElementTree, BeautifulSoup.

The judge of `lotte build` in test_build.py, and what bench_build.py holds its
speed against. It shares no code with the builder but the place of a GooAQ row
in the seeded shuffle, which is ours to define.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from math import ceil
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString

from lotte.builder.gooaq import Candidate, shuffle_key

BLOCKS = (
    "address article aside blockquote br caption center col colgroup dd details dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr legend li main menu nav ol optgroup option p pre section summary table tbody "
    "td tfoot th thead tr ul"
).split()


def text(html):
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup.find_all(BLOCKS):
        tag.insert_before(NavigableString(" "))
        tag.insert_after(NavigableString(" "))
    return re.sub(r"[\s\x00-\x1f\x85\u2028\u2029]+", " ", soup.get_text()).strip()


def posts(folder):
    """Return the questions, the answers, and all answers' questions of one community."""
    questions, answers, parent_of = {}, {}, {}
    source = re.sub(
        rb'<row (?:(?!/>).)*< here" />', b"", (folder / "Posts.xml").read_bytes()
    )  # the sample's broken row
    source = re.sub(rb"&#x0*(?:[0-8BCbcEeFf]|1[0-9A-Fa-f]);|[\x01-\x08\x0b\x0c\x0e-\x1f]", b" ", source)
    for row in ElementTree.fromstring(source):
        post, kind = int(row.get("Id")), row.get("PostTypeId")
        if post >= 10**9 or row.get("OwnerUserId") == "-2":
            continue
        if kind == "1":
            questions[post] = row
        elif kind == "2":
            parent_of[post] = int(row.get("ParentId"))
            if int(row.get("Score")) >= 1 and (words := text(row.get("Body"))):
                answers[post] = (row, words)
    answers = {post: both for post, both in answers.items() if parent_of[post] in questions}
    return questions, dict(sorted(answers.items())), parent_of


def names(folder):
    if not (folder / "Users.xml").exists():
        return {}
    users = ElementTree.parse(folder / "Users.xml").getroot()
    return {user.get("Id"): user.get("DisplayName") for user in users}


def part(sites, dumps, gooaq, *, seed=0, forum_size=2000, forum_min=50):
    """Return file name -> lines of one topic and split, and what the pool needs."""
    collection, metadata, forum, search, shares = [], [], [], [], []
    for site in sites:
        questions, answers, parent_of = posts(dumps / site)
        users = names(dumps / site)

        def author(row, users=users):
            return users.get(row.get("OwnerUserId"), row.get("OwnerDisplayName") or "")

        def author_url(row, site=site):
            return f"https://{site}/users/{row.get('OwnerUserId')}" if row.get("OwnerUserId") else ""

        pids = {}
        for post, (_, words) in answers.items():
            pids.setdefault(parent_of[post], []).append((len(collection), post))
            collection.append(words)
        for question in sorted(pids):
            rows = [answers[post][0] for _, post in pids[question]]
            metadata.append(
                {
                    "dataset": site,
                    "question_id": question,
                    "post_ids": [post for _, post in pids[question]],
                    "scores": [int(row.get("Score")) for row in rows],
                    "post_urls": [f"https://{site}/a/{post}" for _, post in pids[question]],
                    "post_authors": [author(row) for row in rows],
                    "post_author_urls": [author_url(row) for row in rows],
                    "question_author": author(questions[question]),
                    "question_author_url": author_url(questions[question]),
                    "closed": questions[question].get("ClosedDate") or "",
                    "pids": [pid for pid, _ in pids[question]],
                }
            )
        titles = []
        for question in pids:
            row = questions[question]
            title = re.sub("['\"]", "", re.sub(r"</?[A-Za-z][^>]*>", "", row.get("Title")))
            if row.get("AcceptedAnswerId") and " ".join(title.split()):
                order = (-int(row.get("Score")), -int(row.get("ViewCount", 0)), question)
                titles.append((order, " ".join(title.split()), [pid for pid, _ in pids[question]]))
        forum.append(sorted(titles))
        shares.append(len(pids))
        search.append(asked(site, gooaq, pids, parent_of, seed))
    total = sum(shares)
    taken = [
        some[: max(forum_min, ceil(forum_size * share / total) if total else 0)]
        for some, share in zip(forum, shares, strict=True)
    ]
    return {
        "collection": collection,
        "metadata": metadata,
        "forum": [(title, None, golds) for some in taken for _, title, golds in some],
        "search": [question for some in search for question in some],
    }


def asked(site, gooaq, pids, parent_of, seed):
    rows = []
    for number, line in enumerate(gooaq, start=1):
        row = json.loads(line)
        if not isinstance(row, dict) or not row["answer_url"]:
            continue
        at = re.match(rf"https?://(?:www\.)?{re.escape(site)}(/[^?#]*)", row["answer_url"])
        if not at:
            continue
        if found := re.fullmatch(r"/(?:questions|q)/(\d+)(?:/.*)?", at[1]):
            page = int(found[1])
        elif found := re.fullmatch(r"/a/(\d+)(?:/.*)?", at[1]):
            page = parent_of.get(int(found[1]))
        else:
            continue
        if page in pids:
            rows.append(
                (shuffle_key(Candidate(number, row["id"], row["question"], row["answer_url"], *[0] * 4), seed), row, page)
            )
    kept, urls = [], set()
    for _, row, page in sorted(rows, key=lambda one: one[0]):
        if row["answer_url"] not in urls:
            urls.add(row["answer_url"])
            kept.append((row["question"], row["answer_url"], [pid for pid, _ in pids[page]]))
    return kept


def pooled(parts):
    """Return the parts one after the other, with pids that run through."""
    pool = {"collection": [], "metadata": [], "forum": [], "search": []}
    for some in parts:
        first = len(pool["collection"])
        pool["collection"] += some["collection"]
        pool["metadata"] += [{**line, "pids": [pid + first for pid in line["pids"]]} for line in some["metadata"]]
        for kind in ("forum", "search"):
            pool[kind] += [(words, url, [pid + first for pid in golds]) for words, url, golds in some[kind]]
    return pool


def files(some):
    """Return file name -> text."""
    made = {
        "collection.tsv": "".join(f"{pid}\t{words}\n" for pid, words in enumerate(some["collection"])),
        "metadata.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in some["metadata"]),
    }
    for kind in ("forum", "search"):
        made[f"questions.{kind}.tsv"] = "".join(f"{qid}\t{one[0]}\n" for qid, one in enumerate(some[kind]))
        made[f"qas.{kind}.jsonl"] = "".join(
            json.dumps(
                {"qid": qid, "query": words, **({"url": url} if url else {}), "answer_pids": golds}, ensure_ascii=False
            )
            + "\n"
            for qid, (words, url, golds) in enumerate(some[kind])
        )
    return made


def write(folder: Path, some) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files(some).items():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")
