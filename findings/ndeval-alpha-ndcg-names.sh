#!/usr/bin/env bash
# pyndeval 0.0.8 (TREC's ndeval): alpha-nDCG of a run depends on what its documents are called.
#
# A good guess: a measure of a ranking and its judgments is the same if every document gets another name, in both, as
# ERR-IA is. alpha-nDCG divides by the gain of an ideal ranking, which is made greedily: at each
# rank the document with the largest gain. Of several with the same gain ndeval takes the one whose id is the largest,
# and a greedy choice decides what the later ranks can still gain, so another tie gives another ideal. Whoever writes
# the measure anew agrees only with ties by id, descending; "first judged" or "ascending" agrees on most queries.
#
# Here d1, d2, d3 are ranked in this order; then the same documents are called d3, d2, d1. Output seen:
#   named d1, d2, d3: alpha-nDCG@5 0.9826, ERR-IA@5 0.5900
#   named d3, d2, d1: alpha-nDCG@5 1.0000, ERR-IA@5 0.5900
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyndeval==0.0.8
"$work/venv/bin/python" - <<'P'
from pyndeval import RelevanceEvaluator, ScoredDoc, SubtopicQrel

# subtopic -> the places of the documents that are about it
about = {"0": {1, 2}, "1": {3}, "2": {2}, "3": {1, 3}}
values = []
for names in (["d1", "d2", "d3"], ["d3", "d2", "d1"]):
    judged = [SubtopicQrel("q", topic, name, int(place in places))
              for topic, places in about.items() for place, name in enumerate(names, start=1)]
    run = [ScoredDoc("q", name, -float(place)) for place, name in enumerate(names)]
    found = RelevanceEvaluator(judged, measures=["alpha-nDCG@5", "ERR-IA@5"]).evaluate(run)["q"]
    values.append(found)
    print(f"named {', '.join(names)}: alpha-nDCG@5 {found['alpha-nDCG@5']:.4f}, ERR-IA@5 {found['ERR-IA@5']:.4f}")
assert round(values[0]["alpha-nDCG@5"], 4) == 0.9826 and round(values[1]["alpha-nDCG@5"], 4) == 1.0, values
assert values[0]["ERR-IA@5"] == values[1]["ERR-IA@5"], values
P
