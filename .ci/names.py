"""Checks that parameters and commands are the same wherever they are named: template, .env.example.json, README, tasks."""

import json
import re
import sys

import yaml


class Template(yaml.SafeLoader):
    """CloudFormation's short forms (`!Ref`, `!Sub` …) are read as what stands behind them."""


def short_form(loader, _, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    construct = loader.construct_sequence if isinstance(node, yaml.SequenceNode) else loader.construct_mapping
    return construct(node, deep=True)


Template.add_multi_constructor("!", short_form)

with open("template.yaml") as file:
    parameters = {name: str(of["Default"]) for name, of in yaml.load(file, Template)["Parameters"].items()}
with open(".env.example.json") as file:
    example = {name: str(value) for name, value in json.load(file).items()}
with open("README.md") as file:
    readme = file.read()
rows = re.findall(r"^\| `([A-Z][A-Za-z0-9]+)` \| `([^`]+)` \|", readme, re.MULTILINE)
with open(".vscode/tasks.json") as file:
    tasks = json.loads("\n".join(line for line in file if not line.lstrip().startswith("//")))["tasks"]

problems = []
for name, found in [(".env.example.json", example), ("README.md", dict(rows))]:
    for parameter in sorted(parameters.keys() | found.keys()):
        if parameters.get(parameter) != found.get(parameter):
            problems.append(f"{parameter}: template.yaml says {parameters.get(parameter)}, {name} {found.get(parameter)}")
for task in tasks:
    # The README shows the command once, with the event of prod_attest.
    command = re.sub(r"-e \S+", "-e tests/prod_attest.json", task["command"])
    if command not in readme:
        problems.append(f"README.md does not have the command of the task {task['label']!r}: {command}")
print("\n".join(problems) or f"{len(parameters)} parameters and {len(tasks)} tasks are the same everywhere")
sys.exit(bool(problems))
