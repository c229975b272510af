#!/usr/bin/env bash
# Makes src/openankh/serve/pages/static/vendor/nightingale.js again: EBI's Nightingale web components in one file.
# Needs node and npm; users of the package need neither.
set -euo pipefail
version=5.11.0 esbuild=0.28.2
parts=(manager navigation sequence track)
out="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/src/openankh/serve/pages/static/vendor/nightingale.js"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private": true}' >package.json
packages=("esbuild@$esbuild")
for part in "${parts[@]}"; do packages+=("@nightingale-elements/nightingale-$part@$version"); done
npm install --no-audit --no-fund "${packages[@]}"
for part in "${parts[@]}"; do
    echo "export { default as ${part^} } from \"@nightingale-elements/nightingale-$part\";"
done >entry.js
npx esbuild entry.js --bundle --minify --format=esm --target=es2022 --legal-comments=eof --charset=utf8 --outfile="$out"
