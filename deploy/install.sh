#!/bin/sh
# Fetches nodelet for this machine and runs `nodelet install` with the words it is given:
#   curl -fsSL https://HOST/nodelet/install.sh | sudo NODELET_URL=https://HOST/nodelet sh
#   sudo deploy/install.sh --join 10.0.0.1:6443 --token TOKEN --discovery-token-ca-cert-hash sha256:HASH
# NODELET_URL is a folder, or the address of one, with what `npm run build` makes: nodelet-x64, nodelet-arm64, SHA256SUMS. Unset, it is
# dist/ beside this script.
set -eu

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

main() {
  [ "$(id -u)" = 0 ] || fail 'this is not root: run it with sudo'
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) fail "there is no nodelet for $(uname -m), only for x86_64 and aarch64" ;;
  esac
  url=${NODELET_URL:-$(dirname "$0")/../dist}
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  for file in "nodelet-$arch" SHA256SUMS; do
    case $url in
      http://* | https://*) curl -fsSL -o "$work/$file" "$url/$file" || fail "$url/$file cannot be fetched" ;;
      *) cp "$url/$file" "$work/$file" 2>/dev/null || fail "there is no $url/$file: run \`npm run build\`, or set NODELET_URL" ;;
    esac
  done
  (cd "$work" && grep " nodelet-$arch\$" SHA256SUMS | sha256sum --check --status) || fail "nodelet-$arch is not what SHA256SUMS says"
  chmod 755 "$work/nodelet-$arch"
  "$work/nodelet-$arch" install "$@"
}

# Read whole before anything runs: a download that breaks off runs nothing.
main "$@"
