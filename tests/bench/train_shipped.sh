#!/bin/bash
# The checkpoint that ships, from the pairs and dumps in ../shared: builds, training, measurements, card.
#
#   tests/bench/train_shipped.sh OUT [-o key=value]...
#   BEFORE=FOLDER tests/bench/train_shipped.sh OUT    its last training, from the checkpoint that the first line makes
#                                                 (OUT/run/checkpoint-int8): it learns what it and BM25 say together
#   FULL=1 tests/bench/train_shipped.sh OUT       all pairs and more steps, for a GPU: does better
#   SCRATCH=1 tests/bench/train_shipped.sh OUT    beside it, in OUT/scratch: one round from drawn weights, same teacher
#
# START is a folder with all-MiniLM-L6-v2, or its name on the hub; LOTTE and PYTHON are those of a virtual environment;
# QUERIES is how many questions of each held-out set are asked, 300, and of LoTTE all, unless it is given. What was
# stopped goes on with the same command.
set -euo pipefail
out=$1
shift
cd "$(dirname "$0")/../.."
start=${START:-sentence-transformers/all-MiniLM-L6-v2}
lotte=${LOTTE:-.venv/bin/lotte} python=${PYTHON:-.venv/bin/python}
ir=../shared/data/ir dumps=../shared/data/stackexchange

if [ -n "${BEFORE:-}" ]; then
  "$python" tests/bench/shipped_examples.py "$out/examples" "$BEFORE"
  held_out=()
  for set in squad_dev11/dev squadshifts_new_wiki/test nq_qed/dev {scifact,medquad,tldr_commands,cranfield,cacm,vaswani_npl}/test; do
    held_out+=(--held-out $ir/$set)
  done
  last() { # FOLDER START STEPS SEED WARMUP
    "$lotte" train colbertv2 "$out/examples/seven_sets/train" --examples "$out/examples/examples.json" "${held_out[@]}" \
      --out "$1" -o "start=$2" -o doc_maxlen=140 -o validation=100 -o "seed=$4" -o "distil.steps=$3" -o distil.batch=16 \
      -o distil.nway=4 -o distil.lr=4e-5 -o "distil.warmup=$5" -o distil.validate_every=0 -o distil.save_every=50
  }
  last "$out/first" "$BEFORE" 500 12345 25
  last "$out/second" "$out/first/checkpoint" 600 777 20
  exit
fi

for name in dev test; do
  [ -e "$out/lotte-$name/manifest.json" ] ||
    "$lotte" build --dumps $dumps --spec tests/bench/shipped_$name.toml --out "$out/lotte-$name"
done

held_out=($ir/squad_dev11/dev $ir/squadshifts_new_wiki/test $ir/nq_qed/dev $ir/scifact/test $ir/medquad/test
          "$out/lotte-test/pooled/test/forum")
kept=()
for set in "${held_out[@]}"; do kept+=(--held-out "$set"); done
seen="Stack Exchange (titles, bodies, answers of 140 communities), GooAQ, MS MARCO, SQuAD, NQ and others"
two_cores=(-o limit=5000 -o passages=10000 -o validation=160 -o validation_depth=20
           -o v1.steps=400 -o v1.validate_every=200 -o v1.save_every=100
           -o crossencoder.steps=1000 -o crossencoder.lr=8e-5 -o crossencoder.warmup=100
           -o crossencoder.validate_every=250 -o crossencoder.save_every=100
           -o mined_questions=4800 -o distil.save_every=50 -o distil.validate_every=100)
[ -z "${FULL:-}" ] || two_cores=()

train() { # FOLDER, then further options
  local folder=$1
  shift
  "$lotte" train colbertv2 $ir/{squad_train_parts,nq_qed,medquad,scifact,tldr_commands,arxiv_cs}/train \
    --from-build "$out/lotte-dev" --dumps $dumps "${kept[@]}" --out "$folder" \
    -o "start=$start" -o "start_seen=$seen" -o start_licence=Apache-2.0 "${two_cores[@]}" "$@"
}

train "$out/run" "$@"
also=()
if [ -n "${SCRATCH:-}" ]; then # without a start there is more to learn: larger steps, and on two cores twice as many
  drawn=(-o scratch=true -o projection=random -o rounds=1 -o "teacher=$out/run/teacher/checkpoint"
         -o v1.lr=3e-4 -o v1.warmup=100 -o distil.lr=1e-4)
  [ -n "${FULL:-}" ] || drawn+=(-o v1.steps=800)
  train "$out/scratch" "${drawn[@]}" "$@"
  also=(--also "scratch=$out/scratch/checkpoint" --note "\`scratch\`: the same recipe from drawn weights, one round of it,
with v1 of 800 steps at 3e-4 and distillation at 1e-4, taught by the same teacher.")
fi

measure() { "$python" tests/bench/bench_training.py "$out/run" "$@" --out "$out/values.json" "${also[@]}"; }
measure "$out/lotte-test/pooled/test/forum" --queries "${QUERIES:-1100}" # all of them
measure "${held_out[@]}" --queries "${QUERIES:-300}" --card "$out/run/checkpoint-int8/README.md"
