#!/bin/sh
# Verifies this directory with sh, jq, sha256sum and ssh-keygen alone. README.md says what that proves.
#
#   ./verify.sh [--key 'NAME+ID+BASE64'] [--checkpoint FILE]
#
# --key: the node's public key, had from elsewhere. --checkpoint: an earlier checkpoint, had from elsewhere.
# Exit code: 0 if everything was verified, 11 if something could not be checked, 8 if something is wrong.
set -eu
LC_ALL=C
export LC_ALL
key='' earlier=''
while [ $# -gt 0 ]; do
    case $1 in
    --key) key=$2 && shift 2 ;;
    --checkpoint) earlier=$(cat "$2") && shift 2 ;;
    *) echo "usage: $0 [--key KEY] [--checkpoint FILE]" >&2 && exit 2 ;;
    esac
done
cd "$(dirname "$0")"
for tool in jq sha256sum ssh-keygen; do
    command -v "$tool" >/dev/null || { echo "$tool is needed" >&2 && exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/files" "$work/run"
open=0
wrong() { echo "WRONG: $*" && exit 8; }
verified() { echo "verified: $*"; }
not_checked() { open=1 && echo "not checked: $*"; }

# 1. The signature over the list of files, then the files.
name=$(jq -nRr 'input | split("+")[0]' keys)
ssh-keygen -Y verify -f allowed_signers -I "$name" -n file -s SHA256SUMS.sig <SHA256SUMS >/dev/null 2>&1 ||
    wrong "SHA256SUMS is not what was signed"
sha256sum --check --strict --quiet SHA256SUMS >/dev/null 2>&1 || wrong "a file is not what was signed"
for file in * blobs/*; do
    case $file in
    SHA256SUMS | SHA256SUMS.sig | blobs | 'blobs/*') continue ;;
    esac
    jq -nRe --arg file "$file" 'any(inputs; .[66:] == $file)' SHA256SUMS >/dev/null ||
        wrong "$file was not signed"
done
verified "the files, signed with $(jq -nRr '[inputs][-1]' keys)"

# 2. Hashes. hash_all: the digests of the files below $work/files, in their order, then they are removed.
hash_all() {
    (cd "$work/files" && sha256sum -- * && rm -- *) | while read -r digest _; do echo "$digest"; done
}
# The leaves of the lines on stdin.
leaves() {
    n=100000
    while IFS= read -r line; do
        printf '\000%s' "$line" >"$work/files/$n"
        n=$((n + 1))
        [ $((n % 1000)) -ne 0 ] || hash_all
    done
    [ $((n % 1000)) -eq 0 ] || hash_all
}
# shellcheck disable=SC2016
octal='def digit: if . > 96 then . - 87 else . - 48 end;
    def octal: explode | [range(0; length; 2) as $k | (.[$k] | digit) * 16 + (.[$k + 1] | digit)
        | "\\\(. / 64 | floor)\(. / 8 | floor | . % 8)\(. % 8)"] | join("");'
# From the hashes of one level on stdin to those of the level above (RFC 6962). An odd one goes up as it is.
# shellcheck disable=SC2016
above='[inputs] as $h | range(0; $h | length; 2) as $i
    | if $i + 1 < ($h | length) then $h[$i] + $h[$i + 1] | octal else "=" + $h[$i] end'
level() { jq -nRr "$octal $above" | nodes; }
# The hashes of the nodes on stdin, each as the octal escapes of its two halves.
nodes() {
    n=100000
    odd=''
    while IFS= read -r node; do
        case $node in
        =*) odd=${node#=} && continue ;;
        esac
        # The node is made of octal escapes only.
        # shellcheck disable=SC2059
        printf "\\001$node" >"$work/files/$n"
        n=$((n + 1))
        [ $((n % 1000)) -ne 0 ] || hash_all
    done
    [ $((n % 1000)) -eq 0 ] || hash_all
    [ -z "$odd" ] || echo "$odd"
}
# The root of the first $1 leaves, in base64; $work/level has it as it is.
root() {
    jq -nRr --argjson size "$1" '[limit($size; inputs)] | .[] | .[:64]' leaves >"$work/level"
    while [ "$(jq -nR '[inputs] | length' "$work/level")" -gt 1 ]; do
        level <"$work/level" >"$work/next"
        mv "$work/next" "$work/level"
    done
    jq -nRr 'def digit: if . > 96 then . - 87 else . - 48 end;
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" as $letters
        | input | explode | [range(0; 64; 2) as $k | (.[$k] | digit) * 16 + (.[$k + 1] | digit)] + [0]
        | [range(0; 33; 3) as $i | .[$i] * 65536 + .[$i + 1] * 256 + .[$i + 2]
            | (. / 262144 | floor), (. / 4096 | floor | . % 64), (. / 64 | floor | . % 64), . % 64]
        | map($letters[.:. + 1]) | join("") | .[:43] + "="' "$work/level"
}

# 3. Each entry is a leaf of the tree, and the root of the tree is what was signed.
leaves <entries.jsonl >"$work/leaves"
jq -nRr 'inputs | select(.[65:] == "+") | .[:64]' leaves >"$work/expected"
[ "$(sha256sum <"$work/leaves")" = "$(sha256sum <"$work/expected")" ] ||
    wrong "the entries are not those that were signed"
size=$(jq -nRr '[inputs][1]' checkpoint)
[ "$(jq -nR '[inputs] | length' leaves)" = "$size" ] || wrong "the checkpoint is of another number of records"
[ "$(root "$size")" = "$(jq -nRr '[inputs][2]' checkpoint)" ] || wrong "the checkpoint is of another tree"
verified "$(jq -nR '[inputs] | length' entries.jsonl) of $size records are in the tree of the checkpoint"

# Each run's proof leads from its last leaf to that root (RFC 9162, 2.1.3.2). All proofs go up together, a level at a time.
# shellcheck disable=SC2016
up='if .path == [] then del(.node) else .path[0] as $beside
    | if .fn % 2 == 1 or .fn == .sn
      then .node = $beside + .hash | until(.fn % 2 == 1 or .fn == 0; .fn = (.fn / 2 | floor) | .sn = (.sn / 2 | floor))
      else .node = .hash + $beside end
    | .fn = (.fn / 2 | floor) | .sn = (.sn / 2 | floor) | .path |= .[1:] end'
root_hash=$(cat "$work/level")
# shellcheck disable=SC2016
jq -c --rawfile leaves leaves '($leaves | split("\n")) as $hashes
    | { run, size, fn: .leaf, sn: (.size - 1), hash: $hashes[.leaf][:64], path }' proofs.jsonl >"$work/proofs"
while jq -en 'any(inputs; .path != [])' "$work/proofs" >/dev/null; do
    jq -c "$up" "$work/proofs" >"$work/next"
    jq -r "$octal select(.node).node | octal" "$work/next" | nodes >"$work/hashes"
    # shellcheck disable=SC2016
    jq -nc --rawfile hashes "$work/hashes" 'foreach inputs as $proof ({ left: ($hashes | split("\n")) };
        if $proof.node then .proof = $proof | .proof.hash = .left[0] | .left |= .[1:] else .proof = $proof end; .proof)' \
        "$work/next" >"$work/proofs"
done
jq -en --argjson size "$size" --arg root "$root_hash" 'all(inputs; .size == $size and .sn == 0 and .hash == $root)' \
    "$work/proofs" >/dev/null || wrong "the proof of a run does not lead to the checkpoint"
[ "$(jq -r 'select(.run).run' entries.jsonl | sort -u)" = "$(jq -r .run proofs.jsonl | sort)" ] ||
    wrong "not each run has its proof"
verified "the proofs of $(jq -n '[inputs] | length' proofs.jsonl) runs"

# 4. Each run has its entries without a gap, and its statement.
jq -n 'reduce (inputs | select(.prev)) as $e ({}; .[$e.run] as $last
    | if ($last.seq // 0) + 1 == $e.seq and ($last.hash // $e.prev) == $e.prev
      then .[$e.run] = { seq: $e.seq, hash: $e.hash } else error("entry \($e.seq) of run \($e.run)") end)' \
    entries.jsonl >/dev/null 2>&1 || wrong "an entry of a run is missing"
jq -r '.run // "none"' entries.jsonl >"$work/runs"
while read -r run && read -r hash <&3; do
    echo "$hash" >>"$work/run/$run"
done <"$work/runs" 3<"$work/leaves"
rm -f "$work/run/none"
jq -r '.payload | @base64d | fromjson | "\(.predicate.run) \(.subject[0].digest.sha256)"' \
    statements.intoto.jsonl >"$work/stated"
while read -r run digest; do
    [ -e "$work/run/$run" ] || wrong "run $run is stated and not there"
    [ "$(sha256sum <"$work/run/$run")" = "$digest  -" ] || wrong "run $run is not as it is stated"
    rm "$work/run/$run"
done <"$work/stated"
for run in "$work/run"/*; do
    [ ! -e "$run" ] || wrong "nothing is stated of run ${run##*/}"
done
verified "$(jq -nR '[inputs] | length' "$work/stated") runs are as stated"

# 5. What only something from elsewhere can tell.
if [ -n "$key" ]; then
    jq -nRe --arg key "$key" 'any(inputs; . == $key)' keys >/dev/null || wrong "the key is not $key"
    verified "the key is the one that was given"
else
    not_checked "whose key this is (--key)"
fi
if [ -n "$earlier" ]; then
    field() { printf '%s\n' "$earlier" | jq -nRr --argjson n "$1" '[inputs][$n]'; }
    [ "$(field 0)" = "$name" ] || wrong "the checkpoint that was given is of another journal"
    [ "$(field 1)" -le "$size" ] || wrong "records are missing that were signed"
    [ "$(root "$(field 1)")" = "$(field 2)" ] || wrong "the records are not those of the checkpoint that was given"
    verified "the checkpoint that was given, of $(field 1) records"
else
    not_checked "whether this is the whole journal (--checkpoint)"
fi
[ "$open" -eq 0 ] || exit 11
