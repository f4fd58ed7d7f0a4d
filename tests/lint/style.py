"""Checks on the shape of files: length, opening comment, top-level names, text that does not belong into the project.
Fast: reads files once, starts nothing.
"""
import os
import re

LIMIT = 500  # lines
TOP = {"hypervisor", "guest-patches", "xenstore-lite", "backend-drivers", "frontend-drivers", "toolstack", "tests",
       "docs", "labs", "packaging", "cmake", "Makefile", "README.md", "LICENSE", "CMakeLists.txt",
       "CMakePresets.json", "CHANGELOG.md", "CONTRIBUTING.md"}
SOURCES = (".cpp", ".hpp", ".c", ".h", ".S", ".py", ".sh", ".proto")
COMMENTS = {".cpp": "/", ".hpp": "/", ".c": "/", ".h": "/", ".proto": "/", ".S": "/#", ".sh": "#", ".py": "#\""}


def check(files):
    for name in sorted({path.split("/")[0] for path in files}):
        if name not in TOP and not name.startswith("."):
            yield f"{name}: not one of the agreed names at the top level"
    for path in files:
        extension = os.path.splitext(path)[1]
        if extension not in SOURCES:
            continue
        with open(path, errors="replace") as f:
            lines = f.read().splitlines()
        if len(lines) > LIMIT:
            yield f"{path}: {len(lines)} lines, more than {LIMIT}: split it by purpose"
        if lines and lines[0].strip()[:1] not in COMMENTS[extension]:
            yield f"{path}:1: opens without a comment that says what the file is"
        if extension == ".hpp" and "#pragma once" not in lines:
            yield f"{path}: no #pragma once"
        for number, line in enumerate(lines, start=1):
            if re.search(r"\b(TODO|FIXME)\b", line) and not path.startswith("tests/lint/"):
                yield f"{path}:{number}: unfinished: {line.strip()[:80]}"
