#!/bin/sh
# Installs the appliance from this kit, without a network: python3 is all it needs.
#
#   ./install.sh                     into /opt/attestor, the command into /usr/local/bin; not as
#                                    root: into ~/.local/lib/attestor and ~/.local/bin
#   ./install.sh --prefix DIR --bin DIR
#   ./install.sh --uninstall         takes out again what it put there; homes stay
#
# Written are these two directories and, beside --bin, share/man and the shells' completions.
# Give it again after an interruption, if something was damaged, or from a newer kit to
# upgrade: the old version stays until the new one is complete. Documents, systemd units, the
# cron file, alert rules and the dashboard lie below PREFIX/current/share, to be copied.
set -eu
umask 022
export LC_ALL=C

say() { echo "install.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

prefix=/opt/attestor bin=/usr/local/bin uninstall=
if [ "$(id -u)" -ne 0 ] && [ -n "${HOME:-}" ]; then
    prefix=$HOME/.local/lib/attestor bin=$HOME/.local/bin
fi
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -gt 1 ] || fail "--prefix takes a directory"; prefix=$2; shift 2 ;;
        --bin) [ $# -gt 1 ] || fail "--bin takes a directory"; bin=$2; shift 2 ;;
        --uninstall) uninstall=yes; shift ;;
        *) say "unknown argument '$1': expected --prefix DIR, --bin DIR or --uninstall"; exit 2 ;;
    esac
done
case $prefix$bin in *[[:space:]]*) fail "no spaces in --prefix and --bin: scripts carry them in their first line" ;; esac

cd "$(dirname "$0")"
# What would have python3 or pip take something else than what is in this kit.
for name in $(env | sed -n 's/^\(PYTHON[A-Z0-9_]*\|PIP_[A-Z0-9_]*\|VIRTUAL_ENV\)=.*/\1/p'); do
    unset "$name"
done

share=$(dirname "$bin")/share
pages=$share/man/man1
# Links of ours: those that lead below PREFIX, and nothing else.
unlink_ours() {
    for link in "$bin/attestor" "$pages"/attestor*.1 "$share"/bash-completion/completions/attestor \
        "$share"/zsh/site-functions/_attestor "$share"/fish/vendor_completions.d/attestor.fish; do
        case $(readlink "$link" 2>/dev/null || true) in "$prefix"/*) rm -f "$link" ;; esac
    done
}

if [ -n "$uninstall" ]; then
    [ -d "$prefix" ] || fail "there is nothing at $prefix"
    prefix=$(cd "$prefix" && pwd)
    unlink_ours
    for place in "$prefix"/*/; do
        [ -f "$place/.attestor" ] && rm -rf "$place"
    done
    rm -f "$prefix/current"
    rmdir "$prefix" 2>/dev/null || say "kept $prefix: there is something else in it"
    say "removed; homes stay where they are (/var/lib/attestor, ~/.local/share/attestor)"
    exit 0
fi

# What is not checked yet is not waited for, run or shown.
first_line() { [ -f "$1" ] && [ ! -L "$1" ] && head -c 64 "$1" | tr -cd 'A-Za-z0-9._+-'; }
version=$(first_line version) && wanted=$(first_line python) && machine=$(first_line machine) || fail "this kit is damaged: unpack it anew"
python= has=
for candidate in "python$wanted" python3; do
    if command -v "$candidate" >/dev/null 2>&1; then
        has=$("$candidate" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])') || has=
        [ "$has" = "$wanted" ] && python=$candidate && break
    fi
done
[ -n "$python" ] || fail "this kit is for Python $wanted, here is ${has:-none}: make one with scripts/offline-kit --python ${has:-VERSION}"
[ "$(uname -m)" = "$machine" ] || fail "this kit is for $machine, this is $(uname -m)"

# Every file is what SHA256SUMS says, and no other is here.
"$python" -I - <<'END' || fail "this kit is damaged: unpack it anew, or copy it again and compare the SHA-256 of the tar file"
import hashlib, os, stat, sys
def told(name, what):
    print(f"install.sh: {name!a}: {what}", file=sys.stderr)
