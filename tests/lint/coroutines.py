"""Lint: coroutine expressions that g++ 12 translates wrongly. Pure: files in, messages out.

Proven with g++ 12.2 (a counter of live objects ends at -1):
- a temporary closure with captures by value in a co_await expression has its captures destroyed twice;
- so has a temporary aggregate written with braces, `co_await f(Request{name, id})`;
- `co_await` inside `&&`, `||`, `?:` or a condition dies of SIGILL or reads freed memory.
So each of these gets a name in a statement of its own before the co_await.
"""
import re

# From co_await to the end of its first line: arguments on later lines belong to closures, which are read as they start.
EXPRESSION = re.compile(r"co_await\b([^;]*)")
VALUE_CAPTURE = re.compile(r"[(,]\s*\[(?!\s*(?:&[^\],]*(?:,\s*&[^\],]*)*|this|)\s*\])[^\[\]]*\]\s*[({]")
AGGREGATE = re.compile(r"[(,]\s*(?:\w+(?:::\w+)*)?\{[^}\"]")
CONDITION = re.compile(r"(?:\b(?:if|while|switch)\s*\([^;]*|&&\s*|\|\|\s*|\?\s*)\(?!?co_await\b")


def check(files):
    for path in files:
        if not path.endswith((".cpp", ".hpp")) or path.startswith("tests/lint/"):
            continue
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                problem = problem_in(re.sub(r"//.*", "", line))
                if problem:
                    yield f"{path}:{number}: {problem}: g++ 12 mistranslates it; give it a name in a statement before"


def problem_in(line):
    if CONDITION.search(line):
        return "co_await inside a condition"
    found = EXPRESSION.search(line)
    if not found:
        return None
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', found.group(1))
    if VALUE_CAPTURE.search(text):
        return "a closure with captures by value in a co_await expression"
    if AGGREGATE.search(text):
        return "an aggregate in braces in a co_await expression"
    return None
