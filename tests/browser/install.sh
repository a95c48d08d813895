#!/bin/sh
# A headless Chromium for the tests, into the folder that is named: only where the machine has none.
# It comes from npm's registry as a package that holds the browser and the libraries it needs, so
# that nothing is installed on the system and nobody has to be root.
set -eu
into=$1
package=@sparticuz/chromium@153.0.0
digest=20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0

for name in chromium-headless-shell chrome-headless-shell chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ -n "${CHROMIUM:-}" ] || [ "$(cat "$into/version" 2>/dev/null)" = "$package" ]; then exit 0; fi

missing() {
    echo "no browser for the tests of the HTML report: $1"
    echo "mend it with: apt-get install chromium-headless-shell (or any Chromium on the PATH)"
    exit 0 # the tests say it again, and in CI they fail
}
[ "$(uname -sm)" = "Linux x86_64" ] || missing "the packaged one is for Linux on x86-64"
command -v npm >/dev/null || missing "npm, which could get one, is not there either"

part=$into.part
rm -rf "$part" "$into"
mkdir -p "$part"
npm pack --silent --pack-destination "$part" "$package" >/dev/null || missing "npm could not get $package"
echo "$digest  $(echo "$part"/*.tgz)" | sha256sum --check --quiet || missing "$package is not what it was"
tar -xzf "$part"/*.tgz -C "$part"
node - "$part/package/bin" "$part" <<'EOF'
const { brotliDecompressSync } = require("zlib");
const { readFileSync, writeFileSync } = require("fs");
const [from, to] = process.argv.slice(2);
for (const name of ["chromium", "al2023.tar"])
    writeFileSync(`${to}/${name}`, brotliDecompressSync(readFileSync(`${from}/${name}.br`)));
EOF
tar -xf "$part/al2023.tar" -C "$part"
chmod +x "$part/chromium"
rm -rf "$part"/*.tgz "$part/package" "$part/al2023.tar"
echo "$package" >"$part/version"
mv "$part" "$into"
