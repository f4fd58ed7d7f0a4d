#!/usr/bin/env python3
"""The patch series of the guest kernel, without a compiler: every patch applies to Debian's source with no fuzz, leaves
nothing of another patch behind, and checkpatch.pl has nothing to say about it. A few seconds once the source is there;
packaging/fetch.sh brings it. Prints a line for each patch, the last line is `N passed, N failed`.
"""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATCHES = os.path.join(TOP, "guest-patches", "patches")
SOURCE = os.path.join(TOP, "build", "cache", "linux-source", "linux-source-6.1")
# A new file has no line in MAINTAINERS (they are ours), and a program name or an address in a message may be long.
CHECKPATCH = ["--no-tree", "--quiet", "--no-summary", "--terse", "--show-types", "--ignore", "FILE_PATH_CHANGES,COMMIT_LOG_LONG_LINE"]


def series():
    with open(os.path.join(PATCHES, "series")) as lines:
        return [name for name in (line.split("#")[0].strip() for line in lines) if name]


def read(name):
    with open(os.path.join(PATCHES, name)) as text:
        return text.read()


def bring_files(text, work):
    """The files that a patch changes, from the pristine source; those that earlier patches brought stay."""
    for path in re.findall(r"^--- a/(\S+)", text, re.MULTILINE):
        target = os.path.join(work, path)
        if not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(os.path.join(SOURCE, path), "rb") as old, open(target, "wb") as new:
                new.write(old.read())


def problems(name, work):
    text = read(name)
    bring_files(text, work)
    applied = subprocess.run(["patch", "-d", work, "-p1", "-F0", "--no-backup-if-mismatch"], input=text, text=True,
                             capture_output=True)
    if applied.returncode or "fuzz" in applied.stdout:
        yield f"does not apply: {applied.stdout}{applied.stderr}"
    if not re.search(r"^(Gain|For):", text, re.MULTILINE):
        yield "its message has neither `Gain:` (what was measured) nor `For:` (which patch needs it)"
    style = subprocess.run([os.path.join(SOURCE, "scripts", "checkpatch.pl"), *CHECKPATCH, os.path.join(PATCHES, name)],
                           capture_output=True, text=True, cwd=SOURCE)
    if style.returncode or style.stdout.strip():
        yield f"checkpatch.pl: {style.stdout}{style.stderr}"


def main():
    subprocess.run([os.path.join(TOP, "packaging", "fetch.sh"), "linux-source"], check=True)
    names, failed = series(), 0
    unlisted = {name for name in os.listdir(PATCHES) if name.endswith(".patch")} - set(names)
    if unlisted:
        print(f"series: patches that are not in the series: {', '.join(sorted(unlisted))}")
        failed += 1
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            found = list(problems(name, work))
            print(f"series: {name}: {'; '.join(found) or 'good'}")
            failed += bool(found)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
