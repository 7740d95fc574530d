"""Parses template.yaml. CloudFormation's short forms (`!Ref`, `!Sub` …) become their plain values."""

import yaml


class Template(yaml.SafeLoader):
    """A YAML loader that accepts short forms."""


def short_form(loader, _, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    construct = loader.construct_sequence if isinstance(node, yaml.SequenceNode) else loader.construct_mapping
    return construct(node, deep=True)


Template.add_multi_constructor("!", short_form)


def load():
    with open("template.yaml") as file:
        return yaml.load(file, Template)
