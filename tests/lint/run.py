#!/usr/bin/env python3
"""`make lint`: dependency arrows, file shape, coroutines, clang-format, and clang-tidy on changed files.

usage: run.py [--fast]     --fast: only what reads the text itself (what `make test` runs)
LINT_BASE names the commit changes are counted from (default: the merge base with origin/main, else HEAD~).
Last line: `N passed, N failed`, one per check.
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import coroutines  # noqa: E402
import dependencies  # noqa: E402
import style  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CXX = (".cpp", ".hpp", ".c", ".h")


def git(*arguments):
    answer = subprocess.run(["git", *arguments], cwd=TOP, capture_output=True, text=True)
    return answer.stdout.split("\n")[:-1] if answer.returncode == 0 else None


def changed_files():
    base = os.environ.get("LINT_BASE") or next(iter(git("merge-base", "HEAD", "origin/main") or []), None)
    head = (git("rev-parse", "HEAD") or [""])[0]
    if not base or base == head:
        base = "HEAD~"
    # Committed since the base, and what stands in the work tree.
    listed = git("diff", "--name-only", "--diff-filter=d", base)
    return tracked() if listed is None else listed


def tracked():
    files = git("ls-files")
    if files is None:  # a copy without history
        files = [os.path.relpath(os.path.join(base, name), TOP) for base, _, names in os.walk(TOP) for name in names]
    return [f for f in files if os.path.isfile(os.path.join(TOP, f)) and not f.startswith(("build/", ".git/"))]


def clang_format(files):
    wrong = subprocess.run(["clang-format-14", "--dry-run", "--Werror", "--ferror-limit=1", *files], cwd=TOP,
                           capture_output=True, text=True).stderr
    return sorted({line for line in wrong.splitlines() if "error:" in line})


def clang_tidy(files):
    database = os.path.join(TOP, "build", "product", "compile_commands.json")
    if not os.path.exists(database):
        return ["build/product/compile_commands.json is missing: run `make` first"]
    with open(database) as f:
        known = f.read()
    messages = []
    for path in files:
        if path.endswith(".cpp") and os.path.join(TOP, path) in known:
            # -mx87: clang takes g++'s -mgeneral-regs-only to forbid long double in the standard headers as well.
            answer = subprocess.run(["clang-tidy-14", "--quiet", "--extra-arg=-mx87", "-p", os.path.dirname(database),
                                     path], cwd=TOP, capture_output=True, text=True)
            if answer.returncode != 0:
                messages += [x for x in answer.stdout.splitlines() if ": error:" in x or ": warning:" in x] or \
                            [f"{path}: clang-tidy failed:\n{answer.stderr[-1500:]}"]
    return messages


def main():
    os.chdir(TOP)
    files = tracked()
    checks = {"dependency arrows": lambda: dependencies.check(files), "file shape": lambda: style.check(files),
              "coroutines": lambda: coroutines.check(files)}
    if "--fast" not in sys.argv:
        checks["clang-format"] = lambda: clang_format([f for f in files if f.endswith(CXX)])
        checks["clang-tidy on changed files"] = lambda: clang_tidy(changed_files())
    failed = 0
    for name, check in checks.items():
        problems = list(check())
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok    '}  lint: {name}" + "".join(f"\n        {p}" for p in problems),
              flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
