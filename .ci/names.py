"""Checks that parameters, commands and links are right wherever they are named: template, .env.example.json, pages, tasks."""

import json
import re
import sys
from pathlib import Path

import template

parameters = {name: str(of["Default"]) for name, of in template.load()["Parameters"].items()}
with open(".env.example.json") as file:
    example = {name: str(value) for name, value in json.load(file).items()}
pages = {page: page.read_text() for page in [Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").glob("*.md")]}
readme, operating = pages[Path("README.md")], pages[Path("docs/operating.md")]
rows = re.findall(r"^\| `([A-Z][A-Za-z0-9]+)` \| `([^`]+)` \|", operating, re.MULTILINE)
with open(".vscode/tasks.json") as file:
    tasks = json.loads("\n".join(line for line in file if not line.lstrip().startswith("//")))["tasks"]

sources = [source.read_text() for folder in ["src", "tests", "crates"] for source in Path(folder).rglob("*.rs")]

problems = []
for name, found in [(".env.example.json", example), ("docs/operating.md", dict(rows))]:
    for parameter in sorted(parameters.keys() | found.keys()):
        if parameters.get(parameter) != found.get(parameter):
            problems.append(f"{parameter}: template.yaml says {parameters.get(parameter)}, {name} {found.get(parameter)}")
for task in tasks:
    # The README shows the command once, with the event of prod_attest.
    command = re.sub(r"-e \S+", "-e tests/prod_attest.json", task["command"])
    if command not in readme:
        problems.append(f"README.md does not have the command of the task {task['label']!r}: {command}")
known = [task["command"] for task in tasks]
for page, text in pages.items():
    # What starts like a task's command is that command, with more behind it at most.
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("sam ") and line not in known:
                problems.append(f"{page}: no task has the command {line}")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not (page.parent / link).exists():
            problems.append(f"{page}: {link} does not exist")
    for name in re.findall(r"`(\w+(?:::\w+)+)`", text):
        if not any(f"fn {name.split('::')[-1]}" in source or f"{name.split('::')[-1]}:" in source for source in sources):
            problems.append(f"{page}: there is no test {name}")
print("\n".join(problems) or f"{len(parameters)} parameters and {len(tasks)} tasks are the same everywhere")
sys.exit(bool(problems))
