#!/bin/sh
# Finds the browser that the page's tests drive, or installs Debian's; prints its path.
set -eu
python=$1

find_browser() {
    for name in "${LONG1K_BROWSER:-}" chromium chromium-browser google-chrome-stable google-chrome; do
        [ -n "$name" ] || continue
        # Ubuntu's package of this name is a stand-in that asks for a snap: only what starts counts.
        if command -v "$name" >/dev/null 2>&1 && "$name" --version >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
}

browser=$(find_browser)
if [ -z "$browser" ]; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=none; fi
    if command -v apt-get >/dev/null 2>&1 && [ "$as_root" != none ]; then
        echo "no browser found; installing chromium" >&2
        export DEBIAN_FRONTEND=noninteractive
        $as_root apt-get update -qq >&2 || true
        $as_root apt-get install -y -qq --no-install-recommends chromium >&2 || true
        browser=$(find_browser)
    fi
fi
if [ -z "$browser" ]; then
    # Playwright's own build, where its server can be reached.
    "$python" -m playwright install --with-deps chromium >&2 || "$python" -m playwright install chromium >&2 || true
    browser=$("$python" -c 'from playwright.sync_api import sync_playwright as s
with s() as p: print(p.chromium.executable_path)' 2>/dev/null || true)
    [ -x "$browser" ] || browser=""
fi
if [ -z "$browser" ]; then
    echo "error: the tests of the page need Chromium, and none could be installed" >&2
    echo "  -> install it (Debian: apt-get install chromium), or name one: LONG1K_BROWSER=/path/to/chrome" >&2
    exit 1
fi
echo "$browser"
