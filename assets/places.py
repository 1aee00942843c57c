"""Where something stands in a study file: the line of a field, and the field of a word. Nothing is validated here."""

from collections.abc import Sequence

import yaml

from resources.validation import Place


def line_of(text: str, field: Sequence[str | int]) -> int:
    """The line, from 1, of the deepest part of `field` that the YAML text holds."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in field:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def place_of(text: str, word: str, under: Sequence[str]) -> Place | None:
    """The first field below `under` of which `word` is the value or the key; None where it does not stand there."""
    todo: list[tuple[Place, yaml.Node | None]] = [((), yaml.compose(text, Loader=yaml.SafeLoader))]
    seen: set[int] = set()
    while todo:
        place, node = todo.pop(0)
        inside = len(place) >= len(under)
        if inside and isinstance(node, yaml.ScalarNode) and node.value == word:
            return place
        if node is None or id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += [((*place, i), child) for i, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if len(place) > len(under) and key.value == word:
                    return (*place, word)
                if inside or key.value == under[len(place)]:
                    todo.append(((*place, str(key.value)), value))
    return None
