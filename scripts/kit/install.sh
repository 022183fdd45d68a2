#!/bin/sh
# Installs the appliance from this kit, without a network: python3 is all it needs.
#
#   ./install.sh                     into /opt/attestor, the command into /usr/local/bin
#   ./install.sh --prefix DIR --bin DIR
#
# Nothing outside these two directories is written. Give it again after an interruption,
# or from a newer kit to upgrade: the old version stays until the new one is complete.
set -eu

say() { echo "install.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

prefix=/opt/attestor bin=/usr/local/bin
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -gt 1 ] || fail "--prefix takes a directory"; prefix=$2; shift 2 ;;
        --bin) [ $# -gt 1 ] || fail "--bin takes a directory"; bin=$2; shift 2 ;;
        *) say "unknown argument '$1': expected --prefix DIR or --bin DIR"; exit 2 ;;
    esac
done
case $prefix$bin in *[[:space:]]*) fail "no spaces in --prefix and --bin: scripts carry them in their first line" ;; esac

cd "$(dirname "$0")"
unset PYTHONHOME PYTHONPATH PIP_CONFIG_FILE PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL

sha256sum --check --strict --quiet SHA256SUMS \
    || fail "this kit is damaged: copy it again, and compare the SHA-256 of the tar file"
listed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort)
found=$(find . ! -type d ! -path ./SHA256SUMS | sed 's,^\./,,' | LC_ALL=C sort)
[ "$listed" = "$found" ] || fail "there are files here that SHA256SUMS does not name: unpack the kit anew"

version=$(cat version) wanted=$(cat python)
python=
for candidate in "python$wanted" python3; do
    if command -v "$candidate" >/dev/null 2>&1; then
        has=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || has=
        [ "$has" = "$wanted" ] && python=$candidate && break
    fi
done
[ -n "$python" ] || fail "this kit is for Python $wanted, here is ${has:-none}: make one with scripts/offline-kit --python ${has:-VERSION}"
[ "$(uname -m)" = "$(cat machine)" ] || fail "this kit is for $(cat machine), this is $(uname -m)"

mkdir -p "$prefix" "$bin"
prefix=$(cd "$prefix" && pwd) bin=$(cd "$bin" && pwd)
# Two kits never share a directory, even of one version.
place=$prefix/$version-$(sha256sum < SHA256SUMS | cut -c 1-12)
if [ ! -f "$place/.complete" ]; then
    # Either never there, or left by a run that was interrupted.
    rm -rf "$place"
    "$python" -m venv --without-pip "$place"
    # pip runs from its own wheel; it takes nothing that has not the hash it must have.
    set -- wheels/pip-*.whl
    "$place/bin/python" "$1/pip" --isolated --disable-pip-version-check --no-input \
        --no-cache-dir install --quiet --no-index --find-links wheels --no-deps --require-hashes \
        --requirement requirements.txt
    touch "$place/.complete"
fi
# One rename: the command is the old one or the new one.
ln -sfn "$place/bin/attestor" "$bin/.attestor.$$"
mv -f "$bin/.attestor.$$" "$bin/attestor"
"$bin/attestor" --version
say "installed in $place; try: $bin/attestor drill"
