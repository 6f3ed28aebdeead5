#!/bin/bash
# One table of all systems that can be had here: small models trained from the shipped checkpoint, six collections.
#
#   tests/bench/make_table.sh WORK
#
# WORK takes models, indexes, records with their runs, and table.md. What was stopped goes on with the same command.
# LOTTE is that of a virtual environment, SETS the folders of fewer collections, STEPS how many steps are trained. The
# cross-encoder re-ranks 20 passages and skips SQuAD; K-NRM, Conv-KNRM and Duet re-rank 100: all of them would take hours
# of two cores. doc2query and SPLADE are not in it: no weights of theirs are here.
set -euo pipefail
work=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
lotte=${LOTTE:-.venv/bin/lotte}
ir=../shared/data/ir dumps=../shared/data/stackexchange weights=retrievers/weights
mkdir -p "$work"

[ -e "$work/lotte/manifest.json" ] ||
  "$lotte" build --dumps $dumps --spec tests/bench/shipped_test.toml --out "$work/lotte"
all=($ir/scifact/test $ir/cranfield/test $ir/nq_qed/dev $ir/tldr_commands/test $ir/squad_dev11/dev
      "$work/lotte/pooled/test/forum")
read -ra sets <<< "${SETS:-${all[*]}}"
kept=()
for set in "${all[@]}"; do kept+=(--held-out "$set"); done
pairs=($ir/{squad_train_parts,nq_qed,scifact,tldr_commands}/train "${kept[@]}"
       -o limit=2000 -o passages=4000 -o validation=100 -o validation_depth=20)

train() { # SYSTEM NAME -o ...
  local system=$1 name=$2
  shift 2
  [ -e "$work/$name/checkpoint/training.json" ] || [ -e "$work/$name/teacher/checkpoint/meta.json" ] ||
    "$lotte" train "$system" "${pairs[@]}" --out "$work/$name" "$@"
}

student=(-o start=$weights -o teacher=$weights -o "student.steps=${STEPS:-150}" -o student.batch=16
         -o student.lr=5e-5 -o student.warmup=15 -o student.validate_every=0 -o student.save_every=50 -o doc_maxlen=110)
for condition in none triplet batch; do
  train tct_colbert tct-$condition "${student[@]}" -o distil=$condition
done
train crossencoder crossencoder -o start=$weights -o v1_passes=0 -o teacher_negatives=bm25 -o crossencoder.steps=${STEPS:-200} \
  -o crossencoder.batch=8 -o crossencoder.lr=8e-5 -o crossencoder.warmup=20 -o crossencoder.validate_every=0
for model in knrm conv_knrm duet; do train $model $model; done

score() { # NAME RETRIEVER -o ...
  local name=$1 retriever=$2 of=("${sets[@]}")
  shift 2
  if [ "$name" = crossencoder ]; then
    of=()
    for set in "${sets[@]}"; do [[ $set == *squad* ]] || of+=("$set"); done
  fi
  "$lotte" eval "${of[@]}" --retriever "$retriever" "$@" --k 100 --measure nDCG@10 --measure Success@5 --gzip \
    --index "$work/index" --out "$work/out/$name"
}

for system in overlap rank_bm25 bm25; do score $system $system; done
score colbertv2 colbertv2 -o checkpoint=shipped
score hybrid hybrid -o 'of=bm25+colbertv2(checkpoint=shipped)'
score colbert colbert -o checkpoint=shipped -o mask_punctuation=true -o first=bm25 -o depth=100
for condition in none triplet batch; do
  score tct-$condition tct_colbert -o "checkpoint=$work/tct-$condition/checkpoint"
done
score tct-batch-bm25 hybrid -o "of=tct_colbert(checkpoint=$work/tct-batch/checkpoint)+bm25" -o method=scores -o weights=1,0.1
for model in knrm conv_knrm duet; do
  score $model $model -o "checkpoint=$work/$model/checkpoint" -o first=bm25 -o depth=100
done
score crossencoder crossencoder -o "checkpoint=$work/crossencoder/teacher/checkpoint" -o first=bm25 -o depth=20

find "$work/out" -name '*.json' -print0 | sort -z | xargs -0 "$lotte" board table --measure nDCG@10 --out "$work/table.md"
