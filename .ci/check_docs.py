"""Checks that the docs agree with the tree: parameters, commands, links and anchors, test names, and Dependabot's folders.

Run it in the repository root. It needs PyYAML and git.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import template
import yaml

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")
TEST = re.compile(r"#\[(?:tokio::)?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:pub )?(?:async )?fn (\w+)")
PYTHON_TEST = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
# Tests that the macro `each!` generates: `name: expression;`.
GENERATED = re.compile(r"^each! \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
# In backticks, a name of so many words can only be that of a test.
LONG_NAME = re.compile(r"`((?:\w+::)*[a-z0-9]+(?:_[a-z0-9]+){4,})`")
MEMBERS = {"user_api_key_end_user_id", "user_api_key_user_id"}  # of LiteLLM's payload, not names of tests


def files(*patterns):
    """Returns the matching files of the project, including untracked ones, but not ignored ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in names if name and Path(name).is_file()]


def without_code(text):
    return FENCE.sub("", text)


def anchors(text):
    """Returns the anchors that GitHub generates for a page's headings."""
    found = []
    for heading in re.findall(r"^#{1,6} +(.+?)[ #]*$", without_code(text), re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        repeated = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.append(f"{slug}-{repeated}" if repeated else slug)
    return found


def check_parameters(pages):
    """Checks that each parameter has the same default in template.yaml, .env.example.json and docs/operating.md."""
    parameters = {name: str(parameter["Default"]) for name, parameter in template.load()["Parameters"].items()}
    example = {name: str(value) for name, value in json.loads(Path(".env.example.json").read_text()).items()}
    rows = re.findall(r"^\| `([A-Z][A-Za-z0-9]+)` \| `([^`]+)` \|", pages[Path("docs/operating.md")], re.MULTILINE)
    for page, found in [(".env.example.json", example), ("docs/operating.md", dict(rows))]:
        for name in sorted(parameters.keys() | found.keys()):
            if parameters.get(name) != found.get(name):
                yield f"{page}: {name} is {found.get(name)}, but {parameters.get(name)} in template.yaml"


def check_commands(pages):
    """Checks that each VS Code task runs a command from the README, and that each `sam` command on a page is a task."""
    lines = Path(".vscode/tasks.json").read_text().splitlines()
    tasks = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))["tasks"]
    for task in tasks:
        # The README shows `sam local invoke` once, with the event prod_attest.
        command = re.sub(r"-e \S+", "-e tests/prod_attest.json", task["command"])
        if command not in pages[Path("README.md")]:
            yield f"README.md: the command of the task {task['label']!r} is missing: {command}"
        for event in re.findall(r"-e (\S+)", task["command"]):
            if not Path(event).is_file():
                yield f".vscode/tasks.json: {event} does not exist"
    known = {task["command"] for task in tasks}
    for page, text in pages.items():
        for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if line.startswith("sam ") and line not in known:
                    yield f"{page}: no task has the command: {line}"


def check_links(pages):
    """Checks that each relative link leads to a file, and each anchor to a heading."""
    for page, text in pages.items():
        for link in LINK.findall(without_code(text)):
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            name, _, anchor = link.partition("#")
            target = Path(page if not name else page.parent / name)
            if not target.exists():
                yield f"{page}: {link} does not exist"
            elif anchor and anchor not in anchors(target.read_text()):
                yield f"{page}: {link}: {target} does not have this heading"
    for file in files(":!*.lock", ":!fuzz/corpus"):
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        for name in sorted(set(re.findall(r"(?<![\w./-])docs/[a-z-]+\.(?:md|yaml)", text))):
            if not Path(name).is_file():
                yield f"{file}: {name} does not exist"


def check_tests(pages):
    """Checks that each guarantee has tests, and that each test mentioned in the docs exists."""
    tests = {}
    for source in files("*.rs"):
        text = source.read_text()
        names = TEST.findall(text)
        for block in GENERATED.findall(text):
            names += re.findall(r"^    (\w+): ", block, re.MULTILINE)
        tests.setdefault(source.stem, set()).update(names)
    for source in files("*.py"):
        tests.setdefault(source.stem, set()).update(PYTHON_TEST.findall(source.read_text()))
    every_test = set().union(*tests.values())
    fuzzers = {target.stem for target in files("fuzz/fuzz_targets/*.rs")}

    def exists(name):
        *modules, test = name.split("::")
        return test in (tests.get(modules[-1], set()) if modules else every_test)

    guarantees = Path("docs/guarantees.md")
    _, _, *rows = re.findall(r"^\|.*", pages[guarantees], re.MULTILINE)
    for row in rows:
        proof = row.rstrip(" |").rpartition("|")[2]
        names = re.findall(r"`([^`]+)`", proof)
        if not names:
            yield f"{guarantees}: no test in {row}"
        for name in names:
            if not (exists(name) or tests.get(name) or name in fuzzers):
                yield f"{guarantees}: there is no test, module of tests, or fuzzer {name}"
    for page, text in pages.items():
        for name in LONG_NAME.findall(text) if page != guarantees else []:
            if name not in MEMBERS and not exists(name):
                yield f"{page}: there is no test {name}"


def check_dependabot(_):
    """Checks that Dependabot's folders exist."""
    for update in yaml.safe_load(Path(".github/dependabot.yml").read_text())["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            if not Path(folder.lstrip("/") or ".").is_dir():
                yield f".github/dependabot.yml: {folder} does not exist"


def main():
    pages = {page: page.read_text() for page in files("*.md")}
    checks = [check_parameters, check_commands, check_links, check_tests, check_dependabot]
    problems = sorted({problem for check in checks for problem in check(pages)})
    print("\n".join(problems) or f"{len(pages)} pages agree with the tree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
