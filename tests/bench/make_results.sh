#!/bin/bash
# The records in results/: the systems that run on a laptop, on data that may be named.
#
#   tests/bench/make_results.sh WORK [RESULTS]
#
# WORK takes indexes and runs, outside of the repository, so that the records name a clean commit; RESULTS is results/
# unless it is named. Only what is scored again and found right goes there, and it replaces what stood there.
# LOTTE is that of a virtual environment. Two cores take half an hour.
set -euo pipefail
work=$(realpath -m "$1") results=$(realpath -m "${2:-results}")
cd "$(dirname "$0")/../.."
lotte=${LOTTE:-.venv/bin/lotte}
ir=../shared/data/ir
add=("$lotte" board add --results "$results" --replace)

systems=(overlap rank_bm25 bm25 colbertv2 hybrid)
"$lotte" demo --out "$work/demo"
for system in "${systems[@]}"; do
  options=()
  [ $system != colbertv2 ] || options=(-o checkpoint=shipped)
  [ $system != hybrid ] || options=(-o 'of=bm25+colbertv2(checkpoint=shipped)')
  "$lotte" eval $ir/{scifact,cranfield,cacm,vaswani_npl}/test $ir/nq_qed/dev \
    --retriever $system "${options[@]}" --k 100 --gzip --index "$work/index" --out "$work/out"
  "$lotte" eval $ir/squad_dev11/dev $ir/{squadshifts_new_wiki,medquad,tldr_commands}/test \
    --retriever $system "${options[@]}" --k 20 --gzip --index "$work/index" --out "$work/out"
done

for system in "${systems[@]}"; do rm -rf "${results:?}/$system"; done
find "$work/demo/results" -name '*.json' -print0 | sort -z | xargs -0 "${add[@]}" --data "$work/demo/lotte"
for system in "${systems[@]}"; do
  find "$work/out/$system" -name '*.json' -print0 | sort -z | xargs -0 "${add[@]}" --data $ir
done
"$lotte" board verify "$results" --data $ir