def digest(name, most=1 << 28):
    at = os.lstat(name) if os.path.lexists(name) else None
    if at is None or not stat.S_ISREG(at.st_mode) or at.st_size > most:  # a link, a pipe, no file of a kit
        return None
    sha256 = hashlib.sha256()
    with open(name, "rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
    return sha256.hexdigest()
if digest("SHA256SUMS", 1 << 24) is None:
    sys.exit("install.sh: SHA256SUMS: no such list")
lines = open("SHA256SUMS", "rb").read().decode("utf-8", "replace").splitlines()
listed = {name: wanted for wanted, _, name in (line.partition("  ") for line in lines)}
links = [os.path.join(at, one) for at, names, _ in os.walk(".") for one in names
         if os.path.islink(os.path.join(at, one))]
found = {os.path.relpath(os.path.join(at, name), ".") for at, _, names in os.walk(".") for name in names}
odd = found ^ {*listed, "SHA256SUMS"}
for name in sorted(odd):
    told(name, "not named in SHA256SUMS" if name in found else "missing")
for name in links:
    told(name, "a link in the place of a directory")
bad = [name for name in sorted(found & set(listed)) if digest(name) != listed[name]]
for name in bad:
    told(name, "not what SHA256SUMS says")
sys.exit(bool(bad or links or odd or len(listed) != len(lines)))
END

# Whether a place is whole: every installed file is what its wheel says. A marker would be
# believed after a disk lost what it stands for.
is_whole() {
    [ -x "$1/bin/attestor" ] && "$python" -I - "$1" "$version" <<'END' 2>/dev/null
import base64, csv, glob, hashlib, os, sys
place, version = sys.argv[1:]
[site] = glob.glob(f"{place}/lib/python3*/site-packages")
records = glob.glob(f"{site}/*.dist-info/RECORD")
assert f"{site}/attestor_appliance-{version}.dist-info/RECORD" in records
assert len(records) == len(glob.glob("wheels/*.whl"))
for record in records:
    for path, digest, _ in csv.reader(open(record, newline="")):
        if digest:
            kind, _, wanted = digest.partition("=")
            raw = hashlib.new(kind, open(os.path.join(site, path), "rb").read()).digest()
            assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == wanted, path
END
}

mkdir -p "$prefix" "$bin"
prefix=$(cd "$prefix" && pwd) bin=$(cd "$bin" && pwd)
# Two kits never share a directory, even of one version.
place=$prefix/$version-$("$python" -I -c 'import hashlib; print(hashlib.sha256(open("SHA256SUMS", "rb").read()).hexdigest()[:12])')
if ! is_whole "$place"; then
    # Never there, left by a run that was interrupted, or damaged since.
    [ ! -e "$place" ] || say "repairing $place"
    rm -rf "$place"
    "$python" -I -m venv --without-pip "$place"
    touch "$place/.attestor"
    # pip runs from its own wheel; it takes nothing that has not the hash it must have.
    set -- wheels/pip-*.whl
    "$place/bin/python" -I "$1/pip" --isolated --disable-pip-version-check --no-input \
        --no-cache-dir install --quiet --no-index --find-links wheels --no-deps --require-hashes \
        --requirement requirements.txt
    is_whole "$place" || fail "$place is not what was installed: is its disk full or damaged?"
fi
rm -rf "$place/share"
cp -R share "$place/share"
cp install.sh README LICENSE "$place/share/"

# Each a rename: the command is the old one or the new one.
point() { # TARGET LINK
    mkdir -p "$(dirname "$2")"
    ln -sfn "$1" "$2.$$"
    mv -fT "$2.$$" "$2"
}
point "$place" "$prefix/current"
point "$place/bin/attestor" "$bin/attestor"
if mkdir -p "$pages" 2>/dev/null && [ -w "$pages" ]; then
    for page in "$place"/share/man/man1/*.1; do
        point "$prefix/current/share/man/man1/${page##*/}" "$pages/${page##*/}"
    done
    point "$prefix/current/share/completions/attestor.bash" "$share/bash-completion/completions/attestor"
    point "$prefix/current/share/completions/attestor.zsh" "$share/zsh/site-functions/_attestor"
    point "$prefix/current/share/completions/attestor.fish" "$share/fish/vendor_completions.d/attestor.fish"
fi
"$bin/attestor" --version
case :$PATH: in
    *:"$bin":*) command=attestor ;;
    *) command=$bin/attestor; say "$bin is not on the PATH: export PATH=\"$bin:\$PATH\"" ;;
esac
say "installed in $place; try: $command drill"
