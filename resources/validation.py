"""What pydantic found wrong first, in the words of the file that people wrote: the place, and the way out."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Place = tuple[str | int, ...]


def first_mistake(error: ValidationError, model: type[BaseModel]) -> tuple[Place, str]:
    """The place of the first mistake in the validated mapping, and a message that does not repeat it.

    Args:
        error: What validation raised.
        model: The model that was validated against; for an unknown key the message gives the allowed ones.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    place, kind = _place(first["loc"]), first["type"]
    if kind == "extra_forbidden":
        keys = ", ".join(_model_at(model, place[:-1]).model_fields)
        return place, f"unknown key; allowed here: {keys}"
    if kind == "missing":
        description = _model_at(model, place[:-1]).model_fields[str(place[-1])].description
        return place, f"is required ({description})" if description else "is required"
    if kind in {"model_type", "model_attributes_type"}:
        return place, f"must be a mapping with keys among {', '.join(_model_at(model, place).model_fields)}"
    return place, str(first["msg"]).removeprefix("Value error, ")


def _place(found: tuple[str | int, ...]) -> Place:
    """Pydantic's place without what stands in no file: the members of a union, and the mark of a mapping's key."""
    place: list[str | int] = []
    for part in found:
        if part == "[key]":
            break
        place.append(part)
        if isinstance(part, int) and len(place) > 1:
            break
    return tuple(place)


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The model of the keys at a place; names in a mapping and places in a list lead no further."""
    for part in place:
        if field := model.model_fields.get(str(part)):
            model = _model_in(field.annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `dict[str, Model]` or `Model | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
