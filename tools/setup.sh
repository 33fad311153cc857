#!/usr/bin/env bash
# Installs what a target needs, once: Debian packages by apt, Python packages into build/venv.
# usage: tools/setup.sh build|test|all|lint
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-build}

build_packages="g++ cmake ninja-build libdnnl-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
  libfmt-dev libarchive-dev libxxhash-dev python3 python3-venv"
case "$want" in
  build) packages=$build_packages ;;
  test) packages="$build_packages googletest libgtest-dev" ;;
  all) packages="$build_packages googletest libgtest-dev chromium" ;;
  lint) packages="$build_packages googletest libgtest-dev clang-format clang-tidy" ;;
  *) echo "setup: '$want' is unknown; known are build, test, all, lint" >&2; exit 1 ;;
esac

mkdir -p build
stamp=build/.setup-$want
sum=$(cksum < "$0")
[ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && exit 0

if ! command -v dpkg-query > /dev/null; then
  echo "setup: this machine has no dpkg; install by hand what these Debian packages hold:" $packages >&2
  exit 1
fi
# Ubuntu's chromium package only points to a snap: the browser test skips where there is none.
missing=()
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | tr -d ' ')" = ii ] || missing+=("$package")
done

venv=build/venv
python_packages="plotly mwparserfromhell"
have_python=yes
[ -d "$venv/lib" ] && ls -d "$venv"/lib/python3*/site-packages/plotly > /dev/null 2>&1 &&
  ls -d "$venv"/lib/python3*/site-packages/mwparserfromhell > /dev/null 2>&1 || have_python=no

if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: ${#missing[@]} Debian packages to install: ${missing[*]}"
  echo "setup: up to 350 MB to fetch, 1-3 minutes (chromium, for 'make test-all', is 250 MB of it)"
  install="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    sudo=
  elif sudo -n true 2> /dev/null || { [ -t 0 ] && command -v sudo > /dev/null; }; then
    sudo=sudo
  else
    echo "setup: this needs root; run, then start again:  apt-get update && $install" >&2
    exit 1
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo $install > build/apt.log 2>&1 || { tail -20 build/apt.log >&2; exit 1; }
fi

if [ $have_python = no ]; then
  echo "setup: Python packages into $venv: $python_packages (15 MB, under a minute)"
  python=/usr/bin/python3
  [ -x $python ] || python=python3
  $python -m venv "$venv" || python3 -m venv "$venv"
  # plotly only for the plotting library it carries: what it depends on is not needed.
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps $python_packages
fi
echo "$sum" > "$stamp"
