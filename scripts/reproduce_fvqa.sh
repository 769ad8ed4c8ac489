#!/usr/bin/env bash
# Runs the FVQA experiments of docs/results.md; what is already there is not run again.
#   FVQA=…/fvqa KG=…/kg OUT=runs scripts/reproduce_fvqa.sh [seeds|splits|ablations|release]…
set -euo pipefail
: "${FVQA:?folder of FVQA, see docs/data-path.md}" "${KG:?folder with ConceptNet, WordNet and the other graphs}"
OUT=${OUT:-runs}
KVQA=${KVQA:-kvqa}

small() { # OUT: FVQA's facts, ConceptNet-100K, and of WordNet the hypernyms of nouns and the parts of things
    "$KVQA" index-kb "$FVQA"/facts.tsv.gz "$KG"/CN-100K.{train,valid,test}.tsv.gz --out "$1" --index Flat --quiet
    "$KVQA" index-kb "$KG"/oewn_synsets.jsonl.gz --format wordnet-edges --out "$1" --quiet
}
large() { # OUT: what small has, and more of ConceptNet, attributes and parts
    small "$1"
    "$KVQA" index-kb "$KG"/CN-82K.{train,valid,test}.tsv.gz \
        "$KG"/{conceptnet4_en,visual_attributes,haspart_kb,pattern_commonsense}.tsv.gz --out "$1" --quiet
}
train() { # RUN CONFIG SPLIT SEED [KB]
    [ -f "$OUT/$1/manifest.json" ] || "$KVQA" train "$2" --root "$FVQA" --kb "$OUT/${5:-kb-s}" --out "$OUT/$1" --split "$3" --seed "$4"
}
evaluate() { # RUN SPLIT KB NAME [--hide-test-gold]
    local report=$OUT/$1/$4
    [ -f "$report/report.json" ] || "$KVQA" evaluate fvqa --root "$FVQA" --split "$2" --kb "$OUT/$3" \
        --model "$OUT/$1" --out "$report" "${@:5}"
}

mkdir -p "$OUT"
small "$OUT/kb-s"
for what in "${@:-seeds}"; do
    case $what in
    seeds) # split 0, three seeds
        for seed in 0 1 2; do
            train "seed-$seed" configs/fvqa.yaml train0 "$seed"
            evaluate "seed-$seed" test0 kb-s kb-s
            evaluate "seed-$seed" test0 kb-s kb-s-no-test-gold --hide-test-gold
        done ;;
    large) # the same models over the large knowledge base
        large "$OUT/kb-l"
        for seed in 0 1 2; do
            evaluate "seed-$seed" test0 kb-l kb-l
            evaluate "seed-$seed" test0 kb-l kb-l-no-test-gold --hide-test-gold
        done ;;
    splits) # the other four splits, seed 0
        for split in 1 2 3 4; do
            train "split-$split" configs/fvqa.yaml "train$split" 0
            evaluate "split-$split" "test$split" kb-s kb-s
        done ;;
    ablations) # split 0, seed 0, trained anew
        for name in no-graph no-cross frozen-retriever no-image no-question; do
            train "$name" "configs/ablations/$name.yaml" train0 0
            evaluate "$name" test0 kb-s kb-s
        done ;;
    release) # all pictures, our everyday facts as well; no test score can come of this model
        [ -d "$OUT/kb-release" ] || cp -r "$OUT/kb-s" "$OUT/kb-release"
        "$KVQA" index-kb kb/data/everyday.tsv --out "$OUT/kb-release" --quiet
        train release configs/fvqa-facts.yaml all 0 kb-release ;;
    *) echo "unknown experiment $what; one of seeds, large, splits, ablations, release" >&2; exit 2 ;;
    esac
done
